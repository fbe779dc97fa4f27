"""Stanzas that cross from one of our processes to another outside the stored path.

IQs between clients, directed presence, and messages for exactly one resource travel as
`presence.ports.Relay`: delivered now or not at all.
"""

from __future__ import annotations

import msgspec

from presence.ports import EndpointKind, Relay
from xmpp.element import CLIENT_NS, Element
from xmpp.jid import JID
from xmpp.serialiser import serialise

CONFLICT = "conflict"
"Name of the word by which a resource that was bound anew elsewhere is told to go (RFC 6120 §7.7.2.2)."


class Carried(msgspec.Struct, frozen=True, array_like=True):
    """A stanza with what its receiver must know without reading it."""

    name: str
    "`message`, `presence`, `iq`, or `conflict`."
    type: str
    sender: str
    "Full JID; for `conflict`, the process that holds the resource now."
    to: str
    id: str = ""
    stanza: bytes = b""
    "Serialised for a stream whose content namespace is `jabber:client`."


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Carried)


def carry(stanza: Element, sender: JID, to: JID) -> Carried:
    return Carried(
        stanza.name,
        stanza.get("type"),
        sender.full,
        to.full,
        stanza.get("id"),
        serialise(stanza, CLIENT_NS).encode(),
    )


def envelope(carried: Carried, to: JID) -> Relay:
    """For the resource `to` names; for all resources of a bare JID."""
    return Relay(
        address=to.bare,
        endpoint=f"xmpp:{to.resource}" if to.resource else "",
        kind=EndpointKind.XMPP,
        payload=_encoder.encode(carried),
    )


def opened(relay: Relay) -> Carried:
    """Raises `msgspec.MsgspecError` for what another version of ours may have sent."""
    return _decoder.decode(relay.payload)
