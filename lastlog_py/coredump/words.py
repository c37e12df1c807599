"""A core dump in plain words: what the signal means, where it happened, the title.

Sources: include/uapi/asm-generic/siginfo.h for the codes.  A core does not say whether an address
was read or written.  Pure, over CONTRACT's `coredump`; not on the handler's path.
"""

from __future__ import annotations

from .culprit import SENT, helpers, shown
from .culprit import file_name as last_part
from .shape import is_snapshot, program
from .signature import crashed, culprits, steps

TYPE_CHECKING = False           # typing costs `backtrace` 3 ms
if TYPE_CHECKING:
    from typing import Any

    Dict = dict[str, Any]

__all__ = ["HOW", "cause", "file_name", "place", "signal", "title", "to_open", "to_symbolize"]

NULL_PAGES = 0x10000            # bytes: what lies further from 0 is no NULL pointer plus an offset
LONGEST = 240                   # characters of a title
PAGE = 4096
STACK_PUSH, STACK_EDGE = PAGE, 0x10000  # bytes below and above the stack pointer that are stack
STACK_WORDS = 64                # bytes at once, at the most, that code reads or writes

# How a frame was found.
HOW = {"registers": "where the thread was", "signal": "interrupted by a signal",
       "cfi": "by unwind tables", "exidx": "by unwind tables",
       "prologue": "by the code of the function", "frame-pointer": "by the frame pointer",
       "link-register": "by the link register", "scan": "a guess, found by scanning the stack"}

# By code, where it says more than the signal does.
_BY_CODE = {
    "FPE_INTDIV": "divided a number by zero", "FPE_FLTDIV": "divided a number by zero",
    "FPE_INTOVF": "computed a number that is too large",
    "BUS_ADRALN": "tried to read or write {address}, which is not aligned",
    "BUS_ADRERR": "tried to read or write {address}, beyond the end of a mapped file",
    "BUS_OBJERR": "met a hardware error in memory",
    "SEGV_CPERR": "returned to an address that was tampered with",
    "ILL_PRVOPC": "ran into an instruction that only the kernel may use",
    "ILL_BADSTK": "ran into trouble with its stack",
}
# By code, of an address that is no NULL pointer.
_FORBIDDEN = {"SEGV_ACCERR": "which it may not", "SEGV_PKUERR": "which a protection key forbids"}
_BY_SIGNAL = {
    "SIGSEGV": "tried to read or write memory that is not its own",
    "SIGBUS": "tried to read or write memory in a way the hardware cannot",
    "SIGILL": "ran into an instruction the processor does not know",
    "SIGFPE": "computed something impossible, like a division by zero",
    "SIGTRAP": "ran into a breakpoint, or a check that its compiler put in",
    "SIGABRT": "gave up by itself: abort()",
    "SIGSYS": "made a system call that it is not allowed",
    "SIGQUIT": "was told to quit with a core dump",
    "SIGXCPU": "used more processor time than its limit",
    "SIGXFSZ": "wrote a file larger than its limit",
}
# Who calls abort says why; looked for among the innermost frames.
_BY_HELPER = {
    "__stack_chk_fail": "found its stack overwritten",
    "__stack_chk_fail_local": "found its stack overwritten",
    "__fortify_fail": "was about to write beyond the end of a buffer",
    "__chk_fail": "was about to write beyond the end of a buffer",
    "__assert_fail": "a check in its own code failed: assert()",
    "__assert": "a check in its own code failed: assert()",
}


def title(dump: Dict) -> str:
    """ "uhttpd: SIGSEGV in strlen: tried to …"; what is not known is left out."""
    where = place(dump)
    signal = dump["signal_name"] or ("snapshot" if is_snapshot(dump) else "crash")
    what = f"{signal} in {where}" if where else signal
    line = ": ".join(filter(None, (program(dump) or "a program", what, cause(dump))))
    return "".join(char if char.isprintable() else "\ufffd" for char in line[:LONGEST])


def signal(dump: Dict) -> str:
    """ "SIGSEGV, SEGV_MAPERR, at 0x10"."""
    name = dump["signal_name"] or ("" if dump["signal"] is None else f"signal {dump['signal']}")
    at = f"at {dump['fault_address']}" if dump["fault_address"] else ""
    return ", ".join(filter(None, (name, dump["code_name"], at)))


def place(dump: Dict) -> str:
    """The function it happened in, "strlen", or "uhttpd+0x1234"; "" where neither is known."""
    frames = crashed(dump)
    at = shown(steps(frames), dump["code_name"], dump["signal_name"])
    return _named(frames[at]) if frames else ""


def _named(frame: Dict) -> str:
    for each in frame.get("lines", ()):         # of a symbolized core dump
        if each["function"]:
            return str(each["function"])
    module = file_name(frame)
    return frame["symbol"] or (f"{module}+{frame['offset']}" if module and frame["offset"]
                               else module)


def file_name(frame: Dict) -> str:
    """Of the module that `frame` is in, without its folders."""
    return last_part(frame["module"] or "")


def cause(dump: Dict) -> str:
    """What the program did that the signal stopped; "" where nothing is known."""
    signal, code = dump["signal_name"], dump["code_name"]
    if signal == "SIGABRT" and not _is_from_outside(dump):
        return _why_abort(dump)
    if code in SENT:
        return _sent(signal)
    if signal == "SIGSEGV":
        return _bad_access(dump)
    told = _BY_CODE.get(code or "", _BY_SIGNAL.get(signal or "", ""))
    return told.format(address=_address(dump["fault_address"]))


def _is_from_outside(dump: Dict) -> bool:
    """Whether another program sent SIGABRT: abort() uses tkill, or in uClibc kill, which then is
    in the backtrace."""
    return dump["code_name"] in ("SI_USER", "SI_QUEUE") and not helpers(steps(crashed(dump)))


def _why_abort(dump: Dict) -> str:
    frames = crashed(dump)
    for frame in frames[:helpers(steps(frames))]:
        if frame["symbol"] in _BY_HELPER:
            return _BY_HELPER[frame["symbol"]]
    return _BY_SIGNAL["SIGABRT"]


def _sent(signal: str | None) -> str:
    return _BY_SIGNAL["SIGQUIT"] if signal == "SIGQUIT" else "a program sent it this signal"


def _bad_access(dump: Dict) -> str:
    address, pc = _integer(dump["fault_address"]), _register(dump, "pc")
    if pc is not None and (pc | 1 == address | 1 if address is not None else
                           pc < NULL_PAGES and not _is_in_file(dump)):
        return _jump(dump, pc if address is None else address)
    if address is None or dump["code_name"] == "SEGV_CPERR":
        return _BY_CODE.get(dump["code_name"] or "", _BY_SIGNAL["SIGSEGV"])
    at = _address(dump["fault_address"])
    return _beyond_stack(dump, address) or f"tried to read or write {at}, " + (
        _pointer(address) or _FORBIDDEN.get(dump["code_name"] or "", "where no memory is"))


def _pointer(address: int) -> str:
    if address == 0:
        return "a NULL pointer"
    return "a NULL pointer plus an offset" if address < NULL_PAGES else ""


def _jump(dump: Dict, address: int) -> str:
    callers = list(filter(None, map(_named, culprits(dump)[1:2])))
    return ", ".join((f"jumped to {_address(f'{address:#x}')}", _pointer(address)
                      or "where no code is", *(f"from {each}" for each in callers)))


def _is_in_file(dump: Dict) -> bool:
    return any(frame["module"] for frame in crashed(dump)[:1])


def _beyond_stack(dump: Dict, address: int) -> str:
    """What it did at the edge of its stack; "" if it was elsewhere.

    A function that needs more stack has often moved the stack pointer already, and then touches
    what is above that.  What runs over the other end meets the first bytes of a page there.  The
    code does not count: below a thread's stack is memory without any access, below main's nothing.
    """
    sp = _register(dump, "sp")
    if sp is None or address < NULL_PAGES or not -STACK_PUSH <= address - sp <= STACK_EDGE:
        return ""
    is_above = address & ~(PAGE - 1) > sp and address % PAGE < STACK_WORDS
    return "read or wrote beyond the end of its stack" if is_above else "ran out of stack"


def _register(dump: Dict, name: str) -> int | None:
    thread = next(iter(dump["threads"]), None)
    return _integer(thread["registers"].get(name)) if thread else None


def _integer(value: str | None) -> int | None:
    try:
        return int(value or "", 16)
    except ValueError:
        return None


def _address(value: str | None) -> str:
    return f"address {value}" if value else "an address"


def to_symbolize(record: Dict, path: str | None = None) -> str:
    """The command for a PC that gives functions, files and lines.  DIR: the unstripped files.

    path: of one of its modules, to do it for that alone; as the router's, below DIR.
    """
    name = "FILE" if record["state"] == "file" else record["id"]
    where = "DIR" if path is None else f"DIR{path if _is_plain(path) else '/FILE'}"
    return f"lastlog symbolize {name} --debug {where}"


def to_open(record: Dict) -> list[str]:
    """The commands for a PC that fetch the reduced core of `record`, and open it in gdb; [] where
    there is none.  DIR: the unstripped files, where they are on the router.

    They are for a shell, and a program may have any name: what is no plain path is not in them.
    """
    core, dump = record.get("core"), record["coredump"]
    if not core or not dump:
        return []
    file = f"{record['id']}.core"
    path = core["path"] if _is_plain(core["path"]) else f"/PATH/TO/{file}.gz"
    program = dump["executable"] if _is_plain(dump["executable"] or "") else "/PROGRAM"
    return [f"ssh root@ROUTER cat {path} | gunzip > {file}",
            f"gdb -iex 'set sysroot DIR' DIR{program} {file}"]


def _is_plain(path: str) -> bool:
    """Whether it means itself to a shell."""
    return path.startswith("/") and path.isascii() and not path.strip(_PLAIN)


_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-"
