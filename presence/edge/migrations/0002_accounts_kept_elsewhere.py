"""What Tandem remembers of accounts that are kept elsewhere, and SCRAM keys made from a password it saw."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Connection, Float, LargeBinary, MetaData, String, Table


def upgrade(connection: Connection) -> None:
    """Create the tables."""
    metadata = MetaData()
    Table(
        "account_notes",
        metadata,
        Column("address", String(1023), primary_key=True),
        Column("enabled", Boolean, nullable=False),
        Column("phone_only", Boolean, nullable=False),
        Column("since", Float, nullable=False),
    )
    Table(
        "derived_keys",
        metadata,
        Column("address", String(1023), primary_key=True),
        Column("fingerprint", LargeBinary, nullable=False),
        Column("secret", LargeBinary, nullable=False),
    )
    metadata.create_all(connection, checkfirst=False)
