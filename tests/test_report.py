"""report.py: what a record looks like once it has left the router."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py import report
from tests.page import models

Dict = dict[str, Any]
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
                     "\ufeff]")


def got(text: str = "one\ntwo\n", cut: bool = False, **fields: Any) -> Dict:
    """What `get` answers, before header and report are added."""
    return {**models.record(**fields), "text": text, "cut": cut}


def hostile(word: str) -> Dict:
    """A record with `word` wherever a crash can write."""
    frames = [models.frame(word, word, word), models.frame(word, None, None, False)]
    kernel = models.kernel(function=word, offset=word, module=word, process=word, address=word,
                           tainted=word, release=word, hardware=word, trace=frames)
    boot = {"id": word, "number": 1, "firmware": word, "kernel": word}
    return got(f"{word}\n{word}", title=word, kernel=kernel, boot=boot, signature=word)


def fences(markdown: str) -> list[str]:
    """The contents of the fenced blocks, as CommonMark reads them (spec 0.31, section 4.5)."""
    blocks: list[str] = []
    lines = iter(markdown.split("\n"))
    for line in lines:
        opened = re.match("`{3,}$", line)
        if opened:
            inside = []
            for each in lines:
                if re.fullmatch(f" {{0,3}}`{{{len(opened[0])},}}[ \t]*", each):
                    break
                inside.append(each)
            blocks.append("\n".join(inside))
    return blocks


@pytest.mark.parametrize(("text", "expected"), [
    ("a\tb\nc", "a\tb\nc"), ("a\r\nb\rc", "a\nb\\x0dc"), ("\x1b[31m", "\\x1b[31m"),
    ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"), ("exe\u202egnp", "exe\\u202egnp"),
    ("\u200b\u2066\ufeff\u061c", "\\u200b\\u2066\\ufeff\\u061c"), ("Grüße 💥", "Grüße 💥")])
def test_safe(text: str, expected: str) -> None:
    assert report.safe(text) == expected


def test_facts_of_a_panic() -> None:
    boot = {"id": None, "number": 3, "firmware": "24.10.2", "kernel": "6.1.0"}
    assert report.facts(got(boot=boot, count=3, first_seen=1793379381.0)) == [
        ("Title", "NULL pointer dereference in lkdtm_EXCEPTION"), ("Id", "k-000000000001"),
        ("Kind", "kernel, panic"), ("State", "captured"), ("When", "2026-11-22 20:29:41 UTC"),
        ("Uptime", "1.9 s"), ("Seen", "3 times, first 2026-10-30 16:56:21 UTC"),
        ("Cause", "null-pointer"), ("Where", "lkdtm_EXCEPTION+0x8 [lkdtm]"), ("Address", "0x0"),
        ("Process", "init (pid 1)"), ("Kernel", "6.1.192"), ("Tainted", "G     U"),
        ("Firmware", "24.10.2"), ("Signature", "k1:a"), ("Found in", "ramoops")]


@pytest.mark.parametrize(("fields", "name", "value"), [
    ({"time": None, "time_trusted": False}, "When", None),
    ({"time_trusted": False}, "When", "not known: the clock was not set"),
    ({"time": 1e300}, "When", None), ({"time": float("nan")}, "When", None),
    ({"uptime": None}, "Uptime", None), ({"uptime": 0.0}, "Uptime", "0.0 s"),
    ({"count": 1}, "Seen", None), ({"count": 2, "first_seen": None}, "Seen", "2 times"),
    ({"kernel": None}, "Kind", "kernel"), ({"kernel": None}, "Cause", None),
    ({"kernel": None, "boot": {"kernel": "5.15", "firmware": None}}, "Kernel", "5.15"),
    ({"kernel": models.kernel(function=None)}, "Where", None),
    ({"kernel": models.kernel(offset=None, module=None)}, "Where", "lkdtm_EXCEPTION"),
    ({"kernel": models.kernel(pid=None)}, "Process", "init"),
    ({"kernel": models.kernel(process=None)}, "Process", "unknown (pid 1)"),
    ({"kernel": models.kernel(process=None, pid=None)}, "Process", None),
    ({"kernel": models.kernel(suspect="ath10k_pci: firmware crashed!\n\x1b[1m")}, "Suspect",
     "ath10k_pci: firmware crashed!\\n\\x1b[1m"),
    ({}, "Suspect", None),
    ({"source": models.source(truncated=True, torn=True)}, "Found in", "ramoops, truncated, torn"),
    ({"source": models.source(recovered=True)}, "Found in", "ramoops, recovered"),
    ({"title": "a\nb\x07"}, "Title", "a\\nb\\x07"), ({"title": ""}, "Title", None)])
def test_facts_are_what_is_known(fields: Dict, name: str, value: str | None) -> None:
    assert dict(report.facts(got(**fields))).get(name) == value


def test_header() -> None:
    lines = report.header(got(), "1.2").split("\n")
    assert lines[0] == "Title: NULL pointer dereference in lkdtm_EXCEPTION"
    assert lines[-3:] == ["Reported by: lastlog 1.2", "", ""]
    assert "Note: only the newest part of the text\n\n" in report.header(got(cut=True), "1.2")


def test_markdown() -> None:
    written = report.markdown(got(), "1.2")
    head, trace, log = fences(written)
    assert written.startswith("### `NULL pointer dereference in lkdtm_EXCEPTION`\n\n```\nTitle: ")
    assert head.endswith("\nReported by: lastlog 1.2")
    assert trace.split("\n")[:2] == ["? lkdtm_do_action+0x1c [lkdtm]",
                                     "  direct_entry+0xb0 [lkdtm]"]
    assert log == "one\ntwo" and written.endswith("\none\ntwo\n```\n")


def test_markdown_without_trace_and_log() -> None:
    assert len(fences(report.markdown(got("", kernel=None), "1.2"))) == 1


@pytest.mark.parametrize(("text", "lines"), [
    ("x\n" * 79, 79), ("x\n" * 500, 80), ("y" * 1000 + "\n" + ("x" * 1023 + "\n") * 20, 8),
    ("\u00e9" * 100_000, 1)])
def test_the_end_of_the_log_has_a_bound(text: str, lines: int) -> None:
    log = fences(report.markdown(got(text), "1.2"))[-1]
    assert log.count("\n") + 1 == lines and len(log.encode()) <= report.LOG_BYTES
    assert log in text


@pytest.mark.parametrize("text", ["```", "a\n```\nb", "`````\n", "````\n```` \n   `````", "~~~"])
def test_no_text_closes_its_fence(text: str) -> None:
    written = report.markdown(got(text, title=text), "1.2")
    assert len(fences(written)) == 3 and fences(written)[-1] == text.rstrip("\n")


@given(st.text(), st.text())
def test_any_text_stays_in_its_fence(title: str, text: str) -> None:
    written = report.markdown({**hostile(title), "text": text + "x"}, "1.2")
    assert len(fences(written)) == 3
    assert not CONTROL.search(written)
    assert written.count("Reported by: lastlog 1.2") == 1


@pytest.mark.parametrize(("title", "expected"), [
    ("<img src=x>", "`<img src=x>`"), ("@all #1 __b__ ~~s~~ http://x", "`@all #1 __b__ ~~s~~ http://x`"),
    ("`a` *b* &lt; c_d", "`` `a` *b* &lt; c_d ``"), ("", "`kernel`"), ("a\n# b", "`a\\n# b`")])
def test_a_title_is_no_markup(title: str, expected: str) -> None:
    assert report.markdown(got(title=title), "1.2").split("\n")[0] == f"### {expected}"


@pytest.mark.parametrize("word", ["\x01", "<", "`", "\ufffd", "\n", "\u202e", "\U0001f4a5", '"'])
def test_everything_has_a_bound(word: str) -> None:
    record = hostile(word * 100_000)
    record["kernel"]["trace"] *= 500
    assert len(report.markdown(record, "1.2").encode()) < 200 << 10
    assert len(report.header(record, "1.2").encode()) < 20 << 10


def test_a_bug_report_of_a_core_dump() -> None:
    core = models.core()
    threads = [*core["coredump"]["threads"],
               *(models.thread(2000 + each) for each in range(report.THREADS))]
    record = got("lastlog core dump 1\n\nSystem log:\nlast words\n", **models.core(
        threads=threads, notes=["A note."], dropped=1))
    told = report.markdown(record, "1.0")
    head, trace, log = fences(told)
    assert "Cause: tried to read or write address 0x10, a NULL pointer plus an offset" in head
    assert "Program: /usr/sbin/uhttpd" in head and "Note: A note." in head
    assert "Dropped: 1 more crash before it" in head
    assert trace.startswith("Thread 1203, the one that crashed:\n"
                            "  #0    strlen+0x14  [libc.so+0x3c34]  registers\n"
                            "  #1    [uhttpd+0x1234]  cfi\n? #2    [0x55560000]  scan\n")
    assert "There were more threads." in trace and "  no frame is known" in trace
    command = "lastlog symbolize c-00000000000c --debug DIR"
    assert f"{command} names the functions" in trace
    assert (f"  /lib/libc.so  build-id ab12\n      {command}/lib/libc.so\n"
            f"  /usr/sbin/uhttpd  text id cd34\n      {command}/usr/sbin/uhttpd") in trace
    assert "\nBacktrace:\n" in told and log == "last words"


@given(st.text(max_size=60))
def test_a_hostile_core_dump_stays_in_its_fences(word: str) -> None:
    frame = {"pc": word, "module": word, "offset": word, "build_id": word, "symbol": word,
             "symbol_offset": word, "how": "cfi"}
    row = {"path": word, "build_id": word, "text_id": None, "base": word, "size": 1}
    record = got(**models.core(executable=word, command=word, machine=word, code_name=word,
                               notes=[word], modules=[row],
                               threads=[models.thread(1, frames=[frame, {**frame, "how": "scan"}],
                                                      registers={word: word})]))
    told = report.markdown(record, "1.0")
    assert not CONTROL.search(told) and len(fences(told)) == 2
