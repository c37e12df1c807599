"""What happens to the emulated router.  The steps' words are those of lab.sh."""

from __future__ import annotations

import os

from .board import MALTA
from .scenario import Scenario, Step

__all__ = ["ALL", "CYCLES", "MOMENTS"]

# Every way to reboot, once.
ORDINARY = Scenario("ordinary", (
    Step("run ubus ubus call lastlog status; look; clean"),
    Step("look; crash panic"),
    Step("look; crash oops"),
    Step("run again lastlog --json harvest; look; crash oom"),
    Step("look; hang"),
    Step("look; power_cut"),
    Step("look; off"),
), main={"panic_on_oom": "1"})

# The board's own ramoops starts at slot 0 at every boot, before anybody has read it.
UNHARVESTED = Scenario("unharvested", (
    Step("clean"),
    *3 * [Step("", early="ramoops; crash panic")],
    Step("look; off", early="ramoops"),
))

# The second crash comes before anything is there to record it.
EARLY = Scenario("early", (
    Step("crash panic"),
    Step("", early="crash panic"),
    Step("look; off"),
))

# A harvest that has a crash to keep is cut off: (at which share of its operations, how).
MOMENTS = (("1/6", "b"), ("2/6", "b"), ("3/6", "b"), ("4/6", "b"), ("5/6", "b"),
           ("3/6", "c"), ("5/6", "c"))
INTERRUPTED = Scenario("interrupted", (
    Step("crash panic"),
    Step("look; crash panic", early="interrupt 0 -"),
    *(step for at, key in MOMENTS for step in (
        Step("", early=f"interrupt {at} {key}"),
        Step("run list lastlog --json list; glance; crash panic"))),
    Step("look; off"),
))

FULL_FLASH = Scenario("full-flash", (
    Step("crash panic"),
    Step("look; empty_flash; crash panic", early="fill_flash"),
    Step("look; empty_flash; run save lastlog --json save; run saved lastlog --json list; off",
         early="fill_flash"),
))

READ_ONLY = Scenario("read-only", (
    Step("crash panic"),
    Step("look; crash panic", early="protect_flash"),
    Step("look; release_flash; run save lastlog --json save; run saved lastlog --json list; off",
         early="protect_flash"),
))

GARBAGE = Scenario("garbage", (
    Step("look; crash panic"),
    Step("look; power_cut"),
    Step("look; off"),
), garbage=True)

# The retention test on real memory: through a warm reboot, and through a power cut.
SELFTEST = Scenario("selftest", (
    Step("run arm lastlog --json selftest arm; clean"),
    Step("run result lastlog --json selftest result; run arm lastlog --json selftest arm; "
         "run store ubus call lastlog store '{\"text\": \"over ubus\"}'; power_cut"),
    Step("run result lastlog --json selftest result; run propose lastlog --json propose; look; "
         "off"),
), garbage=True)

# In the middle of System RAM.
WRONG_REGION = Scenario("wrong-region", (
    Step("look; clean"),
    Step("run propose lastlog --json propose; look; off"),
), region={"address": "0x4000000"})

AUTOSAVE_OFF = Scenario("autosave-off", (
    Step("crash panic"),
    Step("look; crash panic"),
    Step("look; hang"),
    Step("look; run save lastlog --json save; run saved lastlog --json list; power_cut"),
    Step("look; off"),
), main={"autosave": "0"})

# The device tree names ramoops and nothing else: no phram, no region in UCI.  Debian's kernel
# writes neither console nor pmsg zones, so nothing in memory tells whether it survived.
RAMOOPS_ONLY = Scenario("ramoops-only", (
    Step("look; clean", early="ramoops"),
    Step("look; crash panic", early="ramoops"),
    Step("look; hang", early="ramoops"),
    Step("look; off", early="ramoops"),
), region={"address": "", "size": "", "journal_size": "0", "record_size": "", "console_size": "",
           "pmsg_size": ""})

# A MIPS with phram and without pstore: the whole region is the journal.  Emulated, it is slow.
MIPS = Scenario("mips", (
    Step("echo written before the panic >/tmp/notes; run store lastlog --json store /tmp/notes; "
         "crash panic"),
    Step("look; off"),
), board=MALTA, region={"journal_size": "0x100000", "record_size": "", "console_size": ""})

# So many crashes, one after the other, each harvested; `make cycles` asks for a hundred.
# kernel.panic -1: no waiting before the reboot.
NUMBER = int(os.environ.get("LASTLOG_CYCLES", "8"))
CYCLES = Scenario("cycles", (
    *NUMBER * [Step("grown; echo -1 >/proc/sys/kernel/panic; crash panic")],
    Step("grown; look; off"),
), main={"panic_reboot": "0"}, seconds=60 + 15 * NUMBER)

# A program crashes, and then it takes the whole system down with it.
CORE_DUMP = Scenario("core-dump", (
    Step("run pattern cat /proc/sys/kernel/core_pattern; "
         "sh -c 'kill -SEGV $$'; sleep 5; run before lastlog --json list; crash panic"),
    Step("look; run show lastlog --json show "
         "$(lastlog --json list | grep -o '\"c-[0-9a-f]*\"' | head -n 1 | tr -d '\"'); off"),
))

ALL = {each.name: each for each in (
    ORDINARY, INTERRUPTED, CYCLES, UNHARVESTED, EARLY, FULL_FLASH, READ_ONLY, GARBAGE,
    SELFTEST, WRONG_REGION, AUTOSAVE_OFF, MIPS, RAMOOPS_ONLY, CORE_DUMP)}
