"""A client's side of SASL2, byte by byte."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from tests.xmpp.rawclient import RawClient

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='example.org' from='alice@example.org' version='1.0' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
AGENT = "d4565fa7-4d72-4749-b3d3-740edbf87770"
SUCCESS = b"</success>"
FAILURE = b"</failure>"


def plain(user: str = "alice", password: str = "secret") -> bytes:
    return f"\0{user}\0{password}".encode()


def authenticate(
    initial: bytes | None, wishes: bytes = b"", mechanism: str = "PLAIN", agent: str = ""
) -> bytes:
    """`<authenticate/>` with what else is wanted."""
    first = (
        b"<initial-response>%s</initial-response>" % base64.b64encode(initial) if initial is not None else b""
    )
    who = b"<user-agent id='%s'/>" % agent.encode() if agent else b""
    return b"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='%s'>%s%s%s</authenticate>" % (
        mechanism.encode(),
        first,
        who,
        wishes,
    )


async def opened(client: RawClient, header: bytes = HEADER) -> bytes:
    """The features of a stream whose header says who it is."""
    return await client.ask(header, b"</stream:features>")


def data(element: bytes) -> bytes:
    """What the last element's base64 text says."""
    return base64.b64decode(re.findall(rb">([A-Za-z0-9+/=]+)</", element)[-1])


async def scram(
    client: RawClient, wishes: bytes = b"", *, password: str = "secret", end: bytes = SUCCESS, agent: str = ""
) -> bytes:
    """The whole exchange with SCRAM-SHA-256; the last answer."""
    bare = "n=alice,r=abc"
    got = await client.ask(
        authenticate(f"n,,{bare}".encode(), wishes, "SCRAM-SHA-256", agent), b"</challenge>"
    )
    challenge = data(got).decode()
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = f"c=biws,r={fields['r']}"
    message = f"{bare},{challenge},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    final = f"{without_proof},p={base64.b64encode(proof).decode()}".encode()
    return await client.ask(b"<response xmlns='urn:xmpp:sasl:2'>%s</response>" % base64.b64encode(final), end)
