"""medium/lz4.py against the reference implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastlog_py.medium import lz4
from tests import packers
from tests.medium import streams


@given(st.binary(min_size=1, max_size=300) | streams.repetitive())
def test_what_the_reference_packs(text: bytes) -> None:
    for mode in ("default", "high_compression", "fast"):
        block = packers.packed_lz4(text, mode)
        assert lz4.decode(block, 1 << 20) == (text, len(block))


@pytest.mark.parametrize(("block", "text", "used"), [
    (b"", b"", None),
    (b"\x10a", b"a", 2),                                        # literals alone may be few
    (b"\x50abcde", b"abcde", 6),
    (b"\x11a\x01\x00\x50bcdef", b"a" * 6 + b"bcdef", 10),       # a distance less than the length
    (b"\x11a\x01\x00\x10b", b"a" * 6 + b"b", None),             # at least five literals at the end
    (b"\x11a\x00\x00\x50bcdef", b"a", None),                    # no distance
    (b"\x11a\x02\x00\x50bcdef", b"a", None),                    # it begins before the text
    (b"\x11a\x01", b"a", None),
    (b"\xf0", b"", None),                                       # the length's next byte is missing
    (b"\xf0\xff\xff", b"", None),
    (b"\x1fa\x01\x00", b"a" * 20, None),                        # at least that long
    (b"\x1fa\x01\x00\xff\xff", b"a" * 530, None),
])
def test_blocks(block: bytes, text: bytes, used: int | None) -> None:
    assert lz4.decode(block, 1 << 20) == (text, used)


def test_output_is_bounded() -> None:
    bomb = b"\x1fa\x01\x00" + b"\xff" * 60000 + b"\x00\x50bcdef"
    assert lz4.decode(bomb, 4096) == (b"a" * 4096, None)
    assert lz4.decode(packers.packed_lz4(b"ab" * 4096), 8192)[1] is not None
