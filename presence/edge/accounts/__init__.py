"""Account backends: one file each, one registration each.

A backend module defines `BACKEND = Backend(name, summary, open)`; this package finds it. What needs an extra
that may not be installed stands in a `*_client` module, which its backend imports when it is opened.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from presence.edge.accounts.settings import AccountSettings
from presence.edge.database import Database
from presence.edge.sql import SqlStore
from presence.ports import Accounts

__all__ = ["AccountSettings", "Backend", "account_problems", "backends", "open_accounts"]


def _nothing(_settings: AccountSettings) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to keep accounts."""

    name: str
    "What the setting `accounts.backend` says."
    summary: str
    open: Callable[[AccountSettings, Database], Accounts]
    problems: Callable[[AccountSettings], list[str]] = _nothing
    "What is wrong with the settings, and what they name: Tandem does not start with them."
    hints: Callable[[AccountSettings], list[str]] = _nothing
    "For `tandem check`: what costs somebody their login."
    creates: bool = False
    "`tandem user add`, `passwd`, `delete` and password changes from clients work."
    lists: bool = True
    "`tandem user list` shows everybody, not only those who have logged in."
    phones: bool = True
    "SIP phones can log in."


def backends() -> dict[str, Backend]:
    """Every backend by its name."""
    names = (info.name for info in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{n}") for n in names if not n.endswith("_client"))
    found = [module.BACKEND for module in modules if hasattr(module, "BACKEND")]
    return {backend.name: backend for backend in found}


def account_problems(settings: AccountSettings) -> list[str]:
    """What keeps the configured backend from working at all."""
    known = backends()
    if settings.backend not in known:
        return [f"accounts.backend: there is no {settings.backend!r}, only {', '.join(sorted(known))}"]
    return known[settings.backend].problems(settings)


def open_accounts(
    settings: AccountSettings, store: SqlStore, reserved: frozenset[str] = frozenset()
) -> Accounts:
    """The configured backend. `reserved`: see `presence.ports.Accounts`. Raises `LookupError` naming the
    known ones."""
    known = backends()
    if settings.backend not in known:
        raise LookupError(f"no account backend {settings.backend!r}; there are: {', '.join(sorted(known))}")
    accounts = known[settings.backend].open(settings, store.database)
    accounts.reserved = reserved
    return accounts
