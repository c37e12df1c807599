"""A quick run of every fuzz target from a fixed seed; `python -m tests.fuzz` does it for long."""

from __future__ import annotations

import pytest

from tests.fuzz import mutate
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_quick_run(name: str) -> None:
    mutate.run(TARGETS[name], TARGETS[name].quick)


def test_what_a_target_raises_is_not_lost() -> None:
    def fails(data: bytes) -> None:
        assert b"<" not in data
    with pytest.raises(AssertionError) as error:
        mutate.run(TARGETS["kernel-dump"]._replace(run=fails), 10)
    assert "input: b'====" in error.value.__notes__[0]
