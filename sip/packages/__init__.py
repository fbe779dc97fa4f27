"""Event packages (RFC 6665 §7): one file each, with one registration; Allow-Events and Accept follow from
it."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Literal, Protocol

from presence.model import PresenceDocument
from sip.pidf import Published


@dataclass(frozen=True, slots=True)
class Body:
    """What a notification carries."""

    content_type: str
    data: bytes
    headers: tuple[tuple[str, str], ...] = ()
    "Further fields that belong to the body, e.g. Content-Language."


class Package(Protocol):
    """One event package over the presence of a person."""

    name: str
    "As in Event."
    notified: str
    "Media type of its notifications; a watcher whose Accept excludes it gets 406."
    published: tuple[str, ...]
    "Media types PUBLISH may bring; none: it cannot be published."

    def parse(self, body: bytes, now: float, lang: str, on_the_phone: Literal["dnd", "away"]) -> Published:
        """A published body. Raises `ProtocolError`."""

    def render(self, document: PresenceDocument) -> Body:
        """What a fully authorised watcher is notified of."""


_packages: dict[str, Package] = {}


def register(package: Package) -> None:
    """Called once by each module here."""
    _packages[package.name] = package


def packages() -> dict[str, Package]:
    """All of them, by name."""
    if not _packages:
        for module in pkgutil.iter_modules(__path__):
            importlib.import_module(f"{__name__}.{module.name}")
    return _packages


def allow_events() -> str:
    return ", ".join(sorted(packages()))
