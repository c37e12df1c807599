"""`make crash`: a real kernel crashes, is warm-reset, and lastlog shows what it retrieved."""

from __future__ import annotations

import sys
import time

from . import debian, machine, trip

__all__ = ["main"]


def main() -> int:
    """Make the trip and tell it to a person; exit status."""
    start = time.monotonic()
    try:
        done = trip.run(trip.DEFAULT, "crash",
                        lambda what: print(f"{time.monotonic() - start:6.1f} s  {what}",
                                           flush=True))
    except debian.Missing as missing:
        print(f"make crash: {missing}", file=sys.stderr)
        return 1
    except machine.Stuck as stuck:
        print(f"make crash: {stuck}\nEverything is in {_shown(trip.BUILD / 'crash')}",
              file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _tell(done)
    return 0


def _tell(done: trip.Trip) -> None:
    for number in (2, 4):
        _quote(done.boot(number), "show-text", f"show {done.boot(number).json('show')['id']}")
    _quote(done.boot(4), "list-text", "list")
    print(f"\nThe files are in {_shown(done.folder)}: console.log, and in results/bootN the raw "
          "memory (*.region),\nwhat the kernel showed (*.pstore), what lastlog printed (*.out) and "
          "what it saved (archive).")


def _quote(boot: trip.Boot, name: str, command: str) -> None:
    print(f"\n{boot.folder.name}# lastlog {command}\n{boot.text(name).rstrip()}")


def _shown(path: object) -> str:
    return str(path).replace(f"{trip.BUILD.parents[1]}/", "")


if __name__ == "__main__":
    sys.exit(main())
