"""XEP-0077: a user changes their own password, and nothing else."""

from __future__ import annotations

import pytest

from presence.ports import AccountChanged
from tests.xmpp.scene import Scene, address
from xmpp.element import E, Element

NS = "jabber:iq:register"


def change(username: str = "alice", password: str = "new secret") -> Element:
    return E("query", NS, {}, E("username", NS, {}, username), E("password", NS, {}, password))


def condition(answer: Element) -> str:
    error = answer.find("error")
    assert error is not None, "no error"
    return error.elements[0].name


async def test_the_form_says_who_is_registered(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    (query,) = (await alice.ask("get", E("query", NS))).elements
    assert [child.name for child in query.elements] == ["registered", "username", "password"]
    assert query.elements[1].text == "alice"


@pytest.mark.parametrize("username", ["alice", "ALICE", "alice@example.org"])
async def test_a_new_password_is_right_and_the_old_one_wrong(xmpp: Scene, username: str) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    answer = await alice.ask("set", change(username), to="example.org")
    assert answer.get("type") == "result"
    assert await xmpp.accounts.check_password(address("alice"), "new secret")
    assert not await xmpp.accounts.check_password(address("alice"), "secret")


async def test_every_process_hears_of_the_change(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    await xmpp.node("xmpp-2")
    await alice.session.router.service.change_password(address("alice"), "new secret")
    assert await xmpp.bus.receive("xmpp-2", 0) == [AccountChanged(address=address("alice"), renewed=True)]


async def test_a_new_password_ends_all_other_sessions(xmpp: Scene) -> None:
    """In every process, and also those that wait for their client (XEP-0198)."""
    await xmpp.people("alice", "bob")
    alice = await xmpp.connect("alice")
    near, far = await xmpp.connect("alice", "phone"), await xmpp.connect("alice", "web", "xmpp-2")
    bob = await xmpp.connect("bob")
    waiting = await xmpp.connect("alice", "train")
    await waiting.say_raw(E("enable", "urn:xmpp:sm:3", {"resume": "true"}))
    await waiting.gone()
    assert waiting.session in xmpp.nodes["xmpp-1"].sessions_of(address("alice"))
    assert (await alice.ask("set", change(), to="example.org")).get("type") == "result"
    for ended in (near, far):
        assert ended.ended is not None
        assert ended.ended.condition == "reset"
    assert waiting.session.ended
    assert (alice.ended, bob.ended) == (None, None)
    await alice.session.router.service.change_password(address("alice"), "by an admin")
    await xmpp.settle()
    assert alice.ended is not None


async def test_a_password_is_not_changed_without_end(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    answers = [await alice.ask("set", change(password=f"p{number}")) for number in range(7)]
    assert [answer.get("type") for answer in answers] == [*["result"] * 5, "error", "error"]
    assert condition(answers[-1]) == "resource-constraint"
    await xmpp.wait(61)
    assert (await alice.ask("set", change())).get("type") == "result"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (change(username="bob"), "not-allowed"),
        (change(username="a b"), "not-allowed"),
        (change(password=""), "bad-request"),
        (change(password="a\tb"), "bad-request"),
        (change(password="x" * 2000), "bad-request"),
        (E("query", NS, {}, E("password", NS, {}, "x")), "bad-request"),
        (E("query", NS, {}, E("remove", NS)), "not-allowed"),
    ],
)
async def test_what_is_refused(xmpp: Scene, query: Element, expected: str) -> None:
    await xmpp.people("alice", "bob")
    alice = await xmpp.connect("alice")
    assert condition(await alice.ask("set", query)) == expected
    for user in ("alice", "bob"):
        assert await xmpp.accounts.check_password(address(user), "secret")


async def test_somebody_else_s_account_cannot_be_asked_for(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice = await xmpp.connect("alice")
    assert condition(await alice.ask("set", change("bob"), to="bob@example.org")) == "service-unavailable"
