"""unwind/x86_code.py: what instructions do to the stack, and their sizes against objdump's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.coredump.unwind import x86_code
from lastlog_py.coredump.unwind.x86_code import (
    ALIGN,
    BASE,
    CALL_NEXT,
    JUMP,
    LEAVE,
    LOST,
    MOVE,
    OTHER,
    POP,
    PUSH,
    RETURN,
    STORE,
    SWITCH,
    UNBASE,
    decode,
)

# code, 64-bit, (kind, register, value)
EFFECTS = [
    ("55", True, (PUSH, 5, 0)), ("4157", True, (PUSH, 15, 0)), ("6a01", True, (PUSH, -1, 0)),
    ("6801020304", False, (PUSH, -1, 0)), ("ff742408", False, (PUSH, -1, 0)),
    ("9c", True, (PUSH, -1, 0)), ("0fa0", False, (PUSH, -1, 0)), ("1e", False, (PUSH, -1, 0)),
    ("5b", False, (POP, 3, 0)), ("415c", True, (POP, 12, 0)), ("8f00", False, (POP, -1, 0)),
    ("4883ec18", True, (MOVE, -1, -24)), ("4881ec00100000", True, (MOVE, -1, -4096)),
    ("83c410", False, (MOVE, -1, 16)), ("4883c480", True, (MOVE, -1, -128)),
    ("8d642408", False, (MOVE, 4, 8)), ("488da42430010000", True, (MOVE, 4, 304)),
    ("4989e4", True, (BASE, 12, 0)), ("4889e5", True, (BASE, 5, 0)),
    ("8bec", False, (BASE, 5, 0)), ("488d6c2410", True, (BASE, 5, 16)),
    ("4889ec", True, (UNBASE, 5, 0)), ("8d65f4", False, (UNBASE, 5, -12)),
    ("c9", True, (LEAVE, -1, 0)), ("4883e4f0", True, (ALIGN, -1, 0)),
    ("83e4f0", False, (ALIGN, -1, 0)), ("4829c4", True, (LOST, -1, 0)),
    ("482be0", True, (LOST, -1, 0)), ("8b6108", False, (LOST, -1, 0)),
    ("4c89e4", True, (UNBASE, 12, 0)), ("4889f4", True, (UNBASE, 6, 0)),
    ("60", False, (LOST, -1, 0)), ("c8100000", False, (LOST, -1, 0)),
    ("48895c2408", True, (STORE, 3, 8)), ("4c89642410", True, (STORE, 12, 16)),
    ("891c24", False, (STORE, 3, 0)), ("49895c2408", True, (OTHER, -1, 0)),
    ("48891c04", True, (OTHER, -1, 0)), ("e800000000", False, (CALL_NEXT, -1, 0)),
    ("e801000000", False, (OTHER, -1, 0)), ("7405", True, (JUMP, 0, 5)),
    ("75fb", True, (JUMP, 0, -5)), ("eb10", True, (JUMP, 1, 16)),
    ("e900010000", True, (JUMP, 1, 256)), ("0f84fcffffff", True, (JUMP, 0, -4)),
    ("c3", True, (RETURN, -1, 0)), ("f3c3", True, (RETURN, -1, 0)),
    ("c20400", False, (RETURN, -1, 0)), ("ffe0", True, (SWITCH, -1, 0)),
    ("ff2425a0000000", True, (SWITCH, -1, 0)), ("f4", True, (RETURN, -1, 0)),
    ("0f0b", True, (RETURN, -1, 0)), ("4983c408", True, (OTHER, -1, 0)),
    ("4883fc08", True, (OTHER, -1, 0)), ("ffd0", True, (OTHER, -1, 0)),
    ("0f05", True, (OTHER, -1, 0)), ("90", True, (OTHER, -1, 0)),
]
# Sizes that are easily wrong.
SIZES = [
    ("48b80102030405060708", True), ("b801020304", True), ("66b80102", False),
    ("a10102030405060708", True), ("a101020304", False), ("f6c101", True), ("f7c101020304", True),
    ("66f7c10102", True), ("f7d0", True), ("f6d8", True), ("666648e8c83bffff", True),
    ("66e80102", False), ("c5f877", True), ("c5f16fc0", True), ("c4e37d39c101", True),
    ("62f17c48580511223344", True), ("660f3a0fc108", True), ("0f3800c1", True),
    ("0fbae020", True), ("dd442408", True), ("c7042401020304", True), ("66c704240102", True),
    ("8d742600", False), ("8db42600000000", False), ("64488b042528000000", True),
    ("65ff1510000000", False), ("6bc907", True), ("69c901020304", True), ("f0480fb10f", True),
    ("9a010203040506", False), ("c41424", False), ("620424", False), ("e203", True),
    ("cd80", False),
]
MAX_LINES = 40_000


@pytest.mark.parametrize(("code", "wide", "effect"), EFFECTS)
def test_what_an_instruction_does(code: str, wide: bool, effect: tuple[int, int, int]) -> None:
    raw = bytes.fromhex(code)
    found = decode(raw + bytes(4), 0, wide)
    assert found is not None
    assert (found.kind, found.register if found.kind != OTHER else -1,
            found.value if found.kind != OTHER else 0) == effect
    assert found.size == len(raw)


@pytest.mark.parametrize(("code", "wide"), SIZES)
def test_sizes(code: str, wide: bool) -> None:
    raw = bytes.fromhex(code)
    found = decode(b"\xcc" + raw + bytes(12), 1, wide)
    assert found is not None and found.size == len(raw)


@pytest.mark.parametrize("code", ["", "66", "48", "e8", "0f", "0f84", "8b", "c7", "c4", "62f1",
                                  "0f38", "66" * 16 + "90"])
def test_what_is_not_whole_is_no_instruction(code: str) -> None:
    assert decode(bytes.fromhex(code), 0, True) is None


@given(st.binary(max_size=40), st.integers(0, 45), st.booleans())
def test_never_raises(code: bytes, at: int, wide: bool) -> None:
    found = decode(code, at, wide)
    assert found is None or (0 < found.size <= x86_code.MAX_SIZE
                             and at + found.size <= len(code))


def _library() -> Path | None:
    found = sorted(Path("/usr/lib/x86_64-linux-gnu").glob("libc.so.6"))
    return found[0] if found and shutil.which("objdump") else None


@pytest.mark.skipif(_library() is None, reason="there is no objdump, or no x86_64 libc")
def test_sizes_are_those_of_objdump() -> None:
    listing = subprocess.Popen(["objdump", "-d", "-w", "--insn-width=16", str(_library())],
                               stdout=subprocess.PIPE, text=True)
    assert listing.stdout is not None
    count = 0
    for line in listing.stdout:
        found = re.match(r"\s*[0-9a-f]+:\t((?:[0-9a-f]{2} )+)", line)
        if not found or "(bad)" in line:
            continue
        code = bytes.fromhex(found[1])
        instruction = decode(code + bytes(4), 0, True)
        assert instruction is not None and instruction.size == len(code), line
        count += 1
        if count == MAX_LINES:
            break
    listing.kill()
    listing.wait()
    listing.stdout.close()
    assert count == MAX_LINES
