"""The facts a kernel prints around a fault, and those it prints once at boot.

Sources: lib/dump_stack.c: dump_stack_print_info, arch/*/kernel/process.c and traps.c:
show_regs, arch/powerpc/xmon/xmon.c: excprint, mm/oom_kill.c: __oom_kill_process,
block/blk-core.c: blk_print_req_error.

Each pattern is matched at the start of a message; its groups are the facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set

from ..record import Oom
from .line import Line
from .pattern import Pattern
from .symbol import CALLER, PLACE

__all__ = ["boot_facts", "fault_facts", "of_a_program", "oom_facts", "read_errors"]

# Red Hat's kernels put dashes behind the flags, "--------- -  - " in version 8.
_TAINT = r"(?:Not tainted|Tainted: (?P<tainted>[A-Z ]{1,40}?)(?: ?-[ -]{1,30})?(?: T)?) +"
_CODE = r"(?:\[<[^>]{0,20}>\] *){0,2}"      # until v4.9 the address stands before the symbol
_VALUE = r"(?:[0-9a-f]{8,16}|\([^)]{0,16}\)) "

# "CPU: 0 UID: 0 PID: 1 Comm: init …": UID since v6.12; "Pid: 1, comm: init …" until v3.10.
# A program calls itself what it likes, "a Not tainted 9.9.9 b": the last such words count.  The
# line may be cut at some column.
_TAINT_CUT = r"(?:Not?(?: [a-z]{0,7})?|T(?:a[a-z]{0,5}:?)?[A-Z ]{0,40})$"
_TASK = Pattern(
    r"CPU: (?P<cpu>\d{1,4}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,10}) Comm: "
    r"(?P<process>.{0,64}(?<! Kdump: loaded)) "
    rf"(?:Kdump: loaded )?(?:{_TAINT}(?P<release>\d[^ ]{{0,80}})|{_TAINT_CUT})", " Comm: ")
_OLD_TASK = Pattern(
    r"Pid: (?P<pid>\d{1,10}), comm: (?P<process>.{1,64}) "
    rf"{_TAINT}\(?(?P<release>\d[^ ]{{0,80}})", ", comm: ")
_OLD_ARM = Pattern(rf"CPU: (?P<cpu>\d{{1,4}}) +{_TAINT}\((?P<release>\d[^ ]{{0,80}})", "ainted")
_HARDWARE = Pattern(r"Hardware name: (?P<hardware>.{1,200})", "Hardware name: ")

_FAULT_FACTS = (
    _TASK, _OLD_TASK, _OLD_ARM, _HARDWARE,
    # where the program counter was: x86-64, x86, arm and old arm64, arm64, mips, riscv, powerpc
    Pattern(rf"RIP: 0010:{_CODE}{PLACE}", "RIP: 0010:"),
    Pattern(rf"EIP(?: is at |: (?:0060:)?){_CODE}{PLACE}", "EIP"),
    Pattern(rf"IP: {_CODE}{PLACE}", "IP: "),        # v2.6.25 to v4.20, behind the first line
    Pattern(rf"PC is at {PLACE}", "PC is at "),
    Pattern(rf"pc : {_CODE}{PLACE}", "pc : "),
    Pattern(rf"epc +: (?:{_VALUE})?{PLACE}", "epc "),
    Pattern(rf"NIP \[[0-9a-fA-F]{{8,16}}\] {PLACE}", "NIP ["),
    Pattern(rf"ERA: [0-9a-f]{{16}} {PLACE}", "ERA: "),      # loongarch
    Pattern(rf" *pc: [0-9a-f]{{8,16}}: {PLACE}", "pc: "),
    # its bare value, on riscv before v5.12 and where powerpc's log ends too soon
    Pattern(r"s?epc ?: (?P<counter>[0-9a-f]{8,16}) ra : ", " ra : "),
    Pattern(r"NIP: +(?P<counter>[0-9a-f]{8,16}) LR: ", "NIP: "),
    # the same where it was NULL: until v5.1 printed as "(null)"
    Pattern(r"(?:RIP: 0010:|EIP(?: is at |: )|PC is at |pc : |epc +: )[^(]{0,40}"
            r"(?:\(null\)>\] {0,16})?(?P<nowhere>\(null\))", "(null)"),
    # where it was to return to: arm and old arm64, arm64, mips, riscv, powerpc
    Pattern(rf"(?:LR is at |lr : {_CODE}| ?ra +: (?:{_VALUE})?|LR \[[0-9a-f]{{8,16}}\] ){CALLER}",
            "LR is at ", "lr : ", "ra ", "LR ["),
    # the bad address: x86 and mips print these lines alone only where it means something
    Pattern(r"CR2: (?P<address>[0-9a-f]{8,16})\s*$", "CR2: "),
    Pattern(r"BadVA +: (?P<address>[0-9a-f]{8,16})\s*$", "BadVA "),
    # beside the other control registers it is what a page fault left there, or what one before did
    Pattern(r"CR2: (?P<cr2>[0-9a-f]{8,16}) CR3: ", " CR3: "),
    # what KASAN on x86 adds where a NULL pointer made an address of its own
    Pattern(r"KASAN: null-ptr-deref in range \[(?P<null>0x[0-9a-f]{1,16})-", "KASAN: null-ptr"),
    # arm "(pid: 1, stack limit = …)", mips "(pid: 1, threadinfo=…)"
    Pattern(r"Process (?P<process>.{1,64}) \(pid: (?P<pid>\d{1,10})[,)]", " (pid: "),
    # powerpc until v3.17; its debugger
    Pattern(r"TASK = [0-9a-f]{8,16}\[(?P<pid>\d{1,10})\] '(?P<process>.{1,64})' ", "TASK = "),
    Pattern(r" *pid   = (?P<pid>\d{1,10}), comm = (?P<process>.{1,64})$", ", comm = "),
    Pattern(r"cpu 0x(?P<hexcpu>[0-9a-f]{1,4}): Vector: ", ": Vector: "),
    Pattern(rf"REGS: [0-9a-f]{{8,16}} TRAP: [0-9a-f]{{4}} +{_TAINT}"
            r"\((?P<release>\d[^ )]{0,80})\)", " TRAP: "),
    # x86, mips until v3.10
    Pattern(r"C[Pp][Uu] (?P<cpu>\d{1,4})\s*$", "CPU ", "Cpu ", "CpU ", "CPu "),
    # who stalls RCU: "0-....: (60002 ticks this GP)", "0: (2099 ticks this GP)" until v4.0
    Pattern(r"(?:rcu:)?\s*(?P<cpu>\d{1,4})(?:-\S{1,8})?: \(", ": ("),
    Pattern(r"NMI backtrace for cpu (?P<cpu>\d{1,4})", "NMI backtrace for cpu "),
)

# The line of the registers that tells the processor's mode, and what it holds while a program
# runs: x86's (32 bits) stack segment __USER_DS, mips' and arm's words, powerpc's bit.
_MODES = {"DS: ": " SS: 007b", "Status: ": "\tUSER", "Flags: ": " Mode USER_", "MSR: ": "PR,"}

# Groups that name the same place: its parts must come from one line.
_PLACES = (frozenset({"name", "bare", "nowhere"}), frozenset({"caller_name", "caller_bare"}))

_BOOT_FACTS = (
    Pattern(r"Linux version (?P<release>\d[^ ]{0,80})", "Linux version "),
    _TASK, _OLD_TASK, _OLD_ARM, _HARDWARE,
    Pattern(r"(?:OF: fdt: ?)?Machine model: (?P<model>.{1,200})", "Machine model: "),
    Pattern(r"MIPS: machine is (?P<model>.{1,200})", "MIPS: machine is "),
    Pattern(r"Machine: (?P<model>.{1,200})", "Machine: "),
    Pattern(r"(?:SMBIOS.{0,40})?DMI: (?P<model>.{1,200})", "DMI: "),
)

_KILLED = Pattern(
    r"(?:(?:Memory cgroup )?[Oo]ut of memory(?: \([^)]{0,40}\))?: )?Kill(?:ed)? process "
    r"(?P<pid>\d{1,10}),? (?:UID \d{1,10}, )?\((?P<victim>.{1,64})\)(?P<rest>.*)", " process ")
_LIMIT = Pattern(r"oom-kill:constraint=CONSTRAINT_MEMCG|Memory cgroup out of mem"
                 r"|Task in \S{1,400} killed as a result of limit of "
                 r"|(?:\[<[0-9a-f]{8,16}>\] |\s)*mem_cgroup_out_of_memory\+",
                 "CONSTRAINT_MEMCG", "Memory cgroup", " as a result of limit ",
                 "mem_cgroup_out_of_memory")
_RSS = Pattern(r"\b(?:anon|file|shmem)-rss:(\d{1,15})kB")
_CHOSEN = Pattern(r"oom-kill:.*,task=(?P<victim>.{1,64}),pid=(?P<pid>\d{1,10}),uid=(?P<rest>)",
                  "oom-kill:")

# What the kernel says when it cannot read flash or a disk; the first kind of these counts.
_READ_ERRORS = {
    "SquashFS read errors": Pattern(r"(?:squashfs: )?SQUASHFS error: ", "SQUASHFS error: "),
    "UBI read errors": Pattern(r"ubi\d{1,3} error|UBI error|UBIFS error", "ubi", "UBI"),
    "I/O errors": Pattern(r"(?:\w{1,40}: )?(?:Buffer )?I/O error", "I/O error"),
}


def fault_facts(lines: Sequence[Line]) -> dict[str, str]:
    """What the lines of a report say: of each fact the first."""
    facts: dict[str, str] = {}
    patterns = _in_question(_FAULT_FACTS, lines)
    for line in lines:
        for pattern in patterns:
            found = pattern.match(line.text)
            if found and not _answered(found.groupdict().keys(), facts.keys()):
                facts = {**_groups(found), **facts}
    return facts


def of_a_program(lines: Sequence[Line]) -> bool:
    """Whether the first registers in the lines are a program's, not the kernel's."""
    texts = (line.text.lstrip() for line in lines)
    first = next((text for text in texts if text.startswith(tuple(_MODES))), "")
    return any(first.startswith(start) and mode in first for start, mode in _MODES.items())


def _in_question(patterns: Iterable[Pattern], lines: Iterable[Line]) -> list[re.Pattern[str]]:
    """Those of the patterns that can match any of the lines."""
    text = "\n".join(line.text for line in lines)
    return [pattern.compiled for pattern in patterns if pattern.may_match(text)]


def _answered(asked: Set[str], known: Set[str]) -> bool:
    """Whether a pattern with these groups asks for a place that is known already."""
    return any(asked & place and known & place for place in _PLACES)


def _groups(match: re.Match[str]) -> dict[str, str]:
    return {name: value.strip() for name, value in match.groupdict().items() if value}


def boot_facts(lines: Sequence[Line]) -> dict[str, str]:
    """`release`, `hardware`, `tainted` as said last anywhere in the log; what is not, is left out.

    The name a fault's report gives the hardware goes before the one from the boot.
    """
    facts: dict[str, str] = {}
    patterns = _in_question(_BOOT_FACTS, lines)
    for line in lines:
        for pattern in patterns:
            found = pattern.match(line.text)
            facts.update(_groups(found) if found else {})
    if "model" in facts:
        facts.setdefault("hardware", facts["model"])
    return {name: facts[name] for name in ("release", "hardware", "tainted") if name in facts}


def oom_facts(lines: Sequence[Line], trigger: str | None) -> Oom:
    """What the out-of-memory killer did in this report."""
    victim = pid = rss = None
    for line in lines:
        found = _KILLED.match(line.text) or _CHOSEN.match(line.text)
        if found:
            victim, pid = found["victim"], int(found["pid"])
            sizes = _RSS.compiled.findall(found["rest"])
            rss = sum(map(int, sizes)) if sizes else rss
    limit = any(_LIMIT.match(line.text) for line in lines)
    return Oom(victim, pid, rss, trigger, limit)


def read_errors(lines: Sequence[Line]) -> str | None:
    """What kind of errors kept these lines' kernel from reading its files; None: they do not say.

    A file system's own words go before those of the device below it.
    """
    return next((kind for kind, pattern in _READ_ERRORS.items()
                 if any(pattern.match(line.text) for line in lines)), None)
