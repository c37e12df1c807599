"""The Last Crash page in a real browser: the view that ships, over the real backend."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lastlog_py import rpcd
from lastlog_py.page import demo, preview
from tests import zones
from tests.machine import Machine

pytestmark = pytest.mark.browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]

TITLE = "NULL pointer dereference in lkdtm_EXCEPTION"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Site:
    """A preview over a configuration, and pages of it in a browser."""

    def __init__(self, browser: Any, config: Path) -> None:
        self.browser = browser
        self.config = config
        self.servers: list[Any] = []
        self.contexts: list[Any] = []
        self.complaints: list[str] = []

    def ask(self, method: str, **arguments: Any) -> Any:
        """What lastlog itself says."""
        return json.loads(rpcd.answer(method, json.dumps(arguments).encode(), str(self.config)))

    def states(self) -> dict[str, str]:
        return {each["id"]: each["state"] for each in self.ask("list")["records"]}

    def open(self, width: int = 1400, read_only: bool = False, dark: bool = False,
             answer: preview.Answer | None = None) -> Any:
        """The page, loaded, as a user sees it."""
        server = preview.serve(preview.Preview(answer or preview.answers(str(self.config)),
                                               read_only, dark), 0)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.servers.append(server)
        context = self.browser.new_context(viewport={"width": width, "height": 900})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        page.wait_for_selector(".lastlog")
        return page

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        for server in self.servers:
            server.shutdown()
            server.server_close()


def _closing(site: Site) -> Iterator[Site]:
    yield site
    site.close()
    assert site.complaints == [], "the browser's console stays silent"


@pytest.fixture
def site(browser: Any, tmp_path: Path) -> Iterator[Site]:
    """The demo: a region with a real panic."""
    yield from _closing(Site(browser, demo.prepare(tmp_path)))


@pytest.fixture
def router(browser: Any, machine: Machine, tmp_path: Path) -> Iterator[Site]:
    """A made-up router with one zone for a crash, empty."""
    region = tmp_path / "region.bin"
    region.write_bytes(zones.zone(65536))
    machine.configure(file=region, record_size=65536, console_size=0, pmsg_size=0, ftrace_size=0,
                      journal_size=0)
    yield from _closing(Site(browser, machine.conf))


def crashed(router: Site, log: str, title: str = "Panic#1 Part1") -> None:
    """Put a panic with this log into the router's region."""
    text = f"{title}\n{log}".encode()
    (router.config.parent / "region.bin").write_bytes(zones.zone(65536, zones.dump(text)))


def verdict(page: Any) -> str:
    return " ".join(page.inner_text(".ll-verdict p:first-child").split())


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


# ---- what is seen ---------------------------------------------------------------------------

def test_a_real_panic_is_told_in_one_sentence(site: Site) -> None:
    page = site.open()
    assert TITLE in verdict(page)
    assert re.match(r"Rebooted .+ after a kernel panic:", verdict(page))
    time = page.locator(".ll-verdict time")
    assert re.fullmatch(r"(in )?.*(second|minute|hour|day|month|year|now|week).*|.* UTC",
                        time.inner_text())
    assert time.get_attribute("datetime") == "2026-11-22T20:29:41Z"
    assert page.locator(".ll-here").inner_text().startswith("lkdtm_EXCEPTION+0x8")
    assert "captured in memory only" in page.inner_text(".ll-verdict")


def test_the_full_log_is_folded(site: Site) -> None:
    page = site.open()
    log = page.locator("details[data-fold^=log] pre")
    assert not log.is_visible()
    page.locator("details[data-fold^=log] summary").click()
    assert log.is_visible()
    opened = site.ask("get", id=button(page, "Download").get_attribute("data-id"))
    assert log.inner_text().strip() == re.sub(r"(?m)^<\d>", "", opened["text"]).strip()


def test_the_oops_and_its_panic_are_reached_from_each_other(site: Site) -> None:
    page = site.open()
    assert page.locator(".ll-what").count() == 2
    page.locator(".ll-record").get_by_role("button", name="Oops#1").click()
    line = page.locator(".ll-record > p").first
    line.get_by_text("led to").wait_for()
    assert page.evaluate("location.hash").startswith("#k-")
    page.reload()
    line.get_by_text("led to").wait_for()
    line.get_by_role("button", name="Panic#2").click()
    line.get_by_text("with Oops#1").wait_for()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1400])
def test_it_fits_the_screen(site: Site, width: int, dark: bool) -> None:
    page = site.open(width, dark=dark)
    page.locator("details[data-fold^=log] summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    light = page.evaluate("""() => {
        const style = getComputedStyle(document.querySelector('.ll-verdict p'));
        return style.color.match(/\\d+/g).slice(0, 3).reduce((sum, each) => sum + +each, 0) / 3;
    }""")
    assert light > 128 if dark else light < 128


def test_nothing_captured_but_armed(router: Site) -> None:
    page = router.open()
    assert "No crash has been captured" in verdict(page)
    assert button(page, "Save").count() == button(page, "Clear…").count() == 0


def test_not_armed_looks_different(router: Site) -> None:
    (router.config.parent / "region.bin").unlink()
    page = router.open()
    assert "Not armed" in verdict(page)
    assert page.locator(".ll-alarm").count() == 1
    assert page.locator(".ll-checks .ll-fail .ll-fix").first.inner_text()


# ---- what is done ---------------------------------------------------------------------------

def test_save_makes_records_durable_and_says_so(site: Site) -> None:
    page = site.open()
    button(page, "Save").click()
    page.get_by_text("3 records were saved.").wait_for()
    page.locator(".ll-s-both").first.wait_for()
    assert set(site.states().values()) == {"both"}
    assert button(page, "Save").count() == 0
    page.reload()
    page.locator(".ll-s-both").first.wait_for()


def test_clear_asks_and_cancel_changes_nothing(site: Site) -> None:
    page = site.open()
    before = site.states()
    button(page, "Clear…").click()
    question = page.get_by_role("dialog")
    assert f"Panic#2, {TITLE}" in question.inner_text()
    assert f"Oops#1, {TITLE}" in question.inner_text()
    assert "3 records are not saved yet" in question.inner_text()
    button(page, "Cancel").click()
    question.wait_for(state="hidden")
    assert site.states() == before


def test_save_first_then_clear_is_the_default(site: Site) -> None:
    page = site.open()
    button(page, "Clear…").click()
    page.wait_for_function("document.activeElement.textContent == 'Save first, then clear'")
    page.keyboard.press("Enter")
    page.get_by_text("3 records were cleared.").wait_for()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert set(site.states().values()) == {"saved"}
    assert TITLE in page.inner_text(".ll-verdict")
    assert button(page, "Clear…").count() == 0


def test_clear_without_saving_loses_them(site: Site) -> None:
    page = site.open()
    button(page, "Clear…").click()
    button(page, "Clear without saving").click()
    page.get_by_text("3 records were cleared.").wait_for()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert site.states() == {}
    assert "No crash has been captured" in verdict(page)


def test_what_was_captured_after_the_question_is_not_lost(router: Site) -> None:
    region = router.config.parent / "region.bin"
    zone = zones.zone(4096, zones.dump(b"Panic#1 Part1\n<0>Kernel panic - not syncing: first\n"))
    region.write_bytes(zone + zones.zone(61440))
    router.config.write_text(router.config.read_text().replace("65536", "4096"))
    page = router.open()
    button(page, "Clear…").click()
    button(page, "Clear without saving").wait_for()
    later = zones.dump(b"Panic#2 Part1\n<0>Kernel panic - not syncing: second\n")
    region.write_bytes(zone + zones.zone(4096, later) + zones.zone(57344))
    assert len(router.states()) == 2
    button(page, "Clear without saving").click()
    page.get_by_text("1 record was cleared.").wait_for()
    (left,) = router.ask("list")["records"]
    assert "second" in left["title"]


def test_the_question_is_about_what_is_there_now(site: Site) -> None:
    page = site.open()
    site.ask("save")
    button(page, "Clear…").click()
    assert "the saved copy stays" in page.get_by_role("dialog").inner_text()
    assert button(page, "Clear without saving").count() == 0
    button(page, "Cancel").click()
    site.ask("clear", what="memory")
    button(page, "Clear…").click()
    page.locator(".ll-s-saved").first.wait_for()
    assert not page.get_by_role("dialog").is_visible()


def test_clear_of_what_is_saved_offers_no_dangerous_choice(site: Site) -> None:
    page = site.open()
    button(page, "Save").click()
    page.locator(".ll-s-both").first.wait_for()
    button(page, "Clear…").click()
    assert "the saved copy stays" in page.get_by_role("dialog").inner_text()
    assert button(page, "Clear without saving").count() == 0
    button(page, "Clear").click()
    page.locator(".ll-s-saved").first.wait_for()


def test_a_saved_crash_is_deleted_with_its_oops(site: Site) -> None:
    site.ask("save")
    site.ask("clear", what="memory")
    page = site.open()
    page.locator("[data-dialog=delete]").first.click()
    names = (button(page, "Delete").get_attribute("data-ids") or "").split()
    assert len(names) == 2
    assert "Panic#2, NULL pointer" in page.get_by_role("dialog").inner_text()
    button(page, "Delete").click()
    page.get_by_text("2 records were cleared.").wait_for()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert not set(names) & set(site.states()) and site.states()


def test_the_address_opens_a_record_and_the_heading_has_the_focus(site: Site) -> None:
    page = site.open()
    page.locator("[data-action=open]", has_text="Console output").first.click()
    page.locator(".ll-record h3", has_text="Console").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H3"
    panic = next(name for name in site.states() if name.startswith("k-"))
    page.evaluate(f"window.location.hash = '{panic}'")
    page.locator(f"[data-action=copy][data-id={panic}]").wait_for()


def test_another_records_log_is_not_folded_along(site: Site) -> None:
    page = site.open()
    assert page.locator("details[data-fold^=log]").get_attribute("open") is None
    page.locator("[data-action=open]", has_text="Console output").first.click()
    page.locator("details[data-fold^=log-c-]").wait_for()
    assert page.locator("details[data-fold^=log-c-]").get_attribute("open") is not None


def test_what_could_not_be_saved_is_told_with_its_reason(site: Site) -> None:
    def refusing(method: str, arguments: bytes) -> bytes:
        if method == "save":
            return json.dumps({"saved": [], "skipped": [
                {"id": "k-1", "why": "no room <b>left</b>"}]}).encode()
        return rpcd.answer(method, arguments, str(site.config))

    page = site.open(answer=refusing)
    button(page, "Save").click()
    page.get_by_text("k-1: no room <b>left</b>").wait_for()
    button(page, "Clear…").click()
    button(page, "Save first, then clear").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert set(site.states().values()) == {"captured"}


def test_an_error_comes_with_its_hint(site: Site) -> None:
    def broken(method: str, arguments: bytes) -> bytes:
        if method == "save":
            return json.dumps({"error": {"code": "no-space", "message": "The archive is full.",
                                         "hint": "Delete old records."}}).encode()
        return rpcd.answer(method, arguments, str(site.config))

    page = site.open(answer=broken)
    button(page, "Save").click()
    page.get_by_text("The archive is full.").wait_for()
    page.get_by_text("Delete old records.").wait_for()
    assert button(page, "Save").is_enabled()


def test_a_page_that_cannot_be_had_is_told_and_tried_again(site: Site) -> None:
    asked: list[str] = []

    def failing_once(method: str, arguments: bytes) -> bytes:
        asked.append(method)
        if len(asked) == 1:
            return json.dumps({"error": {"code": "io", "message": "The region is <odd>.",
                                         "hint": "Look at it."}}).encode()
        return rpcd.answer(method, arguments, str(site.config))

    page = site.open(answer=failing_once)
    page.get_by_text("The region is <odd>.").wait_for()
    assert TITLE in verdict(page)


def test_download_is_the_record_exactly(site: Site) -> None:
    page = site.open()
    with page.expect_download() as event:
        button(page, "Download").click()
    name = button(page, "Download").get_attribute("data-id")
    record = site.ask("get", id=name)
    assert event.value.suggested_filename == f"lastlog-{name}.txt"
    header, _, text = event.value.path().read_bytes().decode().partition("\n\n")
    assert text == record["text"]
    assert f"Title: {record['title']}" in header
    assert "Kernel: 6.1.192" in header
    assert "When: 2026-11-22 20:29:41 UTC" in header


@pytest.mark.parametrize("secure", [True, False], ids=["clipboard", "plain HTTP"])
def test_copy_for_a_bug_report(site: Site, secure: bool) -> None:
    page = site.open()
    if not secure:
        page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
    button(page, "Copy for a bug report").click()
    page.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    record = site.ask("get", id=button(page, "Download").get_attribute("data-id"))
    assert copied.startswith(f"### `{record['title']}`\n")
    for words in ("Cause: null-pointer", "Kernel: 6.1.192", "Reported by: lastlog ",
                  "  direct_entry+0xb0 [lkdtm]\n", "? lkdtm_do_action"):
        assert words in copied
    assert "\n".join(record["text"].rstrip("\n").split("\n")[-50:]) in copied
    assert len(copied) < 10000


def test_a_reader_sees_everything_and_gets_no_buttons(site: Site) -> None:
    site.ask("save")
    page = site.open(read_only=True)
    assert TITLE in verdict(page)
    assert page.locator("[data-write]").count() == 0
    assert button(page, "Download").count() == button(page, "Copy for a bug report").count() == 1
    refused = page.evaluate("""() => fetch('/ubus', { method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'call',
            params: [ PREVIEW.sessionid, 'lastlog', 'clear', { what: 'all', force: true } ] })
        }).then((response) => response.json())""")
    assert refused["error"]["code"] == preview.ACCESS
    assert set(site.states().values()) == {"both"}


# ---- polling --------------------------------------------------------------------------------

POLL = "window.polled()"
CATCH_POLL = """(() => {
    const real = window.setInterval;
    window.setInterval = (task, every) => {
        window.polled = () => { const now = Date.now; Date.now = () => now() + 60000;
            return Promise.resolve(task()).finally(() => { Date.now = now; }); };
        return real(task, every);
    };
})()"""


def polling(site: Site) -> Any:
    """A page whose poll can be run at once."""
    page = site.open()
    page.add_init_script(CATCH_POLL)
    page.reload()
    page.wait_for_selector(".lastlog")
    return page


def test_an_unchanged_page_is_left_alone(site: Site) -> None:
    page = polling(site)
    page.evaluate("document.querySelector('.lastlog').dataset.mine = 'yes'")
    page.evaluate(POLL)
    assert page.get_attribute(".lastlog", "data-mine") == "yes"


def test_a_changed_page_keeps_what_is_unfolded_and_scrolled(site: Site) -> None:
    page = polling(site)
    page.locator("details[data-fold^=log] summary").click()
    page.evaluate("document.querySelector('details[data-fold^=log] pre').scrollTop = 700")
    site.ask("save")
    page.evaluate(POLL)
    page.locator(".ll-s-both").first.wait_for()
    assert page.evaluate("document.querySelector('details[data-fold^=log] pre').scrollTop") == 700


def test_a_selection_is_not_taken_away(site: Site) -> None:
    page = polling(site)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.ll-verdict'))")
    site.ask("save")
    page.evaluate(POLL)
    assert TITLE in page.evaluate("getSelection().toString()")
    page.evaluate("getSelection().removeAllRanges()")
    page.evaluate(POLL)
    page.locator(".ll-s-both").first.wait_for()


def test_a_record_that_is_gone_gives_way_to_the_newest(site: Site) -> None:
    page = site.open()
    page.evaluate("location.hash = '#k-000000000000'")
    page.reload()
    page.wait_for_selector(".ll-record")
    assert TITLE in verdict(page)


# ---- hostile logs ---------------------------------------------------------------------------

HOSTILE = ("<script>window.owned = 1</script><img src=x onerror='window.owned = 2'>"
           "</pre></details><style>*{display:none}</style>&lt;\"' {{7*7}}")


@pytest.mark.parametrize("width", [390, 1400])
def test_a_log_full_of_markup_is_text(router: Site, width: int) -> None:
    crashed(router, "".join(f"<{level}>[    1.00000{level}] {HOSTILE}\n" for level in range(8))
            + "<1>[    2.000000] BUG: kernel NULL pointer dereference, address: 0\n"
            + f"<4>[    2.000001] CPU: 0 PID: 1 Comm: {HOSTILE[:15]} Not tainted 6.6.93 #1\n"
            + f"<4>[    2.000002] RIP: 0010:{HOSTILE}+0x8/0x14 [{HOSTILE}]\n"
            + f"<4>[    2.000003] Call Trace:\n<4>[    2.000004]  {HOSTILE}+0x1/0x2\n"
            + f"<0>[    2.000005] Kernel panic - not syncing: {HOSTILE}\n")
    page = router.open(width)
    page.locator("details[data-fold^=log] summary").click()
    log = page.locator("details[data-fold^=log] pre")
    assert log.inner_text().count(HOSTILE) == 12
    assert page.locator(".lastlog script, .lastlog img, .lastlog pre *[onerror]").count() == 0
    assert page.evaluate("window.owned") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    button(page, "Clear…").click()
    page.get_by_role("dialog").wait_for()
    button(page, "Save first, then clear").click()
    page.get_by_text("1 record was cleared.").wait_for()
    assert page.evaluate("window.owned") is None


def test_control_characters_are_seen_not_obeyed(router: Site) -> None:
    crashed(router, "<6>a\x1b[31mred\x07\x01\u202egnp.exe\r\x7f\x9b end\n"
                    "<0>Kernel panic - not syncing: bell \x07\x1b]0;title\x07\n")
    page = router.open()
    page.locator("details[data-fold^=log] summary").click()
    shown = page.locator("details[data-fold^=log] pre").inner_text()
    assert "a␛[31mred␇␁\\u202egnp.exe␍␡" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]",
                         page.evaluate("document.querySelector('.lastlog').textContent"))


def test_a_line_without_end_scrolls_nothing_but_itself(router: Site) -> None:
    crashed(router, "<0>Kernel panic - not syncing: " + "x" * 30000 + "\n")
    page = router.open(390)
    page.locator("details[data-fold^=log] summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
