"""`make run`: the Last Crash page over a private copy of a region with a real kernel panic.

The region is what a kernel left behind when it dereferenced NULL with panic_on_oops set (sample
c12).  Save, Clear, Download and store really work on the copy, which stays between runs.
PC only, from a clone: the sample lies with the tests.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import sys
from pathlib import Path

from . import preview

__all__ = ["SAMPLE", "main", "prepare"]

CLONE = Path(__file__).parents[2]
SAMPLES = CLONE / "tests/data/samples"
SAMPLE = "c12_null_deref_panic_on_oops"
JOURNAL = 0x20000               # bytes behind the sample

HELLO = """
lastlog: a router crashed, and this is its Last Crash page:

    {url}

Try Save, Download, Copy for a bug report and Clear: they work on a private copy in
{directory} (--fresh starts over).  From a second terminal:

    python3 -m lastlog_py --config {config} list
    dmesg | python3 -m lastlog_py --config {config} store - --label dmesg

Ctrl-C ends it."""


def prepare(directory: Path, fresh: bool = False) -> Path:
    """Put the region, a configuration and an empty root into `directory`; the configuration.

    What is there already stays, unless `fresh`; only remembered answers go, as with a router's
    tmpfs at a reboot, for the code may be another one.  Raises OSError if it cannot be written.
    """
    region, root = directory / "region.bin", directory / "root"
    if fresh:
        region.unlink(missing_ok=True)
        for place in (root, directory / "saved"):
            shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(root / "var", ignore_errors=True)
    for place in (directory, root):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    sample = lzma.decompress((SAMPLES / SAMPLE / "region.bin.xz").read_bytes()) + bytes(JOURNAL)
    if not region.exists() or region.stat().st_size != len(sample):
        partial = directory / "region.partial"
        partial.write_bytes(sample)
        partial.replace(region)
    config = directory / "lastlog.config"
    config.write_text(_config(directory), encoding="utf-8")
    return config


def _config(directory: Path) -> str:
    """UCI for the region in `directory`, with the geometry that its kernel used."""
    samples = json.loads((SAMPLES / "manifest.json").read_bytes())["samples"]
    geometry = next(each["geometry"] for each in samples if each["name"] == SAMPLE)
    options = {"file": directory / "region.bin", "journal_size": JOURNAL, **geometry}
    return (f"config lastlog 'main'\n\toption archive '{directory / 'saved'}'\n"
            f"\toption root '{directory / 'root'}'\n\nconfig region 'ram'\n"
            + "".join(f"\toption {name} '{value}'\n" for name, value in options.items()))


def main(argv: list[str] | None = None) -> int:
    """`python3 -m lastlog_py.page.demo`: the page of a router that crashed."""
    parser = preview.options(argparse.ArgumentParser(description=main.__doc__))
    parser.add_argument("--dir", type=Path, default=CLONE / "build/run", help="private directory")
    parser.add_argument("--fresh", action="store_true", help="start over with the panic")
    args = parser.parse_args(argv)
    directory = args.dir.resolve()
    try:
        config = prepare(directory, args.fresh)
    except OSError as error:
        print(f"{directory} cannot be prepared: {error}. Choose another with --dir.",
              file=sys.stderr)
        return 1
    page = preview.Preview(preview.answers(str(config)), args.read_only, args.dark)
    return preview.run(page, args.port, lambda url: HELLO.format(
        url=url, directory=directory, config=config))


if __name__ == "__main__":
    sys.exit(main())
