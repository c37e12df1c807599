"""`python -m tests.fuzz TARGET [--runs N] [--seconds S]`: fuzz one parser; without a target, list
them.

With coverage guidance where atheris is installed (`pip install atheris==3.0.0`, Linux x86-64 up to
Python 3.13), else by plain mutation.  An input that breaks the parser is left in the current
directory as crash-*, and the exit status is not 0.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    given = parser.parse_args()
    try:
        import atheris  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        atheris = None
    if given.target is None or given.plain or atheris is None:
        return plain(given.target, given.runs)
    with atheris.instrument_imports(include=["lastlog_py"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[given.target]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds()):
            with open(os.path.join(corpus, f"seed-{number}"), "wb") as file:
                file.write(seed)
        atheris.Setup([sys.argv[0], f"-runs={given.runs}", f"-max_total_time={given.seconds}",
                       f"-max_len={target.largest}", "-timeout=20", "-rss_limit_mb=2048",
                       "-print_final_stats=1", corpus], target.run)
        atheris.Fuzz()
    return 0


def plain(name: str | None, runs: int) -> int:
    from tests.fuzz import mutate
    from tests.fuzz.targets import TARGETS
    if name is None:
        print("\n".join(TARGETS))
        return 0
    mutate.run(TARGETS[name], runs, seed=int.from_bytes(os.urandom(8), "big"))
    print(f"{runs} runs of {name}, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
