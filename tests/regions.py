"""Whole ramoops regions as kernels of any version write them, built for tests after FORMATS.md:
an own encoder, kept apart from the decoder.  Parity is by reedsolo."""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Sequence
from typing import NamedTuple

import reedsolo

from tests import zones

BLOCK = 128
HEADER = 12


class Kernel(NamedTuple):
    """What a kernel version does."""

    version: tuple[int, int, int] = (6, 12, 117)
    endian: str = "<"

    @property
    def early_ecc(self) -> bool:
        return self.version < (3, 6)

    @property
    def ftrace_signature(self) -> int:
        major, minor, patch = self.version
        return zones.SIGNATURE ^ (major << 16 | minor << 8 | min(patch, 255))

    def when(self, seconds: int, microseconds: int, letter: str) -> str:
        """The header line of a dump."""
        if self.version < (3, 12):
            return f"===={seconds}.{microseconds}\n"
        fraction = f"{microseconds:06d}" if self.version >= (4, 19) else f"{microseconds}"
        return f"===={seconds}.{fraction}-{letter}\n"


class Ring:
    """A persistent_ram zone's memory, written to as the kernel writes."""

    def __init__(self, size: int, kernel: Kernel, ecc: int = 0, signature: int = zones.SIGNATURE,
                 noise: int | None = None) -> None:
        self.kernel, self.ecc, self.size = kernel, ecc, size
        self.memory = bytearray(size) if noise is None else \
            bytearray(random.Random(noise).randbytes(size))
        room = size - HEADER
        self.blocks = 0 if not ecc else -(-room // BLOCK) if kernel.early_ecc \
            else -(-(room - ecc) // (BLOCK + ecc))
        self.capacity = room - (self.blocks + 1) * ecc if ecc else room
        self.signature, self.start, self.used = signature, 0, 0
        self._update_header()

    def zap(self) -> None:
        """persistent_ram_zap: header only."""
        self.start = self.used = 0
        self._update_header()

    def write(self, data: bytes) -> Ring:
        """persistent_ram_write: what is longer than the ring leaves its newest bytes."""
        data = data[-self.capacity:]
        first = min(len(data), self.capacity - self.start)
        self._put(self.start, data[:first])
        self._put(0, data[first:])
        end = self.start + len(data)
        # 3.4 and 3.5 wrap one byte late (buffer_start_add: new > buffer_size).
        wraps = end > self.capacity if self.kernel.early_ecc else end >= self.capacity
        self.start = end - self.capacity if wraps else end
        self.used = min(self.capacity, self.used + len(data))
        self._update_header()
        return self

    def dump(self, text: bytes, seconds: int = 1_700_000_000, microseconds: int = 42,
             letter: str = "D", zap: bool = True) -> Ring:
        """ramoops_pstore_write; kernels before 5.5 do not zap."""
        if zap:
            self.zap()
        head = self.kernel.when(seconds, microseconds, letter).encode()
        body = zones.deflated(text) if letter == "C" else text
        return self.write(head + body[:self.capacity - len(head)])

    def _put(self, at: int, data: bytes) -> None:
        self.memory[HEADER + at:HEADER + at + len(data)] = data
        if self.ecc and data:
            for block in range(at // BLOCK, -(-(at + len(data)) // BLOCK)):
                self._update_block(block)

    def _update_block(self, block: int) -> None:
        start, end = block * BLOCK, min((block + 1) * BLOCK, self.capacity)
        parity = parity_of(bytes(self.memory[HEADER + start:HEADER + end]), self.ecc)
        at = HEADER + self.capacity + block * self.ecc
        self.memory[at:at + self.ecc] = parity

    def _update_header(self) -> None:
        header = struct.pack(self.kernel.endian + "III", self.signature, self.start, self.used)
        self.memory[:HEADER] = header
        if self.ecc:
            at = HEADER + self.capacity + self.blocks * self.ecc
            self.memory[at:at + self.ecc] = parity_of(header, self.ecc)

    def bytes(self) -> bytes:
        return bytes(self.memory)


@functools.lru_cache(maxsize=4096)
def parity_of(data: bytes, ecc: int) -> bytes:
    return bytes(_codec(ecc).encode(data))[len(data):]


@functools.cache
def _codec(ecc: int) -> reedsolo.RSCodec:
    return reedsolo.RSCodec(ecc)


class Region:
    """A region of `size` bytes, divided as `kernel` divides it (ramoops_probe)."""

    def __init__(self, size: int, record: int, console: int = 0, ftrace: int = 0, pmsg: int = 0,
                 *, ecc: int = 0, kernel: Kernel | None = None, cpus: int = 1,
                 noise: int | None = None) -> None:
        kernel = kernel or Kernel()
        record, console, ftrace, pmsg = map(_down, (record, console, ftrace, pmsg))
        total = _down(size) if kernel.version < (3, 10) else size
        room = total - console - ftrace - pmsg
        count = room // record
        modern = kernel.version >= (4, 10)
        dump = (room // count) & ~1 if modern else record
        make = functools.partial(Ring, kernel=kernel, ecc=ecc, noise=noise)
        self.size, self.noise = size, noise
        self.dumps = [make(dump) for _ in range(count)]
        self.console = make(console) if console else None
        self.pmsg = make(pmsg) if pmsg else None
        self.ftrace = [make((ftrace // cpus) & ~1, signature=kernel.ftrace_signature)
                       for _ in range(cpus)] if ftrace else []
        self._gap = ftrace - sum(ring.size for ring in self.ftrace)
        self._ftrace_last = kernel.version >= (6, 12)

    def bytes(self) -> bytes:
        ftrace = b"".join(ring.bytes() for ring in self.ftrace) + bytes(self._gap)
        console, pmsg = (ring.bytes() if ring else b"" for ring in (self.console, self.pmsg))
        behind = [console, pmsg, ftrace] if self._ftrace_last else [console, ftrace, pmsg]
        region = b"".join([*(ring.bytes() for ring in self.dumps), *behind])
        filler = random.Random(self.noise).randbytes(self.size) if self.noise is not None \
            else bytes(self.size)
        return region + filler[len(region):]


def _down(size: int) -> int:
    return 1 << size.bit_length() - 1 if size else 0


def damaged(region: bytes, places: Sequence[int], seed: int = 1) -> bytes:
    """`region` with other bytes at `places`."""
    chance, broken = random.Random(seed), bytearray(region)
    for at in places:
        broken[at] ^= chance.randrange(1, 256)
    return bytes(broken)
