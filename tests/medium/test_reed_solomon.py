"""medium/reed_solomon.py against PyPI's reedsolo, for every parity size that ramoops can have."""

from __future__ import annotations

import random

import pytest
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium import reed_solomon
from lastlog_py.medium.reed_solomon import BLOCK, correct, encode, is_codeword

ROOTS = range(2, 33)


def codec(roots: int) -> reedsolo.RSCodec:
    """Its defaults are the kernel's code: fcr 0, 0x11d, generator 2, 8 bits."""
    return reedsolo.RSCodec(roots)


def blocks(roots: int, count: int, seed: int = 1, size: int = BLOCK) -> list[bytes]:
    chance = random.Random(seed)
    return [bytes(codec(roots).encode(chance.randbytes(size))) for _ in range(count)]


def damaged(word: bytes, errors: int, chance: random.Random) -> bytes:
    broken = bytearray(word)
    for at in chance.sample(range(len(word)), errors):
        broken[at] ^= chance.randrange(1, 256)
    return bytes(broken)


def run(words: list[bytes], roots: int, size: int = BLOCK) -> reed_solomon.Corrected:
    return correct(b"".join(word[:size] for word in words),
                   b"".join(word[size:] for word in words), roots, size)


def as_reedsolo(word: bytes, roots: int) -> bytes | None:
    """The block that reedsolo makes of `word`; None if it gives up."""
    try:
        return bytes(codec(roots).decode(word)[0])
    except reedsolo.ReedSolomonError:
        return None


@pytest.mark.parametrize("roots", ROOTS)
def test_everything_that_the_code_can_correct(roots: int) -> None:
    """One block for each number of errors up to half the parity, each in data and parity."""
    chance, clean = random.Random(roots), blocks(roots, roots // 2 + 1, roots)
    broken = [damaged(word, errors, chance) for errors, word in enumerate(clean)]
    assert [as_reedsolo(word, roots) for word in broken] == [word[:BLOCK] for word in clean]
    result = run(broken, roots)
    assert result.data == b"".join(word[:BLOCK] for word in clean)
    assert result.corrected == {errors: errors for errors in range(1, len(clean))}
    assert result.failed == []


@pytest.mark.parametrize("roots", ROOTS)
def test_what_the_code_cannot_correct_is_left_as_it_is(roots: int) -> None:
    """One error too many, or many: where it is taken for something else, so it is by reedsolo."""
    chance, clean = random.Random(roots), blocks(roots, 24, roots)
    broken = [damaged(word, roots // 2 + 1 + number % 3 * number, chance)
              for number, word in enumerate(clean)]
    theirs = [as_reedsolo(word, roots) for word in broken]
    result = run(broken, roots)
    assert result.failed == [number for number, word in enumerate(theirs) if word is None]
    assert result.data == b"".join(theirs[number] or word[:BLOCK]
                                   for number, word in enumerate(broken))
    if roots > 8:
        assert len(result.failed) == len(clean)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_to_any_blocks(data: st.DataObject) -> None:
    roots = data.draw(st.integers(2, 32))
    size = data.draw(st.integers(1, BLOCK))
    clean = blocks(roots, data.draw(st.integers(1, 6)), roots, size)
    broken = []
    for word in clean:
        places = data.draw(st.sets(st.integers(0, len(word) - 1), max_size=roots // 2))
        changed = bytearray(word)
        for at in places:
            changed[at] ^= data.draw(st.integers(1, 255))
        broken.append(bytes(changed))
    result = run(broken, roots, size)
    assert result.data == b"".join(word[:size] for word in clean) and not result.failed
    assert result.data == b"".join(as_reedsolo(word, roots) or b"" for word in broken)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 32), st.binary(min_size=160, max_size=640))
def test_no_bytes_raise(roots: int, noise: bytes) -> None:
    count = len(noise) // (BLOCK + roots)
    words = [noise[at * (BLOCK + roots):][:BLOCK + roots] for at in range(count)]
    result = run(words, roots)
    assert len(result.data) == count * BLOCK
    assert set(result.corrected).isdisjoint(result.failed)


@pytest.mark.parametrize("roots", ROOTS)
def test_parity_is_reedsolos(roots: int) -> None:
    for size in (1, 12, 116, BLOCK):
        data = random.Random(size).randbytes(size)
        word = bytes(codec(roots).encode(data))
        assert encode(data, roots) == word[size:] and is_codeword(word, roots)
        assert not is_codeword(damaged(word, 1, random.Random(size)), roots)


def test_a_short_block_is_one_with_zeros_in_front() -> None:
    short = random.Random(7).randbytes(116)
    assert encode(short, 16) == encode(bytes(12) + short, 16)


def test_blocks_beyond_one_batch() -> None:
    word = blocks(4, 1)[0]
    last = reed_solomon.AT_ONCE + 5
    data = bytearray(word[:BLOCK] * (last + 1))
    data[last * BLOCK + 9] ^= 1
    result = correct(bytes(data), word[BLOCK:] * (last + 1), 4)
    assert result.corrected == {last: 1} and result.data == word[:BLOCK] * (last + 1)


def test_nothing_at_all() -> None:
    assert correct(b"", b"", 16) == (b"", {}, [])


def test_noise_does_not_keep_us_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reed_solomon, "MOST_DIRTY", 100)
    noise = random.Random(1).randbytes(4096 * (BLOCK + 32))
    result = correct(noise[:4096 * BLOCK], noise[4096 * BLOCK:], 32)
    assert len(result.failed) == 4096
