"""The kernel's core handler: from the arguments and the core on stdin to a record in the journal.

    |/usr/libexec/lastlog/coredump %P %I %u %g %d %s %t %E

It runs as root on what a crashed program left, so nothing of that is believed, followed or run.
The kernel waits while stdin is open and the program's memory stays until then: it is closed as
soon as the backtraces are made, mostly without having read more than the core's notes; or, if a
reduced core is to be kept, when that stands beside the record.

Reading what a program has mapped can take for ever: who serves a FUSE file may never answer, and
then not even SIGKILL ends the thread that waits.  So nothing of its memory is read before the
limiter is asked, mappings of such files are not read at all (procfs.py), and the watching thread
closes stdin whatever the other one does: the kernel counts open ones against core_pipe_limit.

Whatever goes wrong, a record with at least what the arguments say and the reason is written: an
exception ends in `failed`; after SOFT seconds another thread writes what there is; after HARD
seconds the kernel's timer ends it all.  On the hot path.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` costs more than all the rest
import _thread
import os
import sys
import time

from ..config import Config, load
from ..errors import LastlogError
from . import limiter, outlet, procfs
from .crash import Crash, examine, take_core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .core import Core, Stream
    from .outlet import Written
    from .procfs import Process
    from .reduced_core import Notes
    from .unwind.frame import Context

__all__ = ["main"]

# Seconds from the start, where option time_limit is TIME; all change with it in proportion.
TIME = 10
TURN = 4.0                      # before that: until other handlers are ready
LATE = 2.0                      # from here on no system log is read
UNWIND, SOFT, HARD = 4.0, 4.5, 10.0     # between the last two a busy journal is waited for
CORE = 8.0                      # until then a reduced core is written; from SOFT on none is begun
GLANCE = 0.2                    # between two looks at the time
LONGEST = 60                    # of the option
LEAST_MEMORY = 16 << 20         # bytes of the option memory_limit
STACK = 512 << 10               # of the watching thread
MOST_THREADS, MOST_FRAMES = 256, 1024
AT_SECURE = 23


def main(argv: list[str] | None = None) -> int:
    """Handle one crash; argv: [--config FILE] and the kernel's arguments, None: this process' own,
    which then ends here.  0 always: nobody could do anything about it."""
    words = sys.argv[1:] if argv is None else argv
    job = _Job(words, argv is None)
    if job.is_alone:
        _begin(job)
    try:
        job.run()
    except BaseException as error:
        job.failed(error)
    if argv is None:
        if not job.claimed():
            time.sleep(HARD * job.pace)     # the other thread writes, and ends the process
        job.tell()
        os._exit(0)             # nothing is left to tidy up, which takes Python a while
    return 0


# --- the process


def _begin(job: _Job) -> None:
    """What holds from the first moment on."""
    os.umask(0o077)
    _tried(job, _plug, _clock, _own_crashes)


def _confine(job: _Job) -> None:
    """Bounds in time and memory as the configuration has them."""
    _tried(job, lambda: _clock(job.pace), lambda: _memory(job), lambda: _start_watching(job))


def _tried(job: _Job, *steps: Callable[[], None]) -> None:
    """None of them may cost the record."""
    for step in steps:
        try:
            step()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            job.crash.note(f"A limit could not be set: {_told(error)}")


def _plug() -> None:
    """The kernel opens stdin only: what is opened next must not be taken for stdout or stderr."""
    fd = os.open("/dev/null", os.O_RDWR)
    while fd <= 2:
        fd = os.dup(fd)
    os.close(fd)


def _clock(pace: float = 1.0, more: float = 0.0) -> None:
    """SIGALRM's default is the end of the process, wherever it hangs; more: seconds beyond HARD."""
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGALRM])
    _signal.setitimer(_signal.ITIMER_REAL, HARD * pace + more)


def _own_crashes() -> None:
    """RLIMIT_CORE 1 is how the kernel knows its own handler, whose crash it then ignores; 0 would
    start another one for it, for a pipe has no limit (fs/coredump.c)."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def _memory(job: _Job) -> None:
    import resource

    most = max(job.config.coredump.memory_limit, LEAST_MEMORY)
    for limit, value in ((resource.RLIMIT_DATA, most),
                         (resource.RLIMIT_CPU, int(HARD * job.pace) + 1)):
        resource.setrlimit(limit, (value, value))


def _start_watching(job: _Job) -> None:
    _thread.stack_size(STACK)
    _thread.start_new_thread(_watch, (job,))


def _watch(job: _Job) -> None:
    """What there is after SOFT seconds is written, and the end; if that is done already, the
    kernel is let go when the time for a core is over, which may hang as well."""
    for moment, step in ((SOFT, job.late), (CORE, job.give_way)):
        while (left := job.started + moment * job.pace - time.monotonic()) > 0:
            time.sleep(min(left, GLANCE))   # the start changes: _take_turn
        step()


# --- the work


class _Arguments:
    """What the kernel says; None or "": it does not, or in no number."""

    __slots__ = ("config", "dumpable", "executable", "gid", "pid", "signal", "tid", "uid")

    def __init__(self, words: list[str]) -> None:
        self.config = words[1] if words[:1] == ["--config"] and len(words) > 1 else None
        words = words[2:] if self.config is not None else words
        numbers = [_number(word) for word in words[:6]] + [None] * 6
        self.pid, self.tid, self.uid, self.gid, self.dumpable, self.signal = numbers[:6]
        # Before 5.3 a name with spaces came in pieces.
        self.executable = " ".join(words[7:]).replace("!", "/").removesuffix(procfs.DELETED)


def _number(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 12 else None


class _Job:
    """One crash on its way into the journal."""

    __slots__ = ("arguments", "claim", "config", "crash", "is_alone", "is_mine", "pace", "process",
                 "remains", "stage", "started", "turn", "world", "written")

    def __init__(self, words: list[str], is_alone: bool = False) -> None:
        self.started = time.monotonic()
        self.is_alone = is_alone                    # the process is for this only
        self.pace = 1.0                             # of all times: option time_limit by TIME
        self.arguments = said = _Arguments(words)
        self.crash = crash = Crash(said.signal or 0, said.pid)
        crash.tid, crash.uid = said.tid, said.uid
        crash.executable = said.executable or None
        crash.machine = os.uname().machine
        self.claim = _thread.allocate_lock()        # the thread that has it writes the record
        self.is_mine = False                        # the main thread has it
        self.config = Config("")
        self.process: Process | None = None
        self.world = ""                             # its mount namespace, where it is not ours
        self.turn = -1                              # a lock; -1: none is held
        self.remains: tuple[Core, Context, Notes] | None = None     # what a core is made of
        self.written: Written | None = None
        self.stage = "reading the configuration"

    def run(self) -> None:
        """Everything, in order."""
        self.config = _configuration(self.arguments.config, self.crash)
        if not self.config.coredump.enabled:
            return
        self.pace = max(1, min(self.config.coredump.time_limit, LONGEST)) / TIME
        if self.is_alone:
            _confine(self)
        self._look()
        if self._is_ignored() or not self._is_allowed():
            return
        self._take_turn()
        self._examine()
        if self.remains is None:
            self.let_go()
        if self.claimed():
            self._write(self._system_log())
            self._keep_core()

    def failed(self, error: BaseException) -> None:
        """Write what there is, and why it is not more."""
        if not self.claimed():
            return
        self.let_go()
        try:
            self.crash.note(f"It failed while {self.stage}: {_told(error)}")
            self._write(b"")
        except BaseException as again:
            _last_words(self, again)

    def late(self) -> None:
        """The time is up; another thread may hang, and ends with this, if it can be ended."""
        if self.claim.acquire(False):
            self.give_way()
            try:
                self.crash.note(f"Time was up after {SOFT * self.pace:g} seconds, while "
                                f"{self.stage}.")
                self._write(b"")
            except BaseException as error:
                _last_words(self, error)
            self.tell()
            os._exit(0)

    def let_go(self) -> None:
        """The kernel may put the process away."""
        try:
            os.dup2(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), 0)
        except OSError:
            pass

    def give_way(self) -> None:
        """To the kernel and to other handlers, whatever this one still does."""
        self.let_go()
        turn, self.turn = self.turn, -1
        if turn >= 0:
            limiter.end_turn(turn)

    def tell(self) -> None:
        """Scripts hear of what was recorded, from a process that nobody waits for."""
        if self.written is None:
            return
        self.give_way()
        try:
            from .telling import tell

            tell(self.config, self.written)
        except BaseException:
            pass                    # the record stands

    def claimed(self) -> bool:
        """Whether the main thread writes the record, from now on or already."""
        self.is_mine = self.is_mine or self.claim.acquire(False)
        return self.is_mine

    # Who

    def _look(self) -> None:
        """What /proc says of who crashed."""
        self.stage = "looking at the process"
        crash, said = self.crash, self.arguments
        process = self.process = procfs.find(self.config.site, said.pid) \
            if said.pid is not None else None
        if process is None:
            crash.note("It was gone from /proc.")
            _judge(crash, said, None)
            return
        path, deleted = process.executable()
        crash.executable = path or crash.executable
        crash.name = _called(process.name(), path)
        if deleted:
            from .core import deleted_note

            crash.note(deleted_note(path))
        foreign = process.foreign()
        self.world = process.link("ns/mnt") if "mnt" in foreign else ""
        _judge(crash, said, process, foreign)

    def _is_ignored(self) -> bool:
        """A path on the list that ends in a slash stands for all below it.  In another mount
        namespace it is not the path that the list means."""
        path = self.crash.executable or ""
        return not self.world and any(path == each or (each.endswith("/") and path.startswith(each))
                                      for each in self.config.coredump.ignore)

    def _is_allowed(self) -> bool:
        said, limits = self.arguments, self.config.coredump
        verdict = limiter.ask(self.config.site, self._program(), said.uid or 0,
                              limits.most_crashes, limits.crash_period)
        self.crash.dropped = verdict.dropped
        return verdict.keep

    def _program(self) -> str:
        """What is called the same in another mount namespace is another program."""
        return f"{self.world}{self.crash.executable or self.crash.name or ''}"

    def _take_turn(self) -> None:
        """One after the other, so that together they need no more memory than one; who waits in
        vain goes on all the same.  The time begins anew."""
        if self.is_alone:
            self.stage = "waiting for other crashes' handlers"
            patience = TURN * self.pace
            self.started += patience
            _clock(self.pace, patience)
            self.turn = limiter.turn(self.config.site, patience)
            self.started = time.monotonic()
            _clock(self.pace)

    # What

    def _examine(self) -> None:
        """The core's head, and from the process' memory or the core's the backtraces."""
        from .core import Stream, read_head

        if self.process is not None:
            self.stage = "reading the command line"     # from the program's memory
            self.crash.command = self.process.command() or None
        self.stage = "reading the core"
        stream, notes = Stream(_read_core), self._notes()
        core = read_head(stream, notes)
        take_core(self.crash, core)
        if core.auxv.get(AT_SECURE):
            _keep_private(self.crash, "it was started with the rights of its file")
        if self.process is None and core.threads and core.threads[0].tid != self.arguments.tid:
            _keep_private(self.crash, "its thread had another number in a pid namespace of its own")
        if core.machine is None or not core.threads:
            return
        self.stage = "finding the program's files"
        context = self._context(core, stream)
        if context is None:
            return
        self.stage = "making the backtraces"
        limits = self.config.coredump
        examine(self.crash, core, context, _within(limits.max_threads, MOST_THREADS),
                _within(limits.max_frames, MOST_FRAMES), self.started + UNWIND * self.pace)
        if notes is not None and not self.crash.private:
            self.remains = core, context, notes

    def _context(self, core: Core, stream: Stream) -> Context | None:
        """The program as it stands; else what one pass over its core gives."""
        context = self._live(core)
        if context is not None:
            return context
        from .core import capture
        from .core_program import core_context

        self.crash.note("Its memory is not in /proc; all is from the core.")
        memory = capture(core, stream)
        self.crash.truncated = core.truncated
        for problem in core.problems:
            self.crash.note(problem)
        return core_context(core, memory) if memory is not None else None

    def _live(self, core: Core) -> Context | None:
        """None: its memory cannot be read."""
        from .program import dumping_context

        return dumping_context(core, self.process) if self.process is not None else None

    def _system_log(self) -> bytes:
        """Its end, unless it is late already."""
        late = self.started + LATE * self.pace
        if not self.config.store_log or time.monotonic() > late:
            return b""
        self.stage = "reading the system log"
        return outlet.system_log(self.config)

    def _write(self, log: bytes) -> None:
        self.stage = "writing the record"
        self.written = outlet.keep(self.config, self.crash, log)

    # The reduced core: whatever becomes of it, the record stands

    def _notes(self) -> Notes | None:
        """What keeps the core's notes; None: no core is to be kept."""
        if not self.config.coredump.keep_core or self.crash.private:
            return None
        try:
            from .reduced_core import Notes

            return Notes(self.config.coredump.keep_core)
        except Exception as error:
            self.crash.note(f"None of its memory is kept: {_told(error)}.")
            return None

    def _keep_core(self) -> None:
        """Put it beside the record that was written."""
        if self.remains is None or self.written is None:
            return
        try:
            self._save_core(self.written, *self.remains)
        except BaseException as error:
            self._tell_lost_core(error)

    def _save_core(self, written: Written, core: Core, context: Context, notes: Notes) -> None:
        """Raises LastlogError."""
        from .reduced_core import keep

        if time.monotonic() > self.started + SOFT * self.pace:
            raise LastlogError("busy", "Time was up.")
        keep(self.config, written, core, context, notes,
             [thread.stacks for thread in self.crash.threads], self.started + CORE * self.pace,
             self._program())

    def _tell_lost_core(self, error: BaseException) -> None:
        """The record stands already, so in the system log."""
        why = f"{error.message} {error.hint}" if isinstance(error, LastlogError) else _told(error)
        try:
            outlet.to_system_log(self.config, f"No core of {self.crash.name or 'the program'} "
                                 f"(process {self.crash.pid}) was kept: {why}")
        except BaseException:
            pass                    # nothing is left to do


def _configuration(path: str | None, crash: Crash) -> Config:
    """The configuration; its defaults if it cannot be read."""
    try:
        return load(path)
    except LastlogError as error:
        crash.note(error.message)
        return Config(path or "")


def _called(name: str, path: str) -> str | None:
    """comm is cut after 15 characters."""
    base = path.rpartition("/")[2]
    return base if name and base.startswith(name) else name or base or None


def _judge(crash: Crash, said: _Arguments, process: Process | None,
           foreign: list[str] | None = None) -> None:
    """Whose secrets may be in its memory, and which world its numbers and paths are of."""
    if said.dumpable != 1:
        _keep_private(crash, "the system says so (dumpable is "
                      f"{'unknown' if said.dumpable is None else said.dumpable})")
    if process is None:
        return
    status = process.status
    if len(set(status.uids)) > 1 or len(set(status.gids)) > 1:
        _keep_private(crash, "it had changed its user or group ("
                      f"Uid {_list(status.uids)}, Gid {_list(status.gids)})")
    foreign = foreign or []
    if "mnt" in foreign or "root" in foreign:
        _keep_private(crash, "its paths are those of another root or mount namespace")
    if "pid" in foreign or status.namespaces > 1:
        crash.note("It ran in a pid namespace of its own: the numbers of its threads are of that.")


def _keep_private(crash: Crash, why: str) -> None:
    crash.private = True
    crash.note(f"None of its memory is kept: {why}.")


def _list(numbers: list[int]) -> str:
    return "/".join(map(str, numbers))


def _within(value: int, most: int) -> int:
    return max(1, min(value, most))


def _read_core(size: int) -> bytes:
    return os.read(0, size)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}".rstrip(": ")


# --- when even that fails


def _last_words(job: _Job, error: BaseException) -> None:
    """Without the backtraces, in which it may have failed."""
    crash = Crash(job.crash.signal, job.crash.pid)
    crash.tid, crash.uid = job.arguments.tid, job.arguments.uid
    crash.executable = job.arguments.executable or None
    crash.note(f"It failed while {job.stage}: {_told(error)}")
    job.crash = crash
    try:
        job._write(b"")
    except BaseException:
        outlet.to_kernel_log(job.config, f"signal {crash.signal} in process {crash.pid}; it could "
                             "not be recorded")
