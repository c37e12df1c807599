"""config.py: the UCI file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.config import load, parse_uci
from lastlog_py.errors import LastlogError


@pytest.mark.parametrize(("line", "expected"), [
    ("\toption archive '/a b'", "/a b"),
    ('option archive "/a\\"b"', '/a"b'),
    ("option archive /plain # comment", "/plain"),
    ("option archive '/a'\\''b'", "/a'b"),
    ("option archive ''", ""),
    ("option archive '/#x'", "/#x"),
])
def test_quoting(line: str, expected: str) -> None:
    problems: list[str] = []
    assert parse_uci(f"config lastlog 'main'\n{line}\n", problems) == [
        ("lastlog", "main", {"archive": expected})]
    assert problems == []


def test_sections_and_defaults(tmp_path: Path) -> None:
    file = tmp_path / "lastlog"
    file.write_text("# mine\nconfig lastlog 'main'\n option archive '/mnt/usb'\n"
                    "config region 'ram'\n option size '0x100000'\n option journal_size '128k'\n"
                    " option ecc 16\nconfig coredump 'coredump'\n list ignore '/usr/bin/x'\n")
    config = load(str(file))
    assert (config.archive, config.archive_limit) == ("/mnt/usb", 262144)
    assert (config.site.size, config.site.journal_size, config.site.ecc) == \
        (1 << 20, 131072, 16)
    assert config.site.record_size is None and config.problems == []
    assert config.site.system("/proc/mtd") == "/proc/mtd"


@pytest.mark.parametrize(("line", "word"), [
    ("option archive_limit 'lots'", "not a number"),
    ("option archive_limit '-5'", "not a number"),
    ("option archive 'open", "quote"),
    ("nonsense", "not understood"),
    ("option archive '/a\0b'", "control characters"),
])
def test_a_typo_is_reported_and_the_default_used(tmp_path: Path, line: str, word: str) -> None:
    file = tmp_path / "lastlog"
    file.write_text(f"config lastlog 'main'\n{line}\n")
    config = load(str(file))
    assert config.archive_limit == 262144 and word in config.problems[0]


def test_what_becomes_of_core_dumps(tmp_path: Path) -> None:
    file = tmp_path / "lastlog"
    file.write_text("config lastlog 'main'\n list archive '/a'\n list archive '/b'\n"
                    "config coredump 'coredump'\n option enabled 'off'\n option max_threads 8\n"
                    " option max_frames 'x'\n option keep_core '64k'\n option crash_period 60\n"
                    " option most_crashes 2\n list ignore '/usr/bin/x'\n list ignore '/opt/y z/'\n")
    config = load(str(file))
    assert config.archive == "/b"
    core = config.coredump
    assert (core.enabled, core.max_threads, core.max_frames, core.keep_core) == \
        (False, 8, 64, 65536)
    assert (core.most_crashes, core.crash_period) == (2, 60)
    assert core.ignore == ["/usr/bin/x", "/opt/y z/"]
    assert config.problems == ["section coredump: max_frames 'x' is not a number; the default is "
                               "used"]


def test_core_dumps_by_default(tmp_path: Path) -> None:
    (tmp_path / "lastlog").write_text("")
    core = load(str(tmp_path / "lastlog")).coredump
    assert (core.enabled, core.max_threads, core.max_frames, core.keep_core, core.ignore) == \
        (True, 64, 64, 0, [])
    assert (core.most_crashes, core.crash_period) == (5, 600)
    assert (core.time_limit, core.memory_limit) == (10, 32 << 20)


def test_a_second_region_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "lastlog"
    file.write_text("config region 'a'\n option mtd one\nconfig region 'b'\n option mtd two\n")
    config = load(str(file))
    assert config.site.mtd == "one" and "first region" in config.problems[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LastlogError) as missing:
        load(str(tmp_path / "none"))
    assert missing.value.code == "not-found" and missing.value.hint
    with pytest.raises(LastlogError) as folder:
        load(str(tmp_path))
    assert folder.value.code == "io"


@pytest.mark.parametrize("text", ["\\", "option a \\", "'\\", '"\\', "config x\noption \\"])
def test_a_backslash_at_the_end(text: str) -> None:
    assert isinstance(parse_uci(text, []), list)


@given(st.text(max_size=300))
def test_no_text_raises(text: str) -> None:
    for kind, _name, options in parse_uci(text, []):
        assert isinstance(kind, str) and isinstance(options, dict)
