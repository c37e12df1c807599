"""How many of the test cores' backtraces are right: `python -m tests.coredump.score [SET…]`.

Per set: crashing threads right, other threads right, exceptions, time.  With -v the cases that are
wrong, and where.
"""

from __future__ import annotations

import sys
import time
import traceback

from lastlog_py.coredump import backtrace
from tests.coredump.cases import Opened, Truth, absent, agrees, sets, walk

PRINTED: set[str] = set()       # tracebacks: one bug raises in a thousand threads


class Score:
    """The counts of one set."""

    def __init__(self) -> None:
        self.crashed = self.crashed_right = self.others = self.others_right = 0
        self.exceptions = 0
        self.seconds = 0.0

    def line(self, name: str) -> str:
        """One row of the table."""
        return (f"{name:20} {self.crashed_right:4}/{self.crashed:<4}"
                f"{self.others_right:6}/{self.others:<4} {self.exceptions:5} "
                f"{self.seconds * 1000:8.0f} ms")


def main(arguments: list[str]) -> int:
    """Prints the table; 1 if anything raised."""
    if absent():
        print(absent())
        return 0
    verbose = "-v" in arguments
    wanted = [word for word in arguments if word != "-v"] or sets()
    failed = 0
    print(f"{'set':20} {'crashing':9} {'others':>9} {'raised':>7} {'time':>9}")
    for name in wanted:
        score = Score()
        for one in walk(name):
            _measure(one, score, verbose)
        failed += score.exceptions
        print(score.line(name), flush=True)
    return 1 if failed else 0


def _measure(one: Opened, score: Score, verbose: bool) -> None:
    truth = {thread.tid: thread for thread in one.truth}
    for index, thread in enumerate(one.threads):
        right, seconds, raised = _try(one, index, truth[thread.tid], verbose)
        score.seconds += seconds
        score.exceptions += raised
        if index == 0:
            score.crashed += 1
            score.crashed_right += right
        else:
            score.others += 1
            score.others_right += right


def _try(one: Opened, index: int, truth: Truth, verbose: bool) -> tuple[bool, float, bool]:
    """(right, seconds, raised) of one thread."""
    thread = one.threads[index]
    start = time.perf_counter()
    try:
        frames = backtrace.backtrace(one.context, thread.registers, backtrace.Limits(64)).frames
    except Exception:
        _print_once(traceback.format_exc())
        return False, time.perf_counter() - start, True
    seconds = time.perf_counter() - start
    expected = truth.expected()
    right = agrees(one.context.machine, [frame.pc for frame in frames], expected)
    if verbose and not right:
        print(f"  {one.case.name} thread {thread.tid}")
        for at in range(max(len(expected), min(len(frames), len(expected) + 1))):
            wanted = truth.frames[at] if at < len(truth.frames) else {}
            found = frames[at] if at < len(frames) else None
            print(f"    {at:3} {wanted.get('pc')!s:16} {wanted.get('function')!s:18} "
                  f"{wanted.get('module')!s:28} "
                  f"{f'{found.pc:#x} {found.how}' if found else '-'}")
    return right, seconds, False


def _print_once(text: str) -> None:
    if text not in PRINTED:
        PRINTED.add(text)
        print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
