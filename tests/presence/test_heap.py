"""`presence.edge.heap`: what is free goes back to the system."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from presence.edge.heap import RESTS, TRIM, Heap


class Trimmer:
    """Takes a second each time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.done = 0

    def __call__(self, pad: int) -> int:
        self.now += 1.0
        self.done += 1
        return 1

    def clock(self) -> float:
        return self.now


def test_it_costs_at_most_a_thousandth_of_the_time() -> None:
    trimmer = Trimmer()
    heap = Heap(trimmer, trimmer.clock)
    heap.give_back()
    trimmer.now += RESTS - 1
    heap.give_back()
    assert trimmer.done == 1
    trimmer.now += 1
    heap.give_back()
    assert trimmer.done == 2


def test_a_c_library_without_it_is_none_the_worse() -> None:
    Heap(None).give_back()


@pytest.mark.skipif(TRIM is None, reason="this C library gives back by itself, or never")
def test_what_lies_below_something_used_goes_back() -> None:
    blocks = [bytearray(65_536) for _ in range(1_000)]
    kept = blocks[::10]
    full = resident()
    del blocks
    Heap().give_back()
    assert full - resident() > 40_000, len(kept)


def resident() -> int:
    """kB of this process's own memory."""
    found = re.search(r"^RssAnon:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
