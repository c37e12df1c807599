"""Deflate behind damage: a place where decoding may begin again, although zlib has given up.

The newest lines of a log are at its end, so damage takes the best of it.  Places that serve:
- Within the damaged block, whose code is known.  A decoder that begins at a wrong bit falls into
  step with the right one by itself after some symbols.  Every bit of a symbol's length is tried,
  and where all these decoders have come together is the truth, for one of them was right.
- The header of a later block.  It is found at whatever bit it stands, because it checks itself: the
  lengths of its codes leave no bit pattern over.
- A stored block, by its length and the complement of it; a last block with the fixed code, because
  it ends where the input ends.

What stood before such a place is not known, and what refers to it gives UNKNOWN bytes.  Within the
damaged block the gap is short, so that its length is found by trial: with the right one, the
references into the text before it make lines of a log.

Source: RFC 1951; lib/zlib_inflate/inftrees.c for which codes are complete.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from .allowance import Allowance, Spent
from .inflate import LINE, RAW, Inflated, inflate, odd_lines, position

__all__ = ["UNKNOWN", "Log", "log"]

UNKNOWN = b"\xff"           # stands for a byte of text that is not known; in no UTF-8 text
WINDOW = 32768              # bytes that a reference may go back
LONGEST_SYMBOL = 48         # bits: 15 and 5 extra for a length, 15 and 13 extra for a distance
MOST_STEPS = 4096           # symbols that are looked at until the decoders come together
SEARCHED = 1 << 17          # bytes on either side of damage in which headers are looked for
CHUNK = 2048                # bytes in which they are looked for at once
LONGEST_START = 10          # bytes that a header's beginning takes, with the code of its lengths
MOST_GAPS = 8               # in one stream
MOST_TRIES = 512            # places in one stream
MOST_LOST = 512             # bytes of text that may be missing where a gap's length is tried
SAMPLE = 2048               # bytes of text that show whether it was right
LEAST_SCORE, CLEARLY = 150, 1.3         # what that takes, and against the next best
MOST_TRIALS = 8             # of that, in one stream
BEYOND = (16, 64)           # bytes behind where the damage was noticed: it may be longer
LAST_FIXED = 256            # bytes from the end in which a block with the fixed code may begin
TRY = 100                   # steps of work for a place
PACE = 256                  # bytes of input that are shifted and inflated in one step
PACE_OF_PATTERNS = 32       # bytes of input that are searched in one
TEXT_PACE = 16              # bytes of text that are looked at, and mended, in one

END_OF_BLOCK = 256
LENGTH_EXTRA = (*[0] * 8, *(n // 4 for n in range(4, 24)), 0)       # bits, of symbol 257 + n
DISTANCE_EXTRA = (0, 0, *(n // 2 for n in range(28)))
ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
REPEATS = {16: (3, 2), 17: (3, 3), 18: (11, 7)}         # symbol -> at least, and extra bits

# The first two bytes of a header: which code it is, and two counts.
LIKELY = re.compile(b"(?=[%b][%b])" % (
    re.escape(bytes(n for n in range(30 << 3) if n >> 1 & 3 == 2)),
    re.escape(bytes(n for n in range(256) if n & 31 < 30))))

WORD = rb"[A-Za-z_]{4,}"
# How a line begins, and what can be that: levels of one or two digits, seconds of five or six.
BEGINNINGS = [(b"\n<%b>[%b.%b]" % (UNKNOWN * level, UNKNOWN * seconds, UNKNOWN * 6), re.compile(
    rb"[\n\xff][<\xff][\d\xff]{%d}[>\xff][\[\xff][ \d\xff]{%d}[\d\xff]\.[\d\xff]{6}[\]\xff]"
    % (level, seconds - 1))) for level, seconds in ((1, 5), (2, 5), (1, 6), (2, 6))]
LEAST_KNOWN = 8             # bytes of a line's beginning that must be known for the rest to be

Code = dict[int, int]       # a code's bits as they stand, below a 1 that marks their end -> symbol


class Log(NamedTuple):
    """What could be read of a stream with damage in it."""

    text: bytes             # with UNKNOWN bytes, and a line in square brackets for each gap
    gaps: int
    used: int | None        # bytes of the stream; None: it did not come to its end


class Piece(NamedTuple):
    """Text behind a gap."""

    text: bytes
    start: int              # byte offset of where decoding began again
    used: int | None        # bytes of the stream; None: it did not come to its end
    stopped: int | None     # byte offset of the next damage; None: there is none


class Place(NamedTuple):
    """Where decoding may begin again."""

    at: int                 # bit offset
    header: int             # bits to put before it
    header_size: int        # how many
    certain: bool = False   # a self-checking header is there, or the block ends where one is
    near: bool = False      # it is so near to the damage that the gap's length can be found


class Block(NamedTuple):
    """A block with a code of its own."""

    start: int              # bit offset of its header
    data: int               # bit offset of its first symbol
    literals: Code          # of bytes, lengths and the block's end
    distances: Code


class Bits:
    """The input, read from any bit, and the work that may be done on it."""

    def __init__(self, data: bytes, allowance: Allowance | None = None) -> None:
        self.data = data
        self.size = 8 * len(data)
        self.number = int.from_bytes(data, "little")
        self.spend = (allowance or Allowance(0)).spend

    def peek(self, at: int, count: int) -> int:
        """`count` bits, at most 57, from bit `at` on; zeros behind the end."""
        first = at >> 3
        return int.from_bytes(self.data[first:first + 8], "little") >> (at & 7) & (1 << count) - 1


def log(body: bytes, limit: int, known: bytes, stopped: int, allowance: Allowance) -> Log:
    """The text of the raw deflate stream `body`, with what can be read behind its damage.

    known: its text up to the damage, or b"" if that is no text; stopped: the byte offset of where
    the damage was noticed.  The text has at most `limit` bytes.
    """
    bits = Bits(body, allowance)
    text, gaps, used = known, 0, None
    try:
        for piece in _pieces(bits, limit - len(known), known, stopped):
            text += _gap(piece.start - stopped, text) + piece.text
            gaps, used, stopped = gaps + 1, piece.used, piece.stopped or 0
    except Spent:
        used = None
    return Log(text[:limit], gaps, used if len(text) <= limit else None)


def _pieces(bits: Bits, limit: int, before: bytes, stopped: int | None) -> Iterator[Piece]:
    """What can be read behind each damage, the first of which was noticed at byte `stopped`.

    before: the text before it; limit: bytes of text that are wanted.
    """
    tries, trials = iter(range(MOST_TRIES)), iter(range(MOST_TRIALS))
    for _ in range(MOST_GAPS):
        if stopped is None or limit <= 0:
            break
        places = (place for place, _ in zip(_places(bits, stopped), tries, strict=False))
        piece = _behind(bits, places, before, limit, trials)
        if piece is None:
            break
        yield piece
        stopped, before, limit = piece.stopped, piece.text, limit - len(piece.text)


def _gap(size: int, before: bytes) -> bytes:
    line = f"[... {max(1, size)} bytes of the compressed log could not be read ...]\n".encode()
    return line if not before or before.endswith(b"\n") else b"\n" + line


def _behind(bits: Bits, places: Iterable[Place], before: bytes, limit: int,
            trials: Iterator[int]) -> Piece | None:
    """What can be read at the first of the places where that is a log.

    before: the text before the damage.
    """
    for place in places:
        stream, window = _stream(bits, place), UNKNOWN * WINDOW
        if place.near:
            found = _window(bits, stream, before, trials)
            if found is None:
                continue
            window = found
        text, used, again = _inflated(bits, stream, limit, window)
        odd = odd_lines(text)
        if odd:
            text, used, again = text[:odd[0]], None, position(stream, odd[0], window)
        if text and (place.certain or _is_log(text)):
            return _piece(place, _mended(text), used, again, len(bits.data))
    return None


def _inflated(bits: Bits, stream: bytes, limit: int, window: bytes) -> Inflated:
    """`stream` as text.  To look at it, and to mend it, takes several times as long."""
    bits.spend(TRY + len(stream) // PACE)
    found = inflate(stream, RAW, limit, window)
    bits.spend(len(found.text) // TEXT_PACE)
    return found


def _piece(place: Place, text: bytes, used: int | None, stopped: int | None, size: int) -> Piece:
    """A piece whose offsets count from the whole input's start, which has `size` bytes."""
    shift, start = place.at - place.header_size, place.at >> 3
    return Piece(text, start,
                 None if used is None else min((8 * used + shift + 7) >> 3, size),
                 None if stopped is None else max((8 * stopped + shift) >> 3, start + 1))


# --- where decoding can begin again


def _places(bits: Bits, stopped: int) -> Iterator[Place]:
    """The places behind the damage at byte `stopped`, the best ones first."""
    current = _last_block(bits, stopped)
    within = list(_within(bits, current, stopped)) if current else []
    yield from (place for place in within if place.certain)
    end = bits.size
    for block in blocks(bits, max(0, stopped - LONGEST_SYMBOL // 8)):
        if block != current:
            end = min(end, block.start)
            yield Place(block.start, 0, 0, certain=True)
    yield from _stored(bits, stopped)
    yield from _fixed(bits, stopped)
    yield from (place for place in within if not place.certain and place.at < end)


def _within(bits: Bits, block: Block, stopped: int) -> Iterator[Place]:
    """Places in the rest of the damaged block; its header goes before them."""
    size = block.data - block.start
    place = Place(0, bits.number >> block.start & (1 << size) - 1, size)
    for beyond in BEYOND:
        at = in_step(bits, block, 8 * (stopped + beyond))
        if at is None:
            break
        # What is in step at one place is so at all that follow.
        place = place._replace(at=at, certain=place.certain or _ends(bits, block, at))
        yield place._replace(near=True)
    if place.at:
        yield place


def _ends(bits: Bits, block: Block, at: int) -> bool:
    """Whether the symbols from `at` on go on to the block's end, and that is where the next one
    begins, or the input ends."""
    following: int | None = at
    while following is not None:
        bits.spend(2)
        at, following = following, _next(bits, block, following)
    symbol, size = _symbol(bits.peek(at, 15), block.literals)
    at += size
    # Behind the last block there are less than eight bits, and maybe a sum of 32.
    return symbol == END_OF_BLOCK and (bits.size - at < 8 + 32 or _block(bits, at) is not None)


def _stored(bits: Bits, stopped: int) -> Iterator[Place]:
    """Where a length and its complement stand; a stored block's header is put before them."""
    data = bits.data[stopped:]
    if len(data) < 4:
        return
    bits.spend(len(data) // PACE_OF_PATTERNS)
    both = int.from_bytes(data[:-2], "little") ^ int.from_bytes(data[2:], "little")
    for match in re.finditer(rb"(?=\xff\xff)", both.to_bytes(len(data) - 2, "little")):
        yield Place(8 * (stopped + match.start()), 0, 8)


def _fixed(bits: Bits, stopped: int) -> Iterator[Place]:
    """Where a last block with the fixed code may begin, if the input can end with one: its last
    symbol is seven zeros.  A checksum of four bytes may stand behind it."""
    if any(byte < 2 for byte in (bits.data[-1:] + bits.data[-5:-4])):
        for at in range(max(8 * stopped, bits.size - 8 * LAST_FIXED), bits.size):
            if bits.peek(at, 3) == 3:   # "last", and which code
                yield Place(at, 0, 0)


def _stream(bits: Bits, place: Place) -> bytes:
    """The rest of the input from a place on, with the place's header before it."""
    number = bits.number >> place.at << place.header_size | place.header
    return number.to_bytes((bits.size - place.at + place.header_size + 7) >> 3, "little")


# --- what is a log


def _window(bits: Bits, stream: bytes, before: bytes, trials: Iterator[int]) -> bytes | None:
    """The text before a place in the damaged block: `before` and so many unknown bytes that what
    follows is the log.  None if no number of them does that clearly better than all others.

    The last whole line of `before` counts as unknown: it was read when the damage had begun.
    trials: no more than this has.
    """
    near = before[-WINDOW:]
    ends = [match.end() for match in re.finditer(rb"\n", near)][-2:-1]
    if not ends or next(trials, None) is None:
        return None
    sure, rest = UNKNOWN * WINDOW + near[:ends[0]], UNKNOWN * (len(near) - ends[0])
    words = set(re.findall(WORD, sure))
    bits.spend(100 * MOST_LOST)
    scores = [_score(inflate(stream, RAW, SAMPLE, (sure + rest + UNKNOWN * lost)[-WINDOW:]).text,
                     words) for lost in range(MOST_LOST)]
    second, best = sorted(scores)[-2:]
    if best < CLEARLY * second or best < LEAST_SCORE:
        return None
    return (sure + rest + UNKNOWN * scores.index(best))[-WINDOW:]


def _score(text: bytes, words: set[bytes]) -> int:
    """How much `text` reads like the log that these words are from: a wrong distance copies parts
    of words and of lines' beginnings."""
    return (sum(len(word) for word in re.findall(WORD, text) if word in words)
            + 30 * len(re.findall(rb"\n" + LINE, text)))


def _is_log(text: bytes) -> bool:
    """Whether it can only be one: it has a line's beginning, and nothing that no log has."""
    if re.search(rb"[^\t\n -~\xff]", text):
        return False
    return re.search(LINE, text) is not None or next(_beginnings(text), None) is not None


def _mended(text: bytes) -> bytes:
    """`text` with its lines' beginnings put where they are unknown and cannot be anything else."""
    out = bytearray(text)
    for start, shape in _beginnings(text):
        for at, byte in enumerate(shape, start):
            if byte != UNKNOWN[0]:
                out[at] = byte
    return bytes(out)


def _beginnings(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Where a line must begin, from the end of the line before it on, and what stands there.

    The dot of its time is known, and enough else.  What may be one or two digits long is left
    alone if both are possible.
    """
    for dot in re.finditer(rb"\.[\d\xff]{6}[\]\xff]", text):
        fits = [(start, shape) for shape, pattern in BEGINNINGS
                if (start := dot.start() - shape.index(b".")) >= 0
                and (match := pattern.match(text, start))
                and len(match[0].replace(UNKNOWN, b"")) >= LEAST_KNOWN]
        if len(fits) == 1:
            yield fits[0]


# --- the headers of blocks


def blocks(bits: Bits, first: int = 0) -> Iterator[Block]:
    """Every block with a code of its own whose header is whole, in order, from byte `first` on."""
    for start in range(first, min(len(bits.data), first + SEARCHED), CHUNK):
        yield from _blocks(bits, start)


def _last_block(bits: Bits, stopped: int) -> Block | None:
    """The last such block whose first symbol is not behind byte `stopped`."""
    for start in range(stopped - stopped % CHUNK, max(-1, stopped - SEARCHED), -CHUNK):
        for block in reversed(_blocks(bits, start)):
            if block.data <= 8 * stopped:
                return block
    return None


def _blocks(bits: Bits, start: int) -> list[Block]:
    """Those whose header begins in the CHUNK bytes at `start`."""
    return [block for at in sorted(_candidates(bits, start)) if (block := _block(bits, at))]


def _candidates(bits: Bits, start: int) -> Iterator[int]:
    """Where a header can be: its type and counts are possible, and the code of its lengths is
    complete.  Of the bits of noise that is one in a thousand."""
    share = _shares()
    near = bits.data[start:start + CHUNK + LONGEST_START]
    for shift in range(8):
        bits.spend(CHUNK // PACE_OF_PATTERNS)
        shifted = (int.from_bytes(near, "little") >> shift).to_bytes(len(near), "little")
        for match in LIKELY.finditer(shifted, 0, CHUNK + 1):
            bits.spend(1)
            at = match.start()
            word = int.from_bytes(shifted[at:at + LONGEST_START], "little")
            lengths = word >> 17 & (1 << 3 * ((word >> 13 & 15) + 4)) - 1
            if share[lengths & 4095] + share[lengths >> 12 & 4095] + share[lengths >> 24 & 4095] \
                    + share[lengths >> 36 & 4095] + share[lengths >> 48] == 128:
                yield 8 * (start + at) + shift


@cache
def _shares() -> list[int]:
    """Of a complete code, 128, what any four lengths of three bits take up."""
    one = (0, *(128 >> length for length in range(1, 8)))
    return [one[n & 7] + one[n >> 3 & 7] + one[n >> 6 & 7] + one[n >> 9] for n in range(4096)]


def _block(bits: Bits, start: int) -> Block | None:
    """The block at `start`, if its header is one."""
    word = bits.peek(start, 17)
    count, total = (word >> 3 & 31) + 257, (word >> 3 & 31) + (word >> 8 & 31) + 258
    order = ORDER[:(word >> 13) + 4]
    known = {symbol: bits.peek(start + 17 + 3 * n, 3) for n, symbol in enumerate(order)}
    bits.spend(TRY + 2 * total)
    found = _lengths(bits, start + 17 + 3 * len(order), total,
                     _code([known.get(symbol, 0) for symbol in range(19)]))
    if found is None:
        return None
    lengths, data = found
    literals, distances = _code(lengths[:count]), _code(lengths[count:])
    # A block with one distance or none has no complete code of them.
    if not literals or not (distances or sum(map(bool, lengths[count:])) < 2):
        return None
    return Block(start, data, literals, distances) if lengths[END_OF_BLOCK] else None


def _lengths(bits: Bits, at: int, total: int, code: Code) -> tuple[list[int], int] | None:
    """The lengths of a block's codes, and where they end."""
    lengths: list[int] = []
    room = 2 << 15                      # what is left of two complete codes
    while len(lengths) < total and at < bits.size and room >= 0:
        word = bits.peek(at, 16)
        symbol, size = _symbol(word, code)
        at += size
        if symbol < 0 or (symbol == 16 and not lengths):
            return None
        if symbol < 16:
            lengths.append(symbol)
            room -= 1 << 15 >> symbol if symbol else 0
        else:
            least, extra = REPEATS[symbol]
            again = least + (word >> size & (1 << extra) - 1)
            value = lengths[-1] if symbol == 16 else 0
            lengths += [value] * again
            room -= again << 15 >> value if value else 0
            at += extra
    return (lengths, at) if len(lengths) == total else None


def _code(lengths: list[int]) -> Code:
    """The canonical code of these lengths; empty if they are not those of a complete one."""
    if sum(1 << 15 - length for length in lengths if length) != 1 << 15:
        return {}
    code: Code = {}
    value = 0
    for length in range(1, 16):
        value <<= 1
        for symbol, size in enumerate(lengths):
            if size == length:
                code[1 << length | int(f"{value:0{length}b}"[::-1], 2)] = symbol
                value += 1
    return code


def _symbol(word: int, code: Code) -> tuple[int, int]:
    """The symbol that `word` begins with, and its bits; -1 if the code has none."""
    for size in range(1, 16):
        symbol = code.get(word & (1 << size) - 1 | 1 << size)
        if symbol is not None:
            return symbol, size
    return -1, 15


# --- within a block


def in_step(bits: Bits, block: Block, start: int) -> int | None:
    """Where a symbol begins for certain, at or behind bit `start`; None if that cannot be told."""
    at_hand = set(range(start, start + LONGEST_SYMBOL))
    for _ in range(MOST_STEPS):
        bits.spend(4)
        first = min(at_hand)
        if len(at_hand) == 1:
            return first if first < bits.size else None
        at_hand.remove(first)
        at = _next(bits, block, first)
        if at is not None:
            at_hand.add(at)
        if not at_hand:
            break
    return None


def _next(bits: Bits, block: Block, at: int) -> int | None:
    """Where the symbol at `at` ends, a distance included; None if it ends the block, or is none."""
    word = bits.peek(at, 57)
    symbol, size = _symbol(word, block.literals)
    if at >= bits.size or symbol in (-1, END_OF_BLOCK, 286, 287):
        return None
    if symbol < END_OF_BLOCK:
        return at + size
    size += LENGTH_EXTRA[symbol - END_OF_BLOCK - 1]
    distance, bits_of_it = _symbol(word >> size, block.distances)
    return at + size + bits_of_it + DISTANCE_EXTRA[distance] if 0 <= distance < 30 else None
