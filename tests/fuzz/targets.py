"""What is fuzzed: name → target."""

from __future__ import annotations

from tests.fuzz import compressions, coredumps, media

__all__ = ["TARGETS"]

TARGETS = compressions.TARGETS | media.TARGETS | coredumps.TARGETS
