"""Whom people block, and what they keep with the server for their clients."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, LargeBinary, MetaData, String, Table


def upgrade(connection: Connection) -> None:
    """Create the tables."""
    metadata = MetaData()
    Table(
        "blocked",
        metadata,
        Column("owner", String(1023), primary_key=True),
        Column("name", String(2047), primary_key=True),
        Column("number", Integer, nullable=False),
        Index("blocked_name", "name"),
    )
    Table(
        "kept",
        metadata,
        Column("owner", String(1023), primary_key=True),
        Column("collection", String(1023), primary_key=True),
        Column("name", String(1023), primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("data", LargeBinary, nullable=False),
    )
    metadata.create_all(connection, checkfirst=False)
