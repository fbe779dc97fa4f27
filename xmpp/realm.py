"""What all streams of one door share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from presence.guarding import Unguarded
from presence.ports import Accounts, Guard
from xmpp.entrance import Threshold
from xmpp.host import Host
from xmpp.settings import XmppSettings


@dataclass(frozen=True, slots=True)
class Realm:
    """Of one listener."""

    settings: XmppSettings
    domains: tuple[str, ...]
    "Domains served; the first answers where a client names none or one that is not ours."
    accounts: Accounts
    host: Host
    fake_secret: bytes = b""
    threshold: Threshold = field(default_factory=Threshold)
    guard: Guard = field(default_factory=Unguarded)
    features: dict[Hashable, str] = field(default_factory=dict)
    "As they are written, by all they depend on (`Negotiation`)."
    stream_id: Callable[[], str] = field(default=lambda: secrets.token_urlsafe(12))
