"""What lets people in without a password: clients' tokens, and invitations."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Float, Index, LargeBinary, MetaData, String, Table


def upgrade(connection: Connection) -> None:
    """Create the tables."""
    metadata = MetaData()
    Table(
        "login_tokens",
        metadata,
        Column("address", String(1023), primary_key=True),
        Column("client", String(64), primary_key=True),
        Column("data", LargeBinary, nullable=False),
        Column("expires", Float, nullable=False),
    )
    Table(
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
    metadata.create_all(connection, checkfirst=False)
