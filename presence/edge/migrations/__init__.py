"""The schema's history, one module per step: `NNNN_name.py` with `upgrade(connection)`.

A released step is never edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from sqlalchemy import Connection


def steps() -> list[tuple[int, Callable[[Connection], None]]]:
    """(version, upgrade) in order; versions are 1, 2, 3… without gaps."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name[:4].isdigit())
    found = [(int(name[:4]), importlib.import_module(f"{__name__}.{name}").upgrade) for name in names]
    if [version for version, _ in found] != list(range(1, len(found) + 1)):
        raise RuntimeError(f"migrations are not numbered without gaps: {names}")
    return found
