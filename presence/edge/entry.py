"""What lets people in without a password, in SQL (`presence.ports.TokenStore`, `InvitationStore`)."""

from __future__ import annotations

import msgspec
from sqlalchemy import BindParameter, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from presence.address import Address
from presence.edge.database import Database, inserting
from presence.edge.reading import Query
from presence.edge.tables import invitations, login_tokens
from presence.ports import ClientTokens, Invitation

_encode = msgspec.msgpack.Encoder().encode
_tokens = msgspec.msgpack.Decoder(ClientTokens).decode
_invitation = msgspec.msgpack.Decoder(Invitation).decode
_address: BindParameter[str] = bindparam("address")
_client: BindParameter[str] = bindparam("client")
_name: BindParameter[str] = bindparam("name")
_now: BindParameter[float] = bindparam("now")
_TOKENS = Query(
    select(login_tokens.c.data).where(login_tokens.c.address == _address, login_tokens.c.client == _client)
)
_INVITATION = Query(select(invitations.c.data).where(invitations.c.name == _name))
_RESERVED = Query(
    select(invitations.c.name).where(invitations.c.reserved == _address, invitations.c.expires > _now)
)


class Entry:
    """A part of `presence.edge.sql.SqlStore`."""

    database: Database

    async def tokens(self, owner: Address, client: str) -> ClientTokens:
        """See `presence.ports.TokenStore`."""
        rows = await self.database.rows(_TOKENS, address=str(owner), client=client)
        return _tokens(rows[0][0]) if rows else ClientTokens()

    async def put_tokens(
        self, owner: Address, client: str, tokens: ClientTokens, most: int, now: float
    ) -> None:
        """See `presence.ports.TokenStore.put_tokens`."""
        mine = login_tokens.c.address == str(owner)
        key = {"address": str(owner), "client": client}
        values = {"data": _encode(tokens), "expires": tokens.expires}
        async with self.database.writing() as connection:
            await connection.execute(
                inserting(connection, login_tokens)
                .values(**key, **values)
                .on_conflict_do_update(index_elements=list(key), set_=values)
            )
            await connection.execute(delete(login_tokens).where(mine, login_tokens.c.expires <= now))
            by_age = select(login_tokens.c.client).where(mine).order_by(login_tokens.c.expires.desc())
            surplus = [name for name in await connection.scalars(by_age.offset(most)) if name != client]
            if surplus:
                await connection.execute(delete(login_tokens).where(mine, login_tokens.c.client.in_(surplus)))

    async def drop_tokens(self, owner: Address, client: str | None = None) -> None:
        """See `presence.ports.TokenStore.drop_tokens`."""
        async with self.database.writing() as connection:
            await forget_tokens(connection, owner, client)

    async def invitation(self, name: str) -> Invitation | None:
        """See `presence.ports.InvitationStore`."""
        rows = await self.database.rows(_INVITATION, name=name)
        return _invitation(rows[0][0]) if rows else None

    async def put_invitation(self, name: str, invitation: Invitation, most: int, now: float) -> bool:
        """See `presence.ports.InvitationStore.put_invitation`."""
        inviter, reserved = str(invitation.inviter or ""), invitation.reserved
        async with self.database.writing() as connection:
            await connection.execute(delete(invitations).where(invitations.c.expires <= now))
            mine = select(func.count()).select_from(invitations).where(invitations.c.inviter == inviter)
            if inviter and (await connection.scalar(mine) or 0) >= most:
                return False
            same = select(invitations.c.name).where(invitations.c.reserved == reserved)
            if reserved and await connection.scalar(same) is not None:
                return False
            await connection.execute(
                insert(invitations).values(
                    name=name,
                    inviter=inviter,
                    reserved=reserved,
                    data=_encode(invitation),
                    expires=invitation.expires,
                )
            )
        return True

    async def take_invitation(self, name: str) -> bool:
        """See `presence.ports.InvitationStore.take_invitation`."""
        async with self.database.writing() as connection:
            return await use_invitation(connection, name)

    async def reserved(self, address: Address, now: float) -> bool:
        """See `presence.ports.InvitationStore.reserved`."""
        return bool(await self.database.rows(_RESERVED, address=str(address), now=now))


async def use_invitation(connection: AsyncConnection, name: str) -> bool:
    """False: it was used up already."""
    gone = await connection.execute(delete(invitations).where(invitations.c.name == name))
    return gone.rowcount > 0


async def forget_tokens(connection: AsyncConnection, address: Address, client: str | None = None) -> None:
    """Of one client, or all."""
    gone = delete(login_tokens).where(login_tokens.c.address == str(address))
    if client is not None:
        gone = gone.where(login_tokens.c.client == client)
    await connection.execute(gone)


async def forget_entry(connection: AsyncConnection, address: Address) -> None:
    """Of a person who is deleted: their tokens, and the invitations they gave."""
    await forget_tokens(connection, address)
    await connection.execute(delete(invitations).where(invitations.c.inviter == str(address)))
