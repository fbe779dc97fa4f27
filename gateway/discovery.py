"""Finding the modules of a package, so that adding one file is all a new command or resource takes."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Every module of the package, imported, in the order of their names."""
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        yield import_module(found.name)
