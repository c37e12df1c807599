"""A fuzzer without guidance, for machines that atheris has no wheel for, and for the quick run in
the suite: inputs are mutations of the seeds and of each other, from a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.fuzz.target import Target

__all__ = ["inputs", "run"]

MOST_KEPT = 64              # inputs that are mutated further


def run(target: Target, count: int, seed: int = 0) -> None:
    """Run the target on `count` inputs.  What it raises is the caller's, with the input noted."""
    for data in inputs(target, count, seed):
        try:
            target.run(data)
        except BaseException as error:
            error.add_note(f"input: {data!r}")
            raise


def inputs(target: Target, count: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    kept = [b"", *target.seeds()]
    yield from kept
    for _ in range(count - len(kept)):
        data = bytearray(rng.choice(kept))
        for _ in range(rng.choice([1, 1, 2, 4, 16])):
            rng.choice(_MUTATIONS)(data, rng, kept)
        mutated = bytes(data[:target.largest])
        yield mutated
        if rng.random() < .1:
            if len(kept) < MOST_KEPT:
                kept.append(mutated)
            else:
                kept[rng.randrange(len(kept))] = mutated


Mutation = Callable[[bytearray, random.Random, list[bytes]], None]


def _flip(data: bytearray, rng: random.Random, _kept: list[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random, _kept: list[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice([0, 1, 0x11, 0x7f, 0x80, 0xff,
                                                     rng.randrange(256)])


def _cut(data: bytearray, rng: random.Random, _kept: list[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at:at + rng.choice([1, 4, 64, len(data)])]


def _insert(data: bytearray, rng: random.Random, _kept: list[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice([rng.randbytes(rng.randrange(1, 40)),
                              bytes([rng.choice([0, 0xff])]) * rng.randrange(1, 300)])


def _splice(data: bytearray, rng: random.Random, kept: list[bytes]) -> None:
    other = rng.choice(kept)
    start = rng.randrange(len(other) + 1)
    at = rng.randrange(len(data) + 1)
    data[at:at + rng.randrange(64)] = other[start:start + rng.randrange(1, 512)]


_MUTATIONS: list[Mutation] = [_flip, _set, _cut, _insert, _splice]
