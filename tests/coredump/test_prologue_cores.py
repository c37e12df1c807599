"""prologue.step alone, from every true frame of the test cores of RISC machines."""

from __future__ import annotations

import pytest

from lastlog_py.coredump.machine import Machine
from lastlog_py.coredump.unwind import prologue, signal_frame
from lastlog_py.coredump.unwind.frame import Context, Frame

from . import cases

SETS = [name for name in cases.sets() if not name.startswith(("x86", "i386"))]

pytestmark = cases.needs_cores()


@pytest.mark.parametrize("name", SETS)
def test_every_step_finds_the_next_true_frame(name: str) -> None:
    right, wrong = 0, []
    for one in cases.walk(name):
        threads = {thread.tid: thread for thread in one.threads}
        for truth in one.truth:
            thread = threads[truth.tid]
            pcs = truth.expected()
            steps, error = _steps(one.context, thread.registers, pcs)
            right += steps
            if error is not None:
                wrong.append((one.case.name, truth.tid, error))
    # A call through NULL leaves no code to read: that first step is the backtrace's.
    assert [row for row in wrong if not row[0].endswith("/nullcall")] == []
    assert right > 200


def _steps(context: Context, registers: dict[int, int], pcs: list[int | None]
           ) -> tuple[int, str | None]:
    """How many steps were right, and what went wrong then; it ends at an unknown pc."""
    machine = context.machine
    frame = Frame(registers[machine.PC], dict(registers), is_signal=True)
    for index, pc in enumerate(pcs[1:]):
        if pc is None:
            return index, None
        found = signal_frame.step(context, frame) or prologue.step(context, frame)
        if found is None or not _same(machine, found.pc, pc):
            return index, f"from {frame.pc:#x}: not {pc:#x} but {found and hex(found.pc)}"
        frame = found
    return len(pcs) - 1, None


def _same(machine: Machine, found: int, pc: int) -> bool:
    return machine.code_address(found) == machine.code_address(pc)
