"""Finding the modules of a package: adding one file is all that a new command, extension or format takes."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType


def load(package: str) -> list[ModuleType]:
    """Every module of the package of that name, imported, in the order of their names."""
    found = pkgutil.iter_modules(import_module(package).__path__, f"{package}.")
    return [import_module(each.name) for each in found]
