"""The message archive, and what its owners want kept."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)


def upgrade(connection: Connection) -> None:
    """Create the tables. In SQLite an INTEGER key is the row's own number, and needs no index."""
    metadata = MetaData()
    position = BigInteger().with_variant(Integer(), "sqlite")
    Table(
        "archive",
        metadata,
        Column("position", position, primary_key=True, autoincrement=False),
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
    Table(
        "archive_preferences",
        metadata,
        Column("owner", String(1023), primary_key=True),
        Column("details", LargeBinary, nullable=False),
    )
    metadata.create_all(connection, checkfirst=False)
