"""Functions that stand in a call trace without saying anything about the fault.

A name may end in `*` for any rest.  Frames of a module are never plumbing: a driver may call
its function what it likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..record import Frame
from .symbol import is_nowhere

__all__ = ["base_name", "below_interrupt", "finds_only", "informative", "is_plumbing",
           "reported", "waits_only"]

# What prints and handles the report itself.
REPORTING = """
    panic vpanic nmi_panic check_panic_on_warn die __die die_* __die_* oops_end oops_enter
    oops_exit bad_area* __bad_area* no_context __do_kernel_fault kernelmode_fixup_or_oops
    page_fault_oops bug_handler report_bug handle_bug __warn warn_slowpath_* __warn_printk
    dump_stack dump_stack_lvl dump_backtrace* show_stack show_regs show_trace* show_backtrace
    __show_regs unwind_backtrace __dump_stack __stack_chk_fail
    dump_header oom_kill_process out_of_memory _printk printk
"""

# Traps between the fault and the report.
TRAPS = """
    do_page_fault __do_page_fault exc_page_fault asm_exc_page_fault page_fault do_user_addr_fault
    do_kern_addr_fault error_code common_exception exc_* asm_exc_* do_trap* do_error_trap
    do_invalid_op do_general_protection general_protection invalid_op
    do_DataAbort do_PrefetchAbort __dabt_svc __pabt_svc __und_svc do_undefinstr do_bad_area
    do_translation_fault do_sect_fault do_mem_abort do_alignment_fault el1_abort el1_da el1_dbg
    el1_undef el1_sync* el1h_64_sync* do_debug_exception brk_handler bug_brk_handler call_break_hook
    do_bp do_tr do_ri do_ade do_be do_cpu handle_bp handle_tr handle_ri handle_adel_int handle_adel
    handle_ades handle_ade* handle_ibe handle_dbe handle_tlb* tlb_do_page_fault_* ret_from_exception
    do_serror arm64_serror_panic arm64_is_fatal_ras_serror el1_error* el1h_64_error* __pi_*
    do_trap_* handle_exception handle_page_fault ___do_page_fault bad_page_fault* ___bad_page_fault*
    data_access_common* instruction_access_common* program_check_* machine_check_*
    unrecoverable_exception panic_bad_stack handle_bad_stack __bad_stack
"""

# What found the hang out, up to the interrupt it did so in.
WATCHDOGS = """
    watchdog_timer_fn watchdog_overflow_callback watchdog_hardlockup_check watchdog
    __perf_event_overflow perf_event_overflow intel_pmu_handle_irq* armpmu_* armv7pmu_* armv8pmu_*
    perf_event_nmi_handler do_nmi rcu_gp_kthread rcu_gp_fqs_loop rcu_gp_cleanup
    sched_show_task _sched_show_task dump_cpu_task
    check_hung_uninterruptible_tasks nmi_cpu_backtrace* nmi_trigger_cpumask_backtrace
    arch_trigger_cpumask_backtrace trigger_single_cpu_backtrace rcu_dump_cpu_stacks
    rcu_sched_clock_irq rcu_check_callbacks print_cpu_stall print_other_cpu_stall check_cpu_stall
    update_process_times tick_sched_handle tick_sched_timer tick_nohz_handler tick_handle_periodic
    tick_periodic __run_hrtimer __hrtimer_run_queues hrtimer_interrupt hrtimer_run_queues
"""

# Where an interrupt comes in: what is below in the trace is what it interrupted.
DOORS = """
    asm_sysvec_* asm_common_interrupt apic_timer_interrupt ret_from_intr
    asm_exc_nmi end_repeat_nmi nmi __irq_svc el1_irq el1h_64_irq
    except_vec_vi_end handle_int rollback_handle_int ret_from_irq
    handle_exception ret_from_exception do_irq
    decrementer_common* hardware_interrupt_common* timer_interrupt ret_from_except*
    interrupt_return*
"""

# How interrupts and soft interrupts get to their handlers.
INTERRUPTS = """
    sysvec_* __sysvec_* common_interrupt
    smp_apic_timer_interrupt do_IRQ handle_irq handle_irq_* __handle_irq_event_percpu
    local_apic_timer_interrupt smp_trace_apic_timer_interrupt*
    handle_percpu_devid_irq generic_handle_irq generic_handle_domain_irq __handle_domain_irq
    generic_handle_arch_irq handle_domain_irq handle_fasteoi_irq handle_level_irq handle_edge_irq
    handle_simple_irq handle_percpu_irq exc_nmi default_do_nmi nmi_handle __irq_usr gic_handle_irq
    gic_handle_local_int gic_interrupt arch_timer_handler_* arch_local_timer_*
    el1_interrupt el1h_64_irq_handler el0_irq el0_interrupt el0t_64_irq* call_on_irq_stack
    do_interrupt_handler plat_irq_dispatch gic_compare_interrupt
    c0_compare_interrupt mips_timer_interrupt __softirqentry_text_start
    irq_exit irq_exit_rcu __irq_exit_rcu irq_enter __do_softirq do_softirq ___do_softirq
    __do_softirq_own_stack do_softirq_own_stack __local_bh_enable_ip handle_softirqs run_ksoftirqd
    invoke_softirq call_softirq net_rx_action __napi_poll napi_poll tasklet_action*
    riscv_intc_irq handle_riscv_irq riscv_timer_interrupt plic_handle_irq
    ____do_softirq call_timer_fn expire_timers __run_timers* run_timer_base run_timer_softirq
"""

# How a task, a system call or a module begins, and how a task sleeps.
ENTRIES = """
    kthread worker_thread process_one_work process_scheduled_works rescuer_thread
    smpboot_thread_fn ret_from_fork* ret_from_kernel_thread kernel_thread* start_kernel
    x86_64_start_* secondary_startup* start_secondary secondary_start_kernel __primary_switched
    rest_init arch_call_rest_init kernel_init kernel_init_freeable do_initcalls do_basic_setup
    do_one_initcall cpu_startup_entry do_idle cpu_idle cpu_idle_loop default_idle* arch_cpu_idle
    do_syscall* x64_sys_call ia32_sys_call entry_* system_call* syscall_* stack_done
    __x64_sys_* __ia32_sys_* __arm64_sys_* __se_sys_* __do_sys_* SyS_* sys_* compat_sys_*
    invoke_syscall el0_svc* el0_sync* el0t_64_sync* do_el0_svc ret_fast_syscall handle_sys*
    syscall_common sysenter_* __do_fast_syscall_32 do_fast_syscall_32 do_int80_syscall_32
    tracesys* ret_to_user work_pending do_work_pending slow_work_pending work_resched
    work_notifysig* do_notify_resume exit_to_user_mode* prepare_exit_to_usermode
    exit_to_usermode_loop ret_from_syscall* ret_from_kernel_user_thread do_trap_ecall_u
    do_SYSENTER_32 do_int80_emulation i386_start_kernel startup_32_smp
    do_init_module load_module init_module_from_file idempotent_init_module
"""
SLEEPING = """
    __schedule schedule schedule_timeout schedule_timeout_* schedule_preempt_disabled __switch_to
    preempt_schedule* io_schedule io_schedule_timeout __cond_resched
    mutex_lock* __mutex_lock* down down_* __down __down_* rwsem_down_* rt_mutex_* __rt_mutex_*
    wait_for_completion* wait_for_common __wait_for_common do_wait_for_common
"""


# Checks that find something wrong with what their caller gave them, and a few ways to sleep and
# to die that the tables above leave out: they are hashed, but not shown as the place.
FINDERS = """
    __list_add_valid* __list_del_entry_valid* list_add_corruption list_del_corruption
    spin_bug spin_dump rwlock_bug bad_page check_preemption_disabled debug_smp_processor_id
    refcount_* __refcount_* __schedule_bug fixup_bug handle_overflow usercopy_warn
    kasan_* __kasan_* __asan_* __hwasan_* check_memory_region* __sanitizer_cov_* print_report
    print_address_description*
    __x86_indirect_thunk_* kfence_* __ubsan_* ubsan_epilogue
    usercopy_abort __check_heap_object __check_object_size fortify_panic __fortify_panic
    schedule_hrtimeout* usleep_range* msleep* do_exit make_task_dead rewind_stack_*
    warn_alloc* __alloc_pages* __alloc_frozen_pages* alloc_pages* __get_free_pages kmalloc_order*
    print_circular_bug* print_unlock_* print_usage_bug* print_deadlock_bug* print_bad_*
    lockdep_rcu_suspicious save_trace mark_lock __lock_acquire lock_acquire lock_release
    __mutex_unlock* mutex_unlock*
    warn_bogus_irq_restore __might_sleep ___might_sleep __might_resched check_panic_on_oom
"""

# What reports which trouble, for where only its call trace is left of the report.
REPORTERS = {
    "out_of_memory": "oom", "check_panic_on_oom": "oom", "mem_cgroup_out_of_memory": "oom",
    "watchdog_timer_fn": "soft-lockup", "watchdog_overflow_callback": "hard-lockup",
    "watchdog_hardlockup_check": "hard-lockup", "check_hung_uninterruptible_tasks": "hung-task",
    "rcu_dump_cpu_stacks": "rcu-stall", "print_cpu_stall": "rcu-stall",
    "sysrq_handle_crash": "sysrq", "__stack_chk_fail": "stack-corruption",
    "mount_block_root": "no-root", "mount_root_generic": "no-root",
    "mce_panic": "bus-error", "do_machine_check": "bus-error", "arm64_serror_panic": "bus-error",
    "page_fault_oops": "bad-access", "no_context": "bad-access", "__do_kernel_fault": "bad-access",
    "kernelmode_fixup_or_oops": "bad-access", "bad_page_fault": "bad-access",
    "__schedule_bug": "bug", "__warn": "warning", "warn_slowpath_common": "warning",
}

# How a processor waits for a lock: hashed, but of a hang not shown as the place.
WAITING = """
    queued_spin_lock_slowpath native_queued_spin_lock_slowpath __pv_queued_spin_lock_slowpath
    queued_read_lock_slowpath queued_write_lock_slowpath do_raw_spin_lock do_raw_read_lock
    do_raw_write_lock __raw_spin_lock* _raw_spin_lock* _raw_read_lock* _raw_write_lock*
"""


class Table(NamedTuple):
    """A set of functions."""

    names: frozenset[str]
    beginnings: tuple[str, ...]         # of further names

    def holds(self, frame: Frame) -> bool:
        """Whether the frame is of such a function of the kernel itself."""
        name = base_name(frame.function)
        return not frame.module and (name in self.names or name.startswith(self.beginnings))


def _table(*groups: str) -> Table:
    names = " ".join(groups).split()
    return Table(frozenset(name for name in names if not name.endswith("*")),
                 tuple(name[:-1] for name in names if name.endswith("*")))


_WATCHDOGS = _table(WATCHDOGS)
_DOORS = _table(DOORS)
_FINDERS = _table(FINDERS)
_WAITING = _table(WAITING)
_PLUMBING = _table(REPORTING, TRAPS, WATCHDOGS, DOORS, INTERRUPTS, ENTRIES, SLEEPING)


def base_name(function: str) -> str:
    """The function without what the compiler hung on: `f.isra.0`, `f.constprop.0`, `f.part.0`."""
    return function.split(".", 1)[0] or function


def is_plumbing(frame: Frame) -> bool:
    """Whether the frame says nothing about the fault."""
    return _PLUMBING.holds(frame) or is_nowhere(frame.function)


def finds_only(function: str) -> bool:
    """Whether the function of the kernel itself only found out what its caller did wrong."""
    return _FINDERS.holds(Frame(function, None, None, True))


def waits_only(function: str) -> bool:
    """Whether the function of the kernel itself only waits for what another one does not give."""
    return _WAITING.holds(Frame(function, None, None, True))


def reported(frames: Sequence[Frame]) -> str | None:
    """The cause that the innermost of the functions in a trace reports that report any."""
    names = (base_name(frame.function) for frame in frames if not frame.module)
    return next((REPORTERS[name] for name in names if name in REPORTERS), None)


def informative(frames: Iterable[Frame]) -> list[Frame]:
    """The reliable frames that are not plumbing."""
    return [frame for frame in frames if frame.reliable and not is_plumbing(frame)]


def below_interrupt(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """What the processor did before the interrupt that found it hanging.

    The whole trace, where it does not begin in such an interrupt, or holds nothing below it.
    """
    watchdogs = [index for index, frame in enumerate(frames) if _WATCHDOGS.holds(frame)]
    first = watchdogs[-1] if watchdogs else len(frames)
    door = next((index for index in range(first, len(frames)) if _DOORS.holds(frames[index])), None)
    rest = () if door is None else tuple(frames[door + 1:])
    return rest if informative(rest) else tuple(frames)
