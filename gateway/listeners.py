"""Every address the gateway listens on, by the setting that names it: for `tandem check`, the welcome and
clear errors."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.config import Settings
from presence.edge.sockets import has_ipv6
from presence.listening import split_listen

LOOPBACK = ("127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Listener:
    """One address of one setting."""

    setting: str
    "E.g. `sip.listen_udp`."
    host: str
    port: int

    @property
    def transport(self) -> str:
        return "udp" if self.setting.endswith("_udp") else "tcp"

    @property
    def tls(self) -> bool:
        return self.setting.endswith("_tls")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.transport}"

    def problem(self) -> str:
        """Why it cannot be opened now, empty when it can."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        kind = socket.SOCK_DGRAM if self.transport == "udp" else socket.SOCK_STREAM
        try:
            with socket.socket(family, kind) as tried:
                if kind is socket.SOCK_STREAM:
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind((self.host, self.port))
        except OSError as error:
            return self._told(error)
        return ""

    def _told(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            return f"{self.setting}: {self} is taken by another program; choose another port or stop that one"
        if error.errno == errno.EACCES:
            return f"{self.setting}: {self} needs more rights than this user has; choose a port above 1023"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{self.setting}: {self.host} is not an address of this machine"
        if error.errno == errno.EAFNOSUPPORT:
            return f"{self.setting}: this machine has no IPv6; use 0.0.0.0:{self.port}"
        return f"{self.setting}: {self}: {error.strerror or error}"


def listeners(settings: Settings) -> Iterator[Listener]:
    """All of them, those of roles without a process left out."""
    if settings.processes.xmpp:
        yield from _door("xmpp", settings.xmpp.model_dump())
    if settings.processes.sip:
        yield from _door("sip", settings.sip.model_dump())
    if settings.processes.admin:
        yield Listener("admin.port", settings.admin.host, settings.admin.port)


def _door(section: str, values: dict[str, object]) -> Iterator[Listener]:
    for name, value in values.items():
        if name == "listen_components" and not values["components"]:
            continue
        if name.startswith("listen") and isinstance(value, (list, tuple)):
            for text in value:
                yield Listener(f"{section}.{name}", *split_listen(str(text)))


def on_loopback(settings: Settings) -> Settings:
    """The same ports on the loopback addresses, for the settings nobody has set."""
    hosts = LOOPBACK if has_ipv6() else LOOPBACK[:1]
    return settings.model_copy(
        update={
            section: door.model_copy(
                update={
                    name: tuple(f"{host}:{split_listen(text)[1]}" for text in value for host in hosts)
                    for name, value in door
                    if name.startswith("listen")
                    and isinstance(value, tuple)
                    and name not in door.model_fields_set
                }
            )
            for section, door in (("xmpp", settings.xmpp), ("sip", settings.sip))
        }
    )
