"""A router's file tree for tests: /proc, /sys and /dev below one directory, and a UCI file."""

from __future__ import annotations

import os
from pathlib import Path

from lastlog_py.config import Config, load
from lastlog_py.site import Site


class Machine:
    """A made-up router below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.archive = folder / "saved"
        self.conf = folder / "lastlog.conf"
        self.options: dict[str, str] = {}
        self.write("/proc/uptime", "100.25 90.0\n")
        self.configure()

    def configure(self, **region: object) -> Machine:
        """Write the UCI file with these options in its region section."""
        self.options.update({name: str(value) for name, value in region.items()})
        lines = ["config lastlog 'main'", f"\toption archive '{self.archive}'",
                 f"\toption root '{self.root}'", "config region 'ram'"]
        lines += [f"\toption {name} '{value}'" for name, value in self.options.items()]
        self.conf.write_text("\n".join(lines) + "\n")
        return self

    def config(self) -> Config:
        return load(str(self.conf))

    def site(self) -> Site:
        return self.config().site

    def write(self, path: str, content: str | bytes) -> Path:
        """A file at `path` as seen from the router's root."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def mtd(self, region: bytes, name: str = "lastlog", number: int = 3,
            kind: str = "ram") -> Path:
        """`region` as an MTD character device of that name and type."""
        self.write("/proc/mtd", "dev:    size   erasesize  name\n"
                   'mtd0: 00040000 00010000 "u-boot"\n'
                   f'mtd{number}: {len(region):08x} 00001000 "{name}"\n')
        self.write(f"/sys/class/mtd/mtd{number}/type", f"{kind}\n")
        return self.write(f"/dev/mtd{number}", region)

    def flash(self, data: bytes, name: str = "mtdoops", number: int = 5, kind: str = "nor") -> Path:
        """A further MTD device, after `mtd`."""
        table = self.root / "proc/mtd"
        before = table.read_text() if table.exists() else "dev:    size   erasesize  name\n"
        self.write("/proc/mtd", f'{before}mtd{number}: {len(data):08x} 00010000 "{name}"\n')
        self.write(f"/sys/class/mtd/mtd{number}/type", f"{kind}\n")
        return self.write(f"/dev/mtd{number}", data)

    def ramoops(self, size: int, record: int, console: int = 0, ftrace: int = 0, pmsg: int = 0,
                ecc: int = 0, address: int = 0x7000000) -> None:
        """The ramoops module as loaded on `size` bytes."""
        values = {"mem_address": address, "mem_size": size, "record_size": record,
                  "console_size": console, "ftrace_size": ftrace, "pmsg_size": pmsg, "ecc": ecc}
        for name, value in values.items():
            self.write(f"/sys/module/ramoops/parameters/{name}", f"{value}\n")
        self.write("/sys/module/pstore/parameters/backend", "ramoops\n")

    def pstore(self, name: str, content: bytes, time: str | None = None) -> Path:
        """A file in /sys/fs/pstore, with the time "seconds.microseconds"."""
        file = self.write(f"/sys/fs/pstore/{name}", content)
        if time is not None:
            seconds, micro = time.split(".")
            stamp = int(seconds) * 10**9 + int(micro) * 1000
            os.utime(file, ns=(stamp, stamp))
        return file
