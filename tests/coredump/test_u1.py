"""signature.py and words.py: what groups crashes of programs, and how they are told."""

from __future__ import annotations

from typing import Any

import pytest

from lastlog_py.coredump import signature, words

Dict = dict[str, Any]


def frame(place: str, symbol: str | None = None, how: str = "cfi",
          build_id: str | None = None) -> Dict:
    """place: "/lib/libc.so+0x10", or "" for a frame in no file."""
    module, _, offset = place.rpartition("+")
    return {"pc": "0x1000", "module": module or None, "offset": offset or None, "how": how,
            "build_id": build_id, "symbol": symbol, "symbol_offset": symbol and "0x1"}


def dump(*frames: Dict, registers: dict[str, str] | None = None, **fields: Any) -> Dict:
    thread = {"tid": 1, "crashed": True, "registers": registers or {}, "frames": list(frames),
              "frames_cut": False, "omitted": 0, "gap": None}
    return {"executable": "/usr/sbin/httpd", "command": "httpd -f", "pid": 1, "tid": 1, "uid": 0,
            "machine": "mips", "signal": 11, "signal_name": "SIGSEGV", "code_name": None,
            "fault_address": None, "truncated": False, "threads": [thread], "modules": [],
            "threads_cut": False, "dropped": 0, "notes": []} | fields


APP = [frame(f"/usr/sbin/httpd+{address:#x}") for address in range(0x100, 0x900, 0x100)]
RAISE = [frame("/lib/libc.so+0x10"), frame("/lib/libc.so+0x20", "raise"),
         frame("/lib/libc.so+0x30", "abort")]
IN_APP = "httpd+0x100|httpd+0x200|httpd+0x300|httpd+0x400|httpd+0x500"


@pytest.mark.parametrize(("given", "text"), [
    (dump(*APP), f"/usr/sbin/httpd|SIGSEGV|{IN_APP}"),
    (dump(frame("/lib/libc.so+0x5", "strlen", build_id="ab12"), *APP[:1]),
     "/usr/sbin/httpd|SIGSEGV|ab12+0x5|httpd+0x100"),
    (dump(*RAISE, *APP, signal_name="SIGABRT"), f"/usr/sbin/httpd|SIGABRT|{IN_APP}"),
    (dump(frame("[vdso]+0x1", "__kernel_vsyscall"), *RAISE, *APP[:1]),
     "/usr/sbin/httpd|SIGSEGV|httpd+0x100"),
    # It caught its own crash, and gave up in the handler.
    (dump(*RAISE, frame("/usr/sbin/httpd+0x7"), frame("/lib/libc.so+0x8"),
          {**APP[0], "how": "signal"}, *APP[1:]), f"/usr/sbin/httpd|SIGSEGV|{IN_APP}"),
    (dump(frame("/usr/sbin/httpd+0x7"), {**APP[0], "how": "signal"}, code_name="SI_USER"),
     "/usr/sbin/httpd|SIGSEGV|httpd+0x100"),
    # It crashed in a handler.
    (dump(frame("/usr/sbin/httpd+0x7", how="registers"), {**APP[0], "how": "signal"},
          code_name="SEGV_MAPERR"), "/usr/sbin/httpd|SIGSEGV|httpd+0x7|httpd+0x100"),
    (dump(APP[0], frame("/lib/libc.so+0x1", how="scan"), APP[1]),
     "/usr/sbin/httpd|SIGSEGV|httpd+0x100"),
    (dump(frame(""), APP[0]), "/usr/sbin/httpd|SIGSEGV|?|httpd+0x100"),
    (dump(*RAISE), "/usr/sbin/httpd|SIGSEGV|libc.so+0x10|libc.so+0x20|libc.so+0x30"),
    (dump(), "/usr/sbin/httpd|SIGSEGV"),
    (dump(signal_name=None, signal=70), "/usr/sbin/httpd|70"),
    (dump(executable=None, threads=[]), "httpd -f|SIGSEGV"),
    (dump(executable=None, command=None), None)])
def test_the_hashed_text(given: Dict, text: str | None) -> None:
    assert signature.hashed_text(given) == text


def test_the_hash_never_changes() -> None:
    assert signature.signature(dump(*APP)) == "u1:27c9d20c15aa6ba1"
    assert signature.signature(dump(executable=None, command=None)) is None


def test_where_it_was_loaded_does_not_count() -> None:
    moved = [{**each, "pc": "0x99999"} for each in APP]
    assert signature.signature(dump(*moved, pid=7)) == signature.signature(dump(*APP))


@pytest.mark.parametrize(("fields", "told"), [
    ({"fault_address": "0x0"}, "tried to read or write address 0x0, a NULL pointer"),
    ({"fault_address": "0x10"},
     "tried to read or write address 0x10, a NULL pointer plus an offset"),
    ({"fault_address": "0x7f0000", "code_name": "SEGV_MAPERR"},
     "tried to read or write address 0x7f0000, where no memory is"),
    ({"fault_address": "0x7f0000", "code_name": "SEGV_ACCERR"},
     "tried to read or write address 0x7f0000, which it may not"),
    ({"fault_address": "0x0", "registers": {"pc": "0x0"}}, "jumped to address 0x0, a NULL pointer"),
    ({"registers": {"pc": "0x0"}}, "jumped to address 0x0, a NULL pointer"),
    # x86 pushes below the stack pointer; others have moved it already; a guard may be memory.
    ({"fault_address": "0x7ffe0ff8", "registers": {"sp": "0x7ffe1000"}}, "ran out of stack"),
    ({"fault_address": "0x7ffe0ff8", "registers": {"sp": "0x7ffe0fe0"}}, "ran out of stack"),
    ({"fault_address": "0x7ffe0010", "registers": {"sp": "0x7ffe0000"},
      "code_name": "SEGV_ACCERR"}, "ran out of stack"),
    ({"fault_address": "0x7ffe3000", "registers": {"sp": "0x7ffe0ff0"}},
     "read or wrote beyond the end of its stack"),
    ({"fault_address": "0x7ffd9000", "registers": {"sp": "0x7ffe0000"},
      "code_name": "SEGV_ACCERR"}, "tried to read or write address 0x7ffd9000, which it may not"),
    ({"fault_address": "0x7f0000", "code_name": "SEGV_PKUERR"},
     "tried to read or write address 0x7f0000, which a protection key forbids"),
    ({"code_name": "SEGV_CPERR", "fault_address": "0x7f0000"},
     "returned to an address that was tampered with"),
    ({}, "tried to read or write memory that is not its own"),
    ({"fault_address": "nonsense"}, "tried to read or write memory that is not its own"),
    ({"code_name": "SI_USER"}, "a program sent it this signal"),
    ({"signal_name": "SIGABRT"}, "gave up by itself: abort()"),
    ({"signal_name": "SIGABRT", "code_name": "SI_TKILL"}, "gave up by itself: abort()"),
    ({"signal_name": "SIGABRT", "code_name": "SI_USER"}, "a program sent it this signal"),
    ({"signal_name": "SIGFPE", "code_name": "FPE_INTDIV"}, "divided a number by zero"),
    ({"signal_name": "SIGBUS", "code_name": "BUS_ADRALN", "fault_address": "0x77aa0001"},
     "tried to read or write address 0x77aa0001, which is not aligned"),
    ({"signal_name": "SIGILL"}, "ran into an instruction the processor does not know"),
    ({"signal_name": "SIG64"}, ""), ({"signal_name": None, "signal": None}, "")])
def test_what_it_did(fields: Dict, told: str) -> None:
    assert words.cause(dump(**fields)) == told


@pytest.mark.parametrize(("helper", "told"), [
    ("__assert_fail", "a check in its own code failed: assert()"),
    ("__stack_chk_fail", "found its stack overwritten")])
def test_why_it_gave_up(helper: str, told: str) -> None:
    frames = [*RAISE, frame("/lib/libc.so+0x40", helper), *APP]
    assert words.title(dump(*frames, signal_name="SIGABRT")) == \
        f"httpd: SIGABRT in httpd+0x100: {told}"


def test_an_abort_by_kill_is_its_own() -> None:
    """As uClibc does it."""
    given = dump(*RAISE, *APP, signal_name="SIGABRT", code_name="SI_USER")
    assert words.cause(given) == "gave up by itself: abort()"


def test_a_jump_to_nowhere_tells_where_from() -> None:
    frames = [frame("", how="registers"), frame("/usr/sbin/httpd+0x7", "serve")]
    told = dump(*frames, fault_address="0x0", registers={"pc": "0x0"})
    assert words.title(told) == ("httpd: SIGSEGV: jumped to address 0x0, a NULL pointer, "
                                 "from serve")


def test_an_exception_that_nobody_caught() -> None:
    frames = [*RAISE, frame("/usr/lib/libstdc++.so.6+0x1", "_ZSt9terminatev"), *APP]
    assert words.place(dump(*frames, signal_name="SIGABRT")) == "httpd+0x100"


def test_a_title_is_one_line() -> None:
    title = words.title(dump(executable="/tmp/a\nb\x1b[31m", threads=[]))
    assert title.isprintable() and title.startswith("a\ufffdb\ufffd[31m: SIGSEGV")
