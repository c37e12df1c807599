"""Patterns are compiled when a log needs them, and their words never hide what they match."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlog_py.diagnose import (
    crash,
    facts,
    kernel_log,
    line,
    reports,
    rules,
    signature,
    suspects,
    symbol,
    title,
)
from lastlog_py.diagnose.pattern import Pattern

MODULES = (crash, facts, kernel_log, line, reports, rules, signature, suspects, symbol, title)
LOGS = Path(__file__).parent.parent / "data" / "logs"


def patterns(held: Any) -> Iterator[Pattern]:
    """All patterns in a module's tables."""
    if isinstance(held, Pattern):
        yield held
    elif isinstance(held, dict | tuple | list):
        for each in held.values() if isinstance(held, dict) else held:
            yield from patterns(each)


def worded() -> list[Pattern]:
    found = {each.regex: each for module in MODULES for each in patterns(
        {name: value for name, value in vars(module).items() if not name.startswith("__")})}
    return [each for each in found.values() if each.words != ("",)]


WORDED = worded()


def test_the_tables_are_found() -> None:
    assert {rule.pattern for rule in rules.FAULTS} < set(WORDED)
    assert len(WORDED) > 150


@pytest.mark.parametrize("pattern", WORDED, ids=lambda each: each.words[0])
@settings(max_examples=30)
@given(data=st.data())
def test_what_a_pattern_matches_holds_one_of_its_words(pattern: Pattern, data: Any) -> None:
    text = data.draw(st.from_regex(rf"\A(?:{pattern.regex})"))
    assert pattern.may_match(f"before {text} behind")
    assert pattern.match(text) is not None


def test_match_is_the_compiled_patterns() -> None:
    pattern = Pattern(r"(\w+) is at", " is at")
    found = pattern.match("PC is at f")
    assert found is not None
    assert found[1] == "PC"
    assert pattern.match("? PC is at f") is None
    assert pattern.match("PC was at f") is None


COUNT = """
import re._compiler, sys
compiled, compile = [], re._compiler.compile
def counted(pattern, flags=0):
    compiled.append(pattern)
    return compile(pattern, flags)
re._compiler.compile = counted
from lastlog_py import diagnose
from lastlog_py.record import Source, captured
assert not compiled, compiled
with open(sys.argv[1], "rb") as file:
    assert diagnose.explain(captured("kernel", file.read(), Source("ramoops"))).signature
print(len(compiled))
"""


@pytest.mark.parametrize("name", ["mips_null_3_18", "arm_null_6_6", "arm64_null_6_12",
                                  "oom_kill_then_panic_5_10", "x86_eip_4_14"])
def test_a_log_costs_only_the_patterns_it_needs(name: str) -> None:
    """In a process of its own: none is compiled by the import, and few by an ordinary crash."""
    done = subprocess.run([sys.executable, "-c", COUNT, LOGS / f"{name}.txt"], text=True,
                          check=True, capture_output=True)
    assert int(done.stdout) <= 20
