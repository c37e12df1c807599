"""What was made to keep us busy, or to fill the memory: regions and logs.

Tests see that none of it raises or takes too much memory; `make bench` how long it takes.
"""

from __future__ import annotations

import random

from tests import foreign, zones
from tests.foreign import PAGE, early, slot, zone
from tests.regions import Kernel, Ring

MIB = 1 << 20


def _dirty(seed: int) -> bytes:
    """A zone with error correction in which every block has too many errors, or nearly so."""
    chance = random.Random(seed)
    memory = bytearray(Ring(65536, Kernel(), 16).write(zones.dump(zones.log(1300))).bytes())
    for at in chance.sample(range(128, len(memory) - 128), len(memory) // 16):
        memory[at] ^= chance.randrange(1, 256)
    return bytes(memory)


def _damaged(seed: int) -> bytes:
    """A zone with a compressed dump that lost bytes in the middle."""
    chance = random.Random(seed)
    log = b"".join(b"<6>[%5d.%06d] %08x\n" % (n, n, chance.randrange(1 << 32))
                   for n in range(3500))
    memory = bytearray(zones.zone(65536, zones.dump(b"Panic#1 Part1\n" + log, flag="C")[:65000]))
    memory[20000:20016] = chance.randbytes(16)
    return bytes(memory)


# Each about 1 MiB.
REGIONS = {
    "zeros": bytes(1 << 20), "random": random.Random(1).randbytes(1 << 20),
    "mtdoops": b"\1\0\0\0\0\x5d\0\x5d<4>x" * 104858, "slots": slot(b"<4>x\n", 1) * 256,
    "old slots": slot(b"Oops\n", 7, 0) * 256, "seed": early(b"<4>x\n") * 256,
    "headers": b"====1.1\n<4>x\n" * 80659, "zones": zone("kernel", foreign.dump(b"Oops#1 Part1\n"
                                                                              + b"x" * 99)) * 256,
    "bombs": zone("kernel", foreign.dump(b"Oops#1 Part1\n" + bytes(1 << 22)), 2 * PAGE) * 128,
    "fronts": zone("pmsg", b"x" * 4084) * 256,
    "frames": zone("pmsg", foreign.said("x") * 140) * 256,
    "traces": zone("ftrace", foreign.calls([(0, 9 * n, 0xc0001000 + n, 0xc0002000)
                                            for n in range(255)], "32")) * 256,
    "crashlogs": foreign.crashlog(foreign.crashlog_file(*[b"<4>x\n"] * 200)) * 64,
    "ls": zone("pmsg", b"l" * 4084) * 256, "equals": b"=" * (1 << 20),
    "text": b"<4>[    1.000000] Oops: words of a crash\n" * 25575,
    "plain headers": b"====1.1-D\n" * 104857, "packed headers": b"====1.1-C\n" * 104857,
    "signatures": b"DBGC" * (MIB // 4), "empty zones": (b"DBGC" + bytes(8)) * (MIB // 12),
    "small zones": zones.zone(20, b"evil") * (MIB // 20),
    "a zone of signatures": zones.zone(MIB, (b"DBGC" + bytes(8)) * 87000),
    "a zone of headers": zones.zone(MIB, b"====1.1-C\n" * 104800),
    "dirty": b"".join(map(_dirty, range(16))), "damaged": b"".join(map(_damaged, range(16))),
    "journal": b"====lastlog " * (MIB // 12), "gzip": b"\x1f\x8b\x08\0" * (MIB // 4),
    "blanks": (b"abc\n" * 32 + bytes(256)) * (MIB // 384),
    "emoji": zones.zone(65536, zones.dump("Panic#1 Part1\n\U0001f600".encode()
                                          + zones.log(1200))) * 16}

STAMP = "<4>[    1.000000] "
# Each as often as makes 1 MiB.
LOGS = {
    "empty lines": "\n",
    "one letter a line": "a\n",
    "one line": "A",
    "one line of brackets": "[",
    "blanks": " " * 2000 + "\n",
    "stamps": STAMP,
    "panics": "Kernel panic - not syncing: x\n",
    "warnings": STAMP + "WARNING: CPU: 0 PID: 1 at a f+0x1/0x2\n",
    "ooms": "dd invoked oom-killer: \n",
    "stalls": "rcu: INFO: rcu_sched detected stalls on CPUs/tasks: {\n",
    "oopses": STAMP + "Oops[#1]:\nCPU: 0 PID: 7 Comm: a Not tainted 6.1 #0\n---[ end trace\n",
    "frames": " f+0x1/0x2 [m]\n",
    "arm frames": "a from " * 300 + "\n",
    "a long task name": "CPU: 0 PID: 1 Comm: " + "x " * 900 + "\n",
    "long taints": "CPU: 0 PID: 1 Comm: a Tainted: " + "G " * 900 + "\n",
    "nested interrupts": "<IRQ> " * 300 + "\n",
    "a task blocked": "INFO: task " + "a:1" * 500 + "\n",
    "an address missing": "Unable to handle kernel " + "a" * 1900 + "\n",
    "long names": " " + "f" * 1900 + "+0x1/0x2\n",
    "long frames": " " + "f" * 300 + "+0x1/0x2 [" + "m" * 60 + "]\n",
    "long hardware": STAMP + "Hardware name: " + "h" * 900 + "\n",
    "nulls": STAMP + "epc   : " + "(null)" * 300 + "\n",
    "lines of programs": "<12>[    1.000000] Oops[#1]:\n",
    "read errors": STAMP + "SQUASHFS error: no\n",
    "lines of syslog": "Jan  1 00:00:00 OpenWrt kernel: [    1.000000] Oops[#1]:\n",
    "half lines of syslog": "Jan  1 00:00:00 " + "a " * 900 + "\n",
    "lines of netconsole": "6,1,12345678,-;Oops[#1]:\n",
    "half lines of netconsole": "6,1,12345678," + "a" * 1900 + "\n",
    "aborts": STAMP + "Unhandled fault: external abort at 0x1\n",
    "firmware": STAMP + "ath10k_pci 0000:00:00.0: firmware crashed! (guid 1)\n",
    "almost firmware": STAMP + "ath10k_pci " + "firmware: " * 180 + "\n",
    "ends": STAMP + "---[ end trace 0 ]---\n",
    "lines of powerpc": "[c1863d70] [c0478104] f+0x1/0x2 (unreliable)\n",
    "almost traps": "A" + " a" * 900 + "[#\n",
    "many messages": STAMP + "BUG: KASAN: " + "a " * 900 + "in f\n",
    "almost slabs": "BUG " + "a" * 60 + " (" + "a" * 1900 + "\n",
    "almost panics": STAMP + "Kernel panic - not syncing:" + " ]---" * 380 + "\n",
    "deaths of init": STAMP + "Kernel panic - not syncing: Attempted to kill init!\n",
}
