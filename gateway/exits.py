"""Exit codes of every command (docs/cli.md)."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a script can learn without reading the output."""

    OK = 0
    FAILED = 1
    "The command ran and the answer is no, or something did not work."
    USAGE = 2
    "The command line itself is wrong."
    NOT_RUNNING = 69
    "The gateway, its bus or its store cannot be reached (EX_UNAVAILABLE)."
    INTERNAL = 70
    "A process died of an error of its own (EX_SOFTWARE)."
    RETRY = 75
    "The process must be started anew, e.g. it was declared dead while it slept (EX_TEMPFAIL)."
    CONFIG = 78
    "The configuration cannot be used: a wrong setting, a port that is taken (EX_CONFIG)."


PERMANENT = frozenset({Exit.USAGE, Exit.CONFIG})
"Starting again would fail again."
