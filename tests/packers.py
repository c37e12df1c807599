"""Compressors for tests: what no library here writes, each with every form that its format has.

Kept apart from the decoders: written from the formats' descriptions (lib/842/842.h,
Documentation/staging/lzo.rst), and checked against real kernels' streams by tests/data/samples.
"""

from __future__ import annotations

import random
import sys

import lz4.block
import pytest
import zstandard

from tests import zones

__all__ = ["PACKERS", "Bits", "literals", "lzo", "packed_lz4", "sw842", "without_zstd", "zstd"]


def packed_lz4(text: bytes, mode: str = "default") -> bytes:
    """A raw block by the reference implementation; "high_compression" is what the kernel calls
    lz4hc."""
    return lz4.block.compress(text, mode=mode, store_size=False)


def zstd(text: bytes, level: int = 3) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(text)


def without_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a router: no library for it."""
    for name in ("compression", "compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)


# --- 842


_OPS = ("8", "4 2 i2", "4 i2 2", "4 i2 i2", "4 i4", "2 i2 4", "2 i2 2 i2", "2 i2 i2 2",
        "2 i2 i2 i2", "2 i2 i4", "i2 2 4", "i2 4 i2", "i2 2 i2 2", "i2 2 i2 i2", "i2 2 i4",
        "i2 i2 4", "i2 i2 2 i2", "i2 i2 i2 2", "i2 i2 i2 i2", "i2 i2 i4", "i4 4", "i4 2 i2",
        "i4 i2 2", "i4 i2 i2", "i4 i4", "i8")
_INDEX = {2: (8, 512), 4: (9, 2048), 8: (8, 2048)}      # size -> bits, bytes of the ring


class Bits:
    def __init__(self) -> None:
        self.bits: list[str] = []

    def put(self, value: int, count: int) -> None:
        self.bits.append(f"{value:0{count}b}")

    def done(self) -> bytes:
        bits = "".join(self.bits)
        bits += "0" * (-len(bits) % 64)                 # padded to eight bytes
        return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


def sw842(text: bytes, seed: int | None = None, used: set[int] | None = None) -> bytes:
    """`text` in 842's software format.

    seed: a template is chosen at random among the possible ones; None: the shortest.  used: the
    operations are added to it.
    """
    rng, bits, at = random.Random(seed), Bits(), 0
    used = set() if used is None else used
    while at + 8 <= len(text):
        chunk = text[at:at + 8]
        repeats = 0
        while at and repeats < 64 and text.startswith(text[at - 8:at], at + 8 * repeats):
            repeats += 1
        if repeats and (seed is None or rng.random() < .8):
            bits.put(0x1b, 5)
            bits.put(repeats - 1, 6)
            used.add(0x1b)
            at += 8 * repeats
        elif chunk == bytes(8):
            bits.put(0x1c, 5)
            used.add(0x1c)
            at += 8
        else:
            used.add(_template(text, at, bits, rng, seed is not None))
            at += 8
    if at < len(text):
        bits.put(0x1d, 5)
        bits.put(len(text) - at, 3)
        used.add(0x1d)
        for byte in text[at:]:
            bits.put(byte, 8)
    bits.put(0x1e, 5)
    bits.put(crc32_be(text), 32)
    return bits.done()


def _template(text: bytes, at: int, bits: Bits, rng: random.Random, chance: bool) -> int:
    ways = []
    for op, template in enumerate(_OPS):
        fields, place = [(op, 5)], at
        for part in template.split():
            size = int(part[-1])
            piece = text[place:place + size]
            place += size
            if part[0] != "i":
                fields.append((int.from_bytes(piece, "big"), 8 * size))
                continue
            index = _index(text, at, piece, size, rng)
            if index is None:
                break
            fields.append((index, _INDEX[size][0]))
        else:
            ways.append((sum(count for _, count in fields), op, fields))
    _, op, fields = rng.choice(ways) if chance else min(ways)
    for value, count in fields:
        bits.put(value, count)
    return op


def _index(text: bytes, at: int, piece: bytes, size: int, rng: random.Random) -> int | None:
    """Where the piece stands in the ring of pieces of its size; None if it does not."""
    ring = _INDEX[size][1]
    first = max(0, at - ring)
    places = []
    place = text.find(piece, first, at)
    while place >= 0:
        if place % size == 0:
            places.append(place)
        place = text.find(piece, place + 1, at)
    return rng.choice(places) % ring // size if places else None


def crc32_be(text: bytes) -> int:
    """Bit by bit: polynomial 0x04c11db7, most significant bit first, from 0, not inverted."""
    crc = 0
    for byte in text:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04c11db7 if crc >> 31 else 0)) & 0xffffffff
    return crc


# --- LZO1X


def lzo(text: bytes, seed: int = 0, used: set[str] | None = None) -> bytes:
    """`text` as an LZO1X stream; which matches are taken, and in which form, is left to chance.

    used: the names of the instructions' forms are added to it.
    """
    rng, out, waiting, at = random.Random(seed), _Lzo(set() if used is None else used), b"", 0
    known: dict[bytes, list[int]] = {}
    while at < len(text):
        distance, length = _match(text, at, known, rng)
        if not length or not out.match(waiting, distance, length):
            length = 1
            waiting += text[at:at + 1]
        else:
            waiting = b""
        for place in range(at, at + length):
            known.setdefault(text[place:place + 2], []).append(place)
        at += length
    return out.done(waiting)


def _match(text: bytes, at: int, known: dict[bytes, list[int]],
           rng: random.Random) -> tuple[int, int]:
    """How far back, and for how long, the text repeats what stands there."""
    places = known.get(text[at:at + 2], [])
    if not places or rng.random() < .1:
        return 0, 0
    place = rng.choice([places[-1], rng.choice(places)])
    most = rng.choice([2, 3, 8, 33, 600])
    length = 2
    while length < most and at + length < len(text) and text[place + length] == text[at + length]:
        length += 1
    return at - place, length


class _Lzo:
    """The stream so far.  state: as the decoder will have it, before the waiting literals."""

    def __init__(self, used: set[str]) -> None:
        self.out, self.used, self.last = bytearray(), used, 0   # last: where literals are counted

    def match(self, literals: bytes, distance: int, length: int) -> bool:
        """Write the literals, then the match; False if no instruction can say it."""
        state = min(len(literals), 4) if self.out or literals else 0
        form = self._form(state, distance, length)
        if form is None:
            return False
        self._literals(literals)
        self.used.add(form[0])
        self.out += form[1]
        self.last = len(self.out) - form[2]
        return True

    def _form(self, state: int, distance: int, length: int) -> tuple[str, bytes, int] | None:
        """An instruction's name, its bytes, and how far from its end its count of literals is."""
        if length == 2:
            if not 1 <= state <= 3 or distance > 1024:
                return None
            return "M1", bytes([(distance - 1 & 3) << 2, distance - 1 >> 2]), 2
        if length == 3 and state == 4 and 2048 < distance <= 3072:
            return "M1 far", bytes([(distance - 2049 & 3) << 2, distance - 2049 >> 2]), 2
        if length <= 8 and distance <= 2048:
            return "M2", bytes([length - 1 << 5 | (distance - 1 & 7) << 2, distance - 1 >> 3]), 2
        if distance <= 0x4000:
            return ("M3", _counted(32, 31, length - 2) + (distance - 1 << 2).to_bytes(2, "little"),
                    2)
        if distance < 0xc000:
            back = distance - 0x4000
            code = 16 | back >> 11 & 8
            return ("M4", _counted(code, 7, length - 2)
                    + ((back & 0x3fff) << 2).to_bytes(2, "little"), 2)
        return None

    def _literals(self, run: bytes) -> None:
        if not self.out and run:
            short = len(run) <= 238
            self.used.add("first literals" if short else "long literals")
            self.out += bytes([17 + len(run)]) if short else _counted(0, 15, len(run) - 3)
        elif 0 < len(run) < 4:
            self.used.add("few literals")
            self.out[self.last] |= len(run)
        elif run:
            self.used.add("literals" if len(run) <= 18 else "long literals")
            self.out += _counted(0, 15, len(run) - 3)
        self.out += run

    def done(self, literals: bytes) -> bytes:
        self._literals(literals)
        return bytes(self.out) + b"\x11\x00\x00"


def _counted(code: int, most: int, count: int) -> bytes:
    """An instruction with a count in its low bits, or in bytes behind it where it is larger."""
    if count <= most:
        return bytes([code | count])
    zeros, last = divmod(count - most - 1, 255)
    return bytes([code]) + bytes(zeros) + bytes([last + 1])


# --- deflate


def literals(text: bytes) -> bytes:
    """Raw deflate whose blocks have no code: stored ones."""
    return b"".join(_stored(text[at:at + 700], at + 700 >= len(text))
                    for at in range(0, len(text), 700))


def _stored(text: bytes, last: bool) -> bytes:
    size = len(text).to_bytes(2, "little")
    return bytes([last]) + size + bytes(byte ^ 0xff for byte in size) + text


PACKERS = {
    "deflate": zones.deflated,
    "zlib": lambda text: zones.deflated(text, wrapped=True),
    "lz4": packed_lz4,
    "lz4hc": lambda text: packed_lz4(text, "high_compression"),
    "lzo": lzo,
    "842": sw842,
    "zstd": zstd,
}
