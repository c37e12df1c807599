"""Benchmarks: ratios against a named reference in the same run, never absolute times."""
