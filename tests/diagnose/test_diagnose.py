"""The front door: titles, crashes, records of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.diagnose import explain, explain_all, signature_text
from lastlog_py.diagnose.crash import group
from lastlog_py.record import Kernel, Record, Source, captured
from tests.samples import kernel_text

LOGS = Path(__file__).parent.parent / "data" / "logs"
SOURCE = Source("ramoops")


def record(text: str, kind: str = "kernel") -> Record:
    return captured(kind, text.encode(), SOURCE)


def dumps(name: str, numbers: str) -> list[Record]:
    return [captured("kernel", kernel_text(name, f"dmesg-ramoops-{number}"), SOURCE)
            for number in numbers]


def panic(message: str) -> str:
    return f"Panic#1 Part1\n<0>[    9.000000] Kernel panic - not syncing: {message}\n"


TITLES = [
    ("x86_eip_4_14", "NULL pointer dereference in nft_do_chain [nf_tables]"),
    ("mips_null_3_18", "NULL pointer dereference in ieee80211_tx_dequeue [mac80211]"),
    ("mips_bug_6_6", "Kernel BUG in skb_panic"),
    ("mips_rcu_stall_5_4", "RCU stall: CPU 0 stuck in usbnet_write_cmd_nopm [usbnet]"),
    ("arm64_no_symbols_5_15",
     "Bad memory access at 0xffffff8110a2c1f8 in 0xffffffc00818ff8c"),
    ("arm64_serror_6_6", "Bus error in mtk_wed_start"),
    ("oom_kill_then_panic_5_10", "Out of memory: killed hostapd (12 MiB)"),
    ("hung_task_6_1",
     "Hung task: kworker/u4:1 blocked for 120 s in ubifs_bg_wbufs_sync [ubifs]"),
]


@pytest.mark.parametrize(("name", "title"), TITLES)
def test_title_of_a_log(name: str, title: str) -> None:
    assert explain(record((LOGS / f"{name}.txt").read_text())).title == title


TITLES_OF_TEXTS = [
    (panic("sysrq triggered crash"),
     "sysrq: a crash was asked for (echo c > /proc/sysrq-trigger)"),
    (panic("Attempted to kill init! exitcode=0x00007f00"),
     "init exited with status 127"),
    (panic("Attempted to kill init! exitcode=0x00000100"), "init exited with status 1"),
    (panic("Attempted to kill init! exitcode=0x00000007"), "init was killed by SIGBUS (bus error)"),
    (panic("Attempted to kill init! exitcode=0x0000008b"),
     "init was killed by SIGSEGV (segmentation fault)"),
    (panic("Attempted to kill init! exitcode=0x0000002a"), "init was killed by signal 42"),
    (panic("Attempted to kill init!"), "The init process died"),
    (panic("Fatal machine check"), "Bus error: Fatal machine check"),
    (panic("A" * 5000), "Kernel panic: " + "A" * 240),
    (panic("VFS: Unable to mount root fs on unknown-block(31,5)"),
     "No root file system: Unable to mount root fs on unknown-block(31,5)"),
    (panic("Out of memory and no killable processes..."), "Out of memory (nothing left to kill)"),
    (panic("Out of memory: system-wide panic_on_oom is enabled"), "Out of memory (panic_on_oom)"),
    (panic("never heard of"), "Kernel panic: never heard of"),
    ("Panic#1 Part1\n<0>[    9.000000] BUG: soft lockup - CPU#0 stuck for 22s! [a:1]\n"
     "<4>[    9.000000] RIP: 0010:foo+0x1/0x2\n", "Soft lockup: CPU 0 stuck for 22 s in foo"),
    ("Panic#1 Part1\n", "Kernel panic; what was captured does not say why"),
    ("Oops#1 Part1\n<4>[    1.000000] RIP: 0010:foo+0x1/0x2 [m]\n", "Kernel oops in foo [m]"),
    ("Shutdown#1 Part1\n", "Clean shutdown (Shutdown#1)"),
    ("Emergency#3 Part1\n", "Emergency restart (Emergency#3)"),
    ("", "Kernel crash; what was captured does not say why"),
]

ERRORS = [
    ("SQUASHFS error: Unable to read page, block 5e4f8, size 1d5d0", " after SquashFS read errors"),
    ("blk_update_request: I/O error, dev mtdblock5, sector 9 op 0x0:(READ)\n"
     "<3>[    8.900000] SQUASHFS error: xz decompression failed", " after SquashFS read errors"),
    ("ubi0 error: ubi_io_read: error -74 while reading 4096 bytes", " after UBI read errors"),
    ("Buffer I/O error on dev mmcblk0p2, logical block 3", " after I/O errors"),
    ("I/O error, dev sda, sector 3", " after I/O errors"),
    ("squashfs: version 4.0 (2009/01/31) Phillip Lougher", ""),
]


@pytest.mark.parametrize(("errors", "words"), ERRORS)
def test_why_init_may_have_died(errors: str, words: str) -> None:
    death = panic("Attempted to kill init! exitcode=0x00000007").split("\n", 1)
    text = f"{death[0]}\n<3>[    8.800000] {errors}\n{death[1]}"
    assert explain(record(text)).title == "init was killed by SIGBUS (bus error)" + words
    long_ago = text.replace("[    9.000000]", "[   99.000000]")
    assert explain(record(long_ago)).title == "init was killed by SIGBUS (bus error)"
    spoofed = text.replace("<3>", "<11>")
    assert explain(record(spoofed)).title == "init was killed by SIGBUS (bus error)"


@pytest.mark.parametrize(("text", "title"), TITLES_OF_TEXTS)
def test_title_of_a_text(text: str, title: str) -> None:
    assert explain(record(text)).title == title


OTHERS = [
    ("console", "<6>[   12.300000] a\n[  199.900000] b\n", 199.9,
     "Console output of the boot before, up to 3 min after its start"),
    ("console", "", None, "Console output of the boot before"),
    ("pmsg", "[  199.900000] b\n", None, "Messages from programs of the boot before"),
    ("ftrace", "", None, "Function trace of the boot before"),
]


@pytest.mark.parametrize(("kind", "text", "uptime", "title"), OTHERS)
def test_a_record_without_a_crash(kind: str, text: str, uptime: float | None, title: str) -> None:
    found = explain(record(text, kind))
    assert (found.uptime, found.title) == (uptime, title)
    assert (found.kernel, found.signature, found.crash) == (None, None, None)


# Console output that ends in a panic: its last lines, and what the title says of them.
ENDS = [
    ("[   10.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000007\n"
     "[   10.100000] Rebooting in 3 seconds..\n"
     "[   10.200000] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---\n",
     "Attempted to kill init! exitcode=0x00000007"),
    ("[   10.000000] Kernel panic - not syncing: never heard of\n", "never heard of"),
    ("[    9.000000][    T1] Unable to handle kernel paging request at virtual address 00000008\n"
     "[    9.100000][    T1] pc : f+0x4/0x8 [m]\n"
     "[    9.200000][    T1] Kernel panic - not syncing: Fatal exception in interrupt\n",
     "NULL pointer dereference in f [m]"),
    ("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(31,5)",
     "VFS: Unable to mount root fs on unknown-block(31,5)"),
]


@pytest.mark.parametrize(("end", "words"), ENDS)
def test_a_console_that_ends_in_a_panic(end: str, words: str) -> None:
    console = record("[    1.000000] hello\n" + end, "console")
    found = explain(console)
    assert found.title == "Console output up to a kernel panic: " + words
    assert (found.kernel, found.signature, found.crash) == (None, None, None)


@pytest.mark.parametrize(("end", "words"), ENDS)
def test_a_panic_on_the_console_that_a_dump_tells_of(end: str, words: str) -> None:
    console = record("[    1.000000] hello\n" + end, "console")
    dump = record("Panic#1 Part1\n" + "".join(f"<0>{line}\n" for line in end.splitlines()
                                              if "---[ end" not in line))
    for records in ([console, dump], [dump, console]):
        titles = {each.kind: each.title for each in explain_all(records)}
        assert titles["console"].startswith("Console output of the boot before")
    other = record("Panic#1 Part1\n<0>[   77.000000] Kernel panic - not syncing: other\n")
    assert explain_all([other, console])[1].title.endswith(words)


FAILED = "[  199.000000] mt7915e 0000:01:00.0: Message 00005aed (seq 9) timeout\n"


def test_a_device_that_failed_shortly_before_the_console_ends() -> None:
    """The kernel hung, and its watchdog says nothing: the console is all there is."""
    title = "Console output of the boot before, up to 3 min after its start"
    suspicious = title + ", after a firmware timeout of mt7915e"
    assert explain(record(FAILED, "console")).title == suspicious
    assert explain(record(FAILED + "[  199.9] br-lan: link up\n", "console")).title == suspicious
    assert explain(record(FAILED.replace("199", " 99") + "[  199.9] br-lan: link up\n", "console")
                   ).title == title
    assert explain(record(FAILED + "[  199.9] reboot: Restarting system\n", "console")
                   ).title == title
    assert explain(record(FAILED, "pmsg")).title == "Messages from programs of the boot before"


def test_a_panic_long_before_the_console_ends_is_none() -> None:
    """A program may write what it likes to /dev/kmsg, and the console does not show that it did."""
    text = "[   10.000000] Kernel panic - not syncing: hello\n[  100.000000] eth0: link up\n"
    assert explain(record(text, "console")).title == (
        "Console output of the boot before, up to 100 s after its start")


def test_a_real_console_whose_panic_a_dump_tells_of() -> None:
    name = "c01_all_console_pmsg_ftrace"
    console = captured("console", kernel_text(name, "console-ramoops-0"), SOURCE)
    assert "Console output of the boot before" in explain_all([console, *dumps(name, "0")])[0].title


def test_what_the_maker_of_a_record_called_it_stays() -> None:
    core = record("", "coredump")._replace(title="hostapd: SIGSEGV", signature="u1:1", uptime=3.0)
    assert explain(core) == core._replace(crash=core.id)
    log = record("", "log")._replace(title="logread")
    assert explain(log) == log


def test_the_hashed_text_can_be_asked_for() -> None:
    assert signature_text(record(panic("sysrq triggered crash"))) == "sysrq triggered crash"
    assert signature_text(record("Shutdown#1 Part1\n")) is None
    assert signature_text(record("x", "console")) is None


# --- which records are one crash -----------------------------------------------------------

def crashes(records: list[Record]) -> list[str | None]:
    """Of each record the place, in the list, of the record that tells its crash."""
    places = {record.id: str(place) for place, record in enumerate(records)}
    return [each.crash and places[each.crash] for each in explain_all(records)]


def test_an_oops_and_its_panic_are_one_crash() -> None:
    assert crashes(dumps("c12_null_deref_panic_on_oops", "01")) == ["1", "1"]
    assert crashes(dumps("c12_null_deref_panic_on_oops", "10")) == ["0", "0"]


def test_oopses_survived_are_crashes_of_their_own() -> None:
    assert crashes(dumps("c05_two_oops_then_panic", "0123")) == ["0", "1", "2", "3"]


def test_the_same_oops_in_another_boot_is_another_crash() -> None:
    other = dumps("c05_two_oops_then_panic", "0")
    assert crashes(other + dumps("c12_null_deref_panic_on_oops", "1")) == ["0", "1"]


def test_an_oops_whose_panic_is_gone_is_a_crash() -> None:
    assert crashes(dumps("c12_null_deref_panic_on_oops", "0")) == ["0"]


def test_what_is_no_crash() -> None:
    records = [record("Shutdown#1 Part1\n"), record("Emergency#1 Part1\n"), record("", "console"),
               *dumps("s01_plain", "0")]
    assert crashes(records) == [None, None, None, "3"]


OOPS = """<1>[   10.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000
<4>[   10.000100] CPU: 0 PID: 47 Comm: foo Not tainted 6.1.1 #1
<4>[   10.000200] RIP: 0010:old+0x8/0x14 [m]
<4>[   10.000300] ---[ end trace 0000000000000000 ]---
"""
FATAL = "<0>[   10.100000] Kernel panic - not syncing: Fatal exception\n"


def test_a_panic_whose_log_lost_the_oops() -> None:
    """A small zone holds only the newest lines: the numbers and the time tell."""
    rest = OOPS.splitlines(keepends=True)[-1]
    assert crashes([record("Oops#1 Part1\n" + OOPS),
                    record("Panic#2 Part1\n" + rest + FATAL)]) == ["1", "1"]


def test_a_torn_panic() -> None:
    torn = record("Panic#2 Part1\n" + OOPS.replace("end trace", "e\ufffdd tra") + FATAL)
    records = [record("Oops#1 Part1\n" + OOPS), torn]
    assert crashes(records) == ["0", "1"]
    records[1] = torn._replace(source=SOURCE._replace(torn=True))
    assert crashes(records) == ["1", "1"]


def test_a_dump_between_them() -> None:
    assert crashes([record("Oops#1 Part1\n" + OOPS),
                    record("Panic#3 Part1\n" + OOPS + FATAL)]) == ["0", "1"]


def test_dumps_without_numbers() -> None:
    assert crashes([record(OOPS), record(OOPS + FATAL)]) == ["1", "1"]


def test_the_soonest_panic_is_meant() -> None:
    """The same crash in boot after boot, to the microsecond: there is nothing to tell them by."""
    later = FATAL.replace("10.1", "10.3")
    records = [record("Panic#2 Part1\n" + OOPS + later), record("Oops#1 Part1\n" + OOPS),
               record("Panic#2 Part1\n" + OOPS + FATAL)]
    assert crashes(records) == ["0", "2", "2"]


def test_a_panic_long_after_the_oops_is_another_crash() -> None:
    later = FATAL.replace(" 10.1", "900.1")
    assert crashes([record("Oops#1 Part1\n" + OOPS),
                    record("Panic#2 Part1\n" + OOPS + later)]) == ["0", "1"]


# How 2,000 pairs of records may differ: the end of the oops, the signatures of oops and panic.
PAIRS: dict[str, Callable[[int], tuple[int, str, str]]] = {
    "in nothing": lambda number: (7, "k1:a", "k1:a"),
    "in time": lambda number: (20 * number, "k1:a", "k1:a"),
    "in the fault": lambda number: (7, f"k1:{number}", f"k1:{number}"),
    "all from all": lambda number: (number, f"k1:{number}", f"k1:{-number}"),
}


def pair(number: int, end: int, oops: str, panic: str, damaged: bool) -> list[Record]:
    """An oops and the panic it led to, as far as `group` cares."""
    line, source = f"<4>[{end:5}.000000] end\n", SOURCE._replace(torn=damaged)
    return [Record(f"o{number}", "kernel", line, source, uptime=float(end), signature=oops,
                   kernel=Kernel("oops", 1, cause="bug")),
            Record(f"p{number}", "kernel", line + FATAL, source, uptime=end + 0.5,
                   signature=panic, kernel=Kernel("panic", 2, cause="bug"))]


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("differing", PAIRS)
def test_two_thousand_pairs(differing: str, damaged: bool) -> None:
    records = [each for number in range(2000)
               for each in pair(number, *PAIRS[differing](number), damaged=damaged)]
    found = [each.crash for each in group(records)]
    partner = {"in nothing": "p0", "all from all": "o1999"}.get(differing, "p1999")
    assert found[-2:] == [partner, "p1999"]


@given(st.lists(st.tuples(st.sampled_from(["kernel", "console", "pmsg", "ftrace", "log", "boot"]),
                          st.sampled_from(["Oops#1 Part1\n" + OOPS, "Panic#2 Part1\n" + FATAL,
                                           "Shutdown#1 Part1\n", "", "\ufffd"]), st.text())))
def test_any_records_are_welcome(made: list[tuple[str, str, str]]) -> None:
    records = [captured(kind, (text + more).encode("utf-8", "replace"), SOURCE)
               for kind, text, more in made]
    explained = explain_all(records)
    assert [each.id for each in explained] == [each.id for each in records]
    assert all(each.title for each in explained)
    assert {each.crash for each in explained} <= {None, *(each.id for each in records)}
    assert explain_all(explained) == explained


@pytest.mark.parametrize("kind", ["kernel", "console"])
def test_a_title_is_one_line_that_moves_no_cursor(kind: str) -> None:
    log = "<0>[    1.7] Kernel panic - not syncing: Fa\x01\x1b[2J\u202etal\x85\n"
    record = explain(captured(kind, log.encode(), Source("ramoops")))
    assert "Fa\ufffd\ufffd[2J\ufffdtal" in record.title and record.title.isprintable()
