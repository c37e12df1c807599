"""Files with unwind tables from Debian's compilers, seen as a running program would be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lastlog_py.coredump import elf
from lastlog_py.coredump.elf import PF_X, PT_LOAD
from lastlog_py.coredump.machine import of
from lastlog_py.coredump.memory import FileMemory
from lastlog_py.coredump.module import Module
from lastlog_py.coredump.unwind.frame import Context

# Machine → compiler, and what makes it compile for that machine.
COMPILERS = {
    "x86_64": ("x86_64-linux-gnu-gcc",), "i386": ("x86_64-linux-gnu-gcc", "-m32"),
    "aarch64": ("aarch64-linux-gnu-gcc", "-mbranch-protection=pac-ret"),
    "riscv64": ("riscv64-linux-gnu-gcc",), "powerpc": ("powerpc-linux-gnu-gcc",),
    "mips": ("mips-linux-gnu-gcc",), "mipsel": ("mipsel-linux-gnu-gcc",),
    "mips64": ("mips64-linux-gnuabi64-gcc",), "n32": ("mips64-linux-gnuabi64-gcc", "-mabi=n32"),
    "arm": ("arm-linux-gnueabihf-gcc", "-marm"), "thumb": ("arm-linux-gnueabihf-gcc", "-mthumb"),
    "armel": ("arm-linux-gnueabi-gcc",),
}
STYLES = ("-O2 -fno-omit-frame-pointer", "-Os -fomit-frame-pointer")
BIAS = 0x20000000
_FRAMES = Path(__file__).with_name("frames.c")


def compiler(machine: str) -> tuple[str, ...]:
    """The compiler for `machine`; the test is skipped where there is none."""
    command = COMPILERS[machine]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return command


def frames(machine: str, style: str, folder: Path) -> Path:
    """frames.c as a library for `machine`."""
    out = folder / "frames.so"
    command = [*compiler(machine), *style.split(), "-g", "-fPIC", "-shared", "-nostdlib",
               "-fexceptions", "-fasynchronous-unwind-tables", "-Wl,--eh-frame-hdr",
               "-o", str(out), str(_FRAMES)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "cannot find" in done.stderr or "incompatible" in done.stderr:
        pytest.skip(f"{command[0]} cannot link for {machine}: {done.stderr.strip()[-100:]}")
    assert not done.returncode, done.stderr
    return out


def library(machine: str, name: str) -> Path:
    """A library that comes with the compiler; the test is skipped where it does not."""
    done = subprocess.run([*compiler(machine), f"-print-file-name={name}"], capture_output=True,
                          text=True, check=True)
    path = Path(done.stdout.strip())
    if not path.is_absolute():
        pytest.skip(f"{name} is not installed for {machine}")
    return path.resolve()


class Loaded:
    """A library as it would be mapped at BIAS; `file` is pyelftools' view of it."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.stream = path.open("rb")
        self.file: Any = _elffile(self.stream)
        machine = self._machine()
        memory = FileMemory(machine)
        loads = [row for row in _segments(path) if row.type == PT_LOAD]
        code = []
        for row in loads:
            start, end = row.address & ~0xfff, row.address + row.filesz + 0xfff & ~0xfff
            memory.add(start + BIAS, end + BIAS, row.offset & ~0xfff, self.fd)
            if row.flags & PF_X:
                code.append((start + BIAS, end + BIAS))
        base = elf.first_page(loads) + BIAS
        size = max(row.address + row.memsz for row in loads) + BIAS - base
        image = elf.read_image(machine, memory, base)
        assert image is not None and image.bias == BIAS
        self.context = Context(machine, memory, [Module(str(path), base, size, image, code)], code)

    def _machine(self) -> Any:
        self.stream.seek(0)
        head = elf.header(self.stream.read(64))
        assert head is not None
        machine = of(head.machine, head.e_class, head.data, head.flags)
        assert machine is not None
        return machine

    def close(self) -> None:
        os.close(self.fd)
        self.stream.close()


def _elffile(stream: Any) -> Any:
    return pytest.importorskip("elftools.elf.elffile").ELFFile(stream)


def _segments(path: Path) -> list[Any]:
    data = path.read_bytes()
    head = elf.header(data[:64])
    assert head is not None
    return elf.segments(head, data[head.phoff:head.phoff + head.phnum * head.phentsize])
