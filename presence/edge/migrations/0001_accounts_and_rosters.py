"""The first schema: accounts with their proofs, rosters with RFC 6121 appendix A's states."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)


def upgrade(connection: Connection) -> None:
    """Create the tables."""
    metadata = MetaData()
    Table(
        "accounts",
        metadata,
        Column("address", String(1023), primary_key=True),
        Column("enabled", Boolean, nullable=False),
        Column("phone_only", Boolean, nullable=False),
        Column("created", Float, nullable=False),
    )
    Table(
        "credentials",
        metadata,
        Column("address", ForeignKey("accounts.address", ondelete="CASCADE"), primary_key=True),
        Column("kind", String(32), primary_key=True),
        Column("secret", LargeBinary, nullable=False),
    )
    Table(
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
    Table(
        "roster_versions",
        metadata,
        Column("owner", String(1023), primary_key=True),
        Column("version", Integer, nullable=False),
    )
    metadata.create_all(connection, checkfirst=False)
