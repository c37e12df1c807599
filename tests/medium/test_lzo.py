"""medium/lzo.py against liblzo2 where it is installed, and an encoder that uses every
instruction."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.medium import lzo
from tests import packers, samples
from tests.medium import streams

INSTRUCTIONS = {"M1", "M1 far", "M2", "M3", "M4", "first literals", "few literals", "literals",
                "long literals"}


def reference(compressor: str) -> Callable[[bytes], bytes]:
    try:
        library = ctypes.CDLL("liblzo2.so.2")
    except OSError:
        pytest.skip("liblzo2 is not installed (apt-get install liblzo2-2)")

    def compress(text: bytes) -> bytes:
        out, size = ctypes.create_string_buffer(len(text) + len(text) // 16 + 80), ctypes.c_ulong()
        work = ctypes.create_string_buffer(1 << 20)
        assert getattr(library, compressor)(text, ctypes.c_ulong(len(text)), out,
                                            ctypes.byref(size), work) == 0
        return out.raw[:size.value]
    return compress


@pytest.mark.parametrize("compressor", ["lzo1x_1_compress", "lzo1x_999_compress"])
def test_what_the_reference_packs(compressor: str) -> None:
    compress = reference(compressor)

    @given(st.binary(min_size=1, max_size=300) | streams.repetitive())
    def check(text: bytes) -> None:
        stream = compress(text)
        assert lzo.decode(stream, 1 << 20) == (text, len(stream))
    check()


def test_every_instruction() -> None:
    used: set[str] = set()
    log = samples.kernel_text("s15_oom", "dmesg-ramoops-0")
    for seed, text in enumerate([log, bytes(400).join([log[:200]] * 3), log[:10000] + log[::-1],
                                 b"", b"a", b"abcd" * 100, log[:30000] + bytes(range(256)) + log]):
        stream = packers.lzo(text, seed, used)
        assert lzo.decode(stream, 1 << 20) == (text, len(stream))
    assert used == INSTRUCTIONS


@pytest.mark.parametrize(("stream", "text", "used"), [
    (b"", b"", None),
    (b"\x11\x00\x00", b"", 3),
    (b"\x15abcd\x11\x00\x00", b"abcd", 8),
    (b"\x15abcd\x11\x00\x00behind", b"abcd", 8),
    (b"\x15abcd", b"abcd", None),
    (b"\x15ab", b"ab", None),
    (b"\x12a\x00\x00\x11\x00\x00", b"aaa", 7),          # two bytes, behind few literals
    (b"\x15abcd\x4c\x00\x11\x00\x00", b"abcdabc", 10),
    (b"\x15abcd\x5c\x00\x11\x00\x00", b"abcd", None),   # it begins before the text
    (b"\x15abcd\x12\x00\x00", b"abcd", None),           # an end mark of another length
    (b"\x00\x00\x00", b"", None),
])
def test_streams(stream: bytes, text: bytes, used: int | None) -> None:
    assert lzo.decode(stream, 1 << 20) == (text, used)


def test_output_is_bounded() -> None:
    bomb = b"\x15abcd\x20" + bytes(60000) + b"\x01\x00\x00\x11\x00\x00"
    text, used = lzo.decode(bomb, 4096)
    assert len(text) == 4096 and used is None
    stream = packers.lzo(b"ab" * 2048)
    assert lzo.decode(stream, 4096) == (b"ab" * 2048, len(stream))
