"""medium/resync.py: what is read behind the damage in a stream of deflate."""

from __future__ import annotations

import random
import re
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.medium import resync
from lastlog_py.medium.compression import complaint, unpack
from lastlog_py.medium.inflate import RAW, inflate, odd_lines, position
from tests import packers, samples, zones

LOG = samples.kernel_text("s15_oom", "dmesg-ramoops-0")
GAP = re.compile(rb"\n\[\.\.\. \d+ bytes of the compressed log could not be read \.\.\.\]\n")


def raw(text: bytes = LOG, memory: int = 8, bits: int = 11) -> bytes:
    """As 4.17 and later write it; with less memory its blocks are smaller."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -bits, memory)
    return packer.compress(text) + packer.flush()


def headers(body: bytes) -> list[int]:
    """The bits at which blocks with a code of their own begin."""
    return [block.start for block in resync.blocks(resync.Bits(body))]


def destroyed(body: bytes, first: int, last: int) -> bytes:
    """With the header of a block that cannot be, and noise up to `last`."""
    return body[:first] + random.Random(first).randbytes(last - first) + body[last:]


def wrong(text: bytes, truth: bytes) -> int:
    """How many of the known bytes of `text`, which ends as `truth` does, are not the truth's."""
    return sum(a not in (b, 0xff) for a, b in zip(text[::-1], truth[::-1], strict=False))


# --- blocks


@pytest.mark.parametrize("memory", [1, 4, 8, 9])
def test_every_block_s_header_is_found_and_nothing_else(memory: int) -> None:
    """A block's text begins where zlib has the text so far."""
    body = raw(memory=memory)
    found = headers(body)
    assert found[0] == 0 and len(found) >= {1: 40, 4: 6, 8: 1, 9: 1}[memory]
    bits = resync.Bits(body)
    for start in found:
        text = inflate((bits.number >> start).to_bytes(len(body), "little"), RAW, 1 << 20,
                       resync.UNKNOWN * resync.WINDOW).text
        assert LOG.endswith(text[-1:]) and wrong(text, LOG) == 0


def test_noise_has_no_headers() -> None:
    assert headers(random.Random(0).randbytes(1 << 16)) == []


@pytest.mark.parametrize("seed", range(8))
def test_decoders_fall_into_step(seed: int) -> None:
    """From wherever they begin, they end up at a symbol's beginning."""
    body = raw()
    bits = resync.Bits(body)
    block = next(resync.blocks(bits))
    true, at = set(), block.data
    while at is not None:
        true.add(at)
        at = resync._next(bits, block, at)
    for start in random.Random(seed).sample(range(block.data, max(true) - 1000), 30):
        assert resync.in_step(bits, block, start) in true


# --- logs


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("which", [0.2, 0.5, 0.8])
def test_a_later_block_is_read(wrapped: bool, which: float) -> None:
    """A block is destroyed, its header included: the ones behind it are read, and nothing in them
    is wrong."""
    body = raw(memory=4)
    starts = [start // 8 for start in headers(body)]
    bad = int(which * len(starts))
    damaged = destroyed(body, starts[bad] - 2, starts[bad + 1] - 2)
    if wrapped:
        damaged = b"\x48\x89" + damaged + zlib.adler32(LOG).to_bytes(4, "big")
    read = unpack(damaged, 1 << 20)
    before, behind = GAP.split(read.text)[0], GAP.split(read.text)[-1]
    assert LOG.startswith(before[:int(which * len(LOG) * 0.8)])
    assert len(behind) > (1 - which) * len(LOG) * 0.6 and behind.endswith(LOG[-40:])
    assert wrong(behind, LOG) < 20 and read.torn and read.complete
    assert behind.count(b"\xff") < len(behind) / 2


@pytest.mark.parametrize("seed", range(6))
def test_the_rest_of_a_damaged_block_is_read(seed: int) -> None:
    """zlib gives up; the lines behind are there, and where the gap's length is certain nearly all
    of them are whole."""
    body = raw(bits=15)
    places = random.Random(seed).sample(range(600, 4000), 100)
    damaged = next(each for each in (destroyed(body, at, at + 16) for at in places)
                   if inflate(each, RAW, 1 << 20).stopped is not None)
    read = unpack(damaged, 1 << 20)
    behind = GAP.split(read.text)[-1]
    assert read.torn and read.complete and read.used == len(body)
    assert len(behind) > 15000 and behind.count(b"\xff") < len(behind) * 0.6
    assert wrong(behind, LOG) < len(behind) * 0.05
    assert len(read.text) >= len(inflate(damaged, RAW, 1 << 20).text)
    assert "marked" in (complaint(read) or "")


def test_a_short_gap_s_length_is_found() -> None:
    """Then the text before the gap serves what is behind it, and little stays unknown."""
    body, found = raw(bits=15), []
    for at in range(600, 4000, 60):
        damaged = destroyed(body, at, at + 8)
        if inflate(damaged, RAW, 1 << 20).stopped is not None:
            behind = GAP.split(unpack(damaged, 1 << 20).text)[-1]
            if len(behind) > 20000 and behind.count(b"\xff") < 800:
                found.append(wrong(behind, LOG))
    assert len(found) > 3 and max(found) < 1500


def test_a_damaged_zlib_header_loses_nothing() -> None:
    body = bytearray(zones.deflated(LOG, wrapped=True))
    body[0] ^= 0x40
    assert unpack(bytes(body), 1 << 20).text.endswith(LOG)


def test_a_stored_block_is_found() -> None:
    body = packers.literals(LOG)
    damaged = destroyed(body, 1000, 1500)
    damaged = damaged[:1405] + b"\x07" + damaged[1406:]        # the third block's header
    text = unpack(damaged, 1 << 20).text
    assert text.startswith(LOG[:990]) and LOG.endswith(GAP.split(text)[-1])
    assert len(GAP.split(text)[-1]) > len(LOG) - 2200


def test_a_last_block_with_the_fixed_code_is_found() -> None:
    tail = b"<4>[    9.876543] the last words of this kernel were these, and no others\n" * 2
    fixed = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_FIXED)
    last = fixed.compress(tail) + fixed.flush()
    first = zlib.compressobj(6, zlib.DEFLATED, -15, 8)
    head = first.compress(LOG[:3000]) + first.flush(zlib.Z_SYNC_FLUSH)
    body = next(each for each in (head[:at] + random.Random(at).randbytes(len(head) - at) + last
                                  for at in range(400, 700))
                if (inflate(each, RAW, 1 << 20).stopped or len(each)) < len(head))
    assert unpack(body, 1 << 20).text.endswith(b"]\n" + tail)


def test_several_gaps() -> None:
    body = raw(memory=4)
    starts = [start // 8 for start in headers(body)]
    for bad in (2, 5):
        body = destroyed(body, starts[bad] - 2, starts[bad + 1] - 2)
    text = unpack(body, 1 << 20).text
    assert len(GAP.findall(text)) >= 2 and text.endswith(LOG[-40:])


def test_the_beginning_of_a_line_is_put_in_where_it_is_certain() -> None:
    known = b"??4??????3.292489]  ? f+0x1/0x2??12??????3.292490] x?????????????5.1?????\n"
    assert resync._mended(known.replace(b"?", b"\xff")).replace(b"\xff", b"?") == \
        b"\n<4>[????3.292489]  \xff f+0x1/0x2".replace(b"\xff", b"?") \
        + b"\n<12>[????3.292490] x?????????????5.1?????\n"


# --- bounds


def test_odd_lines() -> None:
    good = b"Panic#1 Part1\n<6>[    0.000001] one\n<14>[123456.000002] two\n"
    assert odd_lines(good) == odd_lines(good + b"no line, and cut") == []
    assert odd_lines(b"no log\n" * 20) == []
    assert odd_lines(good + b"a line of no log, long enough to be one\n") == [len(good)]
    assert odd_lines(good + b"<6>[    0.oatt yIthermal_sys: Registered\n") == [len(good)]


def test_position() -> None:
    body = raw()
    for count in (1, 100, 20000, len(LOG)):
        at = position(body, count)
        assert len(inflate(body[:at], RAW, 1 << 20).text) >= count
        assert len(inflate(body[:at - 1], RAW, 1 << 20).text) < count


def test_the_text_is_bounded() -> None:
    body = raw(memory=4)
    start = headers(body)[3] // 8
    damaged = destroyed(body, start - 2, start + 200)
    assert len(unpack(damaged, 20000).text) <= 20000


@pytest.mark.parametrize("body", [
    b"====1.1-C\n" * 6000, raw()[:70] * 900, bytes(1 << 16), b"\xff" * (1 << 16),
    raw(memory=1)[:4000] * 16, b"\0\x01\x00\xfe\xff\n" * 10000,
    raw() + random.Random(1).randbytes(50000)])
def test_what_was_made_to_keep_us_busy(body: bytes) -> None:
    for stream in (body, raw()[:3000] + b"\xff" * 9 + body):
        assert len(unpack(stream, 1 << 18).text) <= 1 << 18


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_damage_raises(data: st.DataObject) -> None:
    body = bytearray(raw(memory=data.draw(st.sampled_from([1, 4, 8]))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at:at + data.draw(st.integers(0, 99))] = data.draw(st.binary(max_size=99))
    assert len(unpack(bytes(body), 1 << 17).text) <= 1 << 17


def test_a_header_without_a_complete_code_is_none() -> None:
    """At a body's end the lengths of the code may be missing, in part or all."""
    assert resync._lengths(resync.Bits(bytes(8)), 0, 4, {}) is None
