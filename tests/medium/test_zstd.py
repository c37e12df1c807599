"""medium/zstd.py with each of the libraries, and with none."""

from __future__ import annotations

import random
import sys
from types import ModuleType

import pytest

from lastlog_py.medium import zstd
from tests import packers, samples, zones

LONG = b"".join(b"%d %x\n" % (n, random.Random(n).getrandbits(64)) for n in range(14000))
BLOCK = 131072


@pytest.fixture(params=["zstandard", "compression.zstd"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One library alone; that of Python 3.14 by its backport."""
    packers.without_zstd(monkeypatch)
    if request.param == "zstandard":
        monkeypatch.delitem(sys.modules, "zstandard")
    elif sys.version_info >= (3, 14):
        monkeypatch.delitem(sys.modules, "compression.zstd")
        monkeypatch.delitem(sys.modules, "compression")
    else:
        from backports import zstd as backport
        package = ModuleType("compression")
        package.zstd = backport  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "compression", package)
        monkeypatch.setitem(sys.modules, "compression.zstd", backport)
    return str(request.param)


@pytest.mark.parametrize("level", [1, 3, 19])
@pytest.mark.parametrize("behind", [b"", bytes(40), b"\nECC: No errors detected\n"])
def test_whole_frames(library: str, level: int, behind: bytes) -> None:
    text = samples.kernel_text("s15_oom", "dmesg-ramoops-0")
    frame = packers.zstd(text, level)
    assert zstd.decode(frame + behind, 1 << 20) == (text, len(frame))


def test_a_cut_frame_gives_its_whole_blocks(library: str) -> None:
    frame = packers.zstd(LONG)
    lengths = []
    for at in [*range(0, len(frame), 19997), len(frame) - 1]:
        text, used = zstd.decode(frame[:at], 1 << 21)
        assert LONG.startswith(text) and used is None
        lengths.append(len(text))
    assert lengths == sorted(lengths) and lengths[-1] >= 2 * BLOCK


def test_a_damaged_frame_raises_nothing_and_stays_bounded(library: str) -> None:
    frame = packers.zstd(zones.log(100))
    for at in range(len(frame)):
        damaged = bytearray(frame)
        damaged[at] ^= random.Random(at).randrange(1, 256)
        assert len(zstd.decode(bytes(damaged), 4096)[0]) <= 4096


def test_output_is_bounded(library: str) -> None:
    text, used = zstd.decode(packers.zstd(bytes(50_000_000)), 65536)
    assert (len(text), used) == (65536, None)


def test_blocks_without_text_are_not_all_read(library: str) -> None:
    """64 KiB hold 20000 of them."""
    head = packers.zstd(b"")[:5].replace(b"\x20", b"\0") + b"\x10"      # a window of 4 KiB
    few, many = (head + bytes(3) * count + b"\x21\0\0" + b"text" for count in (100, 20000))
    assert zstd.decode(few, 65536) == (b"text", len(few))
    assert zstd.decode(many, 65536) == (b"", None)


def test_a_frame_that_wants_much_memory_is_refused(library: str) -> None:
    greedy = b"\x28\xb5\x2f\xfd\x00\x88" + b"\x01\x00\x00"     # a window of 128 MiB
    assert zstd.decode(greedy, 65536) == (b"", None)


def test_it_says_what_is_missing(library: str) -> None:
    assert "damaged" in zstd.complaint()


def test_without_a_library_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    packers.without_zstd(monkeypatch)
    assert zstd.decode(packers.zstd(zones.log(10)), 65536) == (b"", None)
    assert "pip install zstandard" in zstd.complaint() and "lastlog decode" in zstd.complaint()
