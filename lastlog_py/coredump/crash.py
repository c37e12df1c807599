"""One crash of a program: what is known of it, and how the backtraces of its threads are made.

The handler and `backtrace --core` fill it, report.py writes it down.  Every step leaves it in a
state that can be written: what comes late or fails is missing, nothing else.  On the hot path.
"""

from __future__ import annotations

import time

from .backtrace import Backtrace, Limits, backtrace
from .names import code_name, signal_name
from .unwind.frame import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .core import Core, Thread
    from .module import Module
    from .unwind.frame import Context

__all__ = ["Crash", "ModuleRow", "ThreadRow", "examine", "take_core"]

MAX_NOTES = 24
MAX_MODULES = 128
STEPS, LATER_STEPS = 100_000, 20_000        # frames walked of the crashed thread, of each other one
LEAST_TIME = 0.1            # seconds that a thread may take, though its share is less
# In a record that has many threads these registers are enough for all but the crashed one.
SHORT = ("PC", "SP", "FP", "LR")


class ModuleRow:
    """A file of the program's, as the report names it."""

    __slots__ = ("base", "build_id", "path", "size", "text_id")

    def __init__(self, module: Module) -> None:
        self.path = module.path
        self.base = module.base
        self.size = module.size
        self.build_id: str | None = None
        self.text_id: str | None = None     # where there is no build-id; only if a frame is in it


class FrameRow:
    """One frame, as the report names it."""

    __slots__ = ("how", "module", "offset", "pc", "symbol", "symbol_offset")

    def __init__(self, pc: int, how: str) -> None:
        self.pc = pc
        self.how = how                          # CONTRACT's
        self.module: int | None = None          # index in the crash's modules
        self.offset: int | None = None          # from the module's base
        self.symbol: str | None = None
        self.symbol_offset = 0


class ThreadRow:
    """One thread."""

    __slots__ = ("crashed", "cut", "frames", "gap", "omitted", "registers", "stacks", "tid")

    def __init__(self, tid: int, crashed: bool) -> None:
        self.tid = tid                          # in the program's own pid namespace
        self.crashed = crashed
        self.registers: list[tuple[str, int]] = []      # (name, value), pc and sp first
        self.frames: list[FrameRow] = []        # innermost first
        self.cut = False
        self.omitted = 0                        # frames left out of the middle
        self.gap = 0                            # index of the first one behind them
        self.stacks: list[int] = []             # stack pointers of what signals interrupted


class Crash:
    """What is known.  None: nothing says so."""

    __slots__ = ("code_name", "command", "dropped", "executable", "fault_address", "machine",
                 "modules", "name", "notes", "pid", "private", "signal", "signal_name", "snapshot",
                 "threads", "threads_cut", "tid", "truncated", "uid")

    def __init__(self, signal: int = 0, pid: int | None = None) -> None:
        self.executable: str | None = None
        self.name: str | None = None            # the program's, for the title
        self.command: str | None = None
        self.pid = pid
        self.tid: int | None = None
        self.uid: int | None = None
        self.machine: str | None = None
        self.signal = signal
        self.signal_name = signal_name(signal)
        self.code_name: str | None = None
        self.fault_address: int | None = None
        self.truncated = False
        self.threads: list[ThreadRow] = []      # the crashed one first
        self.threads_cut = False
        self.modules: list[ModuleRow] = []
        self.dropped = 0                        # crashes of this program that were not kept
        self.private = False                    # its memory is nobody's business: keep none of it
        self.snapshot = False                   # it did not crash: somebody looked at it
        self.notes: list[str] = []

    def note(self, what: str) -> None:
        """What a person should know besides, once."""
        if what not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(what)


def take_core(crash: Crash, core: Core) -> None:
    """What the head of the core says, where nothing better is known."""
    machine = core.machine
    family = machine.family if machine else ""
    crash.machine = machine.name if machine else crash.machine
    crash.signal = core.signal or crash.signal
    crash.signal_name = signal_name(crash.signal, family)
    if core.code is not None:
        crash.code_name = code_name(crash.signal, core.code, family)
    crash.fault_address = core.fault_address
    crash.truncated = core.truncated
    crash.name = crash.name or core.name
    crash.command = crash.command or core.command
    crash.pid = core.pid if crash.pid is None else crash.pid
    crash.uid = core.uid if crash.uid is None else crash.uid
    if crash.tid is None and core.threads:
        crash.tid = core.threads[0].tid
    crash.executable = crash.executable or _first_file(core)
    for problem in core.problems:
        crash.note(problem)


def _first_file(core: Core) -> str | None:
    """The executable is mapped before the libraries."""
    return next((row.path for row in core.files if row.executable), None) or core.name


def examine(crash: Crash, core: Core, context: Context, max_threads: int = 64,
            max_frames: int = 64, deadline: float | None = None) -> None:
    """The backtraces of the threads, the crashed one first, and the files they are in.

    First where each thread stands; then each thread's frames, for which the crashed one may take
    half of the time and every other one its share of what is left; their names last, but the
    crashed thread's as soon as it is done.
    At any moment another thread may write down what there is: a row is whole when it is put in,
    and the files that it names are there before it.
    deadline: on time.monotonic().
    """
    book = _Book(crash, context)
    threads = core.threads[:max_threads]
    crash.threads += [_standing(book, thread, index == 0) for index, thread in enumerate(threads)]
    crash.threads_cut = core.thread_count > len(crash.threads)
    for index, thread in enumerate(threads):
        left = len(threads) - index
        limits = _limits(max_frames, LATER_STEPS, deadline, left) if index else \
            _limits(max_frames, STEPS, deadline, min(left, 2))
        if index and limits.is_over():
            crash.note(f"Time was up after {index} threads: of the others there is only the place "
                       "where they were.")
            break
        trace = _backtrace(crash, context, thread, limits)
        crash.threads[index] = _thread(book, thread, index == 0, trace)
        _tell_length(crash, f"thread {thread.tid}" if not index else "another thread", trace)
        if not index:
            book.add_names()
    book.add_names()
    book.add_ids()
    book.add_rest()
    for problem in context.problems:
        crash.note(problem)


def _tell_length(crash: Crash, whose: str, trace: Backtrace) -> None:
    """What a backtrace that is too long lacks."""
    long = f"The backtrace of {whose} is longer than could be followed: "
    if trace.is_stopped and trace.omitted:
        crash.note(f"{long}its last frames are the last that were seen, not the outermost.")
    elif not trace.is_counted:
        crash.note(f"{long}more frames are left out of its middle than are counted.")


def _standing(book: _Book, thread: Thread, first: bool) -> ThreadRow:
    """The thread with nothing but where it was."""
    return _thread(book, thread, first, _no_trace(book.context, thread))


def _no_trace(context: Context, thread: Thread) -> Backtrace:
    """What is sure without looking: the innermost frame."""
    pc = thread.registers.get(context.machine.PC)
    return Backtrace([Frame(pc, thread.registers)] if pc is not None else [], True, 0, None, False)


def _limits(most: int, steps: int, deadline: float | None, shares: int) -> Limits:
    """A thread's, which may take one of so many shares of the time; a quarter of its frames are
    outermost ones."""
    if deadline is not None:
        now = time.monotonic()
        deadline = min(deadline, now + max((deadline - now) / shares, LEAST_TIME))
    return Limits(most - most // 4, most // 4, steps, deadline)


def _backtrace(crash: Crash, context: Context, thread: Thread, limits: Limits) -> Backtrace:
    """A mistake of ours in one thread must not cost the others: what is sure of it remains."""
    try:
        return backtrace(context, thread.registers, limits)
    except MemoryError:
        raise
    except Exception as error:
        crash.note(f"The backtrace of thread {thread.tid} failed: {type(error).__name__}: {error}")
        return _no_trace(context, thread)


def _thread(book: _Book, thread: Thread, first: bool, trace: Backtrace) -> ThreadRow:
    row = ThreadRow(thread.tid, first and not book.crash.snapshot)
    machine, known = book.context.machine, thread.registers
    short = [getattr(machine, name) for name in SHORT]
    order = list(dict.fromkeys([*short, *known] if first else short))
    row.registers = [(machine.names[number], known[number]) for number in order
                     if number in known and number in machine.names]
    row.cut, row.omitted, row.gap = trace.cut, trace.omitted, trace.gap or 0
    row.stacks = [frame.registers[machine.SP] for frame in trace.frames if frame.is_signal]
    # A signal handler returns to where a trampoline begins, which no call leads to.
    below = [*trace.frames[1:], None]       # one more than there are, if there are none
    row.frames = [book.frame(frame, called=next_one is None or next_one.how != "signal")
                  for frame, next_one in zip(trace.frames, below, strict=False)]
    return row


class _Book:
    """The files that frames are in, numbered as they come."""

    __slots__ = ("context", "crash", "numbers", "unnamed")

    def __init__(self, crash: Crash, context: Context) -> None:
        self.crash = crash
        self.context = context
        self.numbers: dict[int, int] = {}       # base → index
        # Base → (address to look up, frame) of the frames that have no names yet.
        self.unnamed: dict[int, list[tuple[int, FrameRow]]] = {}

    def frame(self, frame: Frame, called: bool) -> FrameRow:
        """A frame with its file.  called: a call stands before its pc."""
        context = self.context
        pc = context.machine.code_address(frame.pc)
        lookup = context.lookup(frame) if called else pc
        row = FrameRow(pc, frame.how)
        module = context.module_at(lookup)
        if module is not None:
            row.module, row.offset = self.number(module), pc - module.base
            self.unnamed.setdefault(module.base, []).append((lookup, row))
        return row

    def number(self, module: Module) -> int:
        """Its index; a new one gets its build-id now."""
        index = self.numbers.get(module.base)
        if index is None:
            index = self.numbers[module.base] = len(self.crash.modules)
            self.crash.modules.append(_module(module))
        return index

    def add_names(self) -> None:
        """The symbols of the frames since the last time."""
        rows, self.unnamed = self.unnamed, {}
        for module in self.context.modules:
            given = rows.get(module.base, [])
            symbols = module.symbols([lookup for lookup, _ in given])
            for lookup, row in given:
                found = symbols[lookup]
                if found is not None:
                    row.symbol_offset = found[1] + row.pc - lookup
                    row.symbol = found[0]

    def add_ids(self) -> None:
        """What names the files without a build-id, which takes reading all their code."""
        for base, index in self.numbers.items():
            module, row = self.context.module_at(base), self.crash.modules[index]
            if module is not None and row.build_id is None:
                row.text_id = module.text_id

    def add_rest(self) -> None:
        """The files that no frame is in, which registers may point to."""
        for module in self.context.modules:
            if module.base not in self.numbers and len(self.crash.modules) < MAX_MODULES:
                self.crash.modules.append(_module(module))


def _module(module: Module) -> ModuleRow:
    row = ModuleRow(module)
    row.build_id = module.build_id
    return row
