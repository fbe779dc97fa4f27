"""Accounts in LDAP: a password is right when a simple bind with it succeeds (RFC 4513 §5.1.3).

The password crosses the network, so a server elsewhere must be reached over TLS. An empty password would be
an unauthenticated bind, which succeeds for anybody (§5.1.2): it is never sent.
"""

from __future__ import annotations

import asyncio
import ssl
from importlib.util import find_spec
from math import ceil
from typing import Any
from urllib.parse import urlsplit

from presence.address import Address
from presence.edge.accounts import AccountSettings, Backend
from presence.edge.accounts.asked import Asked
from presence.edge.accounts.borrowed import BorrowedAccounts
from presence.edge.accounts.settings import LdapSettings
from presence.edge.database import Database
from presence.errors import Unavailable
from presence.ports import Accounts

MAX_WAITING = 32
"Binds under way at once; each has a thread."
_SUCCESS = 0
_WRONG = frozenset({32, 34, 48, 49, 53})
"""noSuchObject, invalidDNSyntax, inappropriateAuthentication, invalidCredentials, unwillingToPerform (some
servers say so of a locked account)."""
_SPECIAL = frozenset('\\,+"<>;=#')


def write_dn(pattern: str, address: Address) -> str:
    """The DN that binds, with the account's parts escaped (RFC 4514 §2.4)."""
    return pattern.replace("{local}", _escape(address.local)).replace("{domain}", _escape(address.domain))


def _escape(value: str) -> str:
    escaped = "".join(f"\\{c}" if c in _SPECIAL else "\\00" if c == "\0" else c for c in value)
    if escaped.startswith(" "):
        escaped = "\\" + escaped
    if escaped.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return escaped


def is_local(url: str) -> bool:
    """The server is this machine, so that nothing crosses a network."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


class Directory:
    """The LDAP server."""

    def __init__(self, settings: LdapSettings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(MAX_WAITING)

    async def bind(self, address: Address, password: str) -> bool:
        """Whether the bind succeeds. Raises `Unavailable`."""
        if not password:
            return False
        if self._places.locked():
            raise Unavailable("too many questions to LDAP are under way")
        async with self._places:
            code = await asyncio.to_thread(self._bind, write_dn(self._settings.dn, address), password)
        if code == _SUCCESS:
            return True
        if code in _WRONG:
            return False
        raise Unavailable(f"LDAP answers with result code {code}")

    def _bind(self, dn: str, password: str) -> int:
        """The result code. Blocks."""
        import ldap3  # an extra
        from ldap3.core.exceptions import LDAPException

        settings = self._settings
        ca = str(settings.ca_file) if settings.ca_file is not None else None
        try:
            server = ldap3.Server(
                settings.url.rstrip("/"),
                connect_timeout=settings.timeout,
                get_info=ldap3.NONE,
                tls=ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ca),
            )
            connection = ldap3.Connection(server, dn, password, receive_timeout=ceil(settings.timeout))
            try:
                connection.open(read_server_info=False)
                if settings.url.startswith("ldap:") and not is_local(settings.url):
                    connection.start_tls(read_server_info=False)
                connection.bind(read_server_info=False)
                return int(connection.result["result"])
            finally:
                _close(connection)
        except (LDAPException, OSError, ValueError) as error:
            raise Unavailable(f"LDAP: {type(error).__name__}") from error


def _close(connection: Any) -> None:
    """ldap3 leaves the socket of a connection that never was to the garbage collector."""
    opened = connection.socket
    connection.unbind()
    if opened is not None:
        opened.close()


def _open(settings: AccountSettings, database: Database) -> Accounts:
    return BorrowedAccounts(Asked("LDAP", Directory(settings.ldap).bind), database)


def _problems(settings: AccountSettings) -> list[str]:
    found = []
    if find_spec("ldap3") is None:
        found.append("accounts.backend: ldap needs the extra `ldap`: pip install tandem-gateway[ldap]")
    if urlsplit(settings.ldap.url).scheme not in ("ldap", "ldaps"):
        found.append("accounts.ldap.url: the backend ldap needs ldaps://HOST or ldap://HOST")
    if "{local}" not in settings.ldap.dn:
        found.append("accounts.ldap.dn: it must have {local}, or everybody would be the same person")
    return found


BACKEND = Backend(
    "ldap",
    "LDAP: whoever can bind can log in, with XMPP only",
    _open,
    problems=_problems,
    lists=False,
    phones=False,
)
