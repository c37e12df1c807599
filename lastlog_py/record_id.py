"""What a record is called: a hash of its content.  On the hot path."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib

__all__ = ["record_id"]


def record_id(kind: str, body: bytes, time: float | None, raw: bytes = b"") -> str:
    """The id of the record with this text; the same wherever it is found.

    time: seconds, which count to the microsecond; None: it has none.  raw: the captured bytes, if
    `body` is not all of them.
    """
    stamp = "" if time is None else f"{time:.6f}"
    digest = _sha256(b"%s\0%s\0" % (kind.encode(), stamp.encode()))
    for piece in (body, b"\0", raw):        # none of them copied: a body may be large
        digest.update(piece)
    return f"{kind[0]}-{digest.hexdigest()[:12]}"


def _sha256(data: bytes) -> hashlib._Hash:
    """With Python's own module: hashlib would load all of OpenSSL for it, where that is there."""
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256
        else:
            from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256
    digest: hashlib._Hash = sha256(data)
    return digest
