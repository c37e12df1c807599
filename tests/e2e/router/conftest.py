"""Scenarios run two at a time, each once, while the tests ask for what it left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from .. import debian, machine
from .scenario import Router, Scenario, run
from .scenarios import ALL

AT_ONCE = 2             # an emulated machine keeps one core busy

Runs = dict[str, "Future[Router]"]


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """All scenarios that the collected tests ask for, started already."""
    wanted = {name for item in request.session.items for name in _names(item)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(run, scenario, _quiet) for name, scenario in ALL.items()
               if fixture_name(name) in wanted}
        pool.shutdown(wait=False, cancel_futures=True)


def _names(item: pytest.Item) -> list[str]:
    """The fixtures that a test asks for, also by parameter."""
    chosen = getattr(item, "callspec", None)
    return [*getattr(item, "fixturenames", ()), *map(str, chosen.params.values() if chosen else ())]


def _quiet(_line: str) -> None:
    pass


def fixture_name(scenario: str) -> str:
    """"full-flash" → "full_flash"."""
    return scenario.replace("-", "_")


def _fixture(scenario: Scenario) -> Callable[[Runs], Router]:
    @pytest.fixture(scope="session", name=fixture_name(scenario.name))
    def router(runs: Runs) -> Router:
        try:
            return runs[scenario.name].result()
        except debian.Missing as missing:
            pytest.skip(str(missing))
        except machine.Stuck as stuck:
            pytest.fail(str(stuck), pytrace=False)

    return router


# One fixture a scenario, e.g. `full_flash`: a test names the router that it is about.
for _scenario in ALL.values():
    globals()[fixture_name(_scenario.name)] = _fixture(_scenario)
