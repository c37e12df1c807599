"""Signals and their si_codes in words.

Sources: include/uapi/asm-generic/signal.h and siginfo.h; arch/mips/include/uapi/asm/signal.h and
siginfo.h, whose numbers differ.  On the hot path.
"""

from __future__ import annotations

__all__ = ["DELETED", "code_name", "is_deleted", "signal_name"]

DELETED = " (deleted)"      # what the kernel puts behind the name of a file that has none any more
# Memory that is a file without a name from the start (mm/shmem.c, mm/memfd.c, ipc/shm.c).
_NAMELESS = ("/memfd:", "/dev/zero", "/SYSV")

_COMMON = "HUP INT QUIT ILL TRAP ABRT"
_GENERIC = (f"{_COMMON} BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN "
            "TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS").split()
_MIPS = (f"{_COMMON} EMT FPE KILL BUS SEGV SYS PIPE ALRM TERM USR1 USR2 CHLD PWR WINCH URG IO STOP "
         "TSTP CONT TTIN TTOU VTALRM PROF XCPU XFSZ").split()
FIRST_REALTIME = 32
LAST_REALTIME, LAST_MIPS = 64, 127

# What a signal's own codes mean, from 1 on.
_CODES = {
    "SIGILL": "ILLOPC ILLOPN ILLADR ILLTRP PRVOPC PRVREG COPROC BADSTK BADIADDR".split(),
    "SIGFPE": ("INTDIV INTOVF FLTDIV FLTOVF FLTUND FLTRES FLTINV FLTSUB DECOVF DECDIV DECERR "
               "INVASC INVDEC FLTUNK CONDTRAP").split(),
    "SIGSEGV": ("MAPERR ACCERR BNDERR PKUERR ACCADI ADIDERR ADIPERR MTEAERR MTESERR "
                "CPERR").split(),
    "SIGBUS": "ADRALN ADRERR OBJERR MCEERR_AR MCEERR_AO".split(),
    "SIGTRAP": "BRKPT TRACE BRANCH HWBKPT UNK PERF".split(),
    "SIGSYS": ["SECCOMP", "USER_DISPATCH"],
}
# Who sent it, whatever the signal.
_SENT = {0: "SI_USER", 0x80: "SI_KERNEL", -1: "SI_QUEUE", -2: "SI_TIMER", -3: "SI_MESGQ",
         -4: "SI_ASYNCIO", -5: "SI_SIGIO", -6: "SI_TKILL", -7: "SI_DETHREAD", -60: "SI_ASYNCNL"}
_SENT_MIPS = {**_SENT, -2: "SI_ASYNCIO", -3: "SI_TIMER", -4: "SI_MESGQ"}


def is_deleted(path: str) -> bool:
    """Whether the kernel says so of a file of that name; path: as it stands in /proc/PID/maps."""
    return path.endswith(DELETED) and not path.startswith(_NAMELESS)


def signal_name(number: int, family: str = "") -> str | None:
    """"SIGSEGV" for 11; family: the machine's, "mips" or another.  None: there is no such one."""
    table = _MIPS if family == "mips" else _GENERIC
    if 0 < number <= len(table):
        return "SIG" + table[number - 1]
    last = LAST_MIPS if family == "mips" else LAST_REALTIME
    return f"SIG{number}" if FIRST_REALTIME <= number <= last else None


def code_name(number: int, code: int, family: str = "") -> str | None:
    """"SEGV_MAPERR" for signal 11 and si_code 1; None: it has no name."""
    signal = signal_name(number, family) or ""
    own = _CODES.get(signal, [])
    if 0 < code <= len(own):
        return f"{signal[3:]}_{own[code - 1]}"
    return (_SENT_MIPS if family == "mips" else _SENT).get(code)
