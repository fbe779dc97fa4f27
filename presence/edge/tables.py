"""The tables as today's code reads and writes them. How they came to be: `presence/edge/migrations/`."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, ForeignKey, Integer, LargeBinary, MetaData, String, Table

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

schema_versions = Table(
    "schema_versions",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("applied", Float, nullable=False),
)
