"""RFC 6121 §8.5.4, table 1, on a real router, service, store and bus."""

from __future__ import annotations

import pytest

from tests.xmpp.scene import Client, Scene, bare
from xmpp.element import CLIENT_NS, E
from xmpp.errors import read_error
from xmpp.presence import DELAY_NS

ERROR, STORED, SILENT = "E", "O", "S"

# bob's resources with their priorities → `to` → what becomes of normal, chat, groupchat, headline:
# an error, stored, silence, or the resources it is delivered to
TABLE: list[tuple[str, dict[str, int], str, str, str, str, str]] = [
    ("no such account", {}, "nobody", ERROR, ERROR, ERROR, ERROR),
    ("no such account", {}, "nobody/x", ERROR, ERROR, ERROR, SILENT),
    ("no resources", {}, "bob", STORED, STORED, ERROR, SILENT),
    ("no resources", {}, "bob/x", STORED, STORED, ERROR, SILENT),
    ("negative only", {"neg": -1}, "bob", STORED, STORED, ERROR, SILENT),
    ("negative only", {"neg": -1}, "bob/neg", "neg", "neg", "neg", "neg"),
    ("negative only", {"neg": -1}, "bob/x", STORED, STORED, ERROR, SILENT),
    ("one", {"a": 0}, "bob", "a", "a", ERROR, "a"),
    ("one", {"a": 0}, "bob/a", "a", "a", "a", "a"),
    ("one", {"a": 0}, "bob/x", "a", "a", ERROR, SILENT),
    ("several", {"a": 0, "b": 5, "neg": -1}, "bob", "ab", "ab", ERROR, "ab"),
    ("several", {"a": 0, "b": 5, "neg": -1}, "bob/b", "b", "b", "b", "b"),
    ("several", {"a": 0, "b": 5, "neg": -1}, "bob/x", "ab", "ab", ERROR, SILENT),
]
TYPES = ("normal", "chat", "groupchat", "headline")
ROWS = [
    pytest.param(resources, to, type_, outcome, id=f"{name}-{to}-{type_}")
    for name, resources, to, *outcomes in TABLE
    for type_, outcome in zip(TYPES, outcomes, strict=True)
]


@pytest.mark.parametrize(("resources", "to", "type_", "outcome"), ROWS)
async def test_a_message_goes_where_table_1_says(
    xmpp: Scene, resources: dict[str, int], to: str, type_: str, outcome: str
) -> None:
    await xmpp.people("alice", "bob")
    clients: dict[str, Client] = {}
    for resource, priority in resources.items():
        client = clients[resource] = await xmpp.connect("bob", resource)
        await client.here(E("priority", CLIENT_NS, {}, str(priority)))
        client.heard()
    alice = await xmpp.connect("alice")
    user, slash, resource = to.partition("/")
    await alice.message(bare(user) + slash + resource, "hi", type=type_, id="m1")

    errors = [read_error(m).condition for m in alice.heard("message")]
    got = {name for name, client in clients.items() if client.heard("message")}
    late = await xmpp.connect("bob", "late") if "nobody" not in to else None
    if late is not None:
        await late.here()
    waited = [m.find("delay", DELAY_NS) is not None for m in late.heard("message")] if late else []

    told, delivered = outcome == ERROR, set() if outcome in (ERROR, STORED, SILENT) else set(_names(outcome))
    assert errors == (["service-unavailable"] if told else [])
    assert got == delivered
    assert waited == ([True] if outcome == STORED else [])


def _names(outcome: str) -> list[str]:
    return [outcome] if outcome == "neg" else list(outcome)


async def test_a_message_that_grows_when_it_is_written_out_is_refused(xmpp: Scene) -> None:
    """An apostrophe in an attribute takes six bytes, whichever way it came."""
    await xmpp.node("xmpp-1", max_stanza=10_000)
    await xmpp.people("alice", "bob")
    alice = await xmpp.connect("alice")
    await alice.message(bare("bob"), "hi", E("x", "urn:x", {"y": "'" * 9000}))
    (answer,) = alice.heard("message")
    assert read_error(answer).condition == "policy-violation"
