"""A component's TCP connection (XEP-0114): a stream with another content namespace and another way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmpp.component import NS, Component, ComponentNegotiation
from xmpp.edge.connection import Connection
from xmpp.effects import Opened
from xmpp.element import STREAM_NS, Element
from xmpp.negotiation import Negotiation
from xmpp.serialiser import escape_attribute
from xmpp.stream import StreamCore

if TYPE_CHECKING:
    from xmpp.edge.listener import Listener


class ComponentConnection(Connection):
    __slots__ = ("_components",)

    def __init__(self, listener: Listener, components: dict[str, Component]) -> None:
        super().__init__(listener, direct=False)
        self._components = components
        settings = listener.realm.settings
        self._core = StreamCore(
            max_stanza=settings.max_stanza_before_login, max_depth=settings.max_depth, content_ns=NS
        )

    def _negotiate_by(self, *, may_be_clear: bool, upgradable: bool) -> Negotiation:
        return ComponentNegotiation(self._listener.realm, self, self._components)

    def _allow(self, rate: int) -> None:
        """It speaks for many, and is trusted: no limit."""

    def _from(self, stanza: Element) -> Element:
        return stanza  # a component speaks for all of its domain; its session looks

    def _say_header(self, header: Opened) -> None:
        self.send(
            f"<?xml version='1.0'?><stream:stream xmlns='{NS}' xmlns:stream='{STREAM_NS}'"
            f" id='{header.id}' from='{escape_attribute(header.domain)}'>".encode()
        )
