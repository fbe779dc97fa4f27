"""Account backends: one file each, one registration each.

A backend module defines `BACKEND = Backend(name, summary, open)`; this package finds it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from presence.edge.database import Database
from presence.edge.sql import SqlStore
from presence.ports import Accounts


class AccountSettings(BaseModel):
    """Where accounts and their passwords are kept."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    backend: str = "sql"
    "The account backend: `sql` keeps them in Tandem's own database."


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to keep accounts."""

    name: str
    "What the setting `accounts.backend` says."
    summary: str
    open: Callable[[AccountSettings, Database], Accounts]


def backends() -> dict[str, Backend]:
    """Every backend by its name."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found = [module.BACKEND for module in modules if hasattr(module, "BACKEND")]
    return {backend.name: backend for backend in found}


def open_accounts(settings: AccountSettings, store: SqlStore) -> Accounts:
    """The configured backend. Raises `LookupError` naming the known ones."""
    known = backends()
    if settings.backend not in known:
        raise LookupError(f"no account backend {settings.backend!r}; there are: {', '.join(sorted(known))}")
    return known[settings.backend].open(settings, store.database)
