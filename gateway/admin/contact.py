"""Where the admin API is and the token it wants: a file that only the gateway's own user may read."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from gateway.certs import write_private


class Contact(msgspec.Struct, frozen=True):
    """How the commands reach the API."""

    url: str
    token: str


def contact_file(state_dir: Path) -> Path:
    """Where `Contact` is kept."""
    return state_dir / "run" / "admin.json"


def read_contact(state_dir: Path) -> Contact | None:
    """The running admin's, or the last one's, contact."""
    try:
        return msgspec.json.decode(contact_file(state_dir).read_bytes(), type=Contact)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_contact(state_dir: Path, contact: Contact) -> None:
    """Tell the commands."""
    write_private(contact_file(state_dir), msgspec.json.encode(contact))


def token_for(state_dir: Path) -> str:
    """The API's token: kept over restarts, made when there is none."""
    known = read_contact(state_dir)
    return known.token if known else secrets.token_urlsafe(32)
