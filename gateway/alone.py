"""One supervisor in a state directory, and one process of each name: a second one would take the first one's
place on the bus, and the first its again."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.config import ConfigError

PAUSE = 0.05
"Seconds between two looks whether an earlier process has ended."


@contextmanager
def alone(state_dir: Path, name: str, advice: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the name, e.g. `supervisor`, `xmpp-1`; the kernel lets go of it however this process ends.

    `patience`: seconds an earlier process may take to end. Raises `ConfigError`, which says who has the name,
    and the advice.
    """
    path = state_dir / "run" / f"{name}.lock"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError([f"state_dir: {error.filename}: {error.strerror}"]) from error
    try:
        _take(held, time.monotonic() + patience, f"state_dir: {name} of {state_dir} runs already", advice)
        os.truncate(held, 0)
        os.pwrite(held, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(held)


def _take(held: int, deadline: float, problem: str, advice: str) -> None:
    while True:
        try:
            return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                raise ConfigError([f"state_dir: its files cannot be locked: {error.strerror}"]) from error
        if time.monotonic() >= deadline:
            owner = os.pread(held, 20, 0).decode() or "unknown"
            raise ConfigError([f"{problem} (process {owner}); {advice}"])
        time.sleep(PAUSE)
