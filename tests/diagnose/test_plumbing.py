"""Which frames of a trace say something."""

from __future__ import annotations

import pytest

from lastlog_py.diagnose.plumbing import base_name, below_interrupt, is_plumbing, reported
from lastlog_py.record import Frame


def frames(names: str) -> tuple[Frame, ...]:
    return tuple(Frame(name, "0x10", None, True) for name in names.split())


@pytest.mark.parametrize("name", [
    "panic", "die", "dump_stack", "warn_slowpath_fmt", "do_syscall_64", "entry_SYSCALL_64",
    "kthread", "worker_thread", "process_one_work", "ret_from_fork", "ret_from_fork_asm",
    "asm_sysvec_apic_timer_interrupt", "__do_softirq", "net_rx_action", "handle_irq_event",
    "el0t_64_sync_handler", "handle_sys", "except_vec_vi_end", "__x64_sys_write",
    "__napi_poll.constprop.0"])
def test_plumbing(name: str) -> None:
    assert is_plumbing(Frame(name, "0x10", None, True))
    assert not is_plumbing(Frame(name, "0x10", "module", True))


@pytest.mark.parametrize("address", ["0x0", "0x1c"])
def test_where_no_code_is_nothing_is_said(address: str) -> None:
    assert is_plumbing(Frame(address, None, None, True))


@pytest.mark.parametrize("name", ["vfs_write", "panic_button", "kthread_data", "ath10k_die",
                                  "genl_rcv_msg", "0x80123456"])
def test_not_plumbing(name: str) -> None:
    assert not is_plumbing(Frame(name, "0x10", None, True))


@pytest.mark.parametrize(("name", "base"), [("f", "f"), ("f.isra.0", "f"), ("f.part.1.cold", "f"),
                                            (".f", ".f")])
def test_base_name(name: str, base: str) -> None:
    assert base_name(name) == base


REPORTED = [
    ("dump_stack vpanic panic out_of_memory.cold __alloc_pages", "oom"),
    ("panic watchdog_timer_fn.cold __hrtimer_run_queues", "soft-lockup"),
    ("panic nmi_panic watchdog_overflow_callback do_nmi", "hard-lockup"),
    ("panic check_hung_uninterruptible_tasks watchdog kthread", "hung-task"),
    ("show_stack rcu_dump_cpu_stacks update_process_times", "rcu-stall"),
    ("panic mount_block_root prepare_namespace", "no-root"),
    ("oops_end no_context __do_page_fault page_fault out_of_memory", "bad-access"),
    ("vfs_write panic_button", None),
    ("", None),
]


@pytest.mark.parametrize(("names", "cause"), REPORTED)
def test_what_a_trace_alone_tells(names: str, cause: str | None) -> None:
    assert reported(frames(names)) == cause
    assert reported([frame._replace(module="m") for frame in frames(names)]) is None


BELOW = [
    # x86, arm64, arm, mips
    ("dump_stack rcu_sched_clock_irq hrtimer_interrupt asm_sysvec_apic_timer_interrupt f g", "f g"),
    ("show_stack rcu_dump_cpu_stacks update_process_times el1_interrupt el1h_64_irq_handler "
     "el1h_64_irq f g", "f g"),
    ("show_stack rcu_check_callbacks gic_handle_irq __irq_svc f g", "f g"),
    ("show_stack update_process_times gic_compare_interrupt except_vec_vi_end f g", "f g"),
    # it hangs in a soft interrupt, which came with an interrupt of its own
    ("panic watchdog_timer_fn asm_sysvec_apic_timer_interrupt f __do_softirq irq_exit_rcu "
     "common_interrupt asm_common_interrupt g", "f __do_softirq irq_exit_rcu common_interrupt "
                                               "asm_common_interrupt g"),
    # the trace begins with what hangs already
    ("f __do_softirq asm_common_interrupt g", "f __do_softirq asm_common_interrupt g"),
    # nothing but the watchdog
    ("dump_stack panic watchdog kthread", "dump_stack panic watchdog kthread"),
    ("panic watchdog_timer_fn asm_sysvec_apic_timer_interrupt kthread",
     "panic watchdog_timer_fn asm_sysvec_apic_timer_interrupt kthread"),
    ("", ""),
]


@pytest.mark.parametrize(("whole", "below"), BELOW)
def test_below_interrupt(whole: str, below: str) -> None:
    assert below_interrupt(frames(whole)) == frames(below)
