"""The table of samples: what it says is what is there, and damage is where it should be."""

from __future__ import annotations

import pytest

from tests import samples

from . import damage
from .cases import ALL, Case
from .damage import Zone
from .making import matching

MADE = sorted(name for name, row in samples.manifest().items() if "provoked" in row)


@pytest.mark.parametrize("name", MADE)
def test_every_sample_can_be_made_again(name: str) -> None:
    row, case = samples.manifest()[name], ALL[name]
    assert (row["provoked"], row["damaged"], row["compression"], row["format"]) == (
        case.provoked, case.damaged, case.compression, case.medium)
    assert (row["parameters"], row["region"]["size"]) == (case.parameters, case.size)
    assert row["cmdline"].endswith(case.append)


def test_a_zone_is_divided_as_the_kernel_does_it() -> None:
    zone = Zone(0, 65536, 16)
    assert (zone.blocks, zone.capacity) == (455, 58228)


@pytest.mark.parametrize(("change", "place", "count"), [
    (damage.header(Zone(4096, 4096, 8), 3), range(4096, 4108), 3),
    (damage.block(Zone(0, 8192, 16), 2, 9), range(268, 396), 9),
    (damage.parity(Zone(0, 65536, 16), 1, 7), range(58256, 58272), 7),
    (damage.parity(Zone(0, 65536, 2), 0, 7), range(64524, 64526), 2),
    (damage.header_parity(Zone(0, 65536, 16), 5), range(65520, 65536), 5),
    (damage.cut(Zone(0, 4096), 77), range(4, 12), 2),
    (damage.join(damage.at(5, 2), damage.fill(9, 4, 255)), range(5, 13), 6)])
def test_damage_is_where_it_should_be(change: damage.Damage, place: range, count: int) -> None:
    changed = [at for at, byte in enumerate(change(bytes(65536))) if byte]
    assert len(changed) == count and set(changed) <= set(place)


def test_decay_is_as_dense_as_it_says() -> None:
    changed = damage.spread(Zone(0, 65536), 0.01)(bytes(70000))
    bits = [byte.bit_count() for byte in changed]
    assert set(bits) == {0, 1} and 500 < sum(bits) < 800 and not any(changed[65536:])


def test_names_and_patterns() -> None:
    assert [case.name for case in matching(["z05_zstd", "z01_lz4*4k"])] == ["z01_lz4_4k",
                                                                           "z05_zstd"]
    with pytest.raises(ValueError, match="nothing_like_it"):
        matching(["nothing_like_it"])


@pytest.mark.parametrize("case", [case for case in ALL.values() if case.of],
                         ids=lambda case: case.name)
def test_a_damaged_sample_is_of_a_crash_with_the_same_layout(case: Case) -> None:
    crash = ALL[case.of]
    assert (case.parameters, case.size, case.kernel, case.compression) == (
        crash.parameters, crash.size, crash.kernel, crash.compression)
    assert not crash.of and case.damaged
