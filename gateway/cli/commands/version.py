"""`tandem version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

from gateway.cli.app import app, out


@app.command()
def version() -> None:
    """Print the version of Tandem and of the Python that runs it."""
    out.print(f"tandem {installed('tandem-gateway')} (Python {platform.python_version()})")
