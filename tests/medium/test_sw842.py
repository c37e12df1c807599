"""medium/sw842.py against an encoder that uses every template."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.medium import sw842
from tests import packers
from tests.medium import streams


@given(st.binary(max_size=300) | streams.repetitive(1500), st.none() | st.integers(0, 1000))
def test_what_the_encoder_packs(text: bytes, seed: int | None) -> None:
    stream = packers.sw842(text, seed)
    assert sw842.decode(stream, 1 << 20) == (text, len(stream), True)


def test_every_operation() -> None:
    used: set[int] = set()
    for seed in range(12):
        rng = random.Random(seed)
        words = [rng.randbytes(2) for _ in range(12)]
        text = bytes(24) + b"".join(rng.choices(words, k=700)) + b"12345678" * 70 + b"end"
        stream = packers.sw842(text, seed, used)
        assert sw842.decode(stream, 1 << 20) == (text, len(stream), True)
    assert used == {*range(0x1a), 0x1b, 0x1c, 0x1d}


def test_the_rings_wrap() -> None:
    """The index of two bytes goes back 512 bytes, the others 2048."""
    text = random.Random(1).randbytes(520)
    text = text * 10
    for seed in range(4):
        stream = packers.sw842(text, seed)
        assert sw842.decode(stream, 1 << 20) == (text, len(stream), True)


def bits(*fields: tuple[int, int]) -> bytes:
    out = packers.Bits()
    for value, count in fields:
        out.put(value, count)
    return out.done()


LETTERS = (0, 5), (int.from_bytes(b"ABCDEFGH", "big"), 64)


@pytest.mark.parametrize(("stream", "text"), [
    (b"", b""),
    (bits((0x1b, 5), (0, 6)), b""),                         # nothing stands there to repeat
    (bits((0x1d, 5), (0, 3)), b""),
    (bits((0x1d, 5), (1, 3), (65, 8), *LETTERS), b"A"),     # nothing but the end follows that
    (bits(*LETTERS, (0x1a, 5)), b"ABCDEFGH"),               # operations that do not exist
    (bits(*LETTERS, (0x1f, 5)), b"ABCDEFGH"),
    (bits(*LETTERS, (0x19, 5), (1, 8)), b"ABCDEFGH"),       # an index beyond the text
    (bits(*LETTERS, (0x18, 5), (1, 9), (2, 9)), b"ABCDEFGHEFGH"),
    (bits(*LETTERS)[:8], b"ABCDEFG"),
])
def test_everything_up_to_the_damage(stream: bytes, text: bytes) -> None:
    assert sw842.decode(stream, 1 << 20) == (text, None, None)


def test_a_wrong_sum_is_told() -> None:
    stream = bytearray(packers.sw842(b"ABCDEFGH"))
    stream[2] ^= 1
    text, used, sound = sw842.decode(bytes(stream), 1 << 20)
    assert text != b"ABCDEFGH" and len(text) == 8 and used == len(stream) and sound is False


def test_output_is_bounded() -> None:
    bomb = bits(*LETTERS, *[(0x1b, 5), (63, 6)] * 5000)
    assert sw842.decode(bomb, 4096) == (b"ABCDEFGH" * 512, None, None)
