"""Push services behind a gateway of the operator's, such as `apns` and `fcm` (RFC 8599 §10, §11): it has the
makers' credentials, Tandem tells it whom to wake.

POST of `{"provider": "fcm", "prid": "…", "param": "…", "ttl": 3600}` as JSON. 2xx: it is on its way. 404,
410: that phone is not known any more. Anything else, or silence: perhaps later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sip.push import Bell, Pns, PushContact, Secrets, service
from sip.settings import PushSettings


class Gateway:
    """Implements `sip.push.Pns`."""

    features: tuple[tuple[str, str], ...] = ()

    def __init__(self, name: str, url: str, token: str = "") -> None:
        self.name = name
        self._url = url
        proof = (("Authorization", f"Bearer {token}"),) if token else ()
        self._headers = (("Content-Type", "application/json"), *proof)

    def takes(self, contact: PushContact) -> bool:
        """Apple's and Google's services both need to know the app, too."""
        return bool(contact.param) or self.name not in ("apns", "fcm")

    def bell(self, contact: PushContact, now: float, patience: int) -> Bell:
        told = {"provider": self.name, "prid": contact.prid, "param": contact.param, "ttl": patience}
        return Bell(self._url, self._headers, json.dumps(told).encode(), named_by_phone=False)


@service
def gateways(settings: PushSettings, secrets: Secrets) -> Iterable[Pns]:
    for name, url in settings.gateways.items():
        yield Gateway(name, url, secrets.gateway_token)
