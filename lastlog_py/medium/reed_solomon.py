"""Reed-Solomon error correction as persistent RAM uses it (ramoops.ecc).

Source: lib/reed_solomon (encode_rs.c, decode_rs.c) as fs/pstore/ram_core.c sets it up: GF(2^8) with
the polynomial 0x11d, first root 1 (fcr 0), primitive element 2 (prim 1), `roots` parity bytes
behind each block of data; a block's first byte is its highest power.  Shorter blocks are the same
code with zeros in front.  roots parity bytes correct roots // 2 wrong ones, in data or parity.

A router has a plain interpreter and many blocks, nearly all of them clean.  So all blocks are
checked at once: a column, byte i of every block, is one big integer with a byte per block, and
the sum of columns is one xor.  A syndrome is a sum of columns times constants; it is taken bit by
bit of the constants, with one doubling of all bytes between two bits.  Only blocks whose syndromes
are not zero are looked at one by one (Berlekamp-Massey, Chien, Forney).  Pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache, reduce
from itertools import compress
from operator import or_, xor
from typing import NamedTuple

__all__ = ["BLOCK", "Corrected", "correct", "encode", "is_codeword"]

BLOCK = 128                         # data bytes per block (ram_core.c: ecc_info.block_size)
AT_ONCE = 8192                      # blocks, so that columns stay in the processor's cache
MOST_DIRTY = 1 << 15                # blocks with errors that are looked at: 4 MiB of them; memory
                                    # that lost more was not written with this code

POLYNOMIAL = 0x11d
# Powers of 2, twice around; then zeros, which is where the "logarithm" of zero leads to, so that
# _EXP[_LOG[a] + _LOG[b]] is the product of any two bytes.
_ZERO = 511


def _powers() -> Iterator[int]:
    value = 1
    for _ in range(255):
        yield value
        value = value << 1 ^ (POLYNOMIAL if value & 0x80 else 0)


_EXP = bytes(_powers()) * 2 + bytes(2 * _ZERO + 1 - 510)
_LOG = [_ZERO] + [_EXP.index(value) for value in range(1, 256)]
# For each bit, whether it is set in a byte: for bytes.translate.
_BIT = [bytes(value >> bit & 1 for value in range(256)) for bit in range(8)]


class Corrected(NamedTuple):
    """Blocks after error correction."""

    data: bytes                 # as given, with what could be corrected put right
    corrected: dict[int, int]   # wrong bytes, of parity too, by number of block
    failed: list[int]           # numbers of the blocks with more wrong bytes than can be corrected


def encode(data: bytes, roots: int) -> bytes:
    """The parity of one block."""
    generator = [_LOG[factor] for factor in _generator(roots)[1:]]
    parity = bytes(roots)
    for byte in data:
        feedback = _LOG[byte ^ parity[0]]
        parity = bytes(old ^ _EXP[feedback + factor]
                       for old, factor in zip(parity[1:] + b"\0", generator, strict=True))
    return parity


def is_codeword(word: bytes, roots: int) -> bool:
    """Whether `word`, a block and its parity, is free of errors."""
    return all(_value(word, root) == 0 for root in range(roots))


def correct(data: bytes, parity: bytes, roots: int, block: int = BLOCK,
            most: int | None = None) -> Corrected:
    """Every block of `data` corrected as far as the code can.

    data: blocks of `block` bytes each, at most 255 - roots.  parity: `roots` bytes for each.
    most: blocks with errors that are looked at, in place of MOST_DIRTY; those behind them count as
    failed.
    """
    left = MOST_DIRTY if most is None else most
    mended = bytearray(data)
    corrected: dict[int, int] = {}
    failed: list[int] = []
    for first in range(0, len(data) // block, AT_ONCE):
        words = _Words(data[first * block:(first + AT_ONCE) * block],
                       parity[first * roots:(first + AT_ONCE) * roots], roots, block)
        for number, errors in _errors(words, left - len(corrected) - len(failed)):
            if errors is None:
                failed.append(first + number)
                continue
            corrected[first + number] = len(errors)
            for at, value in errors:
                if at < block:
                    mended[(first + number) * block + at] ^= value
    return Corrected(bytes(mended), corrected, failed)


@cache
def _generator(roots: int) -> bytes:
    """The product of (x - 2^i) for i below `roots`, highest power first."""
    product = b"\1"
    for root in range(roots):
        product = bytes(one ^ _EXP[_LOG[other] + root]
                        for one, other in zip(product + b"\0", b"\0" + product, strict=True))
    return product


def _value(word: bytes, root: int) -> int:
    """The polynomial `word` at 2^root: a syndrome of one block."""
    value = 0
    for byte in word:
        value = byte ^ _EXP[_LOG[value] + root]
    return value


# --- all blocks at once


class _Words:
    """Blocks with their parity, by column."""

    def __init__(self, data: bytes, parity: bytes, roots: int, block: int) -> None:
        self.count = len(data) // block
        self.roots = roots
        self.length = block + roots         # bytes of a word
        self.columns = [int.from_bytes(data[at::block], "little") for at in range(block)]
        self.columns += [int.from_bytes(parity[at::roots], "little") for at in range(roots)]


def _errors(words: _Words, most: int) -> Iterator[tuple[int, list[tuple[int, int]] | None]]:
    """The dirty words: number, and (byte of the word, xor) of each error; None: too many.

    Behind `most` of them, all have too many.
    """
    syndromes = [_sum(words.columns, row, words.count)
                 for row in _rows(words.roots, words.length)]
    dirty = reduce(or_, syndromes, 0)
    if not dirty:
        return
    numbers = [at for at, byte in enumerate(dirty.to_bytes(words.count, "little")) if byte]
    by_root = [syndrome.to_bytes(words.count, "little") for syndrome in syndromes]
    each = [bytes(row[number] for row in by_root) for number in numbers[:max(0, most)]]
    for number, syndrome in zip(numbers, each, strict=False):
        locator = _locator(syndrome)
        places = _places(locator, words.length) if len(locator) - 1 <= words.roots // 2 else []
        found = len(places) == len(locator) - 1
        yield number, _magnitudes(syndrome, locator, places, words.length) if found else None
    yield from ((number, None) for number in numbers[len(each):])


@cache
def _rows(roots: int, length: int) -> list[bytes]:
    """What each column is multiplied by for each syndrome: the powers of its root."""
    return [bytes(_EXP[root * power % 255] for power in reversed(range(length)))
            for root in range(roots)]


def _sum(columns: Sequence[int], factors: bytes, count: int) -> int:
    """The sum of `columns`, each multiplied by its factor, for `count` words at once."""
    low, ones = _masks(count)
    total = 0
    for bit in reversed(_BIT):
        total = (total & low) << 1 ^ (total >> 7 & ones) * (POLYNOMIAL & 0xff)
        total ^= reduce(xor, compress(columns, factors.translate(bit)), 0)
    return total


@lru_cache(maxsize=4)
def _masks(count: int) -> tuple[int, int]:
    """The low seven bits, and the lowest bit, of `count` bytes."""
    return int.from_bytes(b"\x7f" * count, "little"), int.from_bytes(b"\1" * count, "little")


# --- one word with errors


def _locator(syndromes: bytes) -> bytes:
    """The shortest polynomial that the syndromes follow (Berlekamp-Massey), lowest power first.

    Its roots are the inverses of 2^power of the bytes that are wrong.
    """
    backwards = [_LOG[value] for value in reversed(syndromes)]
    locator, before, length, gap, divisor = [1], [1], 0, 1, 0
    for at in range(len(syndromes)):
        discrepancy = 0
        for factor, log in zip(locator, backwards[len(syndromes) - 1 - at:], strict=False):
            discrepancy ^= _EXP[_LOG[factor] + log]
        if discrepancy:
            scale = (_LOG[discrepancy] - divisor) % 255
            longer = 2 * length <= at
            fresh = _added(locator, before, gap, scale)
            if longer:
                before, length, gap, divisor = locator, at + 1 - length, 0, _LOG[discrepancy]
            locator = fresh
        gap += 1
    return bytes(locator).rstrip(b"\0")


def _added(locator: list[int], before: list[int], gap: int, scale: int) -> list[int]:
    """locator - 2^scale * x^gap * before."""
    fresh = locator + [0] * (gap + len(before) - len(locator))
    for at, factor in enumerate(before, gap):
        fresh[at] ^= _EXP[_LOG[factor] + scale]
    return fresh


def _places(locator: bytes, length: int) -> list[int]:
    """Which bytes of a word of `length` the locator says are wrong (Chien's search), first ones
    first: its values at all of them are one sum."""
    total = 0
    for number, factor in enumerate(locator):
        terms = _inverses(number, length).translate(_times(factor))
        total ^= int.from_bytes(terms, "big")
    values = total.to_bytes(length, "big")
    places = []
    at = values.find(0)
    while at >= 0:
        places.append(at)
        at = values.find(0, at + 1)
    return places


@cache
def _inverses(number: int, length: int) -> bytes:
    """2^-(number * power) for each byte of a word, whose power goes down to 0."""
    return bytes(_EXP[-power * number % 255] for power in reversed(range(length)))


@cache
def _times(factor: int) -> bytes:
    """Every byte multiplied by `factor`: for bytes.translate."""
    return bytes(_EXP[_LOG[factor] + _LOG[value]] for value in range(256))


def _magnitudes(syndromes: bytes, locator: bytes, places: list[int],
                length: int) -> list[tuple[int, int]]:
    """What is to be xored into each of the wrong bytes (Forney's formula, for first root 1)."""
    logs = [_LOG[factor] for factor in locator]
    evaluator = [reduce(xor, (_EXP[logs[i] + _LOG[syndromes[at - i]]] for i in range(at + 1)))
                 for at in range(len(places))]
    derivative = bytes(factor if at % 2 else 0 for at, factor in enumerate(locator))[1:]
    errors = []
    for place in places:
        power = length - 1 - place
        above = _LOG[_at_inverse(evaluator, power)]
        below = _LOG[_at_inverse(derivative, power)]
        errors.append((place, _EXP[(above + power - below) % 255]))
    return errors


def _at_inverse(factors: Sequence[int], power: int) -> int:
    """The polynomial `factors`, lowest power first, at 2^-power."""
    return reduce(xor, (_EXP[_LOG[factor] + -power * at % 255]
                        for at, factor in enumerate(factors)), 0)
