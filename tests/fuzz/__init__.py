"""Fuzzing of every parser."""
