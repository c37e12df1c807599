"""The facts a kernel prints around a fault, and those it prints once at boot.

Sources: lib/dump_stack.c: dump_stack_print_info, arch/*/kernel/process.c and traps.c:
show_regs, mm/oom_kill.c: __oom_kill_process.

Each pattern is matched at the start of a message; its groups are the facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..record import Oom
from .line import Line
from .symbol import PLACE

__all__ = ["boot_facts", "fault_facts", "oom_facts"]

_TAINT = r"(?:Not tainted|Tainted: (?P<tainted>[A-Z ]{1,40}?)) +"
_CODE = r"(?:\[<[^>]{0,20}>\] *){0,2}"      # until v4.9 the address stands before the symbol

# "CPU: 0 UID: 0 PID: 1 Comm: init …": UID since v6.12; "Pid: 1, comm: init …" until v3.10.
_TASK = re.compile(
    r"CPU: (?P<cpu>\d{1,4}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,10}) Comm: (?P<process>.{1,64}?) "
    rf"(?:Kdump: loaded )?{_TAINT}(?P<release>\d[^ ]{{0,80}})")
_OLD_TASK = re.compile(
    r"Pid: (?P<pid>\d{1,10}), comm: (?P<process>.{1,64}?) +"
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
    re.compile(rf"epc +: (?:[0-9a-f]{{8,16}}|\([^)]{{0,16}}\)) {PLACE}"),
    # the bad address: x86 and mips print these lines alone only where it means something
    re.compile(r"CR2: (?P<address>[0-9a-f]{8,16})\s*$"),
    re.compile(r"BadVA +: (?P<address>[0-9a-f]{8,16})\s*$"),
    # arm "(pid: 1, stack limit = …)", mips "(pid: 1, threadinfo=…)"
    re.compile(r"Process (?P<process>.{1,64}) \(pid: (?P<pid>\d{1,10})[,)]"),
    re.compile(r"C[Pp][Uu] (?P<cpu>\d{1,4})\s*$"),                        # x86, mips until v3.10
    re.compile(r"(?:rcu:)?\s*(?P<cpu>\d{1,4})-\S{1,8}: \("),            # who stalls RCU
    re.compile(r"NMI backtrace for cpu (?P<cpu>\d{1,4})"),
)

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
    r"(?P<pid>\d{1,10}) \((?P<victim>.{1,64}?)\)(?P<rest>.*)")
_RSS = re.compile(r"\b(?:anon|file|shmem)-rss:(\d{1,15})kB")
_CHOSEN = re.compile(r"oom-kill:.*,task=(?P<victim>.{1,64}),pid=(?P<pid>\d{1,10}),uid=")


def fault_facts(lines: Iterable[Line]) -> dict[str, str]:
    """What the lines of a report say: of each fact the first."""
    facts: dict[str, str] = {}
    for line in lines:
        for pattern in _FAULT_FACTS:
            found = pattern.match(line.text)
            if found and not ("name" in found.groupdict() and _has_place(facts)):
                facts = {**_groups(found), **facts}
    return facts


def _has_place(facts: dict[str, str]) -> bool:
    return "name" in facts or "bare" in facts


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
            sizes = _RSS.findall(line.text)
            rss = sum(map(int, sizes)) if sizes else rss
    return Oom(victim, pid, rss, trigger)
