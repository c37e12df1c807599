"""What a memory keeps across a reboot: a known pattern, and how much of it is still there.

The pattern is SHAKE-128 (FIPS 202) of a nonce and the page's number, half ones and half zeros, so
that every offset can be checked alone and only who knows the nonce can find it intact.  Some bytes
never occur in it, so that no reader takes it for a record: "=" (a dump or journal record begins
"===="), "G" (a zone's signature is "DBGC" in either order), 0x00 (mtdoops' magic), 0xff (erased).
Pure: bytes in, numbers out.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["BLOCK", "HEADER_LINE", "LINE", "NONCE", "Extent", "Loss", "is_constant", "measure",
           "pattern", "repaired"]

NONCE = 16                          # bytes
LINE = 64                           # bytes of a cache line; there are some of 32
BLOCK = 128                         # data bytes per ECC block (fs/pstore/ram_core.c)
# What of a zone's first cache line is data: from behind its header of 12 bytes.
HEADER_LINE = (12, LINE)
# A longer run of lost bytes was overwritten: memory that fades loses bits, a reset loses lines.
OVERWRITTEN = 4 * LINE

_PAGE = 4096
_SAFE = bytes.maketrans(b"=G\x00\xff", b"\x5a\xb8\x96\x69")


class Extent(NamedTuple):
    """Bytes of a region that carry the pattern.  All are offsets in the region."""

    start: int
    end: int
    base: int                       # ECC blocks are counted from here


class Loss(NamedTuple):
    """What became of a pattern."""

    tested: int                     # bytes
    bits: int                       # tested and not overwritten
    lost_bits: int                  # of these, the wrong ones
    lines: int                      # lines, not overwritten, of which an eighth or more is wrong
    blocks: int                     # ECC blocks that were not overwritten as a whole, and do not
                                    # begin with a header's lost line, which no ECC brings back
    bad_blocks: list[int]           # wrong bytes in each of them that has any
    headers: int                    # zones whose header's cache line was tested
    lost_headers: list[int]         # offsets of the zones that lost it
    overwritten: list[tuple[int, int]]      # (start, end), in order
    overwritten_bits: int           # wrong ones in there


def pattern(nonce: bytes, start: int, end: int) -> bytes:
    """The pattern of the bytes from `start` to `end`, offsets in the region."""
    first = start // _PAGE
    pages = b"".join(_page(nonce, number) for number in range(first, -(-end // _PAGE)))
    return pages[start - first * _PAGE:end - first * _PAGE]


def _page(nonce: bytes, number: int) -> bytes:
    return hashlib.shake_128(nonce + number.to_bytes(8, "big")).digest(_PAGE).translate(_SAFE)


def measure(region: bytes, nonce: bytes, extents: Sequence[Extent], zones: Iterable[int]) -> Loss:
    """How much of the pattern is left in `region`.

    extents: in order, apart.  zones: offsets of zones whose header's cache line is looked at, as
    far as it is in the extents.
    """
    overwritten: list[tuple[int, int]] = []
    bad: dict[int, int] = {}
    lost, lines, gone, blocks = 0, 0, 0, 0
    for extent in extents:
        blocks += _block(extent, extent.end - 1) - _block(extent, extent.start) + 1
        for run in _with_edges(_runs(_damage(region, nonce, extent))):
            if run.overwritten:
                overwritten.append((run.start, run.end))
                gone += run.wrong
                blocks -= max(0, _block(extent, run.end) - _block(extent, run.start + BLOCK - 1))
                continue
            lost += run.wrong
            lines += len(run.pieces) if run.lost else 0
            for piece in run.pieces:
                _count_blocks(bad, extent.base, piece)
    tested = sum(extent.end - extent.start for extent in extents)
    left = tested - sum(end - start for start, end in overwritten)
    headers = [(zone, _header_line(region, nonce, zone))
               for zone in _standing(zones, extents, overwritten)]
    lost_headers = _lost_headers(headers, lost, left * 8)
    for zone in lost_headers:
        bad.pop(zone + HEADER_LINE[0], None)
    return Loss(tested, left * 8, lost, lines, blocks - len(lost_headers), sorted(bad.values()),
                len(headers), lost_headers, overwritten, gone)


def repaired(loss: Loss, ecc: int) -> float | None:
    """The share of blocks that `ecc` parity bytes each would have kept: they repair half as many.

    None: there are no blocks.
    """
    failed = sum(wrong > ecc // 2 for wrong in loss.bad_blocks)
    return 1 - failed / loss.blocks if loss.blocks > 0 else None


def is_constant(region: bytes, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether `ranges` hold the same few bytes again and again: wiped, not faded."""
    if not ranges:
        return False
    start, end = max(ranges, key=lambda each: each[1] - each[0])
    middle = (start + end) // 2 // LINE * LINE
    line = region[middle:middle + LINE]
    same = sum(region.count(line, *each) for each in ranges) * LINE
    return same >= 0.9 * sum(end - start for start, end in ranges)


# --- where it is wrong


class _Piece(NamedTuple):
    """A line of which something is wrong; at an extent's ends a part of one."""

    start: int
    xor: bytes
    wrong: int                      # bits

    @property
    def lost(self) -> bool:
        """An eighth of its bits is wrong: half of a line of 32 bytes in one of 64, overwritten."""
        return self.wrong >= len(self.xor)


class _Run:
    """Lost pieces in a row, or one that is not lost."""

    def __init__(self, piece: _Piece) -> None:
        self.start, self.end = piece.start, piece.start + len(piece.xor)
        self.wrong = piece.wrong
        self.lost = piece.lost
        self.pieces = [piece]       # as long as it may not be overwritten: there may be millions
        self.closed = False         # nothing more belongs to it

    @property
    def overwritten(self) -> bool:
        return self.end - self.start >= OVERWRITTEN

    def add(self, piece: _Piece) -> None:
        self.end += len(piece.xor)
        self.wrong += piece.wrong
        if not self.overwritten:
            self.pieces.append(piece)

    def absorb(self, run: _Run) -> None:
        """Take in `run`, which is behind: one of the two was overwritten, the other is its edge."""
        self.closed = self.overwritten
        self.end = run.end
        self.wrong += run.wrong


def _runs(pieces: Iterable[_Piece]) -> Iterator[_Run]:
    run: _Run | None = None
    for piece in pieces:
        if run and run.lost and piece.lost and run.end == piece.start:
            run.add(piece)
            continue
        if run:
            yield run
        run = _Run(piece)
    if run:
        yield run


def _with_edges(runs: Iterable[_Run]) -> Iterator[_Run]:
    """`runs`, those that were overwritten with the lines that they begin and end in."""
    held: _Run | None = None
    for run in runs:
        if held and held.end == run.start and held.overwritten != run.overwritten \
                and not held.closed:
            held.absorb(run)
            continue
        if held:
            yield held
        held = run
    if held:
        yield held


def _damage(region: bytes, nonce: bytes, extent: Extent) -> Iterator[_Piece]:
    """The lines of `extent` that are not as they were written, in order."""
    for page in range(extent.start // _PAGE * _PAGE, extent.end, _PAGE):
        start, end = max(page, extent.start), min(page + _PAGE, extent.end)
        now, then = region[start:end], _page(nonce, page // _PAGE)[start - page:end - page]
        if now != then:
            yield from _lines(start, _xor(now, then))


def _xor(one: bytes, other: bytes) -> bytes:
    number = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return number.to_bytes(len(one), "big")


def _bits(data: bytes) -> int:
    return int.from_bytes(data, "big").bit_count()


def _lines(start: int, xor: bytes) -> Iterator[_Piece]:
    at = 0
    while at < len(xor):
        line = xor[at:at + LINE - (start + at) % LINE]
        wrong = _bits(line)
        if wrong:
            yield _Piece(start + at, line, wrong)
        at += len(line)


def _block(extent: Extent, offset: int) -> int:
    """The number of the block that `offset` is in."""
    return (offset - extent.base) // BLOCK


def _count_blocks(bad: dict[int, int], base: int, piece: _Piece) -> None:
    """Add the wrong bytes of `piece` to its blocks, which `bad` knows by their offsets."""
    at = 0
    while at < len(piece.xor):
        in_block = (piece.start + at - base) % BLOCK
        part = piece.xor[at:at + BLOCK - in_block]
        block = piece.start + at - in_block
        wrong = len(part) - part.count(0)
        if wrong:
            bad[block] = bad.get(block, 0) + wrong
        at += len(part)


# --- the lines that hold a zone's header


def _standing(zones: Iterable[int], extents: Sequence[Extent],
              overwritten: Sequence[tuple[int, int]]) -> list[int]:
    """The zones whose header's line was tested and not overwritten."""
    first, last = HEADER_LINE
    tested = [(extent.start, extent.end) for extent in extents]
    return [zone for zone in zones
            if _last_before(tested, zone + first)[1] >= zone + last
            and _last_before(overwritten, zone + last - 1)[1] <= zone + first]


def _last_before(ranges: Sequence[tuple[int, int]], offset: int) -> tuple[int, int]:
    """The last of the ordered `ranges` that starts at or before `offset`."""
    at = bisect_right(ranges, offset, key=lambda each: each[0])
    return ranges[at - 1] if at else (0, 0)


def _header_line(region: bytes, nonce: bytes, zone: int) -> int:
    """The wrong bits in the line of the zone's header."""
    start, end = zone + HEADER_LINE[0], zone + HEADER_LINE[1]
    return _bits(_xor(region[start:end], pattern(nonce, start, end)))


def _lost_headers(headers: list[tuple[int, int]], lost: int, bits: int) -> list[int]:
    """The zones in whose header's line far more is wrong than elsewhere.

    A twentieth more: of a line of 32 bytes, 20 behind the header are lost, a fifth of the bits.
    """
    line = (HEADER_LINE[1] - HEADER_LINE[0]) * 8
    rest = bits - line * len(headers)
    rate = (lost - sum(wrong for _, wrong in headers)) / rest if rest > 0 else 0.0
    return [zone for zone, wrong in headers if wrong > line * (0.05 + 2 * rate)]
