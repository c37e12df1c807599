"""medium/compression.py: what compressed bodies give, whole, cut and damaged."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium.compression import begins, complaint, unpack
from tests import packers, samples, zones
from tests.packers import PACKERS

TEXT = zones.log(300)
LOG = samples.kernel_text("s15_oom", "dmesg-ramoops-0")
SHORT = LOG[:LOG.index(b"\n", 1500) + 1]            # of a real log, for tests of every byte
NAMES = {name: {"zlib": "deflate", "lz4hc": "lz4"}.get(name, name) for name in PACKERS}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["s01_plain", "s09_rec4k", "m02_mipsbe_malta", "c08_softlockup"])
def test_a_real_log_in_every_algorithm(packer: str, name: str) -> None:
    log = samples.kernel_text(name, "dmesg-ramoops-0")
    body = PACKERS[packer](log)
    assert unpack(body, 1 << 20) [:5] == (log, NAMES[packer], True, len(body), False)
    assert complaint(unpack(body, 1 << 20)) is None
    assert begins(b"before" + body, 6)


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("title", ["Oops#1 Part1", "Emergency#12 Part1", "Shutdown#3 Part2"])
@pytest.mark.parametrize("lines", [0, 1, 50])
def test_titles_and_lengths(packer: str, title: str, lines: int) -> None:
    log = zones.log(lines, title)
    assert unpack(PACKERS[packer](log), 1 << 20)[:3] == (log, NAMES[packer], True)


@pytest.mark.parametrize("packer", ["deflate", "zlib", "lzo", "842", "zstd"])
@pytest.mark.parametrize("behind", [b"\nECC: No errors detected\n", bytes(40), b"\xff" * 40])
def test_what_stands_behind_a_stream_is_not_part_of_it(packer: str, behind: bytes) -> None:
    body = PACKERS[packer](TEXT)
    assert unpack(body + behind, 1 << 20) [:5] == (TEXT, NAMES[packer], True, len(body), False)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("level", [1, 6, 9])
def test_every_window_of_deflate(bits: int, level: int) -> None:
    for form in (bits, -bits):
        packer = zlib.compressobj(level, zlib.DEFLATED, form, 4)
        body = packer.compress(LOG) + packer.flush()
        assert unpack(body, 1 << 20)[:4] == (LOG, "deflate", True, len(body))


def test_stored_blocks() -> None:
    assert unpack(packers.literals(LOG), 1 << 20)[:3] == (LOG, "deflate", True)


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "zstd"])
def test_a_stream_cut_at_every_byte_gives_its_beginning(packer: str) -> None:
    body, before = PACKERS[packer](SHORT), 0
    for at in range(len(body)):
        read = unpack(body[:at], 1 << 20)
        assert SHORT.startswith(read.text) and len(read.text) >= before
        assert not (read.complete and read.text != SHORT and packer not in ("lz4", "lz4hc"))
        before = len(read.text)
    assert before >= len(SHORT) - 300


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "zstd"])
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xff])
def test_a_wrong_byte_anywhere_leaves_what_stands_before_it(packer: str, flip: int) -> None:
    body = PACKERS[packer](SHORT)
    for at in range(16, len(body), 5):
        damaged = bytearray(body)
        damaged[at] ^= flip
        read, before = unpack(bytes(damaged), 1 << 16), unpack(body[:at], 1 << 16).text
        assert read.text.startswith(before) and len(read.text) <= 1 << 16


@pytest.mark.parametrize("packer", PACKERS)
def test_a_title_with_a_wrong_byte(packer: str) -> None:
    """The lines behind it show what it is; of a text without lines, the stream's own check."""
    for log in (LOG.replace(b"Panic#", b"Pa\0ic#", 1), b"\x01" + LOG):
        assert unpack(PACKERS[packer](log), 1 << 20)[:3] == (log, NAMES[packer], True)
    little = unpack(PACKERS[packer](b"Pa\0ic#1 Part1\nno line of a log\n"), 1 << 20)
    assert bool(little.text) == (packer in ("zlib", "842", "zstd"))


@pytest.mark.parametrize("packer", ["deflate", "zlib", "lz4", "lzo", "842"])
def test_lines_that_damage_has_garbled_are_told(packer: str) -> None:
    """No checksum, or none that is right: the text is shown as it is, and said to be torn."""
    log = LOG.replace(b"<6>[    0.", b"<6>[    o.")
    read = unpack(PACKERS[packer](log), 1 << 20)
    assert read.text == log and read.complete and read.torn
    assert "garbled" in (complaint(read) or "")


def test_a_wrong_sum_of_842_is_told() -> None:
    body = bytearray(packers.sw842(LOG))
    body[-9] ^= 1 if body[-8:].strip(b"\0") else 0
    at = max(at for at in range(len(body)) if body[at])
    body[at] ^= 0x80
    read = unpack(bytes(body), 1 << 20)
    assert read.text == LOG and read.complete and read.torn


def test_a_wrong_sum_of_zlib_is_told() -> None:
    body = bytearray(zones.deflated(LOG, wrapped=True))
    body[-1] ^= 1
    read = unpack(bytes(body), 1 << 20)
    assert read.text == LOG and read.torn


@pytest.mark.parametrize("packer", PACKERS)
def test_output_is_bounded(packer: str) -> None:
    size = 3_000_000 if packer not in ("842", "lzo") else 300_000
    read = unpack(PACKERS[packer](b"Panic#1 Part1\n" + bytes(size)), 65536)
    assert len(read.text) == 65536 and not read.complete


@pytest.mark.parametrize(("body", "name", "words"), [
    (b"\x28\xb5\x2f\xfd\x60\x00\x10", "zstd", "damaged"),
    (b"\xf1", None, "cannot be read"),
    (b"\x92\x11\x22\x33", None, "damaged at its start"),
    (b"", None, "damaged at its start"),
])
def test_what_cannot_be_read(body: bytes, name: str | None, words: str) -> None:
    read = unpack(body, 65536)
    assert read[:5] == (b"", name, False, len(body), False) and words in (complaint(read) or "")


def test_without_a_library_zstd_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    packers.without_zstd(monkeypatch)
    read = unpack(packers.zstd(TEXT), 65536)
    assert read[:3] == (b"", "zstd", False)
    assert "pip install zstandard" in (complaint(read) or "")


@pytest.mark.parametrize("packer", ["deflate", "lz4", "lzo", "842"])
def test_a_cut_log_says_what_helps(packer: str) -> None:
    said = complaint(unpack(PACKERS[packer](LOG)[:3000], 1 << 20)) or ""
    assert NAMES[packer] in said and "newest lines are lost" in said and "ramoops.ecc" in said


def test_noise_is_not_taken_for_text() -> None:
    for seed in range(120):
        noise = random.Random(seed).randbytes(seed * 50)
        assert unpack(noise, 65536).text == b"" and not begins(noise, 0)


def test_noise_behind_a_stream_s_beginning_is_not_taken_for_text() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        body = zones.deflated(LOG)[:2000] + rng.randbytes(4000)
        read = unpack(body, 65536)
        assert LOG.startswith(read.text[:4000]) and b"[..." not in read.text


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_no_bytes_raise(body: bytes) -> None:
    assert len(unpack(body, 4096).text) <= 4096


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PACKERS)), st.data())
def test_no_damage_raises(packer: str, data: st.DataObject) -> None:
    body = bytearray(PACKERS[packer](SHORT))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at:at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
        body = body or bytearray(b"\0")
    assert len(unpack(bytes(body), 1 << 16).text) <= 1 << 16


def test_decoders_are_imported_when_they_are_needed() -> None:
    """A router's `list` reads plain and deflate logs mostly."""
    code = ("import sys; from lastlog_py.medium import compression as c; import zlib;"
            "c.unpack(zlib.compress(b'Panic#1 Part1\\n'), 99);"
            "names = {'lz4', 'lzo', 'sw842', 'zstd', 'resync'};"
            "print([n for n in names if 'lastlog_py.medium.' + n in sys.modules])")
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
