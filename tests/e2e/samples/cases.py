"""The samples: which kernel, how the memory is divided, what is provoked, what is damaged.

The first letter tells what a sample is about: z compression, e ECC, f front ends, g geometry,
b pstore_blk, t mtdoops, p other machines and kernels, d what the diagnosis has to find.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from . import damage
from .damage import Damage, Zone
from .kernels import ALL as KERNELS

__all__ = ["ALL", "Case"]


class Case(NamedTuple):
    """How a sample comes about.  Steps and setup are shell, with the words of guest/init."""

    name: str
    description: str
    provoked: str               # what went wrong, in words
    steps: tuple[str, ...]      # one crash each, in a boot of its own
    parameters: str             # of the driver, besides the place
    kernel: str = "x86_64-6.1"
    medium: str = "ramoops"     # "pstore_blk" | "mtdoops"
    size: int = 256 << 10       # of the region
    setup: str = ""             # before each step, with the driver loaded
    append: str = ""            # to the kernel's command line
    processors: int = 1
    before: bytes = b"\0"       # what fills the region at first, repeated
    of: str = ""                # another case: its crash, read again with our damage
    damage: Damage = damage.nothing
    damaged: str = ""           # what the damage is, in words
    compression: str = "deflate"


SYSRQ = "echo c > /proc/sysrq-trigger"
EXACT = "record_size=0x2000 console_size=0x2000 ftrace_size=0x1000 pmsg_size=0x1000"
EXACT_SIZE = 0x8000
DUMPS = "record_size=0x10000 console_size=0 ftrace_size=0 pmsg_size=0"
SOME_PMSG = "for word in one two three; do echo \"pmsg $word\" > /dev/pmsg0; done"
# It stays on: switching it off records every step of that, under emulation for minutes.
SOME_FTRACE = "record_functions 1"


def _exact(ecc: int) -> tuple[Zone, Zone, Zone, Zone]:
    """The first dump's, the console's, ftrace's and pmsg's zone of EXACT; two dumps
    and these fill EXACT_SIZE."""
    return (Zone(0, 0x2000, ecc), Zone(0x4000, 0x2000, ecc), Zone(0x6000, 0x1000, ecc),
            Zone(0x7000, 0x1000, ecc))


# --- compression


def _compressed(algorithm: str, number: int) -> list[Case]:
    name = f"z{number:02}_{algorithm}"
    append = f"pstore.compress={algorithm} printk.devkmsg=on"
    base = Case(name, f"pstore.compress={algorithm}", "sysrq c", (SYSRQ,), DUMPS,
                append=append, compression=algorithm)
    big = base._replace(name=f"{name}_big", setup="babble 60; echo t > /proc/sysrq-trigger",
                        description=f"{algorithm}: a log as big as the record holds, "
                                    "some of it hardly compressible")
    flip = base._replace(name=f"{name}_flip", of=name, damage=damage.at(3000, 3, 40),
                         damaged="3 bytes around offset 3000 of the stream",
                         description=f"{algorithm}: a stream with wrong bytes")
    hole = base._replace(name=f"{name}_hole", of=name, damage=damage.fill(2048, 64, 0),
                         damaged="64 bytes of the stream are zero",
                         description=f"{algorithm}: a stream with a hole")
    cut = base._replace(name=f"{name}_cut", of=name, damage=damage.cut(Zone(0, 0x10000), 2500),
                        damaged="the zone's size is 2500",
                        description=f"{algorithm}: a truncated stream")
    small = base._replace(name=f"{name}_4k",
                          parameters=DUMPS.replace("0x10000", "0x1000"), size=64 << 10,
                          description=f"{algorithm}: records of 4 KiB")
    # Only deflate and zstd have blocks that begin anew behind a hole.
    return [base, big, flip, cut, small, *([hole] if algorithm in ("deflate", "zstd") else [])]


COMPRESSED = [case for number, algorithm in enumerate(
    ("lz4", "lz4hc", "lzo", "842", "zstd", "deflate"), 1)
    for case in _compressed(algorithm, number)]

# --- ECC


def _ecc(size: int, number: int, append: str, compression: str) -> list[Case]:
    """A crash under ECC of `size`, and what can happen to it."""
    name = f"e{number:02}_ecc{size}"
    limit = size // 2
    dump, console, _, pmsg = _exact(size)
    base = Case(name, f"ecc={size} in all zones", "sysrq c", (SYSRQ,), f"{EXACT} ecc={size}",
                size=EXACT_SIZE, setup=SOME_PMSG, append=f"{append} loglevel=4".strip(),
                compression=compression)
    within = damage.join(
        damage.header(dump, min(limit, 4)), damage.block(dump, 0, limit),
        damage.block(dump, 5, limit), damage.parity(dump, 6, limit),
        damage.header_parity(console, limit), damage.block(console, 1, max(limit - 1, 1)),
        damage.block(console, 2, limit // 2), damage.parity(console, 2, limit - limit // 2),
        damage.block(pmsg, 0, limit))
    beyond = damage.join(damage.block(dump, 7, limit + 3), damage.block(dump, 9, limit),
                         damage.block(console, 3, limit + 3), damage.parity(console, 4, limit + 2))
    lost = damage.join(damage.header(dump, min(limit + 2, 12)),
                       damage.header(console, min(limit + 2, 12)))
    return [
        base,
        base._replace(name=f"{name}_within", of=name, damage=within,
                      description=f"ecc={size}: everything can be corrected",
                      damaged=f"up to {limit} bytes in headers, blocks and parities"),
        base._replace(name=f"{name}_beyond", of=name, damage=beyond,
                      description=f"ecc={size}: some blocks cannot be corrected",
                      damaged=f"more than {limit} bytes in two blocks and a parity"),
        base._replace(name=f"{name}_lost", of=name, damage=lost,
                      description=f"ecc={size}: the kernel gives up on two zones",
                      damaged=f"more than {limit} bytes in the headers of a dump and the console"),
    ]


NONE = "pstore.compress=none"
UNDER_ECC = [case for number, (size, append, compression) in enumerate((
    (2, NONE, "none"), (4, NONE, "none"), (8, NONE, "none"), (16, NONE, "none"),
    (20, NONE, "none"), (32, NONE, "none"), (5, NONE, "none"), (8, "", "deflate"),
    (16, "pstore.compress=lz4", "lz4"), (16, "pstore.compress=zstd", "zstd")), 1)
    for case in _ecc(size, number, append, compression)]

_BASE = UNDER_ECC[0]._replace
DECAYED = [
    _BASE(name=f"e{number}_decay_{int(share * 10000)}", of=f"e{base}",
          parameters=f"{EXACT} ecc={ecc}", compression=compression,
          append=f"{append} loglevel=4".strip(), description=f"ecc={ecc} in memory that decayed",
          damaged=f"one bit in {share:.2%} of all bytes",
          damage=damage.join(*(damage.spread(zone, share) for zone in _exact(ecc))))
    for number, base, ecc, append, compression, share in (
        (20, "04_ecc16", 16, NONE, "none", 0.01), (21, "04_ecc16", 16, NONE, "none", 0.05),
        (22, "06_ecc32", 32, NONE, "none", 0.05), (23, "01_ecc2", 2, NONE, "none", 0.002),
        (24, "08_ecc8", 8, "", "deflate", 0.004))]

# --- all zones, several processors


def _frame(number: int) -> bytes:
    """A line of Android's log, as its logger writes it to pmsg: two packed headers, priority, tag
    and text (android_pmsg_log_header_t, android_log_header_t)."""
    payload = b"\x04" + b"netd\0" + b"request %d of a client\0" % number
    log = struct.pack("<BHII", 0, 400 + number, 1795000000 + number, 1000 * number)
    return struct.pack("<BHHH", 0x6c, 18 + len(payload), 1000, 321) + log + payload


def _printed(data: bytes) -> str:
    octal = "".join(f"\\{byte:03o}" for byte in data)
    return f"printf '{octal}' > /dev/pmsg0"


FRAMES = "\n".join(_printed(_frame(number)) for number in range(40))
CHATTER = "babble 150"
ALL_ZONES = "record_size=0x8000 console_size=0x4000 ftrace_size=0x8000 pmsg_size=0x2000"
FRONT_ENDS = [
    Case("f01_smp2_ftrace", "ftrace in two zones, one a processor", "sysrq c", (SYSRQ,), ALL_ZONES,
         setup=f"{SOME_PMSG}\n(ls -lR /proc/sys/kernel & record_functions 1; ls -R /sys/kernel; "
               "wait) > /dev/null", processors=2),
    Case("f02_smp4_ftrace_wrapped", "four ftrace zones, on until the crash", "sysrq c", (SYSRQ,),
         ALL_ZONES, processors=4,
         setup="record_functions 1; (for i in 1 2 3 4; do ls -lR /sys/kernel & done; wait) "
               "> /dev/null"),
    Case("f03_android_pmsg", "pmsg holds frames of Android's logger", "sysrq c", (SYSRQ,),
         ALL_ZONES, setup=FRAMES),
    Case("f04_android_pmsg_wrapped", "the same in a ring that has wrapped in a frame", "sysrq c",
         (SYSRQ,), ALL_ZONES.replace("pmsg_size=0x2000", "pmsg_size=0x400"), setup=FRAMES),
    Case("f05_wrapped_ecc", "console and pmsg wrapped under ecc=8", "sysrq c", (SYSRQ,),
         "record_size=0x8000 console_size=0x1000 ftrace_size=0x1000 pmsg_size=0x1000 ecc=8",
         setup=f"{CHATTER}\nhead -c 9000 /dev/urandom | base64 > /dev/pmsg0",
         append="printk.devkmsg=on"),
    Case("f06_wrapped_ecc16_lz4", "the same, ecc=1, lz4, two processors", "sysrq c", (SYSRQ,),
         "record_size=0x4000 console_size=0x2000 ftrace_size=0x2000 pmsg_size=0x1000 ecc=1",
         setup=f"{CHATTER}\nhead -c 9000 /dev/urandom | base64 > /dev/pmsg0",
         append="pstore.compress=lz4 printk.devkmsg=on", processors=2, compression="lz4"),
    Case("f07_binary_pmsg", "pmsg holds random bytes", "sysrq c", (SYSRQ,), ALL_ZONES,
         setup="head -c 3000 /dev/urandom > /dev/pmsg0"),
]

# --- geometry

OOPSES = "provoke EXCEPTION; provoke WRITE_RO; provoke BUG"
GEOMETRY = [
    Case("g01_gap", "record_size does not divide what is left", "sysrq c", (SYSRQ,),
         "record_size=0x8000 console_size=0x2000 ftrace_size=0x1000 pmsg_size=0x800"),
    Case("g02_one_dump", "room for one dump: the second overwrites the first", "three oopses, then "
         "sysrq c", (f"{OOPSES}; {SYSRQ}",),
         "record_size=0x8000 console_size=0x4000 ftrace_size=0 pmsg_size=0x1000", size=64 << 10),
    Case("g03_console_only", "record_size=0: no dumps at all", "sysrq c", (SYSRQ,),
         "record_size=0 console_size=0x8000 ftrace_size=0 pmsg_size=0", size=64 << 10),
    Case("g04_uncached", "mem_type=1", "sysrq c", (SYSRQ,), f"{ALL_ZONES} mem_type=1",
         setup=SOME_PMSG),
    Case("g05_cached", "mem_type=2", "sysrq c", (SYSRQ,), f"{ALL_ZONES} mem_type=2",
         setup=SOME_PMSG),
    Case("g06_random_before", "memory that held random bytes before", "sysrq c", (SYSRQ,),
         f"{EXACT} ecc=16", size=EXACT_SIZE, setup=SOME_PMSG, before=damage.noise(EXACT_SIZE)),
    Case("g07_many_boots", "crashes in three boots, no two alike; nobody reads between",
         "an oops, then a panic; a panic; two oopses and a panic",
         (f"provoke EXCEPTION; {SYSRQ}", "provoke PANIC", f"{OOPSES}; {SYSRQ}"), ALL_ZONES,
         setup=SOME_PMSG),
    Case("g08_small_records", "records of 2 KiB, uncompressed", "three oopses, then sysrq c",
         (f"{OOPSES}; {SYSRQ}",),
         "record_size=0x800 console_size=0x1000 ftrace_size=0x400 pmsg_size=0x400",
         size=32 << 10, append=NONE, compression="none"),
]

# --- pstore_blk; it cannot take a panic on a generic block device

BLK_SIZES = "kmsg_size=16 console_size=8 ftrace_size=8 pmsg_size=4"
FLUSH = "sleep 2"               # until the front ends are on the disk
ONE_OF_EACH = (f"{OOPSES}; {FLUSH}",)
BLK = [
    Case("b01_blk", "three oopses, all front ends", "three oopses", ONE_OF_EACH, BLK_SIZES,
         medium="pstore_blk", setup=SOME_PMSG),
    Case("b02_blk_deleted", "the middle one of three was deleted, then one more",
         "three oopses; in the next boot one more",
         (f"{OOPSES}; {FLUSH}", f"rm /sys/fs/pstore/dmesg-pstore_blk-1; provoke PANIC_IN_HARDIRQ; "
                                f"provoke ACCESS_NULL; {FLUSH}"), BLK_SIZES, medium="pstore_blk"),
    Case("b03_blk_wrapped", "more oopses than records, the console wrapped",
         "seven oopses in two boots", (f"{OOPSES}; provoke EXEC_DATA; {FLUSH}", *ONE_OF_EACH),
         "kmsg_size=16 console_size=4 ftrace_size=0 pmsg_size=4", medium="pstore_blk",
         size=64 << 10, setup="head -c 6000 /dev/urandom | base64 > /dev/pmsg0"),
    Case("b04_blk_none", "uncompressed", "three oopses", ONE_OF_EACH, BLK_SIZES, append=NONE,
         medium="pstore_blk", compression="none", setup=SOME_PMSG),
    Case("b05_blk_zstd", "zstd", "three oopses", ONE_OF_EACH, BLK_SIZES,
         append="pstore.compress=zstd", medium="pstore_blk", compression="zstd"),
    Case("b06_blk_ftrace", "two ftrace zones", "three oopses", ONE_OF_EACH,
         BLK_SIZES.replace("ftrace_size=8", "ftrace_size=16"), medium="pstore_blk", processors=2,
         setup=SOME_FTRACE),
    Case("b07_i386_blk", "the layout of 32-bit x86", "three oopses", ONE_OF_EACH, BLK_SIZES,
         kernel="i386-6.1", medium="pstore_blk", setup=f"{SOME_PMSG}\n{SOME_FTRACE}"),
    Case("b08_i386_blk_none", "the same, uncompressed, one deleted",
         "three oopses; in the next boot one more",
         (f"{OOPSES}; {FLUSH}", f"rm /sys/fs/pstore/dmesg-pstore_blk-0; provoke ACCESS_NULL; "
                                f"{FLUSH}"), BLK_SIZES, kernel="i386-6.1", append=NONE,
         medium="pstore_blk", compression="none"),
    Case("b09_mips_blk", "32-bit big-endian", "three oopses", ONE_OF_EACH, BLK_SIZES,
         kernel="mips-6.1", medium="pstore_blk", setup=SOME_PMSG),
    Case("b10_arm_blk", "32-bit ARM", "three oopses", ONE_OF_EACH, BLK_SIZES,
         kernel="arm-6.1", medium="pstore_blk", setup=SOME_PMSG),
    Case("b11_arm64_blk", "64-bit ARM", "three oopses", ONE_OF_EACH, BLK_SIZES,
         kernel="arm64-6.1", medium="pstore_blk", setup=SOME_PMSG),
]

# --- mtdoops on phram, which cannot take a panic either; no kernel reads these again

_SLOW_OOPSES = "; sleep 1; ".join(f"provoke {what}" for what in (
    "EXCEPTION", "WRITE_RO", "BUG", "EXEC_NULL"))
MTDOOPS = [
    Case("t01_mtdoops", "four records of 4 KiB", "four oopses", (f"{_SLOW_OOPSES}; sleep 1",),
         "4096 record_size=4096", medium="mtdoops", size=64 << 10),
    Case("t02_mtdoops_wrapped", "nine records where four fit", "nine oopses in three boots",
         (f"{_SLOW_OOPSES}; sleep 1", f"{_SLOW_OOPSES}; sleep 1", "provoke BUG; sleep 1"),
         "4096 record_size=4096", medium="mtdoops", size=16 << 10),
    Case("t03_mtdoops_16k", "records of 16 KiB, not full", "four oopses",
         (f"{_SLOW_OOPSES}; sleep 1",), "16384 record_size=16384", medium="mtdoops",
         size=128 << 10, before=b"\xff"),
    Case("t04_i386_mtdoops", "32-bit x86", "four oopses", (f"{_SLOW_OOPSES}; sleep 1",),
         "8192 record_size=8192", kernel="i386-6.1", medium="mtdoops", size=64 << 10),
    Case("t05_mips_mtdoops", "32-bit big-endian", "four oopses", (f"{_SLOW_OOPSES}; sleep 1",),
         "4096 record_size=4096", kernel="mips-6.1", medium="mtdoops", size=64 << 10),
    Case("t06_mipsel_mtdoops", "32-bit MIPS, little-endian", "four oopses",
         (f"{_SLOW_OOPSES}; sleep 1",), "4096 record_size=4096", kernel="mipsel-6.1",
         medium="mtdoops", size=64 << 10),
]

# --- other machines and other kernels


def _elsewhere(number: int, kernel: str) -> list[Case]:
    architecture, series = kernel.split("-")
    name = f"p{number:02}_{architecture}_{series.replace('.', '_')}"
    base = Case(name, f"all front ends on {architecture}, {series}", "sysrq c", (SYSRQ,),
                ALL_ZONES, kernel=kernel, setup=f"{SOME_PMSG}\n{SOME_FTRACE}")
    return [
        base,
        base._replace(name=f"{name}_ecc", parameters=f"{EXACT} ecc=16", size=EXACT_SIZE,
                      setup=SOME_PMSG, append="loglevel=4", description=f"{base.description}, ecc"),
        base._replace(name=f"{name}_ecc_within", of=f"{name}_ecc",
                      parameters=f"{EXACT} ecc=16", size=EXACT_SIZE, append="loglevel=4",
                      description=f"{base.description}, ecc, damaged",
                      damage=damage.join(*(damage.spread(zone, 0.01) for zone in _exact(16))),
                      damaged="one bit in 1 % of all bytes"),
    ]


def _lz4(number: int, kernel: str) -> Case:
    name = f"p{number:02}_{kernel.replace('-', '_').replace('.', '_')}_lz4"
    return Case(name, f"lz4 on {kernel}", "an oops, then a panic",
                (f"provoke EXCEPTION; {SYSRQ}",), DUMPS, kernel=kernel, compression="lz4",
                append="pstore.compress=lz4")


OTHERS = ("i386-6.1", "arm64-6.1", "arm-6.1", "mips-6.1", "mipsel-6.1", "x86_64-6.12",
          "x86_64-5.10")
ELSEWHERE = [case for number, kernel in enumerate(OTHERS, 1)
             for case in _elsewhere(number, kernel)]
ELSEWHERE += [_lz4(number, kernel) for number, kernel in enumerate(OTHERS, 1)
              if kernel != "x86_64-6.12"]
ELSEWHERE += [
    Case("p20_arm_smp2_ftrace", "the processor is in the address: ARM, four processors at most",
         "sysrq c", (SYSRQ,), ALL_ZONES, kernel="arm-6.1", processors=2,
         setup="(ls -lR /proc/sys/kernel & record_functions 1; ls -R /sys/kernel; wait) "
               "> /dev/null"),
    Case("p21_arm64_smp4_ftrace", "four ftrace zones on arm64", "sysrq c", (SYSRQ,), ALL_ZONES,
         kernel="arm64-6.1", processors=4,
         setup="record_functions 1; (for i in 1 2 3 4; do ls -lR /sys/kernel & done; wait) "
               "> /dev/null"),
]

# --- what the diagnosis has to find


def _after(*settings: str) -> str:
    """Shell: files below /proc/sys get values, "kernel/panic_on_oops=1"."""
    return "; ".join("echo {1} > /proc/sys/{0}".format(*each.split("=")) for each in settings)


def _driver(how: str, more: str = "") -> str:
    return f"insmod /modules/faulty_driver.ko how={how} {more}".strip()


OOPS = _after("kernel/panic_on_oops=1")
WARN = _after("kernel/panic_on_warn=1")
NO_SOFT = _after("kernel/watchdog_thresh=0")
HOG = "tail /dev/zero"
SMALL_GROUP = ("mkdir /tmp/cg; mount -t cgroup2 none /tmp/cg; "
               "echo +memory > /tmp/cg/cgroup.subtree_control; mkdir /tmp/cg/little; "
               "echo 8M > /tmp/cg/little/memory.max")
IN_GROUP = f"sh -c 'echo $$ > /tmp/cg/little/cgroup.procs; {HOG}'"

# (name, what goes wrong, shell, command line); on every machine of PLAIN.
EVERYWHERE = (
    ("null", "a driver follows a NULL pointer to a structure", f"{OOPS}; {_driver('null')}", ""),
    ("poison", "a driver follows a poisoned pointer; no panic", _driver("poison"), ""),
    ("bug", "BUG()", f"{OOPS}; provoke BUG", ""),
    ("panic", "panic()", "provoke PANIC", ""),
    ("warning", "WARN_ON with panic_on_warn", f"{WARN}; provoke WARNING", ""),
    ("stack_protector", "a function overwrites its stack canary", "provoke CORRUPT_STACK_STRONG",
     ""),
    ("list_add", "list corruption with panic_on_warn", f"{WARN}; provoke CORRUPT_LIST_ADD", ""),
    ("write_ro", "a write to read-only data", f"{OOPS}; provoke WRITE_RO", ""),
    ("exec_null", "a call of a NULL function pointer", f"{OOPS}; provoke EXEC_NULL", ""),
    ("timer", "a NULL pointer in a timer", _driver("timer"), ""),
    ("soft_lockup", "a driver loops for ever while it is loaded",
     f"{_after('kernel/softlockup_panic=1', 'kernel/watchdog_thresh=3')}; {_driver('loop')}", ""),
    ("rcu_stall", "the same, found by RCU first",
     f"{NO_SOFT}; {_after('kernel/panic_on_rcu_stall=1')}; {_driver('loop')}",
     "rcupdate.rcu_cpu_stall_timeout=5"),
    ("hung_task", "a task blocks for ever", "echo 1 > /proc/sys/kernel/hung_task_panic; echo 4 > "
     "/proc/sys/kernel/hung_task_timeout_secs; provoke HUNG_TASK", ""),
    ("oom_panic", "out of memory with panic_on_oom", f"{_after('vm/panic_on_oom=1')}; {HOG}", ""),
    ("init_exit", "init ends with status 3", "exit 3", ""),
    ("init_oops", "init itself runs into an oops",
     "echo EXCEPTION > /sys/kernel/debug/provoke-crash/DIRECT", ""),
    ("atomic", "a driver sleeps under a spin lock, then sysrq c", f"{_driver('sleep')}; {SYSRQ}",
     ""),
)
ON_X86 = (
    ("divide", "a driver divides by zero", f"{OOPS}; {_driver('divide')}", ""),
    ("schedule_atomic", "a driver calls the scheduler under a spin lock, then sysrq c",
     f"{_driver('atomic')}; {SYSRQ}", ""),
    ("pages", "a driver allocates until nothing is left, then sysrq c",
     f"{_driver('pages')}; {SYSRQ}", ""),
    ("work", "a NULL pointer in a workqueue", f"{OOPS}; {_driver('work')}", ""),
    ("thread", "a NULL pointer in a kernel thread", f"{OOPS}; {_driver('thread')}", ""),
    ("stack_overflow", "recursion without end", f"{OOPS}; provoke EXHAUST_STACK", ""),
    ("list_del", "list corruption at a removal, with panic_on_warn",
     f"{WARN}; provoke CORRUPT_LIST_DEL", ""),
    ("exec_data", "a jump into data", f"{OOPS}; provoke EXEC_DATA", ""),
    ("usercopy", "usercopy finds a copy beyond an object",
     f"{OOPS}; provoke USERCOPY_SLAB_SIZE_TO", ""),
    ("refcount", "refcount overflow with panic_on_warn", f"{WARN}; provoke REFCOUNT_INC_OVERFLOW",
     ""),
    ("spin_lockup", "a lock that nobody gives back",
     f"{_after('kernel/softlockup_panic=1', 'kernel/watchdog_thresh=3')}; provoke SPINLOCKUP; "
     "provoke SPINLOCKUP", ""),
    ("oom_kill", "out of memory kills a program, then sysrq c", f"{HOG}; {SYSRQ}", ""),
    ("oom_deadlock", "a full tmpfs: nothing is left to kill",
     "mount -t tmpfs -o size=100% t /tmp; while true; do head -c 1000m /dev/zero > /tmp/x$((i++)); "
     "done", ""),
    ("memcg_kill", "a control group's limit kills a program, then sysrq c",
     f"{SMALL_GROUP}; {IN_GROUP}; {SYSRQ}", ""),
    ("memcg_panic", "a control group's limit with panic_on_oom=2",
     f"{SMALL_GROUP}; {_after('vm/panic_on_oom=2')}; {IN_GROUP}", ""),
    ("nmi", "an unknown NMI", f"{_after('kernel/unknown_nmi_panic=1')}; ask_host nmi", ""),
    ("mce", "a machine check",
     "ask_host mce 0 1 0xbe00000000000005 0x4 0xdeadb000 0x8c; sleep 3", ""),
)
ON_6_12 = (
    ("hard_lockup", "a processor with interrupts off for ever",
     "echo 1 > /proc/sys/kernel/hardlockup_panic; echo 4 > /proc/sys/kernel/watchdog_thresh; "
     "provoke HARDLOCKUP", ""),
    ("null", "a driver follows a NULL pointer to a structure", f"{OOPS}; {_driver('null')}", ""),
    ("panic", "panic()", "provoke PANIC", ""),
    ("list_add", "list corruption with panic_on_warn", f"{WARN}; provoke CORRUPT_LIST_ADD", ""),
    ("memcg_panic", "a control group's limit with panic_on_oom=2",
     f"{SMALL_GROUP}; {_after('vm/panic_on_oom=2')}; {IN_GROUP}", ""),
)
ON_ARM64 = (
    ("bus", "a driver reads a register that is not there",
     f"{OOPS}; {_driver('bus', 'where=0xb000000')}", ""),
    ("stack_overflow", "recursion without end", f"{OOPS}; provoke EXHAUST_STACK", ""),
)
ON_ARM = (
    ("bus", "a driver reads a register that is not there",
     f"{OOPS}; {_driver('bus', 'where=0xb000000')}", ""),
)


def _diagnosed(kernel: str, letter: str, table: tuple[tuple[str, str, str, str], ...],
               processors: int = 1) -> list[Case]:
    return [Case(f"d{letter}_{name}", f"{provoked} ({kernel})", provoked, (step,), DUMPS,
                 kernel=kernel, append=append, processors=processors)
            for name, provoked, step, append in table]


def _small(cases: list[Case]) -> list[Case]:
    """With the newest 8 KiB of the log alone, uncompressed: a third of the bytes in this tree."""
    return [case._replace(parameters=DUMPS.replace("0x10000", "0x2000"), size=32 << 10,
                          append=f"{case.append} {NONE}".strip(), compression="none")
            for case in cases]


# With one processor RCU has no stall detector, and all of the kernel's memory can be written.
NOT_ON_MIPS = ("rcu_stall", "write_ro")
DIAGNOSED = [
    *_small(_diagnosed("x86_64-6.1", "x", EVERYWHERE + ON_X86)),
    *_diagnosed("arm64-6.1", "a", EVERYWHERE + ON_ARM64),
    *_small(_diagnosed("i386-6.1", "i", EVERYWHERE)),
    *_small(_diagnosed("mips-6.1", "m", tuple(row for row in EVERYWHERE
                                              if row[0] not in NOT_ON_MIPS))),
    *_small(_diagnosed("arm-6.1", "r", EVERYWHERE + ON_ARM)),
    *_small(_diagnosed("x86_64-6.12", "y", ON_6_12, 2)),
]


ALL: dict[str, Case] = {case.name: case for case in (
    *COMPRESSED, *UNDER_ECC, *DECAYED, *FRONT_ENDS, *GEOMETRY, *BLK, *MTDOOPS, *ELSEWHERE,
    *DIAGNOSED)}
assert all(case.kernel in KERNELS for case in ALL.values())
