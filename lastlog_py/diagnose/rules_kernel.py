"""What kernels of every architecture say; v3.x to v6.12.

Sources: lib/bug.c, kernel/panic.c, kernel/watchdog.c, kernel/hung_task.c, kernel/workqueue.c,
kernel/rcu/tree_stall.h (tree.c, tiny.c before v3.18), kernel/sched/core.c,
kernel/locking/spinlock_debug.c, mm/oom_kill.c, mm/slub.c, mm/kasan/report.c, mm/kfence/report.c,
lib/ubsan.c, drivers/watchdog.
"""

from __future__ import annotations

from .rule import fault
from .symbol import PLACE, SAID

__all__ = ["BUGS", "DIES", "HANGING", "ODD", "OUT_OF_MEMORY", "REST", "SIGNS"]

BUGS = (
    # "Kernel BUG at f+0x1/0x2 [verbose debug info unavailable]" without its file and line
    fault("bug", r"[Kk]ernel BUG at ", "ernel BUG at "),
)

HANGING = (
    # the line may be cut
    fault("soft-lockup", r"(?:NMI )?(?:watchdog: )?BUG: soft lockup(?: - CPU#(?P<cpu>\d{1,4})"
          r"(?: stuck for (?P<seconds>\d{1,9})s!(?: \[(?P<process>.{0,64}):(?P<pid>\d{1,10})\])?"
          r")?)?", "BUG: soft lockup", grade="hang"),
    fault("hard-lockup", r"(?:NMI )?(?:watchdog: )?(?:BUG: )?(?:CPU\d{1,4}: )?Watchdog detected "
          r"hard LOCKUP on cpu ?(?P<cpu>\d{1,4})", "Watchdog detected hard LOCKUP", grade="hang"),
    fault("soft-lockup", r"BUG: workqueue lockup - pool(?: cpus=(?P<cpu>\d{1,4}))?.{0,80}"
          r" stuck for (?P<seconds>\d{1,9})s!", "BUG: workqueue lockup", grade="hang"),
    fault("soft-lockup", r"BUG: spinlock lockup(?: suspected)? on CPU#(?P<cpu>\d{1,4}), "
          r"(?P<process>.{0,64})/(?P<pid>\d{1,10})", "BUG: spinlock lockup", grade="hang"),
    fault("hung-task", r"INFO: task (?P<process>.{1,64}):(?P<pid>\d{1,10}) (?:blocked|can't die)"
          r"(?: .{0,60}for more than (?P<seconds>\d{1,9}) seconds| .{0,40}$)", "INFO: task ",
          grade="hang"),
    # "self-detected stall on CPU { 0}" until v4.1, "detected stall on CPU 0" until v3.2
    fault("rcu-stall", r"(?:rcu: )?INFO: rcu\w{0,20} (?:self-)?(?:detected )?(?:expedited )?"
          r"stalls? on (?:tasks|CPU(?:s/tasks)?):? ?(?:(?:\{ ?)?(?P<cpu>\d{1,4}))?", "INFO: rcu",
          grade="hang"),
    fault("watchdog", r"softdog: Initiating (?:system reboot|panic)|Initiating system reboot"
          r"|bcm47xx_wdt: Watchdog will fire soon", "Initiating ", "Watchdog will fire",
          grade="hang"),
)

OUT_OF_MEMORY = (
    fault("oom", r"(?P<trigger>.{1,64}) invoked oom-killer: ", " invoked oom-killer: ",
          grade="oom"),
    fault("oom", r"(?:Memory cgroup )?[Oo]ut of memory(?: \([^)]{0,40}\))?: Kill(?:ed)? process ",
          "ut of memory", grade="oom"),
    fault("oom", r"Memory cgroup out of mem|Task in \S{1,400} killed as a result of limit of ",
          "Memory cgroup out of mem", " as a result of limit of ", grade="oom"),
    fault("oom", r"Killed process \d{1,10}.{1,100} total-vm:", "Killed process ", grade="oom"),
)

# Reports after which the kernel goes on.
ODD = (
    # v6.19: the condition, the file and the line, the function, the processor and the task
    fault("warning", r"WARNING: .{0,300}?at (?:0x0|" + PLACE + r"), CPU#(?P<cpu>\d{1,4}): "
          r"(?P<process>.{1,64})/(?P<pid>\d{1,10})", ", CPU#", grade="warning"),
    fault("warning", r"WARNING: (?:CPU: (?P<cpu>\d{1,4}) PID: (?P<pid>\d{1,10}) )?at \S{1,200}"
          "(?: " + PLACE + ")?", "WARNING: ", grade="warning"),
    fault("null-pointer", r"BUG: KASAN: null-ptr-deref(?: in " + SAID + ")?", "BUG: KASAN: null-",
          grade="warning"),
    fault("bad-access", r"BUG: KASAN: [\w -]{1,60}? in " + SAID, "BUG: KASAN: ",
          grade="warning"),
    fault("bad-access", r"BUG: KASAN: ", "BUG: KASAN: ", grade="warning"),
    fault("bad-access", r"BUG: KFENCE: [\w -]{1,60}? in " + PLACE, "BUG: KFENCE: ",
          grade="warning"),
    fault("bug", r"BUG: scheduling while atomic: (?P<process>.{1,64})/(?P<pid>\d{1,10})/0x",
          "BUG: scheduling while atomic", grade="warning"),
    fault("bug", r"BUG: Bad .{1,30} in process (?P<process>.{1,64}?)  pfn:", "BUG: Bad ",
          grade="warning"),
    fault("bug", r"BUG: (?:scheduling while atomic|sleeping function|Bad |using |spinlock |rwlock "
          r"|non-zero )", "BUG: scheduling", "BUG: sleeping", "BUG: Bad ", "BUG: using ",
          "BUG: spinlock ", "BUG: rwlock ", "BUG: non-zero ", grade="warning"),
    fault("bug", r"bad: scheduling from the idle thread!", "bad: scheduling from",
          grade="warning"),
    fault("bug", r"BUG [\w.:-]{1,60} \([^)]{1,60}\): ", "BUG ", grade="warning"),      # slub
    fault("bug", r"BUG: KMSAN: [\w -]{1,60}? in " + PLACE, "BUG: KMSAN: ", grade="warning"),
    fault("bug", r"BUG: K[CM]SAN: ", "BUG: KCSAN: ", "BUG: KMSAN: ", grade="warning"),
    fault("warning", r"UBSAN: .{1,60} in \S", "UBSAN: ", grade="warning"),
    fault("divide", r"Division by zero in kernel", "Division by zero in kernel", grade="warning"),
    # "do_IRQ: stack overflow: 940", "do_IRQ(): dd has overflown the kernel stack"
    fault("stack-corruption", r"do_IRQ(?:: stack overflow: |\(\): .{1,64} has overflown)",
          "do_IRQ", grade="warning"),
)

# What may stand alone: the first lines of reports of which the second, a BUG or a warning, may be
# lost, and what is no trouble yet.
SIGNS = (
    fault("bug", r"list_(?:add|del) (?:double add|corruption)", "list_add ", "list_del ",
          grade="sign"),
    fault("warning", r"refcount_t: ", "refcount_t: ", grade="sign"),
    # the list of those who may be killed
    fault("oom", r"Tasks state \(memory values in pages\):|\[ {1,2}pid {1,2}\] +uid +tgid total_vm",
          "Tasks state ", " tgid total_vm", grade="sign"),
    fault("rcu-stall", r"(?:rcu: )?(?:INFO: )?rcu_\w{1,20} kthread (?:timer wakeup didn't happen|"
          r"starved) for ", " kthread ", grade="sign"),
    fault("bus-error", r"(?:mce: )?\[Hardware Error\]: CPU (?P<cpu>\d{1,4}): Machine Check "
          "Exception: ", ": Machine Check Exception: ", grade="sign"),
    fault("warning", r"(?P<process>.{1,64}): page allocation (?:failure[.:]|stalls for )",
          ": page allocation ", grade="sign"),
    # kernel/locking/lockdep.c; "[ INFO: … ]" until v4.10, "[ BUG: … ]" too
    fault("warning", r"(?:\[ )?(?:WARNING|INFO|BUG): (?:possible (?:circular|recursive|irq) "
          r"|(?:suspicious|inconsistent|inverted) |(?:HARD|SOFT)IRQ|bad unlock balance"
          r"|held lock freed|lock held |.{0,80}still has locks held|nested lock was not taken"
          r"|trying to register non-static key|Invalid wait context|MAX_LOCK|MAX_STACK_TRACE"
          r"|kernel stack (?:regs|frame))", "WARNING: ", "INFO: ", "BUG: ", grade="sign"),
)

# What die() prints where no rule above knows it: mips "f[#1]:", riscv "f [#1]".
DIES = (
    fault("other", r"[A-Z][\w ,'!().-]{2,80}\[#\d{1,6}\]:?\s*$", "[#"),
)

# The rest of a report whose start fell out of the log.
REST = (
    fault("other", r"(?:RIP: 0010:|EIP is at |PC is at |pc : (?:[A-Za-z_]|0x)"
          r"|epc +: (?![0-9a-f]{8,16} ra )|NIP \[)", "RIP: 0010:", "EIP is at ", "PC is at ",
          "pc : ", "epc ", "NIP [", grade="rest"),
)
