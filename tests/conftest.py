"""Fixtures that several parts of the suite use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An empty made-up router."""
    return Machine(tmp_path)
