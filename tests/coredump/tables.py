"""Unwind tables put together byte by byte, and a made-up program that has them."""

from __future__ import annotations

from lastlog_py.coredump import machine
from lastlog_py.coredump.elf import PT_ARM_EXIDX, PT_GNU_EH_FRAME, Image, Segment, header
from lastlog_py.coredump.machine import Machine
from lastlog_py.coredump.memory import PiecesMemory
from lastlog_py.coredump.module import Module
from lastlog_py.coredump.unwind.frame import Context, Frame

BASE = 0x400000
HEADER, FRAMES, CODE, DATA, END = 0x401000, 0x402000, 0x410000, 0x420000, 0x430000
STACK = 0x700000

X86_64, I386, ARM, AARCH64, RISCV64 = (62, 2, 1), (3, 1, 1), (40, 1, 1), (183, 2, 1), (243, 2, 1)
MIPS, MIPS_N32, PPC, ARMEB = (8, 1, 2), (8, 1, 2, 0x20), (20, 1, 2), (40, 1, 2)


def machine_of(kind: tuple[int, ...]) -> Machine:
    found = machine.of(*kind[:3], kind[3] if len(kind) > 3 else 0)
    assert found is not None
    return found


def uleb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*out, value])


def sleb(value: int) -> bytes:
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes([*out, value & 0x7f])


def block(data: bytes) -> bytes:
    return uleb(len(data)) + data


class Program:
    """A made-up program with one module; what is put anywhere in it can be read."""

    def __init__(self, kind: tuple[int, ...] = X86_64) -> None:
        self.machine = machine_of(kind)
        self.pieces: dict[int, bytes] = {}
        self.frames = bytearray()           # .eh_frame
        self.fdes: list[tuple[int, int]] = []       # start, address of the FDE
        self.segments: list[Segment] = []

    def number(self, value: int, size: int = 0) -> bytes:
        size = size or self.machine.word
        return (value & (1 << 8 * size) - 1).to_bytes(size, self.machine.order)

    def put(self, address: int, data: bytes) -> None:
        self.pieces[address] = data

    def words(self, address: int, *values: int) -> None:
        """Words of the machine from `address` on."""
        self.put(address, b"".join(self.number(value, self.machine.slot) for value in values))

    def pointer(self, encoding: int, value: int, here: int, data: int = HEADER) -> bytes:
        """`value` as it is written at `here`; an indirect one is put into DATA."""
        if encoding == 0x50:
            return bytes(-here % self.machine.word) + self.number(value)
        if encoding & 0x80:
            place = DATA + 64 * len(self.pieces)
            self.put(place, self.number(value))
            value = place
        value -= {0x00: 0, 0x10: here, 0x30: data}.get(encoding & 0x70, 0)
        form = encoding & 0x0f
        if form in (1, 9):
            return (uleb if form == 1 else sleb)(value)
        return self.number(value, {2: 2, 3: 4, 4: 8}.get(form & 7, 0))

    def entry(self, body: bytes, length: bytes | None = None) -> int:
        """Add a CIE or FDE; its address."""
        address = FRAMES + len(self.frames)
        self.frames += (self.number(len(body), 4) if length is None else length) + body
        return address

    def cie(self, initial: bytes = b"", augmentation: bytes = b"zR", data: bytes = b"\x1b",
            version: int = 1, units: tuple[int, int] = (1, -8), column: int | None = None,
            extra: bytes = b"") -> int:
        """Add a CIE.  `data` is the augmentation's, `extra` what "eh" puts behind its name."""
        column = self.machine.PC if column is None else column
        body = self.number(0, 4) + bytes([version]) + augmentation + b"\0" + extra
        if version == 4:
            body += bytes([self.machine.word, 0])
        body += uleb(units[0]) + sleb(units[1])
        body += bytes([column]) if version == 1 else uleb(column)
        if augmentation[:1] == b"z":
            body += block(data)
        return self.entry(body + initial)

    def fde(self, cie: int, program: bytes = b"", start: int = CODE, size: int = 0x100,
            encoding: int = 0x1b, augmented: bool = True) -> int:
        """Add an FDE about `size` bytes from `start` on."""
        here = FRAMES + len(self.frames) + 4
        body = self.number(here - cie, 4) + self.pointer(encoding, start, here + 4)
        body += self.pointer(encoding & 0x0f, size, here + len(body)) + bytes(int(augmented))
        self.fdes.append((start, here - 4))
        return self.entry(body + program)

    def header(self, encoding: int = 0x3b, count: int | None = None) -> None:
        """Put .eh_frame_hdr, and .eh_frame with its end."""
        self.put(FRAMES, bytes(self.frames) + bytes(4))
        head = bytes([1, 0x1b, 0x03, encoding]) + self.number(FRAMES - HEADER - 4, 4)
        head += self.number(len(self.fdes) if count is None else count, 4)
        for row in sorted(self.fdes):
            for value in row if encoding != 0xff else ():
                head += self.pointer(encoding, value, HEADER + len(head))
        self.put(HEADER, head)
        self.segments.append(Segment(PT_GNU_EH_FRAME, 4, 0, HEADER, len(head), len(head)))

    def index(self, *rows: tuple[int, int]) -> None:
        """Put .ARM.exidx: (start of a function, word)."""
        data = b"".join(self.number(start - HEADER - 8 * at & 0x7fffffff, 4) + self.number(word, 4)
                        for at, (start, word) in enumerate(rows))
        self.put(HEADER, data)
        self.segments.append(Segment(PT_ARM_EXIDX, 4, 0, HEADER, len(data), len(data)))

    def context(self) -> Context:
        """The program as unwinders see it."""
        memory = PiecesMemory(self.machine, list(_joined(self.pieces).items()))
        head = header(b"\x7fELF" + bytes([self.machine.bits // 32, 1, 1]) + bytes(57))
        assert head is not None
        load = Segment(1, 5, 0, BASE, END - BASE, END - BASE)
        image = Image(self.machine, memory, BASE, head, [load, *self.segments])
        module = Module("/bin/program", BASE, END - BASE, image, [(CODE, DATA)])
        return Context(self.machine, memory, [module], [(CODE, DATA)])

    def frame(self, pc: int = CODE + 0x10, how: str = "registers", **registers: int) -> Frame:
        """A frame at `pc` with the stack pointer at STACK, other registers by name."""
        numbers = {name: number for number, name in self.machine.names.items()}
        known = {numbers[name]: value for name, value in registers.items()}
        known.setdefault(self.machine.SP, STACK)
        return Frame(pc, {**known, self.machine.PC: pc}, how)


def _joined(pieces: dict[int, bytes]) -> dict[int, bytes]:
    """Whole pages, which is what memories are read by."""
    pages: dict[int, bytearray] = {}
    for address, data in pieces.items():
        for at, byte in enumerate(data, address):
            page = at & ~0xfff
            pages.setdefault(page, bytearray(0x1000))[at - page] = byte
    return {page: bytes(data) for page, data in pages.items()}
