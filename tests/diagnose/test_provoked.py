"""What crashes that were provoked on purpose are understood as, on six machines.

tests/data/samples/d* are the regions of kernels that were crashed in a known way, with the lkdtm
module or with a driver made for it; the manifest says how.  What that must be read as stands here,
and what a log names otherwise, or does not name, stands here with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import pytest

from lastlog_py.diagnose import explain_all, kernel_log
from lastlog_py.diagnose.kernel_log import Explanation
from lastlog_py.diagnose.plumbing import base_name
from lastlog_py.diagnose.signature import hashed_text
from lastlog_py.diagnose.title import kernel_title
from lastlog_py.medium import dump
from lastlog_py.record import Record, readable
from tests.samples import kernel_text, manifest, region


class Crash(NamedTuple):
    """What a provocation must be read as."""

    cause: str
    function: str | None            # None: it is of no place
    module: str | None = None


def driver(cause: str, function: str) -> Crash:
    return Crash(cause, function, "faulty_driver")


SYSRQ = Crash("sysrq", "sysrq_handle_crash")
LOST = driver("null-pointer", "faulty_count_stations")
OOM = Crash("oom", None)

PROVOKED = {
    "BUG()": Crash("bug", "lkdtm_BUG"),
    "WARN_ON with panic_on_warn": Crash("warning", "lkdtm_WARNING"),
    "a NULL pointer in a kernel thread": LOST,
    "a NULL pointer in a timer": LOST,
    "a NULL pointer in a workqueue": LOST,
    "a driver follows a NULL pointer to a structure": LOST,
    "a driver follows a poisoned pointer; no panic": driver("bad-access", "faulty_free_station"),
    "a driver divides by zero": driver("divide", "faulty_rate_percent"),
    "a driver reads a register that is not there": driver("bus-error", "faulty_read_register"),
    "a driver loops for ever while it is loaded": driver("soft-lockup", "faulty_no_progress"),
    "the same, found by RCU first": driver("rcu-stall", "faulty_no_progress"),
    "a call of a NULL function pointer": Crash("null-pointer", "execute_location"),
    "a jump into data": Crash("bad-access", "data_area"),
    "a write to read-only data": Crash("bad-access", "lkdtm_WRITE_RO"),
    "a function overwrites its stack canary": Crash("stack-corruption",
                                                    "lkdtm_CORRUPT_STACK_STRONG"),
    "recursion without end": Crash("stack-corruption", "recursive_loop"),
    "list corruption with panic_on_warn": Crash("warning", "lkdtm_CORRUPT_LIST_ADD"),
    "list corruption at a removal, with panic_on_warn": Crash("warning", "lkdtm_CORRUPT_LIST_DEL"),
    "refcount overflow with panic_on_warn": Crash("warning", "lkdtm_REFCOUNT_INC_OVERFLOW"),
    "usercopy finds a copy beyond an object": Crash("bug", "do_usercopy_slab_size"),
    "a lock that nobody gives back": Crash("soft-lockup", "lkdtm_SPINLOCKUP"),
    "a processor with interrupts off for ever": Crash("hard-lockup", "lkdtm_HARDLOCKUP"),
    "a task blocks for ever": Crash("hung-task", "lkdtm_HUNG_TASK"),
    "init ends with status 3": Crash("init-died", None),
    "init itself runs into an oops": Crash("null-pointer", "lkdtm_EXCEPTION"),
    "panic()": Crash("other", "lkdtm_PANIC"),
    "an unknown NMI": Crash("other", None),         # its reason is what is unknown
    "a machine check": Crash("bus-error", None),
    "out of memory with panic_on_oom": OOM,
    "a control group's limit with panic_on_oom=2": OOM,
    "a full tmpfs: nothing is left to kill": OOM,
    # what the kernel lived with is not what it ended with
    "out of memory kills a program, then sysrq c": SYSRQ,
    "a control group's limit kills a program, then sysrq c": SYSRQ,
    "a driver sleeps under a spin lock, then sysrq c": SYSRQ,
    "a driver calls the scheduler under a spin lock, then sysrq c": SYSRQ,
    "a driver allocates until nothing is left, then sysrq c": SYSRQ,
}

INLINED = "the compiler put the function into this one"
CUT = "the record ends before the trace"
BEHIND = "it does not return: the return address is of the function behind it"
# The functions that logs name otherwise: sample -> (function, why).
OTHERWISE = {
    "dm_warning": ("direct_entry", INLINED),
    "dr_warning": ("direct_entry", INLINED),
    "dm_hung_task": ("direct_entry", INLINED),
    "dr_hung_task": ("direct_entry", INLINED),
    "da_panic": ("lkdtm_do_action", BEHIND),
    "dr_panic": (None, BEHIND),
    "dr_atomic": (None, BEHIND),
    "dm_panic": (None, CUT),
    "dm_atomic": (None, CUT),
    "dm_list_add": ("__list_add_valid", CUT),
}

SAMPLES = sorted(name for name in manifest() if name.startswith("d"))
FILES = [(name, file) for name in SAMPLES for file in manifest()[name]["kernel_files"]
         if file.startswith("dmesg")]


def told(name: str, file: str) -> Explanation:
    return kernel_log.explain(readable(kernel_text(name, file)))


def records(name: str) -> list[Record]:
    return explain_all(dump.records("region.bin", region(name))[0])


def test_the_table_is_of_these_samples() -> None:
    assert {manifest()[name]["provoked"] for name in SAMPLES} == set(PROVOKED)
    assert set(OTHERWISE) < set(SAMPLES)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_what_was_provoked_is_found(name: str, file: str) -> None:
    wanted = PROVOKED[manifest()[name]["provoked"]]
    function, _ = OTHERWISE.get(name, (wanted.function, ""))
    kernel = told(name, file).kernel
    found = kernel.function and base_name(kernel.function)
    assert (kernel.cause, found, kernel.module) == (wanted.cause, function, wanted.module)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_oops_and_its_panic_are_one_crash(name: str) -> None:
    kernels = [record for record in records(name) if record.kind == "kernel"]
    assert len(kernels) == sum(sample == name for sample, _ in FILES)
    assert len({record.crash for record in kernels}) == 1
    assert len({record.signature for record in kernels}) == 1


TITLES = {
    ("dm_bug", 1): "Kernel BUG in lkdtm_BUG",
    ("dm_exec_null", 1): "NULL pointer dereference: jump to address 0x0 from execute_location",
    ("dm_hung_task", 0): "Hung task: sh blocked for 4 s in direct_entry",
    ("dm_list_add", 0): "Kernel warning: corrupted list in __list_add_valid",
    ("dm_warning", 0): "Kernel warning in direct_entry",
    ("di_panic", 0): "Kernel panic: dumptest",
    ("dx_nmi", 0): "Kernel panic: NMI: Not continuing",
    ("dx_mce", 0): "Bus error: Fatal local machine check",
    ("dm_init_exit", 0): "init exited with status 3",
    ("dx_memcg_panic", 0):
        "Out of memory in a control group (panic_on_oom), triggered by tail",
    ("dx_oom_deadlock", 0): "Out of memory (nothing left to kill), triggered by init",
    ("dx_spin_lockup", 0): "Soft lockup: CPU 0 stuck for 8 s in lkdtm_SPINLOCKUP",
    ("dx_refcount", 0): "Kernel warning: reference count error in lkdtm_REFCOUNT_INC_OVERFLOW",
}


@pytest.mark.parametrize(("name", "number"), TITLES)
def test_titles(name: str, number: int) -> None:
    assert kernel_title(told(name, f"dmesg-ramoops-{number}")) == TITLES[name, number]


# --- signatures ----------------------------------------------------------------------------

# The way that every system call to lkdtm takes; and of the driver what compilers inline or not.
WAY = {"lkdtm_do_action", "direct_entry", "full_proxy_write", "vfs_write", "ksys_write"}
INITS = {"faulty_init", "faulty_timer"}
# What checks and locks their callers came by.
CHECKS = {"__check_heap_object", "__check_object_size", "do_usercopy_slab_size", "__refcount_add",
          "queued_spin_lock_slowpath", "_raw_spin_lock"}
# MIPS without a frame pointer's help lists whatever looks like a return address.
FOUND_ON_STACK = {"dm_exec_null": {"handle_mm_fault", "ksys_dup3"}}


OF_A_FUNCTION = [name for name in SAMPLES
                 if PROVOKED[manifest()[name]["provoked"]] not in (SYSRQ, OOM)
                 and PROVOKED[manifest()[name]["provoked"]].function]


@pytest.mark.parametrize("name", OF_A_FUNCTION)
def test_no_machine_adds_callers_of_its_own(name: str) -> None:
    wanted = PROVOKED[manifest()[name]["provoked"]]
    callers = (hashed_text(told(name, "dmesg-ramoops-0")) or "").split("|")[1:]
    callers = [caller for caller in callers if not caller.startswith("~")]      # astray
    allowed = INITS if wanted.module else WAY | CHECKS | FOUND_ON_STACK.get(name, set())
    functions = {caller for caller in callers if not caller.startswith("lkdtm_")}
    assert functions - {wanted.function} <= allowed


OTHER_MEDIA = [name for name, row in sorted(manifest().items())
               if row["format"] in ("mtdoops", "pstore_blk") or name.startswith("c")]


def test_every_medium_gives_a_crash_the_same_signature() -> None:
    """A function that oopsed on one machine has one signature, wherever the record stood."""
    media, signatures = defaultdict(set), defaultdict(set)
    for name in [*SAMPLES, *OTHER_MEDIA]:
        row = manifest()[name]
        if "6.1." not in row["kernel"]:
            continue
        for record in records(name):
            if record.kernel and (record.kernel.function or "").startswith(
                    ("lkdtm_BUG", "lkdtm_EXCEPTION", "lkdtm_WRITE_RO", "execute_location")):
                key = row.get("architecture", "x86_64"), record.kernel.function
                media[key].add(row["format"])
                signatures[key].add(record.signature)
    assert {key: len(found) for key, found in signatures.items()} == dict.fromkeys(signatures, 1)
    assert media["x86_64", "lkdtm_BUG"] == {"ramoops", "mtdoops", "pstore_blk"}
    assert media["mips", "lkdtm_BUG"] == {"ramoops", "mtdoops"}
    assert media["arm64", "lkdtm_BUG"] == {"ramoops", "pstore_blk"}


@pytest.mark.parametrize("name", ["c12_null_deref_panic_on_oops", "c14_pstore_blk", "b01_blk",
                                  "b07_i386_blk", "b11_arm64_blk", "c08_softlockup"])
def test_the_console_tells_of_the_same_crash(name: str) -> None:
    texts = {file: readable(kernel_text(name, file)) for file in manifest()[name]["kernel_files"]}
    console = next(text for file, text in texts.items() if file.startswith("console"))
    last = max(file for file in texts if file.startswith("dmesg"))
    assert hashed_text(kernel_log.explain(console)) == hashed_text(
        kernel_log.explain(texts[last]))


# --- messages that a log ends amid ---------------------------------------------------------

CHAINS = [
    ("null-pointer", "BUG: kernel NULL pointer dereference, address: 0000000000000008",
     "Fatal exception in interrupt"),
    ("bug", "kernel BUG at drivers/misc/lkdtm/bugs.c:76!", "Oops - BUG: Fatal exception"),
    ("warning", "WARNING: CPU: 0 PID: 36 at lib/x.c:85 f+0xd9/0xec",
     "kernel: panic_on_warn set ..."),
    ("hung-task", "INFO: task sh:36 blocked for more than 4 seconds.", "hung_task: blocked tasks"),
    ("soft-lockup", "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [w:77]",
     "softlockup: hung tasks"),
    ("rcu-stall", "rcu: INFO: rcu_sched self-detected stall on CPU", "RCU Stall"),
    ("oom", "tail invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=0",
     "Out of memory: system-wide panic_on_oom is enabled"),
]
PANIC = "Kernel panic - not syncing: "


@pytest.mark.parametrize(("cause", "fault", "message"), CHAINS)
def test_a_cut_panic_is_about_the_fault_before_it(cause: str, fault: str, message: str) -> None:
    """Wherever the log ends: the panic's own line may be all there, or hardly begun."""
    panic = f"\n<0>[    9.300000] {PANIC}{message}"
    for end in range(len(panic) + 1):
        found = kernel_log.explain(f"Panic#1 Part1\n<1>[    9.200000] {fault}{panic[:end]}")
        assert found.kernel.cause == cause, panic[:end]


@pytest.mark.parametrize(("said", "cause"), [
    ("hung_ta", "hung-task"), ("softlo", "soft-lockup"), ("RCU", "rcu-stall"), ("sysrq", "sysrq"),
    ("VFS: Unab", "no-root"), ("Attempted to k", "other"), ("Fa", "other"), ("", "other"),
    ("stack-prot", "stack-corruption"), ("Oops: Fatal e", "other"), ("dumptest", "other"),
    ("V", "other"), ("driver: VFS", "other"),
])
def test_a_cut_panic_alone_is_what_it_must_have_been(said: str, cause: str) -> None:
    found = kernel_log.explain(f"Panic#1 Part1\n<0>[    9.300000] {PANIC}{said}")
    assert (found.kernel.cause, found.message) == (cause, said)


@pytest.mark.parametrize("after", ["\n<4>[    9.300100] CPU: 0 PID: 1 Comm: init Not tainted 6.6.1",
                                   "\n<0>[    9.300100] Kernel Offset: disabled"])
def test_what_stands_before_another_line_is_not_cut(after: str) -> None:
    found = kernel_log.explain("Panic#1 Part1\n<4>[    9.200000] WARNING: CPU: 0 PID: 36 at "
                               f"lib/x.c:85 f+0xd9/0xec\n<0>[    9.300000] {PANIC}ker{after}")
    assert (found.kernel.cause, found.message) == ("other", "ker")


def test_a_panic_of_another_matter_keeps_its_words() -> None:
    found = kernel_log.explain("Panic#1 Part1\n<4>[    9.200000] WARNING: CPU: 0 PID: 36 at "
                               f"lib/x.c:85 f+0xd9/0xec\n<0>[    9.300000] {PANIC}dumptest")
    assert (found.kernel.cause, found.message) == ("other", "dumptest")


# --- registers of a program ----------------------------------------------------------------

REGISTERS = [
    ("EIP: 0xb7fc2549\nDS: 007b ES: 007b FS: 0000 GS: 0033 SS: {} EFLAGS: 00000246",
     "0068", "007b"),
    ("epc   : 77f2a3b4 0x77f2a3b4\nStatus: 0000a413\t{} EXL IE", "KERNEL", "USER"),
    ("PC is at 0xb6f2a3b4\nFlags: nZCv  IRQs on  FIQs on  Mode {}_32  ISA ARM", "SVC", "USER"),
    ("MSR:  0000d032 <EE,{}ME,IR,DR,RI>  CR: 22\nNIP [10012344] 0x10012344", "", "PR,"),
]


@pytest.mark.parametrize(("registers", "kernels", "programs"), REGISTERS)
def test_a_programs_registers_are_never_the_place(
        registers: str, kernels: str, programs: str) -> None:
    stall = "Panic#1 Part1\nrcu: INFO: rcu_sched self-detected stall on CPU\n"
    assert kernel_log.explain(stall + registers.format(kernels)).kernel.function is not None
    assert kernel_log.explain(stall + registers.format(programs)).kernel.function is None


def test_registers_in_a_panics_trace_are_of_what_it_interrupted() -> None:
    text = ("Panic#1 Part1\nKernel panic - not syncing: {}\nCall Trace:\n <NMI>\n panic+0x1/0x2\n"
            " nmi_panic+0x3/0x4\nRIP: 0010:nf_lookup+0x23/0x50\n ? nf_lookup+0x23/0x50\n </NMI>\n")
    assert kernel_log.explain(text.format("NMI: Not continuing")).kernel.function is None
    assert kernel_log.explain(text.format("Hard LOCKUP")).kernel.function == "nf_lookup"


def test_an_nmi_that_says_what_it_is_of() -> None:
    found = kernel_log.explain(
        "Panic#1 Part1\n<0>[    9.100000] NMI: PCI system error (SERR) for reason b1 on CPU 0.\n"
        f"<0>[    9.100100] {PANIC}NMI: Not continuing\n")
    assert found.kernel.cause == "bus-error"
