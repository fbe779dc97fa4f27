"""XEP-0480 SASL Upgrade Tasks: a client that has logged in with its password makes the keys of SCRAM
mechanisms its account has none of yet.

What is offered is the same for everybody, so that it tells nothing of an account.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from presence.address import Address
from presence.ports import ScramKeys
from xmpp.element import E, Element
from xmpp.entrance import Entrance
from xmpp.extensions import Extension, Status
from xmpp.sasl import SaslFailure
from xmpp.welcome import Task, Welcome

if TYPE_CHECKING:
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter

NS = "urn:xmpp:sasl:upgrade:0"
SCRAM_NS = "urn:xmpp:scram-upgrade:0"
PREFIX = "UPGR-SCRAM-"


def _hashes(router: XmppRouter) -> list[str]:
    """Those of the mechanisms that are in use, in the order of the settings."""
    known = router.accounts.mechanisms
    wanted = (name for name in router.settings.mechanisms if name.startswith("SCRAM-") and name in known)
    return [name.removeprefix("SCRAM-") for name in wanted]


async def _features(router: XmppRouter, negotiation: Negotiation) -> list[Element]:
    """§2.1."""
    return [E("upgrade", NS, {}, PREFIX + name) for name in _hashes(router)]


async def _tasks(router: XmppRouter, welcome: Welcome) -> list[Task]:
    """§2.2: what was asked for, and is not there yet."""
    asked = {element.text.strip() for element in welcome.request.findall("upgrade", NS)}
    if not asked or welcome.request.get("mechanism").startswith("HT-"):  # it may not know the password
        return []
    account = await router.accounts.find(welcome.address)
    if account is None:
        return []
    missing = (name for name in _hashes(router) if name not in account.scram and PREFIX + name in asked)
    return [ScramUpgrade(router, welcome.address, name) for name in missing]


class ScramUpgrade:
    """§3. Implements `xmpp.welcome.Task`."""

    def __init__(self, router: XmppRouter, address: Address, hash: str) -> None:
        self.name = PREFIX + hash
        self._router = router
        self._address = address
        self._hash = hash
        self._digest = hash.replace("-", "").lower()
        self._salt = b""
        self._iterations = router.settings.fake_iterations

    async def receive(self, data: Element) -> list[Element] | None:
        """`<next/>` is answered with salt and iterations, the salted password with nothing."""
        if not self._salt:
            self._salt = secrets.token_bytes(16)
            salt = base64.b64encode(self._salt).decode()
            return [E("salt", SCRAM_NS, {"iterations": str(self._iterations)}, salt)]
        given = data.find("hash", SCRAM_NS)
        text = "".join(given.text.split()) if given is not None else ""
        try:
            salted = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise SaslFailure("incorrect-encoding", "not base64", self._address) from None
        if len(salted) != hashlib.new(self._digest).digest_size:
            raise SaslFailure("malformed-request", "not a salted password", self._address)
        client_key = hmac.digest(salted, b"Client Key", self._digest)
        keys = ScramKeys(
            salt=self._salt,
            iterations=self._iterations,
            stored_key=hashlib.new(self._digest, client_key).digest(),
            server_key=hmac.digest(salted, b"Server Key", self._digest),
        )
        await self._router.service.keep_scram(self._address, self._hash, keys)
        return None


EXTENSION = Extension(
    spec="XEP-0480",
    name="SASL Upgrade Tasks",
    version="0.2.0",
    status=Status.COMPLETE,
    notes="SCRAM.",
    entrance=Entrance(login_features=_features, tasks=_tasks),
)
