"""Benchmarks of what is read from memory: error correction, decoding, noise."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import reedsolo

from lastlog_py.medium import dump, ramoops, reed_solomon
from lastlog_py.medium.geometry import Geometry
from tests import samples, zones
from tests.bench.measure import Cost, Row, alone, compare_functions
from tests.regions import BLOCK, Kernel, Ring, parity_of

MIB = 1 << 20
ECC = 16
RECORD = 65536
RUNS = 5                            # of what takes reedsolo more than a second


def rows(folder: Path) -> Iterator[Row]:
    """All of them; `folder` may be written to."""
    yield _decoding(folder, "decode 1 MiB full of records", 0, 3.0)
    yield from _error_correction()
    yield _decoding(folder, "the same with ECC", ECC, 10.0)
    yield _noise()


def _error_correction() -> Iterator[Row]:
    """1 MiB of data in blocks of 128 bytes with 16 bytes of parity each."""
    chance = random.Random(1)
    data = chance.randbytes(MIB)
    words = [data[at:at + BLOCK] + parity_of(data[at:at + BLOCK], ECC)
             for at in range(0, MIB, BLOCK)]
    yield _against_reedsolo("ECC, 1 MiB, clean", 1 / 50, words, data)
    for number in chance.sample(range(len(words)), len(words) // 100):
        broken = bytearray(words[number])
        for at in chance.sample(range(len(broken)), chance.randint(1, ECC // 2)):
            broken[at] ^= chance.randrange(1, 256)
        words[number] = bytes(broken)
    yield _against_reedsolo("ECC, 1 MiB, 1 % damaged", 1 / 20, words, data)


def _against_reedsolo(what: str, bar: float, words: list[bytes], right: bytes) -> Row:
    data = b"".join(word[:BLOCK] for word in words)
    parity = b"".join(word[BLOCK:] for word in words)
    codec = reedsolo.RSCodec(ECC)

    def ours() -> None:
        assert reed_solomon.correct(data, parity, ECC).data == right

    def reference() -> None:
        for word in words:
            codec.decode(word)

    return _row(what, "reedsolo", bar, ours, reference, RUNS)


def _decoding(folder: Path, what: str, ecc: int, bar: float) -> Row:
    """A region of full zones, read and decoded, against reading it and inflating what is in it."""
    room = Ring(RECORD, Kernel(), ecc).capacity
    bodies = [_full_body(seed, room) for seed in range(MIB // RECORD)]
    file = folder / f"full-{ecc}.bin"
    file.write_bytes(b"".join(Ring(RECORD, Kernel(), ecc).write(body).bytes() for body in bodies))
    packed = [body.partition(b"\n")[2] for body in bodies]

    def ours() -> None:
        found = ramoops.records(file.read_bytes(), [Geometry(RECORD, ecc=ecc)]).records
        assert len(found) == len(bodies) and not any(each.source.truncated for each in found)

    def reference() -> None:
        file.read_bytes()
        for body in packed:
            zlib.decompress(body, -15)

    return _row(what, "read + zlib.decompress", bar, ours, reference, 25)


def _full_body(seed: int, room: int) -> bytes:
    """A compressed dump that takes nearly all of `room` bytes: real log lines, varied."""
    lines = samples.kernel_text("s01_plain", "dmesg-ramoops-0").splitlines()[1:]
    text, body, i = b"Panic#1 Part1\n", b"", 0
    while True:
        text += b"".join(b"%b %08x\n" % (line, zlib.crc32(b"%d %d" % (seed, i + n)))
                         for n, line in enumerate(lines))
        i += len(lines)
        longer = zones.dump(text, flag="C")
        if len(longer) > room:
            return body
        body = longer


def _noise() -> Row:
    """What cold memory costs that holds nothing; `decode` looks at it for every format."""
    noise = random.Random(2).randbytes(MIB)
    seconds = alone(lambda: dump.records("memory.bin", noise), 21)
    return Row("scan of 1 MiB of noise", "30 ms", 1.0, seconds / 0.030, Cost(seconds, None),
               Cost(0.030, None))


def _row(what: str, against: str, bar: float, ours: Callable[[], object],
         reference: Callable[[], object], runs: int) -> Row:
    ratio, mine, theirs = compare_functions(ours, reference, runs)
    return Row(what, against, bar, ratio, Cost(mine, None), Cost(theirs, None))
