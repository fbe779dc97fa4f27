"""Where the Redis or Valkey server is: `redis://`, `rediss://`, `unix://` and `redis+sentinel://` URLs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from presence.errors import Unavailable

DEFAULT_PORT = 6379
SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class Server:
    """A parsed URL. `tls` asks for certificates the system trusts, or those of `?ca=FILE`."""

    hosts: tuple[tuple[str, int], ...] = ()
    "One server, or all Sentinels."
    path: str = ""
    "Unix socket."
    user: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    tls: ssl.SSLContext | None = None
    service: str = ""
    "Master name; set when `hosts` are Sentinels."

    def __str__(self) -> str:
        """For logs: without the password."""
        where = self.path or ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{where}/{self.service}" if self.service else where

    async def connect(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Open one connection to the master. Raises OSError, or `Unavailable` when no Sentinel knows it."""
        loop = asyncio.get_running_loop()
        if self.path:
            await loop.create_unix_connection(protocol, self.path)
            return
        host, port = await self._master() if self.service else self.hosts[0]
        await loop.create_connection(protocol, host, port, ssl=self.tls)

    async def _master(self) -> tuple[str, int]:
        try:
            return await ask_sentinels(self.hosts, self.service)
        except (RedisError, OSError) as error:
            raise Unavailable(f"no Sentinel of {self} knows the master") from error


async def ask_sentinels(hosts: tuple[tuple[str, int], ...], service: str) -> tuple[str, int]:
    """The first answer of those who know the master. Raises `MasterNotFoundError`."""
    group = Sentinel(list(hosts), socket_timeout=1)  # type: ignore[no-untyped-call]
    try:
        host, port = await group.discover_master(service)
        return str(host), int(port)
    finally:
        for sentinel in group.sentinels:
            await sentinel.aclose()


def parse_server(url: str) -> Server:
    """Raises ValueError, saying what is wrong (never with the password)."""
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    path, db, service = "", query.get("db", ""), ""
    hosts: tuple[tuple[str, int], ...] = ()
    match parts.scheme:
        case "unix":
            path = unquote(parts.path)
            if not path:
                raise ValueError("unix:// needs the path of a socket")
        case "redis" | "rediss":
            hosts = ((parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT),)
            db = parts.path.strip("/") or db
        case "redis+sentinel":
            names = parts.netloc.rpartition("@")[2].split(",")
            hosts = tuple(split_host(name) for name in names)
            service, _, tail = parts.path.strip("/").partition("/")
            db = tail or db
            if not service:
                raise ValueError("redis+sentinel:// needs the master's name as its path")
        case "redis+cluster":
            raise ValueError("Redis Cluster is not supported yet: use a single server or Sentinel")
        case _:
            raise ValueError("expected redis://, rediss://, unix:// or redis+sentinel://")
    if (db and not db.isascii()) or (db and not db.isdigit()):
        raise ValueError("the database is a number")
    tls = ssl.create_default_context(cafile=query.get("ca")) if parts.scheme == "rediss" else None
    return Server(
        hosts=hosts,
        path=path,
        user=user,
        password=password,
        db=int(db or 0),
        tls=tls,
        service=service,
    )


def split_host(name: str) -> tuple[str, int]:
    parts = urlsplit(f"//{name}")
    return parts.hostname or "127.0.0.1", parts.port or SENTINEL_PORT
