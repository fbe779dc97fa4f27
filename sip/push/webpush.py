"""Web push (RFC 8599 §12): the phone's `pn-prid` is the URI of its subscription (RFC 8030).

The request is empty, so nothing has to be encrypted. It is signed with this server's key (VAPID, RFC 8292);
phones hear the public one when they register or ask, and subscribe for it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sip.push import Bell, Pns, PushContact, Secrets, service
from sip.settings import PushSettings

_TOKEN_LIFE = 12 * 3600
"Seconds; a day is the most (RFC 8292 §2)."


class WebPush:
    """Implements `sip.push.Pns`."""

    name = "webpush"

    def __init__(self, key: ec.EllipticCurvePrivateKey, contact: str) -> None:
        """`contact`: `mailto:` or `https:` URI of who runs this server, or empty."""
        self._key = key
        self._contact = contact
        public = key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self._public = _base64(public)
        self.features: tuple[tuple[str, str], ...] = (("+sip.vapid", self._public),)

    def takes(self, contact: PushContact) -> bool:
        """RFC 8030 §8: HTTPS only. `pn-param` has no meaning here."""
        try:
            uri = urlsplit(contact.prid)
            there = bool(uri.hostname) and (uri.port is None or uri.port > 0)
        except ValueError:
            return False
        plain = contact.prid.isascii() and contact.prid.isprintable() and " " not in contact.prid
        return uri.scheme == "https" and there and plain and "@" not in uri.netloc

    def bell(self, contact: PushContact, now: float, patience: int) -> Bell:
        headers = (
            ("TTL", str(patience)),
            ("Urgency", "high"),
            # What waits at the service is replaced: waking the phone once is enough (RFC 8030 §5.4).
            ("Topic", "wake"),
            ("Authorization", f"vapid t={self._token(contact.prid, now)}, k={self._public}"),
        )
        return Bell(contact.prid, headers)

    def _token(self, url: str, now: float) -> str:
        """RFC 8292 §2: for that service alone, by its origin (RFC 6454 §6.1), and for some hours."""
        place = urlsplit(url).netloc.lower().removesuffix(":443")
        claims: dict[str, str | int] = {"aud": f"https://{place}", "exp": int(now) + _TOKEN_LIFE}
        if self._contact:
            claims["sub"] = self._contact
        signed = f"{_json({'typ': 'JWT', 'alg': 'ES256'})}.{_json(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _json(value: dict[str, str | int]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@service
def web_push(settings: PushSettings, secrets: Secrets) -> Iterable[Pns]:
    if settings.webpush and secrets.vapid is not None:
        yield WebPush(secrets.vapid, settings.contact)
