"""`tandem` and `python -m gateway`."""

from __future__ import annotations

import os

from gateway.cli import commands
from gateway.cli.app import app
from gateway.discovery import modules


def main() -> None:
    """Run one command; the process's exit code is its result. What it writes is nobody else's to read."""
    os.umask(0o077)
    for _ in modules(commands):
        pass
    app(prog_name="tandem")


if __name__ == "__main__":
    main()
