"""How the records of each format begin, for readers and for a quick look.

On the hot path: imports nothing.  All are at the start of a page; each may have lost some bits.
In a dump that somebody cut out elsewhere the pages begin at a `base`, in bytes from its start.
"""

from __future__ import annotations

__all__ = ["CRASHLOG", "HEAD", "KMSG", "MTDOOPS", "PAGE", "SEED", "any_in", "is_counted",
           "is_near", "may_begin"]

PAGE = 4096
HEAD = 16                       # bytes of a page that are looked at
LOST_BITS = 2                   # of a mark, by which it is still known

# 32-bit numbers as big-endian memory shows them, and what they tell: byte order, version.
MTDOOPS = {0x005d005d: ("<", 1), 0x5d005d00: (">", 1), 0x005e005d: ("<", 2), 0x5d005e00: (">", 2)}
KMSG = {0xe53afc4d: "little", 0x4dfc3ae5: "big"}        # of a dump of pstore_zone
CRASHLOG = {0xaddeeea1: "little", 0xa1eedead: "big"}
SEED = 0x3d3d3d3d               # "====": ramoops before 3.4
# pstore_zone's console, ftrace and pmsg zones, in both byte orders.
FRONT_ENDS = (0x46424743, 0x47424743, 0x43424743, 0x43474246, 0x43474247, 0x43474243)
FEW = 1 << 24                   # more slots than the oldest mtdoops, which has no mark, counts


def is_near(word: int, mark: int) -> bool:
    """Whether `word` is the mark, but for some bits."""
    return (word ^ mark).bit_count() <= LOST_BITS


def any_in(region: bytes, base: int = 0) -> bool:
    """Whether a page of the region may begin with a record of other formats than of ramoops'
    zones.  base: where the first page begins."""
    for page in range(base, len(region), PAGE):
        head = region[page:page + HEAD]
        if head.strip(b"\0") and head.strip(b"\xff") and may_begin(head):
            return True
    return False


def may_begin(head: bytes) -> bool:
    """Whether a page with this head, HEAD bytes or less, may begin with such a record."""
    first, second, _, fourth = (int.from_bytes(head[at:at + 4], "big") for at in (0, 4, 8, 12))
    if first in FRONT_ENDS or is_near(first, SEED) \
            or any(is_near(first, mark) for mark in CRASHLOG) \
            or any(is_near(second, mark) for mark in MTDOOPS) \
            or any(is_near(fourth, mark) for mark in KMSG):
        return True
    return is_counted(head)


def is_counted(head: bytes) -> bool:
    """Whether a page begins with a small count and text, as the oldest mtdoops' slots do."""
    count = min(int.from_bytes(head[:4], "big"), int.from_bytes(head[:4], "little"))
    return 0 < count < FEW and head[4:HEAD].isascii() and b"\0" not in head[4:HEAD]
