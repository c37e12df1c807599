"""Where things are on this machine: what /proc, /sys and /dev hang on, and where the region is.

Plain data: the configuration fills it, the media use it.  On the hot path: imports nothing.
"""

from __future__ import annotations

__all__ = ["Site"]


class Site:
    """One machine, real or made up.  Sizes and addresses in bytes."""

    __slots__ = ("address", "console_size", "ecc", "file", "ftrace_size", "journal_size", "mtd",
                 "pmsg_size", "record_size", "root", "size")

    def __init__(self) -> None:
        self.root = "/"                         # what all paths of the system hang on
        self.file: str | None = None            # a file in the region's place; None: MTD
        self.mtd = "lastlog"                    # name of the phram device in /proc/mtd
        self.address: int | None = None         # of the region, physical; None: not said
        self.size: int | None = None
        self.journal_size = 0                   # the end of the region, not ramoops'
        self.record_size: int | None = None     # None: ask the kernel, or find it by scanning
        self.console_size: int | None = None
        self.ftrace_size: int | None = None
        self.pmsg_size: int | None = None
        self.ecc: int | None = None             # parity bytes per 128; the driver's 1 means 16

    def system(self, path: str) -> str:
        """`path`, given from the router's root, below the configured root."""
        return self.root.rstrip("/") + "/" + path.lstrip("/")
