"""Runs a fuzz target: a function of one random source that raises when something is wrong.

`python -m tests.fuzz.parser --seconds 60` tries new seeds and stops at the first that fails; `--seed N`
repeats one.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections.abc import Callable

Target = Callable[[random.Random], None]


def run(target: Target, rounds: int, first_seed: int = 0) -> None:
    """A fixed number of rounds with fixed seeds, for the test suite."""
    for seed in range(first_seed, first_seed + rounds):
        try:
            target(random.Random(seed))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def main(target: Target) -> None:
    parser = argparse.ArgumentParser(description=target.__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="repeat this one only")
    options = parser.parse_args()
    if options.seed is not None:
        run(target, 1, options.seed)
        return
    end = time.monotonic() + options.seconds
    start = seed = random.SystemRandom().randrange(2**48)
    while time.monotonic() < end:
        try:
            run(target, 1, seed)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        seed += 1
    sys.stdout.write(f"{seed - start} rounds, nothing found\n")


def mutated(source: random.Random, data: bytes, corpus: list[bytes]) -> bytes:
    """A few random changes: bytes, slices, pieces of other inputs."""
    result = bytearray(data)
    for _ in range(source.choice((0, 1, 1, 2, 4, 16))):
        at = source.randrange(len(result) + 1)
        end = min(at + source.choice((0, 1, 2, 10, 100)), len(result))
        kind = source.randrange(4)
        if kind == 0:
            result[at:end] = source.choice(_TOKENS)
        elif kind == 1:
            result[at:end] = source.randbytes(source.choice((0, 1, 3)))
        elif kind == 2:
            other = source.choice(corpus)
            begin = source.randrange(len(other) + 1)
            result[at:end] = other[begin : begin + source.choice((1, 10, 100))]
        else:
            result[at:at] = result[at:end] * source.choice((1, 2, 50))
    return bytes(result[:80_000])


_TOKENS = (
    b"",
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b"\0",
    b'"',
    b'\\"',
    b"<",
    b">",
    b",",
    b";",
    b";;",
    b":",
    b"@",
    b"%",
    b"=",
    b"?",
    b"*",
    b"[",
    b"]",
    b" ",
    b"\t",
    b"-1",
    b"4294967296",
    b"99999999999999999999",
    b"\xff\xfe",
    b"\xc3\xbc",
    b"\xe2\x80\xa8",
    b"SIP/2.0",
    b"SIP/2.0/UDP ",
    b"Content-Length: 5\r\n",
    b"l: -1\r\n",
    b"Via: ",
    b"Contact: *\r\n",
    b";tag=",
    b"z9hG4bK",
)
