"""xmpp/component.py: who is given what is meant for a component."""

from __future__ import annotations

from typing import Any

import pytest

from presence.errors import Unavailable
from presence.memory import MemoryBus
from tests.xmpp.scene import Client, Scene
from xmpp.component import Component
from xmpp.errors import StanzaError
from xmpp.jid import parse_jid
from xmpp.relay import Carried

IRC = "irc.example.org"


class Flaky(MemoryBus):
    """A bus that is away when the test says so."""

    away = False

    async def commit(self, *args: Any, **kwargs: Any) -> Any:
        if self.away:
            raise Unavailable("the bus is away")
        return await super().commit(*args, **kwargs)


def said() -> Carried:
    return Carried("message", "", "alice@example.org/desk", f"bob@{IRC}", "m1", b"<message/>")


async def test_a_connection_that_could_not_be_made_known_is_given_nothing(xmpp: Scene) -> None:
    bus = Flaky(clock=xmpp.clock)
    house = Scene(bus, xmpp.store, xmpp.accounts, xmpp.clock)
    router = await house.node("xmpp-1", components=({"domain": IRC, "secret": "s"},))
    component = router.hosted[parse_jid(IRC).domain]
    assert isinstance(component, Component)
    lost, program = Client(house), Client(house)
    bus.away = True
    with pytest.raises(Unavailable):
        await component.open(lost)
    bus.away = False
    with pytest.raises(StanzaError, match="not connected"):
        await component.carry(said())
    await component.open(program)
    await component.carry(said())
    assert (lost.raw, program.raw) == ([], [b"<message/>"])
