"""`python -m tests.e2e.samples NAME...`: make these samples anew."""

from __future__ import annotations

import argparse
import sys
import time

from .. import debian, machine
from .making import make, matching


def main() -> int:
    """Make what the command line names; exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.samples", description=__doc__)
    parser.add_argument("name", nargs="+", help='of a case, or a pattern, "z*"')
    parser.add_argument("--again", action="store_true", help="crash anew what has crashed before")
    arguments = parser.parse_args()
    start = time.monotonic()
    try:
        make(matching(arguments.name),
             lambda what: print(f"{time.monotonic() - start:6.1f} s  {what}", flush=True),
             arguments.again)
    except (ValueError, debian.Missing, machine.Stuck) as problem:
        print(f"samples: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
