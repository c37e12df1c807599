"""Texts for the tests of decoders."""

from __future__ import annotations

from hypothesis import strategies as st


def repetitive(most: int = 4000) -> st.SearchStrategy[bytes]:
    """Texts that are made of few pieces, as logs are."""
    pieces = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8)
    order = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 30)), min_size=1, max_size=30)
    return st.builds(lambda parts, places: b"".join(
        parts[place % len(parts)] * count for place, count in places)[:most], pieces, order)
