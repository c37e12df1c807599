"""Regions as kernels write them, built for tests: an own encoder, kept apart from the decoder."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = 0x43474244


def zone(size: int, text: bytes = b"", *, start: int | None = None, endian: str = "<",
         signature: int = SIGNATURE) -> bytes:
    """A zone of `size` bytes holding `text`; with `start` as a wrapped ring that begins there."""
    data = text if start is None else text[-start:] + text[:-start] if start else text
    header = struct.pack(endian + "III", signature, len(text) if start is None else start,
                         len(text))
    return (header + data).ljust(size, b"\0")


def dump(text: bytes, when: str = "1700000000.000042", flag: str | None = "D") -> bytes:
    """A dump as ramoops_pstore_write writes it: header line, then the body."""
    head = f"===={when}" + (f"-{flag}" if flag else "") + "\n"
    return head.encode() + (deflated(text) if flag == "C" else text)


def deflated(text: bytes, wrapped: bool = False) -> bytes:
    """Raw deflate as since 4.17, or zlib-wrapped with its small window as before."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 12 if wrapped else -12, 4)
    return packer.compress(text) + packer.flush()


def log(lines: int = 40, title: str = "Panic#1 Part1") -> bytes:
    body = "".join(f"<6>[{i:5d}.{i * 37 % 1000000:06d}] line {i} of the log\n"
                   for i in range(lines))
    return f"{title}\n{body}".encode()
