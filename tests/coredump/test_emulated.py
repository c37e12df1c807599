"""Fresh cores from an emulator, of programs built here: machines the folder of cores lacks too.

Needs Debian's cross compilers and qemu-user; what is missing is skipped with the reason.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from lastlog_py.coredump.core import Stream, core_memory, read_head
from lastlog_py.coredump.core_program import core_context
from lastlog_py.coredump.sysroot import Sysroot

VICTIM = """
#include <pthread.h>
#include <unistd.h>
__attribute__((noinline)) int leaf(volatile int *at) { return *at; }
__attribute__((noinline)) int middle(long value) { return leaf((int *)value) + 1; }
static void *wait_for_ever(void *nothing) { for (;;) pause(); return nothing; }
int main(int count, char **words)
{
    pthread_t other;
    if (!pthread_create(&other, 0, wait_for_ever, 0))
        usleep(100000);
    return middle(count - 1) + 1;
}
"""


class Target(NamedTuple):
    """A machine that can be built for and emulated here."""

    machine: str            # lastlog's word
    abi: str
    compiler: str
    emulator: str
    libraries: str          # what stands for its root file system


TARGETS = [
    Target("mips64el", "n64", "mips64el-linux-gnuabi64-gcc -mabi=64", "qemu-mips64el",
           "/usr/mips64el-linux-gnuabi64"),
    Target("mips64el", "n32", "mips64el-linux-gnuabi64-gcc -mabi=n32", "qemu-mipsn32el",
           "/usr/mips64el-linux-gnuabi64"),
    Target("mips64", "n64", "mips64-linux-gnuabi64-gcc", "qemu-mips64",
           "/usr/mips64-linux-gnuabi64"),
    Target("mips", "o32", "mips-linux-gnu-gcc", "qemu-mips", "/usr/mips-linux-gnu"),
    Target("mipsel", "o32", "mipsel-linux-gnu-gcc", "qemu-mipsel", "/usr/mipsel-linux-gnu"),
    Target("arm", "", "arm-linux-gnueabihf-gcc -mthumb", "qemu-arm", "/usr/arm-linux-gnueabihf"),
    Target("arm", "", "arm-linux-gnueabi-gcc", "qemu-arm", "/usr/arm-linux-gnueabi"),
    Target("aarch64", "", "aarch64-linux-gnu-gcc", "qemu-aarch64", "/usr/aarch64-linux-gnu"),
    Target("ppc", "", "powerpc-linux-gnu-gcc", "qemu-ppc", "/usr/powerpc-linux-gnu"),
]


def crash(target: Target, folder: Path, *options: str) -> Path:
    """The core of VICTIM; skipped where it cannot be built or run."""
    words = target.compiler.split()
    for tool in (words[0], target.emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    (folder / "victim.c").write_text(VICTIM)
    done = subprocess.run([*words, "-Os", *options, "-rdynamic", "-o", "victim", "victim.c",
                           "-pthread"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{target.compiler} cannot build it: {done.stderr.strip().splitlines()[-1]}")
    subprocess.run([target.emulator, "-L", target.libraries, str(folder / "victim")], cwd=folder,
                   preexec_fn=allow_cores, capture_output=True, timeout=60, check=False)
    (folder / "core").unlink(missing_ok=True)           # the emulator's own
    cores = list(folder.glob("qemu_victim*.core"))
    if not cores:
        pytest.skip(f"{target.emulator} wrote no core")
    return cores[0]


def allow_cores() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


@pytest.mark.parametrize(("target", "style"), [
    *((target, "-pie -fPIE") for target in TARGETS), (TARGETS[0], "-static"),
    (TARGETS[5], "-static")], ids=lambda value: getattr(value, "compiler", value))
def test_a_fresh_core(target: Target, style: str, tmp_path: Path) -> None:
    """The pc is in the right function; the waiting thread is in libc, by the loader's list."""
    path = crash(target, tmp_path, *style.split())
    sysroot = Sysroot(str(tmp_path))
    with path.open("rb") as file:
        core = read_head(Stream(file.read, file.seek))
        memory = core_memory(core, file.fileno(), path.stat().st_size)
        assert memory is not None and core.problems == []
        machine = core.machine
        assert machine is not None and (machine.name, machine.abi) == (target.machine, target.abi)
        context = core_context(core, memory, sysroot)
        assert context is not None and len(core.threads) == 2 and core.name == "victim"
        pc, waiting = (machine.code_address(thread.registers[machine.PC])
                       for thread in core.threads)
        module, other = context.module_at(pc), context.module_at(waiting)
        assert module is not None and other is not None and context.is_code(waiting)
        assert module.path == "/victim" and pc in range(module.base, module.base + module.size)
        if style == "-static":
            assert other is module
        else:
            found = module.symbol(pc)
            assert found is not None and found[0] == "leaf" and "/libc.so" in other.path
    sysroot.close()
    path.unlink()
