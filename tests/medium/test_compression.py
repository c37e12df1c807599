"""medium/compression.py: what compressed bodies give, whole, cut and damaged."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium.compression import unpack
from tests import zones

TEXT = zones.log(300)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("behind", [b"", b"\nECC: No errors detected\n", bytes(40)])
def test_deflate_of_both_kinds(wrapped: bool, behind: bytes) -> None:
    body = zones.deflated(TEXT, wrapped)
    assert unpack(body + behind, 1 << 20) == (TEXT, "deflate", True, len(body))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_cut_stream_gives_its_beginning(wrapped: bool, share: float) -> None:
    body = zones.deflated(TEXT, wrapped)
    text, algorithm, complete, _ = unpack(body[:int(len(body) * share)], 1 << 20)
    assert TEXT.startswith(text) and len(text) > len(TEXT) * share / 2
    assert (algorithm, complete) == ("deflate", False)


def test_everything_up_to_the_damage_is_given() -> None:
    """As much as zlib gives when it is fed byte by byte."""
    body = bytearray(zones.deflated(TEXT))
    body[len(body) // 2:len(body) // 2 + 8] = b"\xff" * 8
    reference, stream = b"", zlib.decompressobj(-15)
    try:
        for byte in body:
            reference += stream.decompress(bytes([byte]))
    except zlib.error:
        pass
    assert unpack(bytes(body), 1 << 20).text == reference and len(reference) > 1000


def test_output_is_bounded() -> None:
    bomb = zones.deflated(b"Panic#1 Part1\n" + bytes(50_000_000))
    text, _, complete, _ = unpack(bomb, 65536)
    assert len(text) == 65536 and not complete


@pytest.mark.parametrize(("body", "name"), [
    (b"\x28\xb5\x2f\xfd\x60\x00\x10", "zstd"),
    (b"\xf1\x0aPanic#1 Part1\n<5>[ ", "lz4"),
    (b"\x00\x07Panic#1 Part1\n<5>[ ", "lzo"),
    (b"\x1ePanic#1 Part1\n", "lzo"),
    (b"\xe0Oops#1 Part1\n<", "lz4"),
    (b"\x92\x11\x22\x33", None),
    (b"", None),
])
def test_other_algorithms_are_named(body: bytes, name: str | None) -> None:
    assert unpack(body, 65536) == (b"", name, False, len(body))


def test_noise_is_not_taken_for_text() -> None:
    for seed in range(200):
        assert unpack(random.Random(seed).randbytes(500), 65536).text == b""


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_no_bytes_raise(body: bytes) -> None:
    assert len(unpack(body, 4096).text) <= 4096
