"""The tables as today's code reads and writes them. How they came to be: `presence/edge/migrations/`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("address", String(1023), primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("phone_only", Boolean, nullable=False),
    Column("created", Float, nullable=False),
)

credentials = Table(
    "credentials",
    metadata,
    Column("address", ForeignKey("accounts.address", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)
"""`ha1:MD5`, `ha1:SHA-256`: hex digest; `scram:SHA-1`, `scram:SHA-256`: msgpack of `ScramKeys`.
An imported account has `own:HA1` and `own:spelling` until a password is set."""

account_notes = Table(
    "account_notes",
    metadata,
    Column("address", String(1023), primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("phone_only", Boolean, nullable=False),
    Column("since", Float, nullable=False),
)
"""Of accounts kept elsewhere; written when someone first logs in or is disabled."""

derived_keys = Table(
    "derived_keys",
    metadata,
    Column("address", String(1023), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("secret", LargeBinary, nullable=False),
)
"""SCRAM keys made at a PLAIN login: good as long as the HA1 has the fingerprint. `secret`: msgpack of
`ScramKeys` by hash."""

roster = Table(
    "roster",
    metadata,
    Column("owner", String(1023), primary_key=True),
    Column("contact", String(1023), primary_key=True),
    Column("subscription", String(4), nullable=False),
    Column("ask", Boolean, nullable=False),
    Column("pending_in", Boolean, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("name", String(1023), nullable=False),
    Column("details", LargeBinary, nullable=False),
)
"""`details`: msgpack of groups, request and opaque, which are only ever read with their item."""

roster_versions = Table(
    "roster_versions",
    metadata,
    Column("owner", String(1023), primary_key=True),
    Column("version", Integer, nullable=False),
)

archive = Table(
    "archive",
    metadata,
    Column("position", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False),
    Column("sender", String(1023), nullable=False),
    Column("recipient", String(1023), nullable=False),
    Column("sender_tuple", String(1023), nullable=False),
    Column("recipient_tuple", String(1023), nullable=False),
    Column("for_sender", Boolean, nullable=False),
    Column("for_recipient", Boolean, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Index("archive_id", "id", unique=True),
    Index("archive_sent", "sender", "position", "recipient"),
    Index("archive_received", "recipient", "position", "sender"),
)
"""One row for both parties. `message`: the `InstantMessage` as on the bus."""

archive_preferences = Table(
    "archive_preferences",
    metadata,
    Column("owner", String(1023), primary_key=True),
    Column("details", LargeBinary, nullable=False),
)
"""`details`: msgpack of `presence.archive.Preferences`; owners without a row have the defaults."""

blocked = Table(
    "blocked",
    metadata,
    Column("owner", String(1023), primary_key=True),
    Column("name", String(2047), primary_key=True),
    Column("number", Integer, nullable=False),
    Index("blocked_name", "name"),
)
"""`name`: as `presence.blocking.Blocklist` has it; `number`: in the order they were blocked."""

kept = Table(
    "kept",
    metadata,
    Column("owner", String(1023), primary_key=True),
    Column("collection", String(1023), primary_key=True),
    Column("name", String(1023), primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""What clients keep with the server. `position`: Unix nanoseconds of the last change."""

rooms = Table(
    "rooms",
    metadata,
    Column("room", String(1023), primary_key=True),
    Column("domain", String(1023), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("name", String(1023), nullable=False),
    Column("public", Boolean, nullable=False),
    Column("details", LargeBinary, nullable=False),
    Index("rooms_domain", "domain"),
)
"""Persistent ones. `details`: msgpack of `presence.rooms.model.Head`."""

room_affiliations = Table(
    "room_affiliations",
    metadata,
    Column("room", String(1023), primary_key=True),
    Column("address", String(1023), primary_key=True),
    Column("affiliation", String(16), nullable=False),
    Column("nick", String(1023), nullable=False),
    Column("reason", String(4095), nullable=False),
    Index("room_affiliations_address", "address"),
)

login_tokens = Table(
    "login_tokens",
    metadata,
    Column("address", String(1023), primary_key=True),
    Column("client", String(64), primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("expires", Float, nullable=False),
)
"""`client`: digest of its identifier; `data`: msgpack of `presence.ports.ClientTokens`, which lets nobody
in."""

invitations = Table(
    "invitations",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("inviter", String(1023), nullable=False),
    Column("reserved", String(1023), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("expires", Float, nullable=False),
    Index("invitations_inviter", "inviter"),
    Index("invitations_reserved", "reserved"),
)
"""`name`: digest of the token; `data`: msgpack of `presence.ports.Invitation`."""

schema_versions = Table(
    "schema_versions",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("applied", Float, nullable=False),
)
