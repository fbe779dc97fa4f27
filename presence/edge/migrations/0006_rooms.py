"""Rooms that outlive their occupants, and who stands to them how."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, LargeBinary, MetaData, String, Table


def upgrade(connection: Connection) -> None:
    """Create the tables."""
    metadata = MetaData()
    Table(
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
    Table(
        "room_affiliations",
        metadata,
        Column("room", String(1023), primary_key=True),
        Column("address", String(1023), primary_key=True),
        Column("affiliation", String(16), nullable=False),
        Column("nick", String(1023), nullable=False),
        Column("reason", String(4095), nullable=False),
        Index("room_affiliations_address", "address"),
    )
    metadata.create_all(connection, checkfirst=False)
