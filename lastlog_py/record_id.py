"""What a record is called: a hash of its content.  On the hot path."""

from __future__ import annotations

import sys

__all__ = ["record_id", "sha256"]


def record_id(kind: str, body: bytes, time: float | None, raw: bytes = b"") -> str:
    """The id of the record with this text; the same wherever it is found.

    time: seconds, which count to the microsecond; None: it has none.  raw: the captured bytes, if
    `body` is not all of them.
    """
    stamp = "" if time is None else f"{time:.6f}"
    head = b"%s\0%s\0" % (kind.encode(), stamp.encode())
    return f"{kind[0]}-{sha256(head, body, bytes(1), raw)[:12]}"


def sha256(*pieces: bytes) -> str:
    """Of all pieces together, none of them copied; in hex.

    With Python's own module: hashlib would load all of OpenSSL for it, where that is there.
    """
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256 as begin
        else:
            from _sha256 import sha256 as begin  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256 as begin
    digest = begin()
    for piece in pieces:
        digest.update(piece)
    return str(digest.hexdigest())
