"""What real kernels from 2.6 to 7.0 said when they broke, and what it is understood as.

tests/data/logs/real holds what people posted about their routers and boards, cut to the lines that
matter, without the names of hosts; often the beginning or the end is missing, as it was.
`expected.json` says of each where it was posted and what is to be made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.diagnose import explain
from lastlog_py.diagnose.kernel_log import Explanation
from lastlog_py.diagnose.kernel_log import explain as told
from lastlog_py.diagnose.signature import hashed_text
from lastlog_py.record import Source, captured

LOGS = Path(__file__).parent.parent / "data" / "logs"
REAL: dict[str, dict[str, Any]] = json.loads((LOGS / "real" / "expected.json").read_text())


def text_of(name: str) -> str:
    return (LOGS / "real" / f"{name}.txt").read_text()


def test_every_log_is_in_the_table() -> None:
    assert {path.stem for path in (LOGS / "real").glob("*.txt")} == set(REAL)
    assert len(REAL) >= 160


@pytest.mark.parametrize("name", REAL)
def test_a_real_log(name: str) -> None:
    record = explain(captured("kernel", text_of(name).encode(), Source("mtdoops")))
    found, kernel = told(text_of(name)), record.kernel
    assert kernel is not None
    assert kernel == found.kernel
    wanted = {field: getattr(kernel, field) for field in (
        "reason", "cause", "function", "module", "process", "address", "suspect")}
    assert {"source": REAL[name]["source"], "title": record.title, **wanted,
            "frames": len(kernel.trace), "hashed": hashed_text(found)} == REAL[name]


# No crash by themselves: nothing is said to have broken, and nothing is grouped with crashes.
NO_CRASH = ["mips_user_segfault_6_6", "mips_boot_3_10", "arm_user_aborts_4_9",
            "no_root_waiting_4_7", "mips_netdev_watchdog_6_12", "fw_mt7915_ser",
            "fw_mt7915_retry_syslog", "fw_ath10k_uuid_syslog", "fw_rtw89_status_6_1",
            "fw_ath10k_syslog", "fw_ath10k_ahb", "fw_ath11k_rproc", "fw_brcmfmac_trap",
            "fw_brcmfmac_halted", "fw_iwlwifi_7260", "fw_iwlwifi_head_lost_4_9",
            "fw_iwlwifi_time_only", "arm_program_fault_3_10", "arm64_program_abort_4_14"]


@pytest.mark.parametrize("name", NO_CRASH)
def test_what_is_no_crash_by_itself(name: str) -> None:
    assert (REAL[name]["reason"], REAL[name]["cause"], REAL[name]["hashed"]) == (
        "unknown", "other", None)


# --- one crash, however its log was handed on ----------------------------------------------

STAMP = re.compile(r"(?:<(\d{1,2})>)?\[ *(\d+\.\d+)\](?:\[ *[TC]\d+\])? ?")


def restamped(line: str, write: Callable[[int, float], str]) -> str:
    found = STAMP.match(line)
    if not found:
        return line
    return write(int(found[1] or 4), float(found[2])) + line[found.end():]


def syslog(date: str, program: str = "kernel") -> Callable[[int, float], str]:
    return lambda level, time: f"{date} {program}: [{time:12.6f}] "


# How the same line may begin.
STYLES: dict[str, Callable[[int, float], str]] = {
    "dump": lambda level, time: f"<{level}>[{time:12.6f}] ",
    "dmesg": lambda level, time: f"[{time:12.6f}] ",
    "short stamps": lambda level, time: f"[{time:.6f}] ",
    "caller in a dump": lambda level, time: f"<{level}>[{time:12.6f}][  T123] ",
    "caller": lambda level, time: f"[{time:12.6f}][    C0] ",
    "levels": lambda level, time: f"<{level}>",
    "nothing": lambda level, time: "",
    "logread": syslog("Thu Sep  1 19:23:56 2022 kern.warn"),
    "syslogd": syslog("Jan  1 00:00:00 OpenWrt"),
    "syslogd with a facility": syslog("Jan  1 00:00:00 OpenWrt kern.alert"),
    "syslogd of another host": syslog("Jan 11 00:00:00 router.lan"),
    "syslog-ng": syslog("2024-05-01T12:00:00+02:00 turris", "kernel[]"),
    "journalctl": lambda level, time: "Apr 15 13:58:08.549417 raspberrypi kernel: ",
    "dmesg -T": lambda level, time: "[Thu Dec  7 00:05:15 2017] ",
    "serial console": lambda level, time: f"16:56:35 [{time:12.6f}] ",
    "RFC 3164": lambda level, time: f"<{level}>Jan  4 17:43:42 OpenWrt kernel: [{time:12.6f}] ",
    "RFC 5424": lambda level, time: (f"<{level}>1 2014-08-27T23:36:42-07:00 router.lan kernel "
                                     f"- - - kernel: [{time:12.6f}] "),
    "a level behind the program": lambda level, time: f"May  5 16:04:59 kernel: <{level}>",
    "dmesg -x": lambda level, time: f"kern  :alert : [{time:12.6f}] ",
    "dmesg --time-format=iso": lambda level, time: "2024-05-01T12:00:00,123456+02:00 ",
    "Amlogic": lambda level, time: f"[{time:12.6f}][5 T1     d.] ",
    "a terminal's time": lambda level, time: f"[2024-05-01 12:00:00] [{time:12.6f}] ",
    "journalctl without dates": lambda level, time: "kernel: ",
    "the time and the program": lambda level, time: "07:37:18 kernel: ",
    "a virtual machine's log": lambda level, time: ("2023-12-04T10:49:30.127Z In(05) vcpu-5 - "
                                                    f"Guest: <{level}>[{time:12.6f}] "),
    "a prompt": lambda level, time: f"root@OpenWrt:/# [{time:12.6f}] ",
    "another prompt": lambda level, time: f"/ # [{time:12.6f}] ",
    "a quotation": lambda level, time: f"> [{time:12.6f}] ",
    "netconsole": lambda level, time: f"{level},339,{time * 1e6:.0f},-;",
}

FULL = sorted(path.stem for path in LOGS.glob("*.txt"))


def facts(found: Explanation) -> tuple[Any, ...]:
    """What does not depend on how a log is handed on: all but times, and what no line said."""
    return (found.kernel._replace(reason="", sequence=None, part=None), hashed_text(found),
            found.culprit, found.jump)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", FULL)
def test_the_style_of_a_log_does_not_count(name: str, style: str) -> None:
    """Where the times are lost too, an old warning may be taken for what the log is about, and two
    dying tasks for one: not in these logs."""
    lines = (LOGS / f"{name}.txt").read_text().splitlines()
    changed = [restamped(line, STYLES[style]) for line in lines]
    assert facts(told("\n".join(changed))) == facts(told("\n".join(lines)))


# What may be done to each line.
CHANGED: dict[str, Callable[[str], str]] = {
    "CRLF": lambda line: line + "\r",
    "^M": lambda line: line + "^M",
    "padded": lambda line: f"{line:140}",
    "indented": lambda line: "    " + line,
    "indented by a tab": lambda line: "\t" + line,
    "coloured": lambda line: f"\x1b[0;33m{line}\x1b[0m",
    "coloured behind the time": lambda line: line.replace("] ", "] \x1b[1m", 1) + "\x1b[0m\x1b[K",
    "cut at 1024 columns": lambda line: line[:1024],
    "with build ids": lambda line: re.sub(r"(\+0x[0-9a-f]+/0x[0-9a-f]+ \[\w+)\]",
                                          r"\1 0123456789abcdef0123456789abcdef01234567]", line),
    "with addresses": lambda line: line if "[<" in line else re.sub(
        r"(\] {1,2})(?=[a-z_]\w*\+0x[0-9a-f]+/0x\w+(?: \[\w+\])?$)",
        r"\1[<ffffffff81062ed1>] ", line),
}


@pytest.mark.parametrize("change", CHANGED)
@pytest.mark.parametrize("name", FULL)
def test_what_was_done_to_a_log_does_not_count(name: str, change: str) -> None:
    lines = (LOGS / f"{name}.txt").read_text().splitlines()
    changed = [CHANGED[change](line) for line in lines]
    assert facts(told("\n".join(changed))) == facts(told("\n".join(lines)))


SUFFIXES = (".isra.0", ".constprop.0", ".part.1", ".cold", ".llvm.1234567890", ".isra.0.cold")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", [name for name in FULL if name != "arm64_no_symbols_5_15"])
def test_what_a_compiler_hung_on_a_name_does_not_count(name: str, suffix: str) -> None:
    text = (LOGS / f"{name}.txt").read_text()
    named = re.sub(r"\b([A-Za-z_]\w*)(?:\.\w+)*(\+0x[0-9a-f]+/0x)", rf"\1{suffix}\2", text)
    named = re.sub(r"\b(\w+)((?: \[\w+\])?\)? from )", rf"\1{suffix}\2", named)
    assert named != text
    assert hashed_text(told(named)) == hashed_text(told(text))


# What these say of the place, or of who called it, stands further to the right.
LONG = {"arm_null_5_4", "arm_null_6_6", "x86_gpf_3_2"}


@pytest.mark.parametrize("name", sorted({*FULL} - LONG))
def test_a_log_cut_at_80_columns_is_of_the_same_crash(name: str) -> None:
    """As a terminal or a netconsole leaves it: what stands behind is lost."""
    lines = (LOGS / f"{name}.txt").read_text().splitlines()
    cut, whole = told("\n".join(line[:80] for line in lines)), told("\n".join(lines))
    assert hashed_text(cut) == hashed_text(whole)
    assert (cut.kernel.cause, cut.kernel.function) == (whole.kernel.cause, whole.kernel.function)


@pytest.mark.parametrize("name", FULL)
def test_a_record_without_its_title_says_the_same(name: str) -> None:
    """As mtdoops and OpenWrt's crashlog leave it."""
    text = (LOGS / f"{name}.txt").read_text()
    title, rest = text.split("\n", 1)
    assert title.endswith(" Part1")
    assert facts(told(rest)) == facts(told(text))
    assert told(rest).kernel.reason in (told(text).kernel.reason, "unknown")


CRASHLOG = ("Time: 1463642563.48231\nModules: \tmac80211@83180000+5a3c0\tcfg80211@83100000+31a40\n"
            "[   10.390000] NET: Registered protocol family 10\n")


@pytest.mark.parametrize("name", FULL)
def test_openwrts_crashlog_puts_a_head_of_its_own_above(name: str) -> None:
    rest = (LOGS / f"{name}.txt").read_text().split("\n", 1)[1]
    assert facts(told(CRASHLOG + rest)) == facts(told(rest))


@settings(max_examples=300)
@given(st.sampled_from(list(REAL)), st.floats(0, 1), st.floats(0, 1))
def test_any_piece_of_a_real_log_is_welcome(name: str, start: float, end: float) -> None:
    text = text_of(name)
    piece = text[int(start * len(text)):int(end * len(text))]
    found = told(piece)
    assert (hashed_text(found) is None) == (found.message is None)
    assert explain(captured("console", piece.encode(), Source("ramoops"))).title


PROGRAMS = [
    "Thu Sep  1 19:23:56 2022 daemon.err hostapd: {}",
    "Thu Sep  1 19:23:56 2022 user.info kernel: [   12.000000] {}",
    "Jan  1 00:00:00 OpenWrt procd[1]: {}",
    "Jan  1 00:00:00 OpenWrt user.notice kernel: {}",
    "2024-05-01T12:00:00+02:00 turris logger: {}",
    "12,339,12000000,-;{}",
    "<12>[   12.000000] {}",
]


@pytest.mark.parametrize("line", PROGRAMS)
def test_what_a_program_wrote_to_the_log_does_not_count(line: str) -> None:
    for lie in ("Kernel panic - not syncing: hello", "Oops[#1]:", "BUG: soft lockup - CPU#3 stuck "
                "for 9s! [x:1]", "ath10k_pci 0000:00:00.0: firmware crashed! (guid 1)"):
        assert told(line.format(lie)).kernel == told("").kernel
        assert hashed_text(told(line.format(lie))) is None
