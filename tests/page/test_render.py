"""The page as a whole: what it says, that nothing hostile gets through, how large it may be."""

from __future__ import annotations

import ast
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.coredump import words as program
from lastlog_py.page import render as render_module
from lastlog_py.page.render import MOST, environment, render
from tests.page import models

PAGE = Path(render_module.__file__).parent


class Page(HTMLParser):
    """What a browser would make of the fragment: its elements, and its text by element."""

    VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.stack: list[str] = []
        self.feed(html)
        self.close()
        assert self.stack == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def actions(self, name: str) -> list[str | None]:
        return [attrs.get("data-id") for _, attrs in self.elements
                if attrs.get("data-action") == name]

    def asking(self, dialog: str) -> list[str | None]:
        """The ids on the buttons that ask the question of that name."""
        return [attrs.get("data-id") for _, attrs in self.elements
                if attrs.get("data-action") == "ask" and attrs["data-dialog"] == dialog]


def dialog(html: str, name: str) -> Page | None:
    """The question of that name; None: the page has none."""
    found = re.search(rf'<template data-dialog="{name}".*?</template>', html, re.S)
    return Page(found[0]) if found else None


def verdict(html: str) -> str:
    """The sentence on top, without markup."""
    found = re.search(r'class="ll-verdict ll-\w+">\s*<p>(.*?)</p>', html, re.S)
    assert found
    return " ".join(re.sub(r"<[^>]*>", "", found[1]).split())


def tone(html: str) -> str:
    found = re.search(r'class="ll-verdict ll-(\w+)"', html)
    assert found
    return found[1]


# ---- what it says ---------------------------------------------------------------------------

def test_a_real_panic() -> None:
    html = render(models.panic())
    page = Page(html)
    assert verdict(html) == (
        "Rebooted 22 Nov 2026, 20:29:41 UTC after a kernel panic: NULL pointer dereference in "
        "lkdtm_EXCEPTION — third time since 24.10.2.")
    for words in ("Cause NULL pointer dereference: the kernel followed a pointer to nothing",
                  "Where lkdtm_EXCEPTION+0x8, in module lkdtm, at address 0x0",
                  "Process init, PID 1, on CPU 0", "1.9 s after the kernel started",
                  "3 times, first on 30 Oct 2026", "Firmware 24.10.2", "Kernel 6.1.192",
                  "Full log 296 lines", "SIGSEGV, SEGV_MAPERR, at 0x10",
                  "2 records are captured in memory only"):
        assert re.search(re.escape(words).replace(r"\ ", r"\s*"), page.text), words
    assert page.actions("download") == page.actions("copy") == ["k-000000000001"]
    assert page.actions("save") == page.asking("clear") == [None]
    assert page.asking("delete") == ["c-00000000000f"]


def test_the_whole_log_is_there_without_its_severities() -> None:
    model = models.panic()
    html = render(model)
    shown = re.findall(r'<pre class="ll-log" tabindex="0">\n(.*?)\n?</pre>', html, re.S)[-1]
    text = re.sub(r"<[^>]*>", "", shown)
    for escaped, char in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"),
                          ("&amp;", "&")):
        text = text.replace(escaped, char)
    assert text == re.sub(r"(?m)^<\d>", "", model["open"]["text"])


def test_the_trace_marks_the_fault_and_what_may_be_stale() -> None:
    html = render(models.panic())
    frames = re.findall(r"<li( class=\"ll-(\w+)\"[^>]*)?>(\w+)<i>", html)
    assert [frame[1:] for frame in frames[:3]] == [
        ("here", "lkdtm_EXCEPTION"), ("stale", "lkdtm_do_action"), ("", "direct_entry")]


def test_the_place_of_the_fault_is_not_told_twice() -> None:
    kernel = models.kernel(trace=[models.frame("lkdtm_EXCEPTION", "0x8", "lkdtm")])
    html = render(models.model(models.record(kernel=kernel), text="x"))
    assert html.count('class="ll-here"') == html.count("lkdtm_EXCEPTION<i>") == 1


def test_a_place_further_down_in_the_trace_is_marked_there() -> None:
    """As where a check found a list corrupted: the place is its caller."""
    trace = [models.frame("__list_del_entry_valid", "0x8"), models.frame("remove", "0x1c", "m")]
    kernel = models.kernel(function="remove", offset="0x1c", module="m", trace=trace)
    html = render(models.model(models.record(kernel=kernel), text="x"))
    frames = re.findall(r"<li( class=\"ll-(\w+)\"[^>]*)?>(\w+)<i>", html)
    assert [frame[1:] for frame in frames] == [("", "__list_del_entry_valid"), ("here", "remove")]


def test_a_device_that_failed_before_is_named() -> None:
    line = "mt7915e 0000:01:00.0: Message 00005aed (seq 9) timeout <b>"
    html = render(models.model(models.record(kernel=models.kernel(suspect=line)), text="x"))
    assert "<dt>Suspect</dt>" in html
    assert "A wireless device had failed shortly before: mt7915e 0000:01:00.0: Message" in html
    assert "timeout &lt;b&gt;" in html
    assert "Suspect" not in render(models.panic())


def test_an_oops_and_its_panic_are_one_crash() -> None:
    html = render(models.panic())
    page = Page(html)
    assert html.partition('data-fold="boots"')[0].count('<div class="ll-what"') == 3
    assert page.actions("open").count("k-000000000002") == 2
    model = models.panic()
    model["open"] = {**model["records"][1], "text": "Oops#1 Part1\n"}
    opened = Page(render(model))
    assert "led to Panic#2" in opened.text
    assert verdict(render(model)) == verdict(html)


def test_an_older_record_has_its_own_heading() -> None:
    model = models.panic()
    model["open"] = {**model["records"][2], "text": "[    1.0] hello\n"}
    html = render(model)
    assert "<h3 tabindex=\"-1\">Console log</h3>" in html
    assert "The crash</h3>" not in html
    assert "details data-fold=\"log-c-00000000000f\" open" in html


VERDICTS = [
    (models.model(), "calm", "No crash has been captured. Everything is set for the next one."),
    (models.model(status=models.status(armed=False)), "alarm",
     "Not armed: a crash now would leave no trace."),
    (models.model(status=models.status(last_reboot=models.rebooted("clean", None, "Fine."))),
     "calm", "Fine."),
    (models.model(status=models.status(last_reboot=models.rebooted("hang", None, "It hung."))),
     "warn", "It hung."),
    (models.model(status=models.status(last_reboot=models.rebooted("power-loss", None, "Dark."))),
     "warn", "Dark."),
    (models.model(models.record(), status=models.status(last_reboot=models.rebooted("oom"))),
     "crash", "Rebooted 22 Nov 2026, 20:29:41 UTC after running out of memory: NULL pointer "
              "dereference in lkdtm_EXCEPTION."),
    (models.model(models.record(time_trusted=False), status=models.status(
        last_reboot=models.rebooted())), "crash",
     "Rebooted after a kernel panic: NULL pointer dereference in lkdtm_EXCEPTION."),
    (models.model(models.record()), "crash",
     "The last crash on record was a kernel panic, 22 Nov 2026, 20:29:41 UTC: NULL pointer "
     "dereference in lkdtm_EXCEPTION."),
    (models.model(models.record(count=2, first_seen=1793379381.0)), "crash",
     "The last crash on record was a kernel panic, 22 Nov 2026, 20:29:41 UTC: NULL pointer "
     "dereference in lkdtm_EXCEPTION — second time since 30 Oct 2026."),
    (models.model(models.record(time_trusted=False, kernel=models.kernel(reason="oops"))), "crash",
     "The last crash on record was a kernel oops: NULL pointer dereference in lkdtm_EXCEPTION."),
    (models.model(models.plain("console"), status=models.status(
        last_reboot=models.rebooted("hang", "c-00000000000f", "It hung."))), "warn", "It hung."),
    (models.model(models.plain("console"), status=models.status(armed=False)), "alarm",
     "Not armed: a crash now would leave no trace."),
    (models.model(models.record(), status=models.status(
        last_reboot=models.rebooted("panic", "k-gone"))), "crash",
     "The last crash on record was a kernel panic, 22 Nov 2026, 20:29:41 UTC: NULL pointer "
     "dereference in lkdtm_EXCEPTION."),
]


@pytest.mark.parametrize(("model", "expected_tone", "sentence"), VERDICTS)
def test_verdict(model: dict[str, Any], expected_tone: str, sentence: str) -> None:
    html = render(model)
    assert (tone(html), verdict(html)) == (expected_tone, sentence)


def test_an_oops_that_explains_the_reboot_is_told_as_the_panic_it_led_to() -> None:
    model = models.panic()
    model["records"][0]["title"] = "what the panic says"
    model["status"]["last_reboot"]["record"] = "k-000000000002"
    assert "what the panic says" in verdict(render(model))


def test_nothing_captured_is_not_mistaken_for_not_armed() -> None:
    bad = models.check("fail", found="no reserved memory", fix="lastlog propose")
    armed = Page(render(models.model()))
    unarmed = Page(render(models.model(status=models.status(armed=False, checks=[bad]))))
    assert "Yes: the next crash will be captured." in armed.text
    assert "lastlog propose" in unarmed.text
    assert armed.asking("clear") == unarmed.actions("save") == []


def test_not_armed_is_said_above_a_crash_too() -> None:
    bad = models.check("fail", title="ramoops is loaded", fix="opkg install kmod-ramoops")
    html = render(models.model(models.record(), status=models.status(armed=False, checks=[bad])))
    assert html.index("Capture is not armed") < html.index("data-action")
    assert html.count("opkg install kmod-ramoops") == 2


def test_checks_show_their_fix_only_where_one_is_needed() -> None:
    checks = [models.check("ok", fix="none needed"), models.check("warn", fix="do this"),
              models.check("odd", fix="or that"), models.check("fail", found=None, fix=None)]
    html = render(models.model(status=models.status(checks=checks)))
    assert "none needed" not in html
    assert re.findall(r'<li class="(ll-[\w-]+)" title', html) == [
        "ll-ok", "ll-is-warn", "ll-unknown", "ll-fail"]
    assert re.findall(r'class="ll-fix">(.*?)<', html) == ["do this", "or that"]


@pytest.mark.parametrize(("fields", "words"), [
    ({"time": None, "time_trusted": False}, "not known: the record bears no time"),
    ({"time_trusted": False, "time": 12.0},
     "not known: the clock was not set and said 1 Jan 1970, 00:00:12 UTC"),
    ({"uptime": None}, "22 Nov 2026, 20:29:41 UTC"),
    ({"source": models.source(truncated=True)}, "Its end is missing."),
    ({"source": models.source(torn=True)}, "It is damaged"),
    ({"source": models.source(recovered=True)}, "It was recovered"),
    ({"source": models.source(ecc_corrected=3, ecc_failed=1)}, "1 block could not be repaired."),
    ({"kernel": models.kernel(cause="oom", oom={
        "victim": "hostapd", "pid": 900, "rss_kib": 2048, "trigger": "dd"})},
     "hostapd, PID 900, 2.0 MiB, for dd"),
    ({"kernel": models.kernel(oom={"victim": None, "pid": None, "rss_kib": None,
                                   "trigger": None})}, "the kernel was told to panic"),
    ({"kernel": models.kernel(function=None, module=None, address="0x10", trace=[])},
     "at address 0x10")])
def test_facts_are_honest(fields: dict[str, Any], words: str) -> None:
    assert words in Page(render(models.model(models.record(**fields), text="x\n"))).text


def test_untrusted_times_never_become_relative() -> None:
    html = render(models.model(models.record(time_trusted=False), text="x"))
    assert "<time" not in html


def test_an_unset_clock_is_told() -> None:
    assert "clock of this router is not set" in render(models.model(now_trusted=False))
    assert "clock of this router" not in render(models.model())


def test_only_problems() -> None:
    problems = [{"where": "region, zone 3", "what": "its header is damaged", "severity": "error"},
                {"where": "archive", "what": "nearly full", "severity": "warning"}]
    page = Page(render(models.model(problems=problems)))
    assert "region, zone 3 its header is damaged" in page.text
    assert "Problems" not in Page(render(models.model())).text


def test_core_dumps_have_room() -> None:
    assert "No core dump of a program has been recorded." in render(models.model())
    page = Page(render(models.model(models.core(executable="/usr/sbin/uhttpd", pid=1203))))
    assert ("strlen+0x14 [libc.so] where the thread was uhttpd+0x1234 by unwind tables 0x55560000 "
            "a guess, found by scanning the stack") in page.text
    assert [attrs.get("class") for tag, attrs in page.elements
            if tag == "li" and "title" in attrs][:3] == ["ll-here", None, "ll-stale"]


def test_an_open_core_dump_shows_all_that_is_known() -> None:
    other = models.thread(1204, frames=models.core()["coredump"]["threads"][0]["frames"][:1])
    core = models.core()["coredump"]
    record = models.core(threads=[*core["threads"], other], notes=["Time was up."], dropped=3)
    text = "lastlog core dump 1\nPID: 1203\n\nSystem log:\nuhttpd[1203]: bad request\n"
    page = Page(render(models.model(record, text=text)))
    for words in ("CauseTried to read or write address 0x10, a NULL pointer plus an offset",
                  "Program/usr/sbin/uhttpd", "SignalSIGSEGV, SEGV_MAPERR, at 0x10",
                  "ProcessPID 1203", "Time was up.", "It crashed 3 more times before",
                  "Other threads 1 Thread 1204 strlen+0x14", "sp0x7fff0000",
                  "lastlog symbolize c-00000000000c --debug DIR",
                  "/lib/libc.so build-id ab12", "/usr/sbin/uhttpd text id cd34",
                  "lastlog symbolize c-00000000000c --debug DIR/usr/sbin/uhttpd",
                  "System log before it 1 line uhttpd[1203]: bad request"):
        assert words in page.text, words
    assert page.text.count("strlen+0x14 [libc.so]") == 3
    assert "lastlog core dump 1" not in page.text
    folded = [attrs for tag, attrs in page.elements if tag == "details" and "open" in attrs]
    assert folded == []


def test_a_core_that_is_kept() -> None:
    """Where it is, the commands that open it, and that it goes with the record."""
    kept = {"path": "/etc/lastlog/saved/c-00000000000c.core.gz", "size": 34000}
    record = models.core() | {"core": kept, "state": "saved", "symbols": "/saved/c-1.symbols.txt"}
    page = Page(render(models.model(record, text="lastlog core dump 1\n")))
    for words in ("Core for gdb 33.2 KiB", "in /etc/lastlog/saved/c-00000000000c.core.gz:",
                  "ssh root@ROUTER cat /etc/lastlog/saved/c-00000000000c.core.gz | gunzip > "
                  "c-00000000000c.core", "gdb -iex 'set sysroot DIR' DIR/usr/sbin/uhttpd "
                  "c-00000000000c.core", "with a core", "lost for good, and its core with it.",
                  "they are in /saved/c-1.symbols.txt."):
        assert words in page.text, words
    assert "Core for gdb" not in Page(render(models.model(models.core(), text="x"))).text


@pytest.mark.parametrize("name", ["/tmp/a b", "/tmp/$(reboot)", "/tmp/x;reboot", "relative",
                                  "/tmp/`id`", "/tmp/x'y", "/tmp/\u202e", "/tmp/x\ny"])
def test_no_command_does_what_a_programs_name_says(name: str) -> None:
    """They are made to be pasted into a shell."""
    kept = {"path": f"{name}/c-00000000000c.core.gz", "size": 34000}
    frames = models.core()["coredump"]["threads"][0]["frames"]
    modules = [row | {"path": name} for row in models.core()["coredump"]["modules"]]
    record = models.core(executable=name, modules=modules, threads=[models.thread(
        7, frames=[each | {"module": name} for each in frames])]) | {"core": kept}
    commands = [*program.to_open(record), program.to_symbolize(record, name)]
    assert all(name not in command for command in commands)
    assert " DIR/PROGRAM " in commands[1] and commands[2].endswith(" DIR/FILE")


def test_the_verdict_tells_of_a_program_where_no_kernel_crashed() -> None:
    told = verdict(render(models.model(models.core() | {"count": 3, "first_seen": 1793379381.0})))
    assert told.startswith("The last crash on record was of a program, 22 Nov 2026, 20:29:41 UTC: "
                           "uhttpd: SIGSEGV in strlen — third time since"), told
    quiet = models.model(models.core(), status=models.status(
        last_reboot=models.rebooted("clean", None, "Rebooted properly.")))
    assert verdict(render(quiet)).startswith("Rebooted properly.")


def test_a_core_dump_that_says_little() -> None:
    threads = [models.thread(7, frames_cut=True, omitted=0)]
    record = models.core(threads=threads, modules=[], executable=None, signal_name=None,
                         signal=None, code_name=None, fault_address=None, pid=None, tid=None)
    assert "No frame is known." in Page(render(models.model(record, text=""))).text
    assert "No thread is known." in Page(render(models.model(models.core(threads=[]),
                                                             text=""))).text


def test_the_middle_of_a_deep_recursion_is_counted() -> None:
    frames = models.core()["coredump"]["threads"][0]["frames"]
    threads = [models.thread(7, frames=frames, omitted=1200, gap=1, frames_cut=True)]
    text = Page(render(models.model(models.core(threads=threads)))).text
    assert "where the thread was ⋯ 1200 frames uhttpd+0x1234" in text and "and more" not in text


@pytest.mark.parametrize(("state", "words"), [
    ("captured", "captured"), ("saved", "saved"), ("both", "captured and saved")])
def test_states_are_words(state: str, words: str) -> None:
    html = render(models.model(models.record(state=state)))
    page = Page(html)
    assert f'<span class="ll-state ll-s-{state}">{words}</span>' in html
    assert bool(page.actions("save")) == (state == "captured")
    assert bool(page.asking("clear")) == bool(dialog(html, "clear")) == (state != "saved")
    assert bool(page.asking("delete")) == (state == "saved")


def test_boots_are_not_listed() -> None:
    html = render(models.model(models.plain("boot")))
    assert 'class="ll-what"' not in html


def test_buttons_that_change_things_are_marked() -> None:
    html = re.sub("<template.*?</template>", "", render(models.panic()), flags=re.S)
    buttons = [attrs for _, attrs in Page(html).elements if "data-action" in attrs]
    writing = {each["data-action"] for each in buttons if "data-write" in each}
    reading = {each["data-action"] for each in buttons if "data-write" not in each}
    assert writing == {"save", "ask"}
    assert reading == {"open", "download", "copy"}


# ---- what it asks ---------------------------------------------------------------------------

def choices(question: Page | None) -> list[tuple[str | None, bool]]:
    """The buttons of a dialog: what each does, and whether it is the default."""
    assert question is not None
    return [(attrs["data-action"], "data-default" in attrs)
            for _, attrs in question.elements if "data-action" in attrs]


def test_the_question_before_clearing_says_what_goes() -> None:
    question = dialog(render(models.panic()), "clear")
    assert question is not None
    for words in ("Panic#2, NULL pointer dereference in lkdtm_EXCEPTION not saved yet",
                  "uhttpd: SIGSEGV in strlen not saved yet", "2 records are not saved yet."):
        assert words in question.text
    assert "Oops#1" not in question.text, "it is saved and no longer in memory"
    assert choices(question) == [("cancel", False), ("clear-force", False), ("save-clear", True)]


def test_clearing_without_saving_takes_what_the_question_names_and_no_more() -> None:
    question = dialog(render(models.panic()), "clear")
    assert question is not None
    assert [attrs["data-ids"] for _, attrs in question.elements if "data-ids" in attrs] == [
        "k-000000000001 c-00000000000c"]


def test_what_is_saved_is_cleared_without_a_dangerous_choice() -> None:
    question = dialog(render(models.model(models.record(state="both"))), "clear")
    assert choices(question) == [("cancel", False), ("clear", True)]
    assert question is not None
    assert "saved, the saved copy stays" in question.text and "lost" not in question.text


@pytest.mark.parametrize(("records", "more"), [(12, ""), (13, "and 1 more"), (40, "and 28 more"),
                                               (600, "and 488 more")])
def test_the_question_names_twelve(records: int, more: str) -> None:
    """And covers five hundred: the ids must fit into one call."""
    many = [models.record(id=f"k-{n:012x}", crash=f"k-{n:012x}") for n in range(records)]
    question = dialog(render(models.model(*many)), "clear")
    assert question is not None
    assert question.text.count("Panic#2, ") == 12
    assert more in question.text and ("more" in question.text) == bool(more)
    (ids,) = (attrs["data-ids"] for _, attrs in question.elements if "data-ids" in attrs)
    assert ids is not None and ids.split() == [each["id"] for each in many[:500]]


@pytest.mark.parametrize(("record", "name"), [
    (models.record(), "Panic#2, NULL pointer dereference in lkdtm_EXCEPTION"),
    (models.record(title=""), "Panic#2"), (models.plain("console"), "Console log"),
    (models.plain("console", title="Console output of the boot before"),
     "Console output of the boot before")])
def test_records_are_named(record: dict[str, Any], name: str) -> None:
    question = dialog(render(models.model(record)), "clear")
    assert question is not None
    assert f"next crash: {name} not saved yet" in question.text


def test_the_question_before_deleting() -> None:
    question = dialog(render(models.panic()), "delete-c-00000000000f")
    assert choices(question) == [("cancel", False), ("delete", True)]


# ---- nothing hostile gets through -----------------------------------------------------------

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)></pre></details>{{7*7}}&amp;"


def hostile(word: str) -> dict[str, Any]:
    """A model with `word` in every place that a crash can write to, or somebody configure."""
    kernel = models.kernel(
        function=word, offset=word, module=word, process=word, address=word, tainted=word,
        release=word, hardware=word, trace=[models.frame(word, word, word),
                                            models.frame(word, None, word, False)],
        oom={"victim": word, "pid": 1, "rss_kib": 1, "trigger": word})
    boot = {"id": word, "number": 1, "firmware": word, "kernel": word}
    crash = models.record(title=word, signature=word, kernel=kernel, boot=boot, count=3)
    oops = models.record(id="k-000000000002", kernel=models.kernel(reason="oops"), title=word)
    frames = [{"pc": word, "module": word, "offset": word, "build_id": word, "symbol": symbol,
               "symbol_offset": word, "how": "scan"} for symbol in (word, None)]
    core = models.core(executable=word, signal_name=word, code_name=word, fault_address=word,
                       threads=[{"tid": 1, "crashed": True, "registers": {}, "frames": frames,
                                 "frames_cut": False}])
    check = models.check("fail", title=word, found=word, fix=word)
    return models.model(
        crash, oops, core, models.plain("log", title=word, state="saved"),
        text=f"<1>BUG: {word}\n{word}\n<4>{word}\n",
        problems=[{"where": word, "what": word, "severity": "error"}],
        status=models.status(checks=[check], armed=False, version=word, archive={
            "used": 1, "limit": 2, "path": word}, last_reboot=models.rebooted(text=word)))


def test_markup_from_a_crash_is_text() -> None:
    page = Page(render(hostile(HOSTILE)))
    assert {tag for tag, _ in page.elements} <= {
        "style", "div", "h2", "h3", "h4", "p", "strong", "span", "button", "dl", "dt", "dd", "ol",
        "ul", "li", "i", "pre", "details", "summary", "time", "template"}
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert page.text.count(HOSTILE) > 30
    assert "49" not in page.text


def test_the_same_elements_whatever_the_words() -> None:
    """Hostile words change nothing but text: the page has the same elements and attributes."""
    assert Page(render(hostile(HOSTILE))).elements == Page(render(hostile("harmless"))).elements


@settings(max_examples=25, deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_any_word_is_text(word: str) -> None:
    elements = Page(render(hostile("x" + re.sub("[/\n]", "", word)))).elements
    assert elements == Page(render(hostile("x"))).elements


def test_control_characters_never_reach_the_page() -> None:
    every = "".join(map(chr, (*range(1, 32), *range(127, 160), 0x202E, 0x2066, 0x200B)))
    html = render(hostile(f"a{every}b"))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066\u200b]", html)
    assert html.count("␛") > 20


def test_a_page_can_always_be_encoded() -> None:
    assert "?" in verdict(render(models.model(models.record(title="a\ud800"))))


def test_undecodable_bytes_stay_visible() -> None:
    assert "caf\ufffd" in render(models.model(models.record(), text="<6>caf\ufffd\n"))


def test_autoescape_is_on_and_nothing_is_marked_safe() -> None:
    assert environment().autoescape is True
    assert environment().from_string("{{ it }}").render(it="<b>") == "&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ it.missing }}").render(it={})
    for template in (PAGE / "templates").iterdir():
        assert not re.search(r"\|\s*safe|autoescape", template.read_text())
    for module in PAGE.glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(module.read_text()))
                 if isinstance(node, ast.Name)}
        assert not names & {"Markup", "escape"}


# ---- how large it may be --------------------------------------------------------------------

LARGE = [("<", "<"), ('"', '"'), ("'", "'"), ("&", "&"), ("\x01", "\x01"), ("\ufffd", "\ufffd"),
         ("newlines", "\n"), ("severities", "<1>\n<2>\n"), ("faults", "<1>BUG: x\n<0>y\n"),
         ("\U0001f4a5", "\U0001f4a5"), ("\u202e", "\u202e")]


@pytest.mark.parametrize("fill", [fill for _, fill in LARGE], ids=[name for name, _ in LARGE])
def test_the_size_has_a_bound_whatever_the_log(fill: str) -> None:
    text = (fill * (300_000 // len(fill)))
    html = render(models.model(models.record(), text=text))
    Page(html)
    assert len(html.encode()) <= MOST
    answer = json.dumps({"html": html, "generation": "x" * 64}, ensure_ascii=False)
    assert len(answer.encode()) < 500 << 10
    assert "shown, Download has all" in html


def test_the_size_has_a_bound_whatever_the_records() -> None:
    word = '"' * 5000
    model = hostile(word)
    frames = [models.frame(word, word, word)] * 500
    many = [models.record(id=f"k-{n:012x}", crash=f"k-{n:012x}", title=word,
                          kernel=models.kernel(trace=frames)) for n in range(2000)]
    threads = [{"tid": 1, "crashed": True, "registers": {}, "frames_cut": False, "frames": [
        {"pc": word, "module": word, "offset": word, "build_id": None, "symbol": word,
         "symbol_offset": word, "how": "cfi"}] * 64}]
    model["records"] += many + [models.core(threads=threads)] * 50
    model["open"] |= {"kernel": many[0]["kernel"], "text": '<1>BUG: "\n' * 60000}
    model["problems"] *= 1000
    model["status"]["checks"] *= 100
    html = render(model)
    Page(html)
    assert len(html.encode()) <= MOST
    assert "older ones are not listed here" in html


def test_a_log_that_fits_is_not_cut() -> None:
    html = render(models.model(models.record(), text="x\n" * 32768))
    assert "Download has all" not in html
    assert "32768 lines" in Page(html).text


# ---- compiled templates ---------------------------------------------------------------------

def test_templates_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(tmp_path, 0o700)
    first = render(models.panic(), str(tmp_path))
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 2

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(jinja2.Environment, "compile", refuse)
    assert render(models.panic(), str(tmp_path)) == first
    assert sorted(tmp_path.iterdir()) == kept


def test_a_damaged_cache_only_costs_time(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    expected = render(models.panic(), str(tmp_path))
    for junk in (b"", b"junk", b"\x80\x05junk"):
        for path in tmp_path.iterdir():
            path.write_bytes(path.read_bytes()[:20] + junk)
        assert render(models.panic(), str(tmp_path)) == expected


def test_a_cache_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    link = tmp_path / "link"
    safe = tmp_path / "safe"
    safe.mkdir(mode=0o700)
    link.symlink_to(safe)
    for directory in (tmp_path, link, tmp_path / "missing"):
        assert render(models.model(), str(directory))
    assert list(safe.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"link", "safe"}


def test_a_full_or_read_only_cache_only_costs_time(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(tmp_path, 0o700)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    assert render(models.model(), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_boots_and_how_they_ended() -> None:
    html = render(models.panic())
    assert '<p class="ll-muted">2 boots: 1 clean, 1 panic.</p>' in html
    boots = html.partition('data-fold="boots"')[2].partition("</ul>")[0]
    assert [part in boots for part in ("Boot 12", "kernel panic", "Boot 11", "clean", "Boot 13")] \
        == [True, True, True, True, False]
    assert boots.index("Boot 12") < boots.index("Boot 11") and "24.10.2 r28739" in boots
    assert 'data-id="k-000000000001">kernel panic</button>' in boots
    model = models.panic()
    model["status"]["history"]["boots"][0]["record"] = "k-gone"
    assert "k-gone" not in render(model)


def test_without_a_history_there_is_no_word_of_it() -> None:
    assert 'data-fold="boots"' not in render(models.model())


def test_a_hostile_firmware_name_is_text() -> None:
    model = models.panic()
    model["status"]["history"]["boots"][1]["firmware"] = "<script>" + "x" * 5000
    html = render(model)
    assert "&lt;script&gt;" in html and "<script>" not in html and "x" * 500 not in html
