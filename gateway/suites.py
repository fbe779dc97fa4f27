"""XEP-0479 XMPP Compliance Suites 2023: what it wants of a server, row by row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One feature a server must have; for the level `Advanced`, all of `Core` as well."""

    category: str
    feature: str
    level: str
    providers: tuple[str, ...]
    "RFCs and XEPs, all of which are wanted."


ROWS = (
    Row("Core", "Core features", "Core", ("RFC 6120",)),
    Row("Core", "TLS", "Core", ("RFC 7590",)),
    Row("Core", "Direct TLS", "Advanced", ("XEP-0368",)),
    Row("Core", "Feature discovery", "Core", ("XEP-0030",)),
    Row("Core", "Feature broadcasts", "Advanced", ("XEP-0115",)),
    Row("Core", "Server extensibility", "Core", ("XEP-0114",)),
    Row("Core", "Event publishing", "Advanced", ("XEP-0163",)),
    Row("Web", "Web connection mechanisms", "Core", ("RFC 7395", "XEP-0206", "XEP-0124")),
    Row("Web", "Connection mechanism discovery", "client's", ("XEP-0156",)),
    Row("IM", "Core features", "Core", ("RFC 6121",)),
    Row("IM", "User avatar compatibility", "Advanced", ("XEP-0398", "XEP-0153")),
    Row("IM", "vcard-temp", "Core", ("XEP-0054",)),
    Row("IM", "Outbound message synchronization", "Core", ("XEP-0280",)),
    Row("IM", "User blocking", "Advanced", ("XEP-0191",)),
    Row("IM", "Group chat", "Core", ("XEP-0045", "XEP-0249")),
    Row("IM", "Advanced group chat", "Advanced", ("XEP-0048", "XEP-0313", "XEP-0402", "XEP-0410")),
    Row("IM", "Persistent storage of private data via PubSub", "Advanced", ("XEP-0223",)),
    Row("IM", "Private XML storage", "Advanced", ("XEP-0049",)),
    Row("IM", "Stream management", "Advanced", ("XEP-0198",)),
    Row("IM", "History storage and retrieval", "Advanced", ("XEP-0313",)),
    Row("IM", "File upload", "Core", ("XEP-0363",)),
    Row("Mobile", "Stream management", "Core", ("XEP-0198",)),
    Row("Mobile", "Client state indication", "Core", ("XEP-0352",)),
    Row("Mobile", "Third party push notifications", "Advanced", ("XEP-0357",)),
    Row("A/V calling", "STUN/TURN server discovery", "Core", ("XEP-0215",)),
)
