"""How each architecture words the faults of its processors; v3.x to v6.12.

Sources: arch/x86/mm/fault.c, kernel/traps.c and kernel/nmi.c, arch/arm{,64}/mm/fault.c and
kernel/traps.c, arch/mips/mm/fault.c, kernel/traps.c and kernel/unaligned.c,
arch/riscv/mm/fault.c and kernel/traps.c, arch/powerpc/mm/fault.c, kernel/traps.c and
kernel/watchdog.c.
"""

from __future__ import annotations

from .rule import ADDRESS, fault

__all__ = ["ARM_DIES", "MIPS", "POWERPC", "RISCV", "SHARED", "X86", "X86_DIES"]

_DIED = r"(?:Oops: )?"                      # x86 v6.11 puts it before every trap's name

X86 = (
    # mm/fault.c show_fault_oops; the wording changed in v5.0 and v5.1
    fault("null-pointer", r"BUG: (?:unable to handle )?kernel NULL pointer dereference"
          rf"(?:, address:| at) *{ADDRESS}", "kernel NULL pointer dereference"),
    fault("bad-access", r"BUG: unable to handle (?:kernel paging request at"
          rf"|page fault for address:) *{ADDRESS}", "BUG: unable to handle "),
    fault("stack-corruption", r"BUG: .{0,40}stack guard page was hit",
          "stack guard page was hit"),
    fault("bad-access", r"(?:traps: )?PANIC: double fault", "PANIC: double fault"),
    # kernel/traps.c
    # what KASAN says first may lack its end of line
    fault("bad-access", r"(?:kasan: GPF could be caused by .{1,60})?" + _DIED
          + r"(?:segment-related )?general protection fault(?:,? (?:probably |maybe )?for "
          rf"(?:non-canonical )?address {ADDRESS}|.{{0,40}}: [0-9a-f]{{4}} \[#)",
          "general protection fault"),
    fault("divide", _DIED + r"divide[ _]error: [0-9a-f]{4} \[#", "divide error: ",
          "divide_error: "),
    fault("undefined-instruction", _DIED + r"invalid opcode: [0-9a-f]{4} \[#",
          "invalid opcode: "),
    fault("stack-corruption", _DIED + r"(?:kernel stack overflow|stack guard page: )",
          "kernel stack overflow", "stack guard page: "),
    fault("bad-access", _DIED + r"(?:stack segment|alignment check|segment not present|bounds"
          r"|double fault|Bad pagetable|invalid TSS)[^:]{0,20}: [0-9a-f]{4} \[#",
          "stack segment", "alignment check", "segment not present", "bounds", "double fault",
          "Bad pagetable", "invalid TSS"),
    # kernel/nmi.c
    fault("bus-error", r"NMI: (?:PCI system error|IOCK error)", "NMI: PCI", "NMI: IOCK",
          grade="warning"),
)

# arm, arm64, mips, riscv: mm/fault.c.  The aborts are printed for programs too, which are killed
# without a further word; the kernel's own are followed by what it dies of.
SHARED = (
    fault("null-pointer", r"(?:CPU (?P<cpu>\d{1,4}) )?Unable to handle kernel NULL pointer(?: "
          rf"dereference at virtual address {ADDRESS})?", "handle kernel NULL pointer"),
    fault("bad-access", r"(?:CPU (?P<cpu>\d{1,4}) )?Unable to handle kernel .{3,60}? at virtual "
          rf"address {ADDRESS}", "Unable to handle kernel "),
    fault("bus-error", rf"Unhandled fault: .{{0,60}}(?:external abort|SError).{{0,60}}? at "
          rf"{ADDRESS}", "Unhandled fault: ", grade="abort"),
    fault("bad-access", rf"Unhandled (?:fault|prefetch abort): .{{0,60}}? at {ADDRESS}",
          "Unhandled fault: ", "Unhandled prefetch abort: ", grade="abort"),
    # arm64 v4.13 to v4.15
    fault("bus-error", rf"Synchronous External Abort: .{{0,60}}? at {ADDRESS}",
          "Synchronous External Abort: ", grade="abort"),
    fault("bad-access", rf"Unhandled fault at {ADDRESS}", "Unhandled fault at ", grade="abort"),
)

MIPS = (
    fault("bug", r"(?:Kernel bug detected|Break instruction in kernel code"
          r"|Trap instruction in kernel code)\[#", "Kernel bug detected",
          "instruction in kernel code"),
    fault("undefined-instruction", r"Reserved instruction in kernel code\[#",
          "Reserved instruction in kernel code"),
    fault("bad-access", r"Unhandled kernel unaligned access|Kernel unaligned instruction access",
          "nhandled kernel unaligned", "Kernel unaligned instruction"),
    fault("bus-error", r"(?:Data|Instruction) bus error, ", " bus error, "),
    fault("bus-error", r"(?:Cache|Uncorrectable cache) error exception", "ache error exception"),
    fault("bus-error", r"Got mcheck at ", "Got mcheck at "),
)

# arm, arm64: kernel/traps.c
ARM_DIES = (
    fault("bus-error", r"SError Interrupt on CPU(?P<cpu>\d{1,4})", "SError Interrupt on CPU"),
    fault("bus-error", r"Bad mode in Error handler detected", "Bad mode in Error handler"),
    fault("bad-access", r"Bad mode in .{1,30} handler detected(?: on CPU(?P<cpu>\d{1,4}))?",
          "Bad mode in "),
    fault("stack-corruption", r"Insufficient stack space to handle exception",
          "Insufficient stack space"),
    # die(); most follow a line above and add nothing
    fault("bug", r"Internal error: Oops - BUG", "Internal error: Oops - BUG"),
    fault("bug", r"Internal error: (?:Oops - CFI|aarch64 BRK|BRK handler|ptrace BRK|UBSAN: )",
          "Oops - CFI", "aarch64 BRK", "BRK handler", "ptrace BRK", "Internal error: UBSAN"),
    fault("undefined-instruction", r"Internal error: Oops - [Uu]ndefined instruction",
          "ndefined instruction"),
    fault("bus-error", r"Internal error: .{0,60}(?:external abort|SError)",
          "external abort", "SError"),
    fault("bad-access", r"Internal error: .{0,60}(?:Oops|alignment|[Aa]ttempting to execute"
          r"|[Aa]ccessing)", "Internal error: "),
    fault("other", r"Internal error: ", "Internal error: "),
)

# x86 "Oops: 0002 [#1]", v6.11 "Oops: Oops: 0002 [#1]"; mips "Oops[#1]:"
X86_DIES = (
    fault("bad-access", r"Oops: (?:Oops: )?[0-9a-f]{4} \[#", "Oops: "),
    fault("other", _DIED + r"[a-z][a-z0-9_ -]{2,40}: [0-9a-f]{4} \[#", " [#"),
    fault("other", r"Oops\[#\d", "Oops[#"),
)

RISCV = (
    fault("bug", r"Kernel BUG \[#\d", "Kernel BUG [#"),
    fault("undefined-instruction", r"Oops - illegal instruction \[#\d", "Oops - illegal instr"),
    fault("bus-error", r"Oops - [a-zA-Z ()]{1,40} access fault \[#\d", " access fault [#"),
    fault("bad-access", r"Oops - [a-zA-Z ()]{1,40} misaligned \[#\d", " misaligned [#"),
    fault("other", r"Oops(?: - [a-zA-Z ()-]{1,60})? \[#\d", "Oops"),
)

POWERPC = (
    # until v5.1; v5.2, which tells reads from writes since v5.3
    fault("bad-access", r"Unable to handle kernel paging request for [a-z ]{1,40}? at address "
          rf"{ADDRESS}", "kernel paging request for "),
    fault("bad-access", r"Unable to handle kernel paging request for (?:instruction fetch"
          r"|unknown fault)", "kernel paging request for "),
    fault("null-pointer", r"BUG: Kernel NULL pointer dereference(?: on [a-z]{1,10})? at "
          rf"{ADDRESS}", "Kernel NULL pointer dereference"),
    fault("bad-access", r"BUG: Unable to handle (?:kernel |unaligned |unknown )[a-z ]{1,40}?"
          rf"(?: at {ADDRESS}|$)", "BUG: Unable to handle "),
    fault("bad-access", r"[Kk]ernel (?:attempted|tried) to (?:read|write|access|execute) .{1,40} "
          rf"(?:page )?\({ADDRESS}\) - exploit attempt\?", " - exploit attempt?"),
    fault("bus-error", r"(?:Machine|(?:Data|Instruction) machine) check in kernel mode",
          "achine check in kernel mode"),
    # "Watchdog CPU:59 Hard LOCKUP" until v4.16
    fault("hard-lockup", r"(?:watchdog: |Watchdog )?CPU[: ](?P<cpu>\d{1,4}) (?:self-detected )?"
          r"[Hh]ard LOCKUP", "ard LOCKUP", grade="hang"),
    fault("hard-lockup", r"(?:watchdog: |Watchdog )?CPU[: ]\d{1,4} detected hard LOCKUP on other "
          r"CPUs (?P<cpu>\d{1,4})", "detected hard LOCKUP on other", grade="hang"),
    # die(): most follow a line above and add nothing
    fault("bug", r"Oops: Exception in kernel mode, sig: 5 \[#", "Oops: Exception in kernel mode"),
    fault("bus-error", r"Oops: [Mm]achine check(?: \d{1,4})?, sig: \d{1,2} \[#", "achine check"),
    fault("bad-access", r"Oops: (?:Kernel access of bad area|Weird page fault"
          r"|Bad kernel stack pointer), sig: \d{1,2} \[#", "Oops: "),
    fault("other", r"Oops: [^,]{1,60}, sig: \d{1,2} \[#", "Oops: "),
)
