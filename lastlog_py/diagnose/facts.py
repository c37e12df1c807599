"""The facts a kernel prints around a fault, and those it prints once at boot.

Sources: lib/dump_stack.c: dump_stack_print_info, arch/*/kernel/process.c and traps.c:
show_regs, mm/oom_kill.c: __oom_kill_process, block/blk-core.c: blk_print_req_error.

Each pattern is matched at the start of a message; its groups are the facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set

from ..record import Oom
from .line import Line
from .symbol import CALLER, PLACE

__all__ = ["boot_facts", "fault_facts", "oom_facts", "read_errors"]

_TAINT = r"(?:Not tainted|Tainted: (?P<tainted>[A-Z ]{1,40}?)) +"
_CODE = r"(?:\[<[^>]{0,20}>\] *){0,2}"      # until v4.9 the address stands before the symbol
_VALUE = r"(?:[0-9a-f]{8,16}|\([^)]{0,16}\)) "

# "CPU: 0 UID: 0 PID: 1 Comm: init …": UID since v6.12; "Pid: 1, comm: init …" until v3.10.
# A program calls itself what it likes, "a Not tainted 9.9.9 b": the last such words count.
_TASK = re.compile(
    r"CPU: (?P<cpu>\d{1,4}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,10}) Comm: "
    r"(?P<process>.{1,64}(?<! Kdump: loaded)) "
    rf"(?:Kdump: loaded )?{_TAINT}(?P<release>\d[^ ]{{0,80}})")
_OLD_TASK = re.compile(
    r"Pid: (?P<pid>\d{1,10}), comm: (?P<process>.{1,64}) "
    rf"{_TAINT}\(?(?P<release>\d[^ ]{{0,80}})")
_OLD_ARM = re.compile(rf"CPU: (?P<cpu>\d{{1,4}}) +{_TAINT}\((?P<release>\d[^ ]{{0,80}})")
_HARDWARE = re.compile(r"Hardware name: (?P<hardware>.{1,200})")

_FAULT_FACTS = (
    _TASK, _OLD_TASK, _OLD_ARM, _HARDWARE,
    # where the program counter was: x86-64, x86, arm and old arm64, arm64, mips
    re.compile(rf"RIP: 0010:{_CODE}{PLACE}"),
    re.compile(rf"EIP(?: is at |: (?:0060:)?){_CODE}{PLACE}"),
    re.compile(rf"PC is at {PLACE}"),
    re.compile(rf"pc : {_CODE}{PLACE}"),
    re.compile(rf"epc +: {_VALUE}{PLACE}"),
    # the same where it was NULL: until v5.1 printed as "(null)"
    re.compile(r"(?:RIP: 0010:|EIP(?: is at |: )|PC is at |pc : |epc +: )[^(]{0,40}"
               r"(?:\(null\)>\] {0,16})?(?P<nowhere>\(null\))"),
    # where it was to return to: arm and old arm64, arm64, mips
    re.compile(rf"(?:LR is at |lr : {_CODE}|ra +: {_VALUE}){CALLER}"),
    # the bad address: x86 and mips print these lines alone only where it means something
    re.compile(r"CR2: (?P<address>[0-9a-f]{8,16})\s*$"),
    re.compile(r"BadVA +: (?P<address>[0-9a-f]{8,16})\s*$"),
    # arm "(pid: 1, stack limit = …)", mips "(pid: 1, threadinfo=…)"
    re.compile(r"Process (?P<process>.{1,64}) \(pid: (?P<pid>\d{1,10})[,)]"),
    re.compile(r"C[Pp][Uu] (?P<cpu>\d{1,4})\s*$"),                        # x86, mips until v3.10
    re.compile(r"(?:rcu:)?\s*(?P<cpu>\d{1,4})-\S{1,8}: \("),            # who stalls RCU
    re.compile(r"NMI backtrace for cpu (?P<cpu>\d{1,4})"),
)

# Groups that name the same place: its parts must come from one line.
_PLACES = (frozenset({"name", "bare", "nowhere"}), frozenset({"caller_name", "caller_bare"}))

_BOOT_FACTS = (
    re.compile(r"Linux version (?P<release>\d[^ ]{0,80})"),
    _TASK, _OLD_TASK, _OLD_ARM, _HARDWARE,
    re.compile(r"(?:OF: fdt: ?)?Machine model: (?P<model>.{1,200})"),
    re.compile(r"MIPS: machine is (?P<model>.{1,200})"),
    re.compile(r"Machine: (?P<model>.{1,200})"),
    re.compile(r"(?:SMBIOS.{0,40})?DMI: (?P<model>.{1,200})"),
)
_SOME_BOOT_FACT = re.compile(r"Linux v|CPU: \d|Pid: |Hardware n|OF: |Machine|MIPS: |SMBIOS|DMI: ")

_KILLED = re.compile(
    r"(?:(?:Memory cgroup )?[Oo]ut of memory(?: \([^)]{0,40}\))?: )?Kill(?:ed)? process "
    r"(?P<pid>\d{1,10}) \((?P<victim>.{1,64})\)(?P<rest>.*)")
_RSS = re.compile(r"\b(?:anon|file|shmem)-rss:(\d{1,15})kB")
_CHOSEN = re.compile(r"oom-kill:.*,task=(?P<victim>.{1,64}),pid=(?P<pid>\d{1,10}),uid=(?P<rest>)")

# What the kernel says when it cannot read flash or a disk; the first kind of these counts.
_READ_ERRORS = {
    "SquashFS read errors": re.compile(r"(?:squashfs: )?SQUASHFS error: "),
    "UBI read errors": re.compile(r"ubi\d{1,3} error|UBI error|UBIFS error"),
    "I/O errors": re.compile(r"(?:\w{1,40}: )?(?:Buffer )?I/O error"),
}


def fault_facts(lines: Iterable[Line]) -> dict[str, str]:
    """What the lines of a report say: of each fact the first."""
    facts: dict[str, str] = {}
    for line in lines:
        for pattern in _FAULT_FACTS:
            found = pattern.match(line.text)
            if found and not _answered(found.groupdict().keys(), facts.keys()):
                facts = {**_groups(found), **facts}
    return facts


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
    for line in lines:
        if _SOME_BOOT_FACT.match(line.text):
            for pattern in _BOOT_FACTS:
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
            sizes = _RSS.findall(found["rest"])
            rss = sum(map(int, sizes)) if sizes else rss
    return Oom(victim, pid, rss, trigger)


def read_errors(lines: Sequence[Line]) -> str | None:
    """What kind of errors kept these lines' kernel from reading its files; None: they do not say.

    A file system's own words go before those of the device below it.
    """
    return next((kind for kind, pattern in _READ_ERRORS.items()
                 if any(pattern.match(line.text) for line in lines)), None)
