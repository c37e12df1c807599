"""What `kernel_log.explain` makes of kernel logs: the tables are its specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.diagnose.kernel_log import explain
from lastlog_py.diagnose.signature import hashed_text
from lastlog_py.diagnose.title import kernel_title
from lastlog_py.record import Frame, Kernel, Oom, readable
from tests import hostile
from tests.samples import kernel_text

LOGS = Path(__file__).parent.parent / "data" / "logs"

DEBIAN_PC = "QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2-debian-1.16.2-1 04/01/2014"


def told(text: str) -> dict[str, Any]:
    """The kernel's fields that are known, less the trace; the uptime among them."""
    found = explain(text)
    fields = {**found.kernel._asdict(), "uptime": found.uptime}
    del fields["trace"]
    return {name: value for name, value in fields.items() if value is not None}


def lkdtm(reason: str, sequence: int, cause: str, function: str, offset: str, pid: int,
          uptime: float, tainted: str | None = "G     U", **more: Any) -> dict[str, Any]:
    fields = dict(reason=reason, sequence=sequence, part=1, cause=cause, function=function,
                  offset=offset, module="lkdtm", process="init", pid=pid, cpu=0, uptime=uptime,
                  tainted=tainted, release="6.1.192", **more)
    return {name: value for name, value in fields.items() if value is not None}


def sysrq(offset: str, uptime: float, **more: Any) -> dict[str, Any]:
    return dict(reason="panic", sequence=1, part=1, cause="sysrq", function="sysrq_handle_crash",
                offset=offset, process="init", pid=1, cpu=0, uptime=uptime,
                **{"tainted": "G     U", "release": "6.1.0-50-amd64", **more})


SAMPLES = {
    ("c12_null_deref_panic_on_oops", "dmesg-ramoops-0"): lkdtm(
        "oops", 1, "null-pointer", "lkdtm_EXCEPTION", "0x8", 1, 1.936724, address="0x0"),
    ("c12_null_deref_panic_on_oops", "dmesg-ramoops-1"): lkdtm(
        "panic", 2, "null-pointer", "lkdtm_EXCEPTION", "0x8", 1, 1.944736, address="0x0"),
    ("c05_two_oops_then_panic", "dmesg-ramoops-0"): lkdtm(
        "oops", 1, "null-pointer", "lkdtm_EXCEPTION", "0x8", 47, 1.823256, address="0x0"),
    ("c05_two_oops_then_panic", "dmesg-ramoops-1"): lkdtm(
        "oops", 2, "bad-access", "lkdtm_WRITE_RO", "0x32", 49, 2.852943, "G     UD",
        address="0xffffffffa001f140"),
    ("c05_two_oops_then_panic", "dmesg-ramoops-2"): lkdtm(
        "oops", 3, "bug", "lkdtm_BUG", "0x9", 50, 2.882714, "G     UD"),
    # after an oops panic() prints neither task nor trace
    ("c05_two_oops_then_panic", "dmesg-ramoops-3"): dict(
        reason="panic", sequence=4, part=1, cause="sysrq", tainted="G     UD", release="6.1.192",
        uptime=3.932069),
    ("c08_softlockup", "dmesg-ramoops-0"): lkdtm(
        "panic", 1, "soft-lockup", "lkdtm_SOFTLOCKUP", "0xb", 1, 8.126355),
    ("c14_pstore_blk", "dmesg-pstore_blk-1"): lkdtm(
        "oops", 2, "bug", "lkdtm_BUG", "0x9", 49, 3.750083, "G      D"),
    ("s15_oom", "dmesg-ramoops-0"): dict(
        reason="panic", sequence=1, part=1, cause="oom", process="dd", pid=111, cpu=0,
        tainted="G     U", release="6.1.0-50-amd64", hardware=DEBIAN_PC, uptime=3.294607,
        oom=Oom(None, None, None, "dd")),
    ("s01_plain", "dmesg-ramoops-0"): sysrq("0x16", 3.202993, hardware=DEBIAN_PC),
    ("s09_rec4k", "dmesg-ramoops-0"): sysrq("0x16", 2.988329, hardware=DEBIAN_PC),
    ("s17_612", "dmesg-ramoops-0"): sysrq("0x1a", 3.416944, release="6.12.117+deb12-amd64",
                                          hardware=DEBIAN_PC),
    ("c01_all_console_pmsg_ftrace", "dmesg-ramoops-0"): sysrq("0x15", 5.594863, release="6.1.192"),
    ("m02_mipsbe_malta", "dmesg-ramoops-0"): dict(
        reason="panic", sequence=1, part=1, cause="sysrq", release="6.1.192", hardware="mti,malta",
        uptime=0.715892),
    # arm64 names the function behind the one that called panic()
    ("a01_arm64_virt_dt", "dmesg-ramoops-0"): dict(
        reason="panic", sequence=1, part=1, cause="sysrq", function="__handle_sysrq",
        offset="0x90", process="init", pid=1, cpu=0, release="6.1.0-56-arm64",
        hardware="linux,dummy-virt (DT)", uptime=3.171065),
}


@pytest.mark.parametrize(("name", "file"), SAMPLES, ids="-".join)
def test_a_real_crash(name: str, file: str) -> None:
    assert told(readable(kernel_text(name, file))) == SAMPLES[name, file]


def test_the_trace_of_a_real_oops() -> None:
    frames = explain(readable(kernel_text("c12_null_deref_panic_on_oops", "dmesg-ramoops-1")))
    assert frames.kernel.trace[:4] == (
        Frame("lkdtm_do_action", "0x1c", "lkdtm", False),
        Frame("direct_entry", "0xb0", "lkdtm", True),
        Frame("full_proxy_write", "0x4a", None, True),
        Frame("full_proxy_poll", "0x54", None, False),
    )
    assert frames.kernel.trace[-1].function == "entry_SYSCALL_64_after_hwframe"
    assert len(frames.kernel.trace) == 15


LONG_LOGS: dict[str, dict[str, Any]] = {
    "mips_null_3_18": dict(
        reason="panic", sequence=2, part=1, cause="null-pointer", function="ieee80211_tx_dequeue",
        offset="0x7a4", module="mac80211", process="hostapd", pid=1265, cpu=0, address="0x28",
        tainted="G        W", release="3.18.29", hardware="TP-LINK TL-WDR4300", uptime=8042.75),
    "mips_bug_6_6": dict(
        reason="oops", sequence=1, part=1, cause="bug", function="skb_panic", offset="0x58",
        process="napi/phy1-8200", pid=1853, cpu=2, tainted="G           O", release="6.6.93",
        hardware="Xiaomi Mi Router 3G", uptime=911.125),
    "mips_rcu_stall_5_4": dict(
        reason="panic", sequence=1, part=1, cause="rcu-stall", function="usbnet_write_cmd_nopm",
        offset="0x2c", module="usbnet", process="kworker/0:1", pid=76, cpu=0, release="5.4.188",
        uptime=270.45),
    "arm_null_5_4": dict(
        reason="panic", sequence=2, part=1, cause="null-pointer",
        function="mwl_mac80211_bss_info_changed", offset="0x1c", module="mwlwifi",
        process="hostapd", pid=3207, cpu=1, address="0xf0", release="5.4.143",
        hardware="Marvell Armada 380/385 (Device Tree)", uptime=1121.418),
    "arm_null_6_6": dict(
        reason="oops", sequence=1, part=1, cause="null-pointer",
        function="mwl_mac80211_bss_info_changed", offset="0x1c", module="mwlwifi",
        process="hostapd", pid=3207, cpu=1, address="0xf0", release="6.6.93",
        hardware="Marvell Armada 380/385 (Device Tree)", uptime=121.38),
    "arm64_no_symbols_5_15": dict(
        reason="panic", sequence=2, part=1, cause="bad-access", function="0xffffffc00818ff8c",
        process="netdata", pid=4011, cpu=3, address="0xffffff8110a2c1f8", tainted="G           O",
        release="5.15.167", hardware="Bananapi BPI-R3 (DT)", uptime=79512.69293),
    "arm64_null_6_12": dict(
        reason="panic", sequence=2, part=1, cause="null-pointer", function="mt76_get_txwi_ptr",
        offset="0x10", module="mt76", process="kworker/u9:2", pid=3021, cpu=0, address="0x400",
        tainted="G           O", release="6.12.40", hardware="GL.iNet GL-MT6000 (DT)",
        uptime=122.05),
    "arm64_serror_6_6": dict(
        reason="panic", sequence=1, part=1, cause="bus-error", function="mtk_wed_start",
        offset="0x1c", process="kmodloader", pid=1411, cpu=1, tainted="G           O",
        release="6.6.86", hardware="GL.iNet GL-MT3000 (DT)", uptime=77.022),
    "x86_gpf_3_2": dict(
        reason="oops", sequence=1, part=1, cause="bad-access", function="ath_tx_status",
        offset="0x2d", module="ath9k", process="hostapd", pid=2113, cpu=1, tainted="G        W",
        release="3.2.0-4-amd64", uptime=912.022),
    "x86_eip_4_14": dict(
        reason="panic", sequence=2, part=1, cause="null-pointer", function="nft_do_chain",
        offset="0x21", module="nf_tables", process="ksoftirqd/0", pid=9, cpu=0, address="0x0",
        release="4.14.180", hardware="PC Engines ALIX.2", uptime=42.03),
    # an old warning is not why memory ran out a quarter of an hour later
    "oom_kill_then_panic_5_10": dict(
        reason="panic", sequence=1, part=1, cause="oom", process="uhttpd", pid=2201, cpu=1,
        tainted="G        W", release="5.10.146", uptime=990.5,
        oom=Oom("hostapd", 900, 12288, "uhttpd")),
    "hung_task_6_1": dict(
        reason="panic", sequence=1, part=1, cause="hung-task", function="ubifs_bg_wbufs_sync",
        offset="0x54", module="ubifs", process="kworker/u4:1", pid=31, release="6.1.82",
        hardware="Raspberry Pi 4 Model B Rev 1.4 (DT)", uptime=247.026),
    # a dying worker faults again: the first fault counts
    "recursive_3_18": dict(
        reason="oops", sequence=2, part=1, cause="bad-access", function="uvc_video_decode",
        offset="0x4", module="uvcvideo", process="kworker/0:1", pid=172, cpu=0,
        address="0x7f000004", release="3.18.29", uptime=5000.17),
}


@pytest.mark.parametrize("name", LONG_LOGS)
def test_a_log_of(name: str) -> None:
    assert told((LOGS / f"{name}.txt").read_text()) == LONG_LOGS[name]


def test_every_log_is_tested() -> None:
    assert {path.stem for path in LOGS.glob("*.txt")} == set(LONG_LOGS)


# What the line that begins a report says: cause, and the facts in it.
FIRST_LINES = [
    ("BUG: kernel NULL pointer dereference, address: 0000000000000010", "null-pointer", "0x10"),
    ("BUG: unable to handle kernel NULL pointer dereference at (null)", "null-pointer", "0x0"),
    ("BUG: unable to handle kernel NULL pointer dereference at 00000010", "null-pointer", "0x10"),
    ("BUG: unable to handle kernel paging request at ffffc90000a8c000", "bad-access",
     "0xffffc90000a8c000"),
    ("BUG: unable to handle page fault for address: ffffffffffffffd8", "null-pointer",
     "0xffffffffffffffd8"),
    ("BUG: unable to handle page fault for address: 0000000000001000", "bad-access", "0x1000"),
    ("BUG: TASK stack guard page was hit at 00000000 (stack is 00000000..0000)",
     "stack-corruption", None),
    ("general protection fault: 0000 [#1] PREEMPT SMP NOPTI", "bad-access", None),
    ("general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1]",
     "bad-access", "0xdead000000000108"),
    ("Oops: general protection fault, probably for non-canonical address 0xdead000000000108: "
     "0000 [#1] SMP", "bad-access", "0xdead000000000108"),
    ("general protection fault for non-canonical address 0xdead000000000108: 0000 [#1] SMP",
     "bad-access", "0xdead000000000108"),
    ("Oops: int3: 0000 [#1] SMP", "other", None),
    ("divide_error: 0000 [#1] PREEMPT SMP", "divide", None),
    ("divide error: 0000 [#1] SMP", "divide", None),
    ("Oops: divide error: 0000 [#1] SMP", "divide", None),
    ("invalid opcode: 0000 [#1] SMP PTI", "undefined-instruction", None),
    ("Oops: invalid opcode: 0000 [#1] SMP PTI", "undefined-instruction", None),
    ("traps: PANIC: double fault, error_code: 0x0", "bad-access", None),
    ("Oops: Oops: 0002 [#1] SMP", "bad-access", None),
    ("Unable to handle kernel NULL pointer dereference at virtual address 00000010",
     "null-pointer", "0x10"),
    ("Unable to handle kernel paging request at virtual address fffffff4 when write",
     "null-pointer", "0xfffffff4"),
    ("Unable to handle kernel write to read-only memory at virtual address ffffffc008a10000",
     "bad-access", "0xffffffc008a10000"),
    ("Unable to handle kernel execute from non-executable memory at virtual address "
     "ffffff8000a3c000", "bad-access", "0xffffff8000a3c000"),
    ("CPU 1 Unable to handle kernel paging request at virtual address 00000628, epc == 8010c560, "
     "ra == 8010c444", "null-pointer", "0x628"),
    ("CPU 0 Unable to handle kernel paging request at virtual address c0000000, epc == 8010c560, "
     "ra == 8010c444", "bad-access", "0xc0000000"),
    ("Unhandled fault: imprecise external abort (0x1c06) at 0xb6f2a000", "bus-error", "0xb6f2a000"),
    ("Unhandled fault: alignment exception (0x001) at 0xc0a1b2c3", "bad-access", "0xc0a1b2c3"),
    ("Internal error: Oops - undefined instruction: 0 [#1] SMP ARM", "undefined-instruction", None),
    ("Internal error: Oops - BUG: 0 [#1] SMP ARM", "bug", None),
    ("Internal error: synchronous external abort: 96000210 [#1] SMP", "bus-error", None),
    ("Internal error: SP/PC alignment exception: 8a000000 [#1] SMP", "bad-access", None),
    ("Insufficient stack space to handle exception!", "stack-corruption", None),
    ("Bad mode in Error handler detected on CPU0, code 0xbf000002 -- SError", "bus-error", None),
    ("kernel BUG at mm/slub.c:305!", "bug", None),
    ("Kernel bug detected[#1]:", "bug", None),
    ("Reserved instruction in kernel code[#1]:", "undefined-instruction", None),
    ("Unhandled kernel unaligned access[#1]:", "bad-access", None),
    ("Data bus error, epc == 80012345, ra == 80012340", "bus-error", None),
    ("Instruction bus error, epc == 80012345, ra == 80012340", "bus-error", None),
    ("Cache error exception:", "bus-error", None),
    ("Got mcheck at 800104ec", "bus-error", None),
    # mips and riscv name other traps as they like; powerpc
    ("do_cpu invoked from kernel context![#1]:", "other", None),
    ("Kernel unaligned instruction access[#1]:", "bad-access", None),
    ("FPU/MSA exception in kernel[#3]:", "other", None),
    ("Oops [#1]", "other", None),
    ("Oops - illegal instruction [#1]", "undefined-instruction", None),
    ("Oops - store (or AMO) access fault [#1]", "bus-error", None),
    ("Oops - load address misaligned [#2]", "bad-access", None),
    ("Oops - unknown exception [#1]", "other", None),
    ("Kernel BUG [#1]", "bug", None),
    ("Unable to handle kernel access to user memory without uaccess routines at virtual address "
     "0000000000000028", "null-pointer", "0x28"),
    ("Unable to handle kernel paging request for data at address 0xdeadbeef", "bad-access",
     "0xdeadbeef"),
    ("Unable to handle kernel paging request for unaligned access at address 0x00000001",
     "null-pointer", "0x1"),
    ("Unable to handle kernel paging request for instruction fetch", "bad-access", None),
    ("BUG: Kernel NULL pointer dereference at 0x00000000", "null-pointer", "0x0"),
    ("BUG: Kernel NULL pointer dereference on write at 0x00000010", "null-pointer", "0x10"),
    ("BUG: Unable to handle kernel data access on read at 0xc0000000", "bad-access", "0xc0000000"),
    ("BUG: Unable to handle kernel instruction fetch", "bad-access", None),
    ("BUG: Unable to handle unaligned access at 0xc0000001", "bad-access", "0xc0000001"),
    ("Kernel attempted to read user page (0) - exploit attempt? (uid: 0)", "null-pointer", "0x0"),
    ("kernel tried to execute exec-protected page (c0004000) - exploit attempt? (uid: 0)",
     "bad-access", "0xc0004000"),
    ("Oops: Kernel access of bad area, sig: 11 [#1]", "bad-access", None),
    ("Oops: Exception in kernel mode, sig: 5 [#1]", "bug", None),
    ("Oops: Machine check, sig: 7 [#1]", "bus-error", None),
    ("Oops: Machine check 1, sig: 7 [#1]", "bus-error", None),
    ("Oops: machine check, sig: 7 [#1]", "bus-error", None),
    ("Oops: Unrecoverable exception, sig: 6 [#1]", "other", None),
    ("Machine check in kernel mode.", "bus-error", None),
    ("Data machine check in kernel mode.", "bus-error", None),
    # more of arm, arm64 and x86
    ("Synchronous External Abort: synchronous external abort (0x96000610) at 0xffffff80091c0000",
     "bus-error", "0xffffff80091c0000"),
    ("Bad mode in Synchronous Abort handler detected on CPU1, code 0x86000005 -- IABT",
     "bad-access", None),
    ("Bad mode in data abort handler detected", "bad-access", None),
    ("Internal error: Oops - Undefined instruction: 0000000002000000 [#1] SMP",
     "undefined-instruction", None),
    ("Internal error: UBSAN: array index out of bounds: 00000000f2005512 [#1] SMP", "bug", None),
    ("Kernel BUG at c0123456 [verbose debug info unavailable]", "bug", None),
    ("stack guard page: 0000 [#1] SMP", "stack-corruption", None),
    ("kernel stack overflow (double-fault): 0000 [#1] SMP", "stack-corruption", None),
    # reports after which the kernel goes on
    ("BUG: KASAN: slab-use-after-free in f+0x10/0x20 [m]", "bad-access", None),
    ("BUG: KFENCE: out-of-bounds read in f+0x10/0x20", "bad-access", None),
    ("BUG kmalloc-64 (Not tainted): Redzone overwritten", "bug", None),
    ("BUG: sleeping function called from invalid context at mm/slab.h:421", "bug", None),
    ("BUG: Bad page state in process ksoftirqd/0  pfn:00af0", "bug", None),
    ("BUG: spinlock bad magic on CPU#0, swapper/0/1", "bug", None),
    ("UBSAN: array-index-out-of-bounds in drivers/net/a.c:12:3", "warning", None),
    ("do_IRQ: stack overflow: 940", "stack-corruption", None),
    ("do_IRQ(): dd has overflown the kernel stack (cur:c0,sp:c1)", "stack-corruption", None),
    ("BUG: KASAN: null-ptr-deref in f+0x10/0x20 [m]", "null-pointer", None),
    ("BUG: KASAN: null-ptr-deref on address           (null)", "null-pointer", None),
    ("BUG: KMSAN: uninit-value in f+0x10/0x20", "bug", None),
    ("BUG: KCSAN: data-race in f / g", "bug", None),
    # what stands alone where the log is cut
    ("list_add corruption. prev->next should be next (c0), but was c1. (prev=c1).", "bug", None),
    ("list_del corruption, ffff8881->next is LIST_POISON1 (dead000000000100)", "bug", None),
    ("refcount_t: underflow; use-after-free.", "warning", None),
    ("ksoftirqd/0: page allocation failure: order:3, mode:0x40a20(GFP_ATOMIC|__GFP_COMP)",
     "warning", None),
    ("swapper: page allocation failure. order:0, mode:0x20", "warning", None),
    ("a: page allocation stalls for 10000ms, order:0, mode:0x14201ca", "warning", None),
    ("WARNING: possible circular locking dependency detected", "warning", None),
    ("[ INFO: possible recursive locking detected ]", "warning", None),
    ("[ BUG: bad unlock balance detected! ]", "warning", None),
    ("BUG: MAX_STACK_TRACE_ENTRIES too low!", "warning", None),
    ("rcu: rcu_sched kthread starved for 6002 jiffies! g2785 f0x0 RCU_GP_WAIT_FQS(5)", "rcu-stall",
     None),
    ("mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 0: b200000080060001",
     "bus-error", None),
    # damaged; without its end of line
    ("Unable to handle kernel NULL pointer derefere\ufffdU\ufffdat virtual address 00000000",
     "null-pointer", None),
    ("kasan: GPF could be caused by NULL-ptr deref or user memory accessgeneral protection fault: "
     "0000 [#1] PREEMPT SMP KASAN", "bad-access", None),
    ("segment-related general protection fault: beec [#2] PREEMPT SMP", "bad-access", None),
    ("Tasks state (memory values in pages):", "oom", None),
    ("[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name", "oom",
     None),
    # cut
    ("general protection fault, probably for non-canonical address 0xdead000000000108",
     "bad-access", "0xdead000000000108"),
    ("BUG: soft lockup - CPU#1 stuck for 22s!", "soft-lockup", None),
    ("watchdog: BUG: soft lockup - CPU#1 stuck f", "soft-lockup", None),
    ("INFO: task kworker/2:0:22 blocked for more", "hung-task", None),
    ("Memory cgroup out of memor", "oom", None),
    ("Task in /a/b.scope killed as a result of limit of /a/b.scope", "oom", None),
    # hangs
    ("INFO: task a:7 can't die for more than 143 seconds.", "hung-task", None),
    ("INFO: rcu_sched_state detected stall on CPU 0 (t=2100 jiffies)", "rcu-stall", None),
    ("INFO: rcu_preempt_state detected stalls on CPUs/tasks: { P47} (detected by 0, t=2 jiffies)",
     "rcu-stall", None),
    ("INFO: rcu_sched self-detected stall on CPU { 0}  (t=6000 jiffies g=195730 c=195729 q=1744)",
     "rcu-stall", None),
    ("INFO: rcu_sched stall on CPU (2100 ticks this GP) idle=1 (t=2100 jiffies q=3)", "rcu-stall",
     None),
    ("rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... } 6368 jiffies",
     "rcu-stall", None),
    ("INFO: rcu_tasks detected stalls on tasks:", "rcu-stall", None),
    ("INFO: task a:7 blocked in I/O wait for more than 122 seconds.", "hung-task", None),
    ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", "hard-lockup", None),
    ("watchdog: CPU 3 self-detected hard LOCKUP @ f+0x10/0x20", "hard-lockup", None),
    ("watchdog: CPU 0 detected hard LOCKUP on other CPUs 3", "hard-lockup", None),
    ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!", "soft-lockup",
     None),
    ("BUG: spinlock lockup suspected on CPU#0, kworker/0:1/76", "soft-lockup", None),
    ("softdog: Initiating system reboot", "watchdog", None),
    # the killer's words since 2.6
    ("Out of memory: Kill process 7 (a) score 12 or sacrifice child", "oom", None),
    ("Killed process 7 (a) total-vm:4kB, anon-rss:2kB, file-rss:1kB", "oom", None),
    ("Killed process 7, UID 0, (a) total-vm:4kB, anon-rss:2kB, file-rss:1kB", "oom", None),
]

# What is no crash, whatever else it is.
NO_FAULTS = [
    "do_page_fault(): sending SIGSEGV to pgrep for invalid read access from 0000000c",
    "epc = 77d1a0b4 in libc.so[77c90000+92000]",
    "pgrep[77]: segfault at 0 ip 00007f sp 00007ffd error 4 in libc.so[7f+1000]",
    "traps: a[7] general protection fault ip:7f sp:7f error:0 in libc.so[7f+1000]",
    "traps: a[7] trap invalid opcode ip:7f sp:7f error:0 in libc.so[7f+1000]",
    "a[7]: unhandled signal 11 code 0x1 at 0x0000000000000000 in libc.so[3f+1000]",
    "epc : 0000003fa2b3c4d5 ra : 0000003fa2b3c4d6 sp : 0000003fffffe000",
    "a: unhandled page fault (11) at 0x00000000, code 0x017",
    "Alignment trap: a (7) PC=0xb6f2a000 Instr=0xe5912000 Address=0xb6f2b001 FSR 0x001",
    "a[7]: User access of kernel address (c0000000) - exploit attempt? (uid: 0)",
    "watchdog: watchdog0: watchdog did not stop!",
    "watchdog: watchdog0: nowayout prevents watchdog being stopped!",
    "bcm47xx-wdt bcm47xx-wdt.0: BCM47xx Watchdog Timer enabled (30 seconds)",
    "VFS: Cannot open root device \"mtdblock5\" or unknown-block(31,5): error -19",
    "printk: console [ttyS0] disabled", "rcu: Hierarchical RCU implementation.",
    "sysrq: Emergency Sync", "reboot: Restarting system",
    "oom_reaper: reaped process 7 (a), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
]


@pytest.mark.parametrize("line", NO_FAULTS)
def test_what_is_no_fault(line: str) -> None:
    for title in ("", "Oops#1 Part1\n"):
        found = explain(f"{title}<4>[   10.000000] {line}\n<6>[   10.100000] eth0: link up\n")
        assert (found.kernel.cause, found.message) == ("other", None)


def test_registers_of_a_program_are_no_fault() -> None:
    """arm with CONFIG_DEBUG_USER prints them for every program that it kills."""
    user = """a: unhandled page fault (11) at 0x00000000, code 0x017
PC is at 0xb6f2a000
LR is at 0xb6f2a010
pc : [<b6f2a000>]    lr : [<b6f2a010>]    psr: 60000010
Flags: nZCv  IRQs on  FIQs on  Mode USER_32  ISA ARM  Segment user
"""
    assert explain(user).message is None
    assert explain(user.replace("USER_32", "SVC_32")).kernel.function == "0xb6f2a000"


ABORT = """<1>[   10.000000] Unhandled fault: imprecise external abort (0x1406) at 0x00071bcc
<1>[   10.000100] pgd = 92e2c000
"""
DEATH = """<0>[   10.000200] Internal error: : 1406 [#1] SMP ARM
<4>[   10.000300] PC is at f+0x10/0x20 [m]
"""


def test_an_abort_is_the_kernels_only_if_it_dies_of_it() -> None:
    assert explain(ABORT).message is None
    found = explain(ABORT + DEATH)
    assert (found.kernel.reason, found.kernel.cause, found.kernel.function) == (
        "oops", "bus-error", "f")
    assert (found.message or "").startswith("Unhandled fault: imprecise")
    later = DEATH.replace("   10.", "   90.")
    assert explain(ABORT + later).kernel.cause == "other"


def test_an_abort_before_another_fault_has_no_part_in_it() -> None:
    assert explain("Panic#1 Part1\n" + ABORT.replace("   10.", "    1.") + OLD_OOPS
                   + panic("Fatal exception", 10.1)).kernel.function == "old"


@pytest.mark.parametrize(("line", "cause", "address"), FIRST_LINES)
def test_the_cause_of_an_oops(line: str, cause: str, address: str | None) -> None:
    kernel = explain(f"Oops#1 Part1\n<1>[   10.000000] {line}\n").kernel
    assert (kernel.cause, kernel.address) == (cause, address)


PANICS = [
    ("sysrq triggered crash", "sysrq"),
    ("Out of memory: system-wide panic_on_oom is enabled", "oom"),
    ("Out of memory: compulsory panic_on_oom is enabled", "oom"),
    ("out of memory. panic_on_oom is selected", "oom"),
    ("Out of memory and no killable processes...", "oom"),
    ("System is deadlocked on memory", "oom"),
    ("softlockup: hung tasks", "soft-lockup"),
    ("hung_task: blocked tasks", "hung-task"),
    ("RCU Stall", "rcu-stall"),
    ("Watchdog detected hard LOCKUP on cpu 0", "hard-lockup"),
    ("Hard LOCKUP", "hard-lockup"),
    ("watchdog pretimeout event", "watchdog"),
    ("panic_on_warn set ...", "warning"),
    ("kernel: panic_on_warn set ...", "warning"),
    ("stack-protector: Kernel stack is corrupted in: f+0x12/0x30 [m]", "stack-corruption"),
    ("corrupted stack end detected inside scheduler", "stack-corruption"),
    ("Asynchronous SError Interrupt", "bus-error"),
    ("Fatal Machine check", "bus-error"),
    ("Fatal machine check", "bus-error"),
    ("Can't handle the cache error!", "bus-error"),
    ("Caught Machine Check exception - caused by multiple matching entries in the TLB.",
     "bus-error"),
    ("Machine check: Processor context corrupt", "bus-error"),
    ("Timeout: Not all CPUs entered broadcast exception handler", "bus-error"),
    ("Fatal hardware error!", "bus-error"),
    ("Kernel stack overflow", "stack-corruption"),
    ("Software Watchdog Timer expired", "watchdog"),
    ("An NMI occurred. Depending on your system the reason for the NMI is logged in any one of "
     "the following resources:", "watchdog"),
    ("BUG!", "bug"),
    ("Requested init /etc/preinit failed (error -2).", "no-root"),
    ("VFS: Unable to mount root fs on \"/dev/ubiblock0_1\"", "no-root"),
    ("NSS FW coredump: bringing system down", "other"),
    ("Attempted to kill init! exitcode=0x00007f00", "init-died"),
    ("VFS: Unable to mount root fs on unknown-block(31,5)", "no-root"),
    ("No working init found.  Try passing init= option to kernel.", "no-root"),
    ("Requested init /sbin/procd failed (error -2).", "no-root"),
    ("scheduling while atomic", "bug"),
    ("Fatal exception", "other"),
    ("synchronous external abort: Fatal exception", "other"),
    ("something nobody has seen", "other"),
]


@pytest.mark.parametrize(("message", "cause"), PANICS)
def test_the_cause_of_a_panic_alone(message: str, cause: str) -> None:
    kernel = explain(f"Panic#1 Part1\n<0>[    9.000000] Kernel panic - not syncing: {message}\n")
    assert kernel.kernel.cause == cause
    assert kernel.kernel.reason == "panic"


# What MIPS prints before it gives up; the place is in the registers alone.
MIPS_REGISTERS = """<4>[    9.000100] CPU: 0 PID: 245 Comm: init Not tainted 6.6.35 #0
<4>[    9.000200] $ 0   : 00000000 00000001 fffd5000 00000001
<4>[    9.000300] epc   : 800104ec flush+0x14/0x54 [m]
<4>[    9.000400] ra    : 8021d314 caller+0x5c/0x11c
"""
MIPS_BUS_ERRORS = [
    ("Got mcheck at 800104ec", "Caught Machine Check exception - caused by multiple matching "
     "entries in the TLB."),
    ("", "Caught Machine Check exception - not caused by multiple matching entries in the TLB."),
    ("Data bus error, epc == 800104ec, ra == 8021d314\n<4>[    9.000000] Oops[#1]:",
     "Fatal exception"),
    ("Instruction bus error, epc == 800104ec, ra == 8021d314\n<4>[    9.000000] Oops[#1]:",
     "Fatal exception in interrupt"),
    ("Cache error exception:\n<4>[    9.000000] cp0_errorepc == 800104ec",
     "Can't handle the cache error!"),
]


@pytest.mark.parametrize(("first", "last"), MIPS_BUS_ERRORS)
def test_a_bus_error_on_mips(first: str, last: str) -> None:
    kernel = explain(f"Panic#1 Part1\n<4>[    9.000000] {first}\n{MIPS_REGISTERS}"
                     f"<0>[    9.100000] Kernel panic - not syncing: {last}\n").kernel
    assert (kernel.cause, kernel.function, kernel.offset, kernel.module) == (
        "bus-error", "flush", "0x14", "m")


def test_the_end_of_a_panic_is_enough() -> None:
    """The console repeats the panic behind its trace; " ]---" since v4.20."""
    for end in ("", " ]---"):
        found = explain("Rebooting in 3 seconds..\n---[ end Kernel panic - not syncing: VFS: "
                        f"Unable to mount root fs on unknown-block(31,5){end}\n")
        assert (found.kernel.reason, found.kernel.cause) == ("panic", "no-root")
        assert found.message == "VFS: Unable to mount root fs on unknown-block(31,5)"


def test_a_hard_lockup_names_the_processor() -> None:
    assert explain("Kernel panic - not syncing: Watchdog detected hard LOCKUP on cpu 3"
                   ).kernel.cpu == 3


RISCV = """<1>[    8.704013] Unable to handle kernel NULL pointer dereference at virtual address 17
<4>[    8.716080] Oops [#1]
<4>[    8.739811] CPU: 0 PID: 107 Comm: kworker/u4:2 Not tainted 6.1.1 #1
<4>[    8.764275] epc : f+0x3c/0xa2 [m]
<4>[    8.768630]  ra : g+0x28/0xa2
<4>[    8.772972] epc : ffffffff80016b34 ra : ffffffff80016b20 sp : ffffffd004cbbab0
<4>[    8.780163] Call Trace:
<4>[    8.780200] [<ffffffff80016b34>] f+0x3c/0xa2 [m]
<4>[    8.780300] [<ffffffff80016b99>] caller+0x28/0xa2
<4>[    8.780400] [<ffffffff80003f28>] ret_from_exception+0x0/0x64
<4>[    8.780500] ---[ end trace 0000000000000000 ]---
<0>[    8.780600] Kernel panic - not syncing: Fatal exception in interrupt
"""
POWERPC = """<1>[    9.000000] Kernel attempted to read user page (17) - exploit attempt? (uid: 0)
<1>[    9.000100] BUG: Kernel NULL pointer dereference on read at 0x00000017
<1>[    9.000200] Faulting instruction address: 0xc0478104
<4>[    9.000300] Oops: Kernel access of bad area, sig: 11 [#1]
<4>[    9.000400] BE PAGE_SIZE=4K P1020
<4>[    9.000500] CPU: 0 PID: 107 Comm: kworker/u4:2 Not tainted 6.1.1 #1
<4>[    9.000600] NIP:  c0478104 LR: c04783a4 CTR: c0475378
<4>[    9.000700] REGS: c1863d70 TRAP: 0300   Not tainted  (6.1.1)
<4>[    9.000800] NIP [c0478104] f+0x3c/0xa2 [m]
<4>[    9.000900] LR [c04783a4] g+0x28/0xa2
<4>[    9.001000] Call Trace:
<4>[    9.001100] [c1863d70] [c04783a4] stale+0x28/0xa2 (unreliable)
<4>[    9.001200] [c1863dc0] [c0475378] caller+0x28/0xa2
<4>[    9.001300] [c1863e20] [c0479244] system_call_exception+0x28/0xa2
<4>[    9.001400] [c1863f00] [c000f224] ret_from_syscall+0x0/0x28
<4>[    9.001500] --- interrupt: c00 at 0xb7d0a0b4
<4>[    9.001600] ---[ end trace 0000000000000000 ]---
<0>[    9.001700] Kernel panic - not syncing: Fatal exception
"""


@pytest.mark.parametrize("log", [RISCV, POWERPC], ids=["riscv", "powerpc"])
def test_riscv_and_powerpc(log: str) -> None:
    found = explain(log)
    kernel = found.kernel
    assert (kernel.reason, kernel.cause, kernel.function, kernel.offset, kernel.module,
            kernel.process, kernel.pid, kernel.cpu, kernel.address, kernel.release) == (
        "panic", "null-pointer", "f", "0x3c", "m", "kworker/u4:2", 107, 0, "0x17", "6.1.1")
    assert hashed_text(found) == "f|caller"
    assert hashed_text(explain(log.replace("f+0x3c/0xa2 [m]", "0x0"))) == "null-pointer|g|caller"


def test_powerpc_without_the_names_of_its_registers() -> None:
    log = POWERPC.partition("<4>[    9.000800]")[0]
    assert explain(log).kernel.function == "0xc0478104"


def test_the_stack_protector_names_the_function() -> None:
    kernel = explain("Kernel panic - not syncing: stack-protector: "
                     "Kernel stack is corrupted in: f+0x12/0x30 [m]\n").kernel
    assert (kernel.function, kernel.offset, kernel.module) == ("f", "0x12", "m")


OLD_OOPS = """<1>[   10.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000
<4>[   10.000100] CPU: 0 PID: 47 Comm: foo Not tainted 6.1.1 #1
<4>[   10.000200] RIP: 0010:old+0x8/0x14 [m]
<4>[   10.000300] ---[ end trace 0000000000000000 ]---
"""
NEW_OOPS = """<4>[   20.000000] kernel BUG at a.c:1!
<4>[   20.000050] invalid opcode: 0000 [#2] SMP
<4>[   20.000100] CPU: 0 PID: {pid} Comm: bar Tainted: G      D 6.1.1 #1
<4>[   20.000200] RIP: 0010:new+0x9/0x14 [m]
<4>[   20.000300] ---[ end trace 0000000000000000 ]---
"""
WARNING = """<4>[   20.000000] WARNING: CPU: 1 PID: 5 at net/a.c:10 warned+0x10/0x20 [m]
<4>[   20.000100] CPU: 1 PID: 5 Comm: w Not tainted 6.1.1 #1
<4>[   20.000200] ---[ end trace 0000000000000000 ]---
"""
HANG = """<0>[   19.000000] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [a b:7]
<4>[   19.000100] CPU: 1 PID: 7 Comm: a b Not tainted 6.1.1 #1
<4>[   19.000200] RIP: 0010:stuck+0x9/0x14
"""
STALL = """<3>[   19.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks: { 3}
"""


def panic(message: str, time: float = 20.1) -> str:
    return f"<0>[{time:12.6f}] Kernel panic - not syncing: {message}\n"


NEW = NEW_OOPS.format(pid=50)
# Which fault of several a record is about: title, log, cause, function.
EPISODES = [
    ("Oops#2", OLD_OOPS + NEW, "bug", "new"),
    ("Panic#3", OLD_OOPS + NEW + panic("Fatal exception"), "bug", "new"),
    ("Panic#3", OLD_OOPS + NEW + panic("Aiee, killing interrupt handler!"), "bug", "new"),
    ("Panic#3", OLD_OOPS + NEW + panic("sysrq triggered crash"), "sysrq", None),
    ("Panic#2", OLD_OOPS + panic("Out of memory and no killable processes..."), "oom", None),
    ("Panic#2", OLD_OOPS + WARNING + panic("Fatal exception"), "null-pointer", "old"),
    # x86 repeats the first oops' registers behind the end of a later one
    ("Oops#2", NEW + "---[ end trace 1 ]---\n" + "<4>[   20.100000] RIP: 0010:junk+0x1/0x2\n",
     "bug", "new"),
    # arm64 says what died
    ("Panic#3", OLD_OOPS + NEW + panic("Oops - BUG: Fatal exception in interrupt"), "bug", "new"),
    ("Panic#1", "BUG: scheduling while atomic: a/7/0x2\n" + panic("scheduling while atomic"),
     "bug", None),
    ("Panic#1", WARNING + panic("panic_on_warn set ..."), "warning", "warned"),
    ("Panic#1", WARNING + panic("Out of memory: x", 300.0), "oom", None),
    ("Panic#2", OLD_OOPS + panic("Something else", 300.0), "other", None),
    ("Panic#1", HANG + panic("softlockup: hung tasks"), "soft-lockup", "stuck"),
    ("Panic#2", HANG + NEW + panic("Fatal exception"), "bug", "new"),
    ("Panic#2", NEW + HANG + panic("softlockup: hung tasks"), "soft-lockup", "stuck"),
    ("Panic#1", STALL + panic("RCU Stall"), "rcu-stall", None),
    # init's own oops killed it; another's did not
    ("Panic#2", NEW_OOPS.format(pid=1) + panic("Attempted to kill init! exitcode=0x0000000b"),
     "bug", "new"),
    ("Panic#2", NEW + panic("Attempted to kill init! exitcode=0x00000100"), "init-died", None),
    # a fault interrupted by a panic of which nothing is known
    ("Panic#1", OLD_OOPS.split("<4>[   10.000300]")[0] + panic("Recursive something", 10.1),
     "null-pointer", "old"),
    # the end of the log is lost, and with it the panic
    ("Panic#2", OLD_OOPS, "null-pointer", "old"),
    ("Panic#2", OLD_OOPS + "<6>[ 5000.000000] eth0: link up\n", "other", None),
    # the beginning is lost
    ("Oops#1", OLD_OOPS.split("\n", 1)[1], "other", "old"),
    ("Oops#1", "<4>[   20.000000] pc : 0xffffffc00818ff8c\n", "other", "0xffffffc00818ff8c"),
    ("Panic#1", HANG.split("\n", 1)[1] + panic("softlockup: hung tasks"), "soft-lockup", "stuck"),
    ("Panic#2", OLD_OOPS.split("\n", 1)[1] + panic("Fatal exception"), "other", "old"),
    ("Panic#2", OLD_OOPS.split("\n", 1)[1] + panic("Out of memory: x", 300.0), "oom", None),
    # an end is not a crash, whatever happened before
    ("Shutdown#2", OLD_OOPS, "other", None),
    ("Restart#2", OLD_OOPS, "other", None),
    ("Emergency#2", OLD_OOPS, "other", None),
]


@pytest.mark.parametrize(("title", "log", "cause", "function"), EPISODES)
def test_which_fault_counts(title: str, log: str, cause: str, function: str | None) -> None:
    kernel = explain(f"{title} Part1\n{log}").kernel
    assert (kernel.cause, kernel.function) == (cause, function)


REASONS = [
    ("Panic#12 Part3\n", ("panic", 12, 3)),
    ("Oops#1 Part1\n", ("oops", 1, 1)),
    ("Emergency#1 Part1\n", ("emergency", 1, 1)),
    ("Shutdown#1 Part1\n", ("shutdown", 1, 1)),
    ("Poweroff#1 Part1\n", ("shutdown", 1, 1)),
    ("Unknown#1 Part1\n", ("unknown", 1, 1)),
    ("Panic: Total 2 times\nPanic#1 Part1\n", ("panic", 1, 1)),
    ("", ("unknown", None, None)),
    (OLD_OOPS, ("oops", None, None)),
    (OLD_OOPS + panic("Fatal exception"), ("panic", None, None)),
]


@pytest.mark.parametrize(("text", "reason"), REASONS)
def test_reason(text: str, reason: tuple[str, int | None, int | None]) -> None:
    kernel = explain(text).kernel
    assert (kernel.reason, kernel.sequence, kernel.part) == reason


def test_sysrq_before_v5_was_a_null_pointer() -> None:
    kernel = explain("""Panic#2 Part1
<6>[  100.000000] sysrq: SysRq : Trigger a crash
<1>[  100.010000] CPU 0 Unable to handle kernel paging request at virtual address 00000000, epc == 8
<4>[  100.020000] Oops[#1]:
<4>[  100.030000] epc   : 8023c1a0 sysrq_handle_crash+0x10/0x18
<4>[  100.040000] ---[ end trace 749935782defeff6 ]---
<0>[  100.050000] Kernel panic - not syncing: Fatal exception
""").kernel
    assert (kernel.cause, kernel.function) == ("sysrq", "sysrq_handle_crash")


FROM_TRACE = " Call Trace:\n ? guess+0x1/0x2\n caller+0x10/0x20 [m]\n g+0x1/0x2"
FROM_REGISTER = " Call trace:\n 0x0\n g+0x1/0x2"
# A jump to NULL: the program counter, the return address, the trace, and who jumped.
JUMPS = [
    ("RIP: 0010:0x0", "", FROM_TRACE),
    ("RIP: 0010:[<0000000000000000>]  [<          (null)>]           (null)", "", FROM_TRACE),
    ("EIP: 0x0", "", FROM_TRACE),
    ("EIP is at 0x0", "", FROM_TRACE),
    ("PC is at 0x0", "LR is at caller+0x10/0x20 [m]", FROM_REGISTER),
    ("pc : 0x0", "lr : caller+0x10/0x20 [m]", FROM_REGISTER),
    ("pc : 0x0", "lr : 0x0", FROM_TRACE),
    ("epc   : 00000000 0x0", "ra    : 86d8a790 caller+0x10/0x20 [m]", FROM_REGISTER),
    ("epc   : 00000000   (null)", "ra    : 86d8a790 caller+0x10/0x20 [m]", FROM_REGISTER),
]


@pytest.mark.parametrize(("counter", "register", "trace"), JUMPS)
def test_a_jump_to_nowhere_is_named_after_the_caller(
        counter: str, register: str, trace: str) -> None:
    found = explain("Oops#1 Part1\nUnable to handle kernel NULL pointer dereference at virtual "
                    f"address 00000000\n{counter}\n{register}\n{trace}\n")
    assert (found.jump, found.kernel.cause) == ("0x0", "null-pointer")
    assert (found.kernel.function, found.kernel.offset, found.kernel.module) == (
        "caller", "0x10", "m")
    assert hashed_text(found) == "null-pointer|caller|g"
    assert kernel_title(found) == (
        "NULL pointer dereference: jump to address 0x0 from caller [m]")


def test_a_jump_from_nobody_knows_where() -> None:
    found = explain("Oops#1 Part1\npc : 0x0\nCall trace:\n 0x0\n")
    assert found.kernel.function is None
    assert kernel_title(found) == "NULL pointer dereference: jump to address 0x0"


def test_what_programs_write_does_not_count() -> None:
    """Lines of a level above 7 come through /dev/kmsg."""
    lies = "".join(f"<{level}>[    5.000000] {lie}\n" for level in (8, 12, 134, 2047) for lie in (
        "Oops#7 Part3", "Kernel panic - not syncing: hello", "BUG: soft lockup - CPU#3 stuck for "
        "9s! [x:1]", "CPU: 3 PID: 666 Comm: liar Tainted: P 9.9.9", "RIP: 0010:lie+0x1/0x2",
        "Call Trace:", " lie+0x1/0x2", "dd invoked oom-killer: ", "---[ end trace",
        "Hardware name: liar", "Linux version 9.9.9", "sysrq: Trigger a crash"))
    truth = OLD_OOPS + panic("Fatal exception", 10.1)
    honest = explain("Panic#2 Part1\n" + truth)
    first, rest = truth.split("\n", 1)
    assert explain(f"Panic#2 Part1\n{lies}{first}\n{lies}{rest}{lies}") == (
        honest._replace(uptime=5.0))
    assert explain(lies).kernel == Kernel("unknown")
    assert explain(lies.replace("<8>", "<7>")).kernel.reason == "oops"


TASKS = [
    ("CPU: 2 PID: 900 Comm: a Not tainted 9.9.9 b Tainted: P           O      5.15.5 #0",
     "a Not tainted 9.9.9 b", "P           O", "5.15.5"),
    ("CPU: 2 PID: 900 Comm: a Tainted: G 9.9.9 b Not tainted 5.15.5 #0",
     "a Tainted: G 9.9.9 b", None, "5.15.5"),
    ("CPU: 2 UID: 0 PID: 900 Comm: a (b) [c] Kdump: loaded Tainted: G        W          6.12.1 #1",
     "a (b) [c]", "G        W", "6.12.1"),
    ("CPU: 2 PID: 900 Comm: kworker/u9:2+flush-ubifs_0_1 Kdump: loaded Not tainted 6.6.1 #1",
     "kworker/u9:2+flush-ubifs_0_1", None, "6.6.1"),
    ("CPU: 2 PID: 900 Comm: a Tainted: G        W  OE  ------------   3.10.0-862.el7.x86_64 #1",
     "a", "G        W  OE", "3.10.0-862.el7.x86_64"),
    ("CPU: 2 PID: 900 Comm:  Tainted: G      D        3.18.29 #6", None, "G      D", "3.18.29"),
    ("Pid: 900, comm: a Not tainted 9.9.9 Tainted: G        W    3.2.0-4-amd64 #1 Debian 3.2.41-2",
     "a Not tainted 9.9.9", "G        W", "3.2.0-4-amd64"),
]


@pytest.mark.parametrize(("line", "process", "tainted", "release"), TASKS)
def test_a_program_may_be_called_anything(
        line: str, process: str | None, tainted: str | None, release: str) -> None:
    kernel = explain(f"Oops#1 Part1\nOops[#1]:\n<4>[    9.000000] {line}\n").kernel
    assert (kernel.process, kernel.pid, kernel.tainted, kernel.release) == (
        process, 900, tainted, release)


def test_a_program_called_anything_may_hang_or_be_killed() -> None:
    hang = HANG.replace("[a b:7]", "[a]b:c 1s!:7]").split("<4>")[0]
    assert explain("Panic#1 Part1\n" + hang).kernel.process == "a]b:c 1s!"
    oom = explain("Panic#1 Part1\nOut of memory: Killed process 7 (a) anon-rss:9kB) "
                  "total-vm:4kB, anon-rss:2kB, file-rss:1kB, shmem-rss:0kB, UID:0\n").kernel.oom
    assert oom == Oom("a) anon-rss:9kB", 7, 3, None)


# --- hostile text --------------------------------------------------------------------------

ATOMS = st.sampled_from([
    "Panic#1 Part1\n", "Oops#99999999999 Part1\n", "<4>", "[   12.345678] ", "[99999999999.9]",
    "Kernel panic - not syncing: ", "sysrq triggered crash\n", "Call Trace:\n", " ? f+0x1/0x2 [m",
    "]\n", "\n", "BUG: kernel NULL pointer dereference, address: ", "(null)", "ffffffffffffffff",
    "CPU: 0 PID: 1 Comm: ", "Not tainted 6.1 #1", "epc   : 80123456 ", "f+0x1/0x2 [m]", "0x0",
    "---[ end trace", "a invoked oom-killer: ", "Out of memory: Killed process 1 (a) ",
    "anon-rss:1kB", "(f) from (g+0x1/0x2)", "Internal error: ", "CR2: 00000000\n", "<IRQ>", "\0",
    "\ufffd", "\r\n", "\u2028", "Attempted to kill init!", "stack-protector: ",
    "Unhandled fault: external abort at 0x1\n", "NIP [c0001234] f+0x1/0x2\n", "CPU1: stopping\n",
    "epc : 80123456 ra : 80123456\n", "---[ end Kernel panic - not syncing: x ]---\n",
    "INFO: rcu_sched detected stalls on CPUs/tasks: { 1}\n", "6,1,12345678,-;",
    "mt76 0: Message 1 (seq 1) timeout\n", "Jan  1 00:00:00 a kernel: ",
    "[Thu Dec  7 00:05:15 2017] ", "sysrq: SysRq : Trigger a crash\n", "reboot: Power down\n"])


@given(st.one_of(st.text(), st.lists(st.one_of(ATOMS, st.text(max_size=5))).map("".join)))
def test_any_text_is_welcome(text: str) -> None:
    found = explain(text)
    assert found.kernel.reason in ("panic", "oops", "emergency", "shutdown", "unknown")


@given(st.data())
def test_a_piece_of_a_real_log_is_welcome(data: st.DataObject) -> None:
    text = readable(kernel_text("c08_softlockup", "dmesg-ramoops-0"))
    start = data.draw(st.integers(0, len(text)))
    found = explain(text[start:data.draw(st.integers(start, len(text)))])
    assert found.kernel.cause in ("soft-lockup", "other")


@pytest.mark.parametrize("filler", hostile.LOGS)
def test_a_mebibyte_of(filler: str) -> None:
    head, tail = "Panic#1 Part1\nOops[#1]:\nCall Trace:\n", "\n" + panic("Fatal exception")
    many = (1 << 20) // len(hostile.LOGS[filler])
    found = explain(head + hostile.LOGS[filler] * many + tail)
    assert longest(found.kernel) <= 200
    assert len(kernel_title(found)) <= 256
    assert len(found.kernel.trace) <= 64


def longest(value: object) -> int:
    """The length of the longest string in a tuple of anything."""
    if isinstance(value, tuple):
        return max(map(longest, value), default=0)
    return len(value) if isinstance(value, str) else 0


def test_of_a_long_trace_the_innermost_reliable_frames_are_kept() -> None:
    trace = "".join(f" f{number}+0x1/0x2\n ? guess+0x1/0x2\n" for number in range(100))
    frames = explain("Oops#1 Part1\nOops[#1]:\nCall Trace:\n" + trace).kernel.trace
    assert [frame.function for frame in frames] == [f"f{number}" for number in range(64)]


def test_a_long_name_is_cut() -> None:
    kernel = explain("Oops#1 Part1\nOops[#1]:\nRIP: 0010:" + "_R" * 200 + "+0x1/0x2 [m]\n").kernel
    assert (kernel.function, kernel.offset, kernel.module) == ("_R" * 64, "0x1", "m")


# --- how it ended, and what came before ----------------------------------------------------

WARNED = WARNING.replace("   20.", "    5.")
ENDINGS = [
    ("reboot: Restarting system", "shutdown"),
    ("reboot: Restarting system with command 'recovery'", "shutdown"),
    ("reboot: Power down", "shutdown"),
    ("reboot: System halted", "shutdown"),
    ("Restarting system.", "shutdown"),           # before v3.10
    ("Power down.", "shutdown"),
    ("Rebooting in 3 seconds..", "unknown"),
    ("eth0: link down", "unknown"),
]


@pytest.mark.parametrize(("line", "reason"), ENDINGS)
def test_how_a_log_without_a_title_ends(line: str, reason: str) -> None:
    """A warning hours before is not what a log of a clean end is about, nor of any other."""
    ended = f"<6>[ 9000.000000] br-lan: port 1(eth0) entered disabled state\n<6>[ 9000.1] {line}\n"
    found = explain(WARNED + ended)
    assert (found.kernel.reason, found.kernel.cause, found.message) == (reason, "other", None)
    assert hashed_text(found) is None
    assert explain("Panic#1 Part1\n" + WARNED + ended).kernel.reason == "panic"
    for crash in (OLD_OOPS, HANG):
        assert explain(crash + ended).message is not None


def test_a_warning_at_the_end_counts() -> None:
    assert explain(WARNED).kernel.function == "warned"


SYMBOLLESS = """<1>[    9.100000] CPU 0 Unable to handle kernel paging request at virtual address 0
<4>[    9.100100] Oops[#1]:
<4>[    9.100200] epc   : 801c5e64 0x801c5e64
"""


@pytest.mark.parametrize("asked", ["SysRq : Trigger a crash", "sysrq: SysRq : Trigger a crash",
                                   "sysrq: Trigger a crash"])
def test_a_crash_that_was_asked_for(asked: str) -> None:
    """Until v5.0 it is a NULL pointer, and OpenWrt's kernels do not name the function."""
    assert explain(f"<6>[    9.000000] {asked}\n" + SYMBOLLESS).kernel.cause == "sysrq"
    assert explain(f"<12>[    9.000000] {asked}\n" + SYMBOLLESS).kernel.cause == "null-pointer"


LOST_HEAD = """<4>[    9.999000] x1 : 0000000000000000 x0 : 0000000000000000
<4>[    9.999100] Call trace:
<4>[    9.999200]  f+0x10/0x20 [m]
<4>[    9.999300]  g+0x10/0x20
<0>[    9.999400] Code: f9401b00 eb00035f 54000120 a9430702 (f9000459)
<4>[    9.999500] ---[ end trace 0000000000000000 ]---
"""
WHOLE = ("<4>[    9.990000] Internal error: Oops: 96000004 [#1] SMP\n<4>[    9.990100] pc : "
         "f+0x10/0x20 [m]\n" + LOST_HEAD)


def test_what_is_left_of_an_oops_tells_where_it_was() -> None:
    """arm64's trace begins with where it happened: the signature is that of the whole log."""
    fatal = panic("Oops: Fatal exception in interrupt", 10.1)
    found = explain(LOST_HEAD + fatal)
    assert (found.kernel.function, found.kernel.module) == ("f", "m")
    assert hashed_text(found) == hashed_text(explain(WHOLE + fatal)) == "f|g"
    assert kernel_title(found) == "Kernel panic in f [m]"
    headless = explain(LOST_HEAD.partition("<4>[    9.999300]")[2] + fatal)
    assert headless.kernel.function == "g"
    assert explain(LOST_HEAD.replace("  9.", "  1.") + panic("Fatal exception", 300.0)
                   ).kernel.trace == ()
    assert explain(LOST_HEAD + panic("sysrq triggered crash")).kernel.function is None


def test_other_processors_stop_with_traces_of_their_own() -> None:
    others = ("<4>[   10.200000] CPU1: stopping\n<4>[   10.200100] CPU: 1 PID: 0 Comm: swapper/1 "
              "Not tainted 6.1.1 #1\n<4>[   10.200200] [<c0>] (idle) from [<c1>] (other+0x1/0x2)\n")
    kernel = explain(panic("Fatal exception", 10.1) + others).kernel
    assert (kernel.process, kernel.trace) == (None, ())


HELPED = """<4>[   10.000000] WARNING: CPU: 0 PID: 7 at lib/list_debug.c:62 {found}+0x12c/0x16c
<4>[   10.000100] list_del corruption. prev->next should be 85666a30, but was 84b67e80
<4>[   10.000200] CPU: 0 PID: 7 Comm: a Not tainted 6.6.57 #0
<4>[   10.000300] Call Trace:
<4>[   10.000400] [<80007e40>] show_stack+0x28/0xf0
<4>[   10.000500] [<80007e44>] __warn+0x9c/0x124
<4>[   10.000600] [<80007e48>] {found}+0x12c/0x16c
<4>[   10.000700] [<80007e50>] culprit+0x28/0xf0 [m]
<4>[   10.000800] ---[ end trace 0000000000000000 ]---
"""


@pytest.mark.parametrize(("function", "title"), [
    ("__list_del_entry_valid_or_report", "Kernel warning: corrupted list in culprit [m]"),
    ("__list_add_valid", "Kernel warning: corrupted list in culprit [m]"),
    ("something", "Kernel warning: corrupted list in something"),
])
def test_a_check_is_not_the_place_but_who_failed_it(function: str, title: str) -> None:
    found = explain(HELPED.format(found=function))
    assert kernel_title(found) == title
    assert hashed_text(found) == f"{function}|culprit"      # k1 goes by the check


RCU_STARVED = """<3>[  103.087243] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:
<3>[  103.087558] rcu: \t1-...!: (0 ticks this GP) idle=cf8/0/0x0 softirq=20/20 fqs=0
<3>[  103.088153] rcu: RCU grace-period kthread stack dump:
<4>[  103.088153] Call Trace:
<4>[  103.088153]  __schedule+0x288/0x600
<4>[  103.088153]  rcu_gp_kthread+0x4f6/0xd40
<4>[  103.088153]  kthread+0x107/0x120
<3>[  103.088200] rcu: Stack dump where RCU GP kthread last ran:
<4>[  103.088300] NMI backtrace for cpu 1
<4>[  103.088400] Call Trace:
<4>[  103.088500]  stuck+0x288/0x600 [m]
"""


def test_a_stall_is_not_filed_under_the_grace_period() -> None:
    found = explain(RCU_STARVED)
    assert (found.kernel.cause, found.kernel.function, found.kernel.cpu) == (
        "rcu-stall", "stuck", 1)
    assert hashed_text(found) == "hang|stuck"


def test_the_limit_of_a_control_group_is_told_from_the_machines() -> None:
    kill = "Memory cgroup out of memory: Killed process 7 (a) total-vm:4kB, anon-rss:2kB"
    assert explain(kill).kernel.oom == Oom("a", 7, 2, None, True)
    found = explain("a invoked oom-killer: gfp_mask=0xcc0\noom-kill:constraint=CONSTRAINT_MEMCG,"
                    "nodemask=(null),task=b,pid=8,uid=0\n")
    assert found.kernel.oom == Oom("b", 8, None, "a", True)
    assert kernel_title(found) == "Out of memory in a control group: killed b"
    assert explain(kill.removeprefix("Memory cgroup o").capitalize()).kernel.oom is None


def test_a_stall_that_is_detected_again_is_the_same() -> None:
    again = ("<3>[  109.000000] rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: "
             "{ 1-... } 10879 jiffies s: 529 root: 0\n")
    found = explain(RCU_STARVED + again)
    assert (found.kernel.function, found.kernel.cpu) == ("stuck", 1)
    later = explain(RCU_STARVED + again.replace("109.0", "909.0"))
    assert later.kernel.function is None


def test_where_the_processors_are_is_not_where_a_task_sleeps() -> None:
    """With hung_task_all_cpu_backtrace their registers follow its trace."""
    found = explain("""<3>[  123.000000] INFO: task mount:77 blocked for more than 120 seconds.
<4>[  123.000100] Call Trace:
<4>[  123.000200]  __schedule+0x755/0x1580
<4>[  123.000300]  rwsem_down_write_slowpath+0x755/0x1580
<4>[  123.000400]  waits+0x755/0x1580 [m]
<4>[  123.000500] NMI backtrace for cpu 1
<4>[  123.000600] CPU: 1 PID: 25 Comm: khungtaskd Not tainted 6.1.1 #1
<4>[  123.000700] RIP: 0010:io_serial_in+0x6b/0x90
<0>[  123.000800] Kernel panic - not syncing: hung_task: blocked tasks
<4>[  123.000900] CPU: 1 PID: 25 Comm: khungtaskd Not tainted 6.1.1 #1
""")
    kernel = found.kernel
    assert (kernel.function, kernel.module, kernel.process, kernel.pid, kernel.cpu,
            kernel.release) == ("waits", "m", "mount", 77, None, "6.1.1")
    assert hashed_text(found) == "hang|waits"


def test_a_warning_as_v6_19_words_it() -> None:
    kernel = explain("WARNING: [time_after(jiffies, timeout)] io_uring/io_uring.c:3026 at "
                     "io_ring_exit_work+0x44c/0xbc0 [m], CPU#0: kworker/u8:0/10040").kernel
    assert (kernel.cause, kernel.function, kernel.module, kernel.cpu, kernel.process,
            kernel.pid) == ("warning", "io_ring_exit_work", "m", 0, "kworker/u8:0", 10040)


def test_powerpc64_puts_a_dot_before_its_functions() -> None:
    found = explain("Oops: Kernel access of bad area, sig: 11 [#1]\n"
                    "NIP [d0000000008cb4dc] .ipr_pci_error_detected+0x18c/0x220 [ipr]\n")
    assert (found.kernel.function, found.kernel.module) == ("ipr_pci_error_detected", "ipr")


def test_kasan_tells_a_null_pointer_in_disguise() -> None:
    gpf = ("Oops: general protection fault, probably for non-canonical address "
           "0xdffffc0000000000: 0000 [#1] SMP KASAN\n")
    assert explain(gpf).kernel.cause == "bad-access"
    null = "KASAN: null-ptr-deref in range [0x0000000000000000-0x0000000000000007]\n"
    assert explain(gpf + null).kernel.cause == "null-pointer"


# --- what is cut ---------------------------------------------------------------------------

def test_the_name_of_a_task_on_a_line_that_is_cut() -> None:
    for cut in ("Not", "Not tai", "Not tainted", "T", "Taint", "Tainted:", "Tainted: G        W"):
        line = f"Oops[#1]:\nCPU: 3 PID: 111 Comm: kworker/3:2 {cut}"
        assert told(line)["process"] == "kworker/3:2"
        assert told(line)["pid"] == 111


def test_a_page_fault_whose_first_line_and_last_are_lost() -> None:
    registers = ("CPU: 0 UID: 0 PID: 470 Comm: a Not tainted 6.12.13 #1\n"
                 "RIP: 0010:f+0x48/0x140 [m]\n"
                 "CR2: 0000000000000400 CR3: 000000000d2ea000 CR4: 00000000000006f0\n")
    lost = told("Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI\n" + registers)
    assert (lost["cause"], lost["address"]) == ("null-pointer", "0x400")
    other = told("Oops: general protection fault: 0000 [#1] SMP\n" + registers)
    assert other["cause"] == "bad-access"
    assert "address" not in other


HEAD = """[  344.200000] Modules linked in: a b
[  344.300000] CPU: 2 PID: 77 Comm: w Not tainted 6.6.1 #0
[  344.300100] Hardware name: Some Router (DT)
[  344.300200] Process w (pid: 77, stack limit = 0x9d922210)
"""


def test_the_head_of_a_report_whose_first_line_is_lost() -> None:
    registers = "[  344.400000] pc : f+0x1/0x2 [m]\n"
    found = told(HEAD + registers)
    assert (found["process"], found["pid"], found["cpu"], found["function"]) == ("w", 77, 2, "f")
    earlier = told(HEAD + "[  344.350000] ---[ end trace 0 ]---\n" + registers)
    assert "process" not in earlier


def test_only_the_trace_is_left() -> None:
    trace = ("[ 4155.661466]  dump_stack+0x14/0x1a\n[ 4155.662584]  vpanic+0xdb/0x290\n"
             "[ 4155.664616]  out_of_memory.cold+0x2d/0x78\n[ 4155.670995]  f+0x25/0x80\n")
    assert kernel_title(explain(trace)) == "Out of memory"
    assert kernel_title(explain("Shutdown#1 Part1\n" + trace)).startswith("Clean shutdown")
    assert explain(trace + "[ 4255.000000] eth0: link up\n").message is None


def test_a_trace_without_its_headline() -> None:
    report = "[    1.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [a:7]\n"
    trace = "[    1.000100]  f+0x1/0x2 [m]\n[    1.000200]  g+0x1/0x2\n"
    bare, whole = explain(report + trace), explain(report + "Call Trace:\n" + trace)
    assert hashed_text(bare) == hashed_text(whole) == "hang|f|g"


def test_of_two_kills_the_one_that_is_told_to_the_end() -> None:
    killed = ("[    1.000000] a invoked oom-killer: gfp_mask=0x0\n"
              "[    1.000100] Killed process 7 (b) total-vm:4kB, anon-rss:2kB, file-rss:1kB\n")
    again = "[    1.100000] c invoked oom-killer: gfp_mask=0x0\n"
    assert told(killed + again)["oom"] == Oom("b", 7, 3, "a")
    assert told(killed + again.replace(" 1.1", "99.1"))["oom"] == Oom(None, None, None, "c")


def test_a_check_says_less_than_what_failed_it() -> None:
    """A BUG that says nothing of its place is of the same trouble as one a moment before."""
    first = ("[    1.000000] BUG: sleeping function called from invalid context at a.c:8\n"
             "[    1.000100] Call Trace:\n[    1.000200]  f+0x1/0x2 [m]\n")
    second = "[    1.000300] BUG: scheduling while atomic: w/77/0x00000002\n"
    assert told(first + second)["function"] == "f"


def test_a_jump_to_where_no_code_is() -> None:
    """A return into a program's signal trampoline that the program does not have any more."""
    log = ("CPU 0 Unable to handle kernel paging request at virtual address 702e7da4, "
           "epc == 702e7da4, ra == 80005dbc\nOops[#1]:\n"
           "epc   : 702e7da4 0x702e7da4\nra    : 80005dbc setup_frame+0x70/0x110\n")
    found = explain(log)
    assert kernel_title(found) == "Bad memory access: jump to address 0x702e7da4 from setup_frame"
    assert hashed_text(found) == "bad-access|setup_frame"
    moved = explain(log.replace("702e7da4", "712e1234"))
    assert hashed_text(moved) == hashed_text(found)


def test_kasan_names_who_failed_a_check() -> None:
    log = ("BUG: KASAN: use-after-free in __list_del_entry_valid+0xdc/0xf5 lib/list_debug.c:54\n"
           "Call Trace:\n dump_stack+0x197/0x210 lib/dump_stack.c:118\n"
           " kasan_report+0x12/0x20 mm/kasan/common.c:639\n"
           " __asan_report_load8_noabort+0x14/0x20 mm/kasan/generic_report.c:135\n"
           " __list_del_entry_valid+0xdc/0xf5 lib/list_debug.c:54\n"
           " list_del include/linux/list.h:146 [inline]\n"
           " f+0x24f/0x4b0 drivers/net/wireguard/allowedips.c:65\n")
    assert told(log)["function"] == "f"


def test_a_check_that_failed_without_its_first_line() -> None:
    log = ("invalid opcode: 0000 [#1] SMP PTI\nCPU: 1 PID: 7 Comm: a Not tainted 4.14.14 #1\n"
           "RIP: 0010:{}+0x81/0x90\n")
    assert told(log.format("__list_del_entry_valid"))["cause"] == "bug"
    assert told(log.format("f"))["cause"] == "undefined-instruction"


@pytest.mark.parametrize("kdump", ["", "Kdump: loaded "])
@pytest.mark.parametrize("dashes", ["---------", "--------- -  -", "------------ T"])
def test_red_hats_taints(dashes: str, kdump: str) -> None:
    found = told(f"Oops: 0002 [#1] SMP\nCPU: 18 PID: 7 Comm: a {kdump}Tainted: G        W IOE    "
                 f"{dashes} 4.18.0-240 #1")
    assert (found["tainted"], found["process"]) == ("G        W IOE", "a")


@pytest.mark.parametrize(("task", "cause"), [
    ("", "undefined-instruction"),
    ("CPU: 0 PID: 1 Comm: init Not tainted 3.13.0 #1\n", "undefined-instruction"),
    ("CPU: 0 PID: 7 Comm: a Not tainted 3.13.0 #1\n", "init-died"),
])
def test_init_dies_of_a_fault_of_its_own(task: str, cause: str) -> None:
    """Or of one that does not say whose it was."""
    log = (f"Reserved instruction in kernel code[#1]:\n{task}---[ end trace cd8a48f722f5c5f7 ]---\n"
           "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n")
    assert told(log)["cause"] == cause
