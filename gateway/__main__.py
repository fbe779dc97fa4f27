"""`tandem` and `python -m gateway`."""

from __future__ import annotations

import gc
import os


def main() -> None:
    """Run one command; the process's exit code is its result. What it writes is nobody else's to read."""
    os.umask(0o077)
    gc.disable()  # what is imported stays: looking for garbage in it takes a fifth of the time
    from gateway.cli import commands
    from gateway.cli.app import app
    from presence.discovery import load

    load(commands.__name__)
    gc.enable()
    app(prog_name="tandem")


if __name__ == "__main__":
    main()
