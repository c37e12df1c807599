"""Made-up cores, notes and all, for tests that need no real ones."""

from __future__ import annotations

import struct
from typing import NamedTuple

from lastlog_py.coredump.machine import Machine, of

PT_LOAD, PT_NOTE = 1, 4
CORE = b"CORE\0"


class Kind(NamedTuple):
    """One machine as ELF says it."""

    e_machine: int
    bits: int
    order: str                  # for struct
    flags: int = 0

    @property
    def machine(self) -> Machine:
        """What it is to lastlog."""
        found = of(self.e_machine, self.bits // 32, 1 if self.order == "<" else 2, self.flags)
        assert found is not None
        return found

    def pack(self, words: list[int]) -> bytes:
        """Address-sized words."""
        return struct.pack(f"{self.order}{len(words)}{'Q' if self.bits == 64 else 'I'}", *words)


KINDS = {
    "x86_64": Kind(62, 64, "<"), "i386": Kind(3, 32, "<"), "arm": Kind(40, 32, "<"),
    "armeb": Kind(40, 32, ">"), "aarch64": Kind(183, 64, "<"), "riscv64": Kind(243, 64, "<"),
    "ppc": Kind(20, 32, ">"), "mips": Kind(8, 32, ">"), "mipsel": Kind(8, 32, "<"),
    "mips64": Kind(8, 64, ">"), "mips64el": Kind(8, 64, "<"), "n32": Kind(8, 32, ">", 0x20),
    "n32el": Kind(8, 32, "<", 0x20),
}


def note(kind: Kind, type_: int, body: bytes, name: bytes = CORE) -> bytes:
    """One note, padded."""
    head = struct.pack(kind.order + "III", len(name), len(body), type_)
    return head + _padded(name) + _padded(body)


def prstatus(kind: Kind, tid: int, signal: int, values: dict[int, int]) -> bytes:
    """A PRSTATUS body; values: index in pr_reg → value."""
    machine = kind.machine
    body = bytearray(machine.status_size)
    struct.pack_into(kind.order + "H", body, 12, signal)
    struct.pack_into(kind.order + "I", body, machine.pid_at, tid)
    for index, value in values.items():
        struct.pack_into(kind.order + ("Q" if machine.slot == 8 else "I"), body,
                         machine.registers_at + index * machine.slot, value)
    return bytes(body)


def registers(kind: Kind, **named: int) -> dict[int, int]:
    """Indices in pr_reg by register names."""
    machine = kind.machine
    numbers = {name: number for number, name in machine.names.items()}
    places = {number: index for index, number in machine.layout}
    return {places[numbers[name]]: value for name, value in named.items()}


def siginfo(kind: Kind, signal: int, code: int, address: int) -> bytes:
    """A SIGINFO body."""
    mips = kind.e_machine == 8
    head = struct.pack(kind.order + "iii", signal, *((code, 0) if mips else (0, code)))
    return (head + (bytes(4) if kind.bits == 64 else b"") + kind.pack([address])).ljust(128, b"\0")


def prpsinfo(kind: Kind, pid: int, uid: int, name: str, command: str) -> bytes:
    """A PRPSINFO body with 32-bit uid_t."""
    head = b"\0RZ\0" + (bytes(12) if kind.bits == 64 else bytes(4))
    ids = struct.pack(kind.order + "IIIIII", uid, 0, pid, 1, pid, pid)
    return head + ids + name.encode().ljust(16, b"\0") + command.encode().ljust(80, b"\0")


def files(kind: Kind, rows: list[tuple[int, int, int, str]], page: int = 4096) -> bytes:
    """An NT_FILE body of (start, end, offset in bytes, path)."""
    words = [len(rows), page]
    for start, end, offset, _ in rows:
        words += [start, end, offset // page]
    return kind.pack(words) + b"".join(row[3].encode() + b"\0" for row in rows)


def core(kind: Kind, notes: bytes, loads: list[tuple[int, int, bytes]],
         xnum: bool = False) -> bytes:
    """A core file; loads: (address, flags, bytes).  xnum: phnum says 0xffff."""
    wide = kind.bits == 64
    ehsize, phentsize = (64, 56) if wide else (52, 32)
    start = ehsize + phentsize * (1 + len(loads))
    table = [_header(kind, PT_NOTE, 0, start, 0, len(notes))]
    offset = start + len(notes) + 4095 & ~4095
    body = b""
    for address, flags, data in loads:
        table.append(_header(kind, PT_LOAD, flags, offset + len(body), address, len(data)))
        body += data
    ident = b"\x7fELF" + bytes([kind.bits // 32, 1 if kind.order == "<" else 2, 1]).ljust(12, b"\0")
    fields = (4, kind.e_machine, 1, 0, ehsize, 0, kind.flags, ehsize, phentsize,
              0xffff if xnum else len(table), 0, 0, 0)
    head = ident + struct.pack(kind.order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
                               *fields)
    return (head + b"".join(table) + notes).ljust(offset, b"\0") + body


def _header(kind: Kind, type_: int, flags: int, offset: int, address: int, size: int) -> bytes:
    if kind.bits == 64:
        return struct.pack(kind.order + "IIQQQQQQ", type_, flags, offset, address, 0, size, size, 1)
    return struct.pack(kind.order + "IIIIIIII", type_, offset, address, 0, size, size, flags, 1)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
