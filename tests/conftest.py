"""Fixtures that several parts of the suite use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.machine import Machine

# A machine that is busy with something else makes no test fail.
settings.register_profile("lastlog", deadline=None)
settings.load_profile("lastlog")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An empty made-up router."""
    return Machine(tmp_path)
