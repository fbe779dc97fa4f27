"""Accounts behind a web service of the operator's: it is asked whether a password is right.

POST of `{"address": "alice@example.org", "password": "…"}` as JSON. 2xx: right. 401, 403, 404: wrong.
Anything else, or silence: nobody can say.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter
from urllib.parse import urlsplit

import httpx

from presence.address import Address
from presence.edge.accounts import AccountSettings, Backend
from presence.edge.accounts.asked import Asked
from presence.edge.accounts.borrowed import BorrowedAccounts
from presence.edge.accounts.ldap import is_local
from presence.edge.accounts.settings import HttpSettings, read_secret
from presence.edge.database import Database
from presence.errors import Unavailable
from presence.ports import Accounts

MAX_WAITING = 64
"Questions under way at once."
_status = attrgetter("status_code")
_WRONG = frozenset({401, 403, 404})


class Hook(Asked):
    """The web service."""

    def __init__(self, settings: HttpSettings) -> None:
        super().__init__("the web service", self._post)
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._places = asyncio.Semaphore(MAX_WAITING)

    async def _post(self, address: Address, password: str) -> bool:
        if self._places.locked():
            raise Unavailable("too many questions to the web service are under way")
        async with self._places:
            try:
                answer = await self._opened().post(
                    self._settings.url, json={"address": str(address), "password": password}
                )
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                raise Unavailable(f"the web service: {type(error).__name__}") from error
        if answer.is_success:
            return True
        if _status(answer) in _WRONG:
            return False
        raise Unavailable(f"the web service answers {_status(answer)}")

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            file = self._settings.token_file
            headers = {"Authorization": f"Bearer {read_secret(file).decode()}"} if file is not None else {}
            limits = httpx.Limits(max_connections=MAX_WAITING)
            self._client = httpx.AsyncClient(
                timeout=self._settings.timeout, headers=headers, limits=limits, trust_env=False
            )
        return self._client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _open(settings: AccountSettings, database: Database) -> Accounts:
    return BorrowedAccounts(Hook(settings.http), database)


def _problems(settings: AccountSettings) -> list[str]:
    url = settings.http.url
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        return ["accounts.http.url: the backend http needs https://HOST/PATH"]
    if url.startswith("http:") and not is_local(url):
        return ["accounts.http.url: passwords would cross the network in the clear; use https"]
    try:
        if settings.http.token_file is not None:
            read_secret(settings.http.token_file)
    except Unavailable as error:
        return [f"accounts.http.token_file: {error}"]
    return []


BACKEND = Backend(
    "http",
    "a web service that says whether a password is right, with XMPP only",
    _open,
    problems=_problems,
    lists=False,
    phones=False,
)
