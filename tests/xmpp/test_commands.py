"""Commands at the server (XEP-0050), administration (XEP-0133), invitations (XEP-0401, XEP-0379), contact
addresses (XEP-0157)."""

from __future__ import annotations

import re

import pytest

from tests.xmpp.scene import DOMAIN, Client, Scene, address, bare
from xmpp.element import CLIENT_NS, LANG, E, Element
from xmpp.extensions import registry
from xmpp.forms import read_form

NS = "http://jabber.org/protocol/commands"
ADMIN = "http://jabber.org/protocol/admin"
FORMS = "jabber:x:data"
PUBSUB = "http://jabber.org/protocol/pubsub"
ITEMS, INFO = "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/disco#info"


async def admin(xmpp: Scene, **settings: object) -> Client:
    """Alice, who may do everything."""
    await xmpp.node("xmpp-1", admins=(bare("alice"),), **settings)
    await xmpp.people("alice")
    return await xmpp.online("alice")


def submit(type_: str, **fields: str | tuple[str, ...]) -> Element:
    form = E("x", FORMS, {"type": "submit"})
    form.append(E("field", FORMS, {"var": "FORM_TYPE"}, E("value", FORMS, {}, type_)))
    for name, given in fields.items():
        values = (given,) if isinstance(given, str) else given
        made = E("field", FORMS, {"var": name.replace("_", "-")})
        form.append(made)
        made.children.extend(E("value", FORMS, {}, value) for value in values)
    return form


async def ask(client: Client, node: str, *children: Element, **attrs: str) -> Element:
    return await client.ask("set", E("command", NS, {"node": node, **attrs}, *children), to=DOMAIN)


async def run(client: Client, name: str, **fields: str | tuple[str, ...]) -> Element:
    """The whole command: ask for the form, send it back; the last `<command/>`."""
    node = f"{ADMIN}#{name}"
    first = (await ask(client, node)).elements[0]
    if first.get("status") == "completed":
        return first
    assert first.get("status") == "executing"
    answer = await ask(client, node, submit(ADMIN, **fields), sessionid=first.get("sessionid"))
    assert answer.get("type") == "result", condition(answer)
    return answer.elements[0]


def told(command: Element) -> dict[str, tuple[str, ...]]:
    form = command.find("x", FORMS)
    assert form is not None
    return read_form(form)


def condition(answer: Element) -> str:
    error = answer.find("error")
    assert error is not None, "no error"
    return error.elements[0].name


async def nodes(client: Client) -> list[str]:
    answer = await client.ask("get", E("query", ITEMS, {"node": NS}), to=DOMAIN)
    return [item.get("node") for item in answer.elements[0].elements]


# --- XEP-0050 ------------------------------------------------------------------------------------------


async def test_commands_are_listed_for_those_who_may_run_them(xmpp: Scene) -> None:
    alice = await admin(xmpp, registration="invited")
    assert await nodes(alice) == list(registry().commands)
    await xmpp.people("bob")
    bob = await xmpp.online("bob")
    assert await nodes(bob) == []
    answer = await alice.ask("get", E("query", INFO, {"node": f"{ADMIN}#announce"}), to=DOMAIN)
    assert {f.get("var") for f in answer.elements[0].findall("feature")} == {NS, FORMS}
    for query in (E("query", INFO, {"node": f"{ADMIN}#announce"}),):
        assert condition(await bob.ask("get", query, to=DOMAIN)) == "forbidden"
    assert condition(await ask(bob, f"{ADMIN}#announce")) == "forbidden"


@pytest.mark.parametrize(
    ("node", "attrs", "expected"),
    [
        ("nothing", {}, "item-not-found"),
        (f"{ADMIN}#announce", {"action": "dance"}, "bad-request"),
        (f"{ADMIN}#announce", {"action": "prev", "sessionid": "s"}, "bad-request"),
        (f"{ADMIN}#announce", {"sessionid": "x" * 1000}, "bad-request"),
    ],
)
async def test_what_no_command_takes_is_refused(
    xmpp: Scene, node: str, attrs: dict[str, str], expected: str
) -> None:
    assert condition(await ask(await admin(xmpp), node, **attrs)) == expected


async def test_a_command_can_be_cancelled(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    first = (await ask(alice, f"{ADMIN}#announce")).elements[0]
    assert [c.name for c in first.elements] == ["actions", "x"]
    answer = await ask(alice, f"{ADMIN}#announce", action="cancel", sessionid=first.get("sessionid"))
    assert answer.elements[0].attrs == {
        "node": f"{ADMIN}#announce",
        "sessionid": first.get("sessionid"),
        "status": "canceled",
        LANG: "en",
    }


async def test_a_form_with_an_answer_missing_changes_nothing(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    form = submit(ADMIN, accountjid=bare("carol"), password="x")
    answer = await ask(alice, f"{ADMIN}#add-user", form, sessionid="s")
    error = answer.find("error")
    assert error is not None
    assert error.find("bad-payload", NS) is not None
    assert await xmpp.accounts.find(address("carol")) is None


# --- XEP-0133 ------------------------------------------------------------------------------------------


async def test_accounts_are_made_disabled_and_deleted(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    await run(alice, "add-user", accountjid=bare("carol"), password="pw", password_verify="pw")
    assert await xmpp.accounts.check_password(address("carol"), "pw")
    await run(alice, "change-user-password", accountjid=bare("carol"), password="other")
    assert await xmpp.accounts.check_password(address("carol"), "other")
    carol = await xmpp.online("carol", node="xmpp-2")
    await run(alice, "disable-user", accountjids=bare("carol"))
    assert carol.ended is not None
    assert carol.ended.condition == "not-authorized"
    assert told(await run(alice, "get-disabled-users-list", max_items="25")) == {
        "FORM_TYPE": (ADMIN,),
        "disableduserjids": (bare("carol"),),
    }
    await run(alice, "reenable-user", accountjids=bare("carol"))
    assert told(await run(alice, "get-disabled-users-num"))["disabledusersnum"] == ("0",)
    await run(alice, "delete-user", accountjids=bare("carol"))
    assert await xmpp.accounts.find(address("carol")) is None
    note = (await run(alice, "delete-user", accountjids=bare("carol"))).find("note")
    assert note is not None
    assert note.get("type") == "error"


async def test_a_deleted_users_contacts_see_them_leave(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    await xmpp.friends("bob", "carol")
    bob, _ = await xmpp.online("bob"), await xmpp.online("carol")
    bob.heard()
    await run(alice, "delete-user", accountjids=bare("carol"))
    gone = [p for p in bob.heard_but_keep("presence") if p.get("type") == "unavailable"]
    assert [p.get("from") for p in gone] == [f"{bare('carol')}/desk"]
    pushes = [iq.elements[0].elements[0] for iq in bob.heard("iq")]
    assert pushes[-1].get("subscription") in ("none", "to", "from")


async def test_sessions_are_ended_wherever_they_live(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    await xmpp.people("carol")
    desk = await xmpp.online("carol", "desk", node="xmpp-2")
    phone = await xmpp.online("carol", "phone", node="xmpp-3")
    await run(alice, "end-user-session", accountjids=f"{bare('carol')}/desk")
    assert desk.ended is not None
    assert phone.ended is None
    await run(alice, "end-user-session", accountjids=bare("carol"))
    assert phone.ended is not None


async def test_who_is_there_is_counted_over_all_processes(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    await xmpp.people("bob", "carol")
    await xmpp.online("carol", node="xmpp-2")
    assert told(await run(alice, "get-online-users-num"))["onlineusersnum"] == ("2",)
    online = told(await run(alice, "get-online-users-list"))["onlineuserjids"]
    assert online == (bare("alice"), bare("carol"))
    everybody = told(await run(alice, "get-registered-users-list", max_items="none"))
    assert everybody["registereduserjids"] == (bare("alice"), bare("bob"), bare("carol"))
    statistics = told(await run(alice, "user-stats", accountjid=bare("carol")))
    assert statistics == {"FORM_TYPE": (ADMIN,), "rostersize": ("0",), "onlineresources": ("desk",)}


async def test_who_is_there_is_active_or_idle(xmpp: Scene) -> None:
    """XEP-0133 §4.16, §4.17."""
    alice = await admin(xmpp)
    await xmpp.people("bob", "carol")
    bob = await xmpp.online("bob", node="xmpp-2")
    desk, sofa = await xmpp.online("carol"), await xmpp.online("carol", "sofa", "xmpp-2")
    idle = E("idle", "urn:xmpp:idle:1", {"since": "2026-01-01T00:00:00Z"})
    await bob.here(E("show", CLIENT_NS, {}, "away"))
    await desk.here(idle)
    assert told(await run(alice, "get-active-users-num"))["activeusersnum"] == ("2",)
    assert told(await run(alice, "get-idle-users"))["idleuserjids"] == (bare("bob"),)
    await sofa.here(idle.copy())
    assert told(await run(alice, "get-idle-users-num"))["idleusersnum"] == ("2",)
    assert told(await run(alice, "get-active-users"))["activeuserjids"] == (bare("alice"),)


async def test_an_administrator_reads_a_users_roster(xmpp: Scene) -> None:
    """XEP-0133 §4.8."""
    alice = await admin(xmpp)
    await xmpp.friends("bob", "carol")
    answer = await run(alice, "get-user-roster", accountjids=bare("carol"))
    form = answer.find("x", FORMS)
    assert form is not None
    query = form.find("query", "jabber:iq:roster")
    assert query is not None
    assert [(each.get("jid"), each.get("subscription")) for each in query.elements] == [(bare("bob"), "both")]
    assert told(answer)["accountjids"] == (bare("carol"),)
    sent = submit(ADMIN, accountjids=bare("nobody"))
    assert condition(await ask(alice, f"{ADMIN}#get-user-roster", sent, sessionid="s")) == "item-not-found"


async def test_an_announcement_reaches_who_is_there(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    await xmpp.people("carol")
    carol = await xmpp.online("carol", node="xmpp-2")
    await run(alice, "announce", announcement=("Going down", "in two minutes"))
    (message,) = carol.heard("message")
    assert (message.get("from"), message.get("type")) == (DOMAIN, "headline")
    body = message.find("body")
    assert body is not None
    assert body.text == "Going down\nin two minutes"


@pytest.mark.parametrize("jid", ["carol@elsewhere.org", "a b@example.org", "@"])
async def test_other_domains_people_are_nobodys_to_administer(xmpp: Scene, jid: str) -> None:
    alice = await admin(xmpp)
    node = f"{ADMIN}#change-user-password"
    answer = await ask(alice, node, submit(ADMIN, accountjid=jid, password="x"), sessionid="s")
    assert condition(answer) in ("bad-request", "jid-malformed")


# --- XEP-0401, XEP-0379 --------------------------------------------------------------------------------


async def test_an_invitation_has_the_address_of_its_page(xmpp: Scene) -> None:
    alice = await admin(xmpp, registration="invited")
    fields = told((await ask(alice, "urn:xmpp:invite#invite")).elements[0])
    token = re.search("preauth=([0-9a-f]+)", fields["uri"][0])
    assert token is not None
    assert fields["landing-url"] == (f"https://example.org:5281/invite/{token[1]}",)


async def invite(client: Client) -> str:
    command = (await ask(client, "urn:xmpp:invite#invite")).elements[0]
    fields = told(command)
    assert fields["FORM_TYPE"] == ("urn:xmpp:invite#invitation",)
    assert re.fullmatch(r"\d{4}-.*Z", fields["expire"][0])
    return fields["uri"][0]


async def test_an_invitation_makes_buddies_of_two_who_have_accounts(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    await xmpp.people("bob")
    bob = await xmpp.online("bob")
    uri = await invite(alice)
    found = re.fullmatch(rf"xmpp:{bare('alice')}\?roster;preauth=([0-9a-f]{{32}})", uri)
    assert found is not None
    token = E("preauth", "urn:xmpp:pars:0", {"token": found[1]})
    alice.heard()
    await bob.say(E("presence", CLIENT_NS, {"type": "subscribe", "to": bare("alice")}, token))
    shown = alice.heard_but_keep("presence")
    assert "subscribe" not in [p.get("type") for p in shown]
    assert bob.jid in [p.get("from") for p in shown]
    assert alice.jid in [p.get("from") for p in bob.heard_but_keep("presence")]
    for client, other in ((alice, "bob"), (bob, "alice")):
        item = [iq.elements[0].elements[0] for iq in client.heard("iq")][-1]
        assert (item.get("jid"), item.get("subscription")) == (bare(other), "both")


async def test_a_token_of_nobodys_is_a_usual_request(xmpp: Scene) -> None:
    alice = await admin(xmpp)
    await xmpp.people("bob")
    bob = await xmpp.online("bob")
    await xmpp.accounts.seen_on_xmpp(address("alice"))
    token = E("preauth", "urn:xmpp:pars:0", {"token": "made by a client"})
    await bob.say(E("presence", CLIENT_NS, {"type": "subscribe", "to": bare("alice")}, token))
    (request,) = alice.heard("presence")
    assert request.get("type") == "subscribe"
    assert request.find("preauth", "urn:xmpp:pars:0") is not None


async def test_where_accounts_are_made_the_link_says_so(xmpp: Scene) -> None:
    alice = await admin(xmpp, registration="invited")
    assert (await invite(alice)).endswith(";ibr=y")
    node = "urn:xmpp:invite#create-account"
    made = await ask(alice, node, submit("", username="juliet"), sessionid="s")
    (uri,) = told(made.elements[0])["uri"]
    assert re.fullmatch(r"xmpp:juliet@example\.org\?register;preauth=[0-9a-f]{32}", uri)
    again = await ask(alice, node, submit("", username="juliet"), sessionid="s")
    assert condition(again) == "resource-constraint"
    taken = await ask(alice, node, submit("", username="alice"), sessionid="s")
    assert condition(taken) == "conflict"


@pytest.mark.parametrize(("setting", "allowed"), [("nobody", False), ("admins", False), ("everybody", True)])
async def test_who_may_invite_is_a_setting(xmpp: Scene, setting: str, allowed: bool) -> None:
    await xmpp.node("xmpp-1", invitations=setting)
    await xmpp.people("bob")
    bob = await xmpp.online("bob")
    answer = await ask(bob, "urn:xmpp:invite#invite")
    assert (answer.get("type") == "result") is allowed


# --- XEP-0157 and what is not told ---------------------------------------------------------------------


async def test_contact_addresses_are_told_with_the_features(xmpp: Scene) -> None:
    await xmpp.node("xmpp-1", contacts={"abuse": ("mailto:abuse@example.org", "xmpp:abuse@example.org")})
    await xmpp.people("alice")
    alice = await xmpp.online("alice")
    answer = await alice.ask("get", E("query", INFO), to=DOMAIN)
    form = answer.elements[0].find("x", FORMS)
    assert form is not None
    assert read_form(form) == {
        "FORM_TYPE": ("http://jabber.org/network/serverinfo",),
        "abuse-addresses": ("mailto:abuse@example.org", "xmpp:abuse@example.org"),
    }


@pytest.mark.parametrize(
    "question",
    [
        E("query", "jabber:iq:last"),
        E("query", INFO),
        E("query", ITEMS),
        E("vCard", "vcard-temp"),
        E("pubsub", PUBSUB, {}, E("items", PUBSUB, {"node": "urn:xmpp:avatar:metadata"})),
        E("query", "jabber:iq:version"),
        E("ping", "urn:xmpp:ping"),
        E("query", "urn:example:unknown"),
    ],
    ids=lambda q: q.ns,
)
async def test_questions_to_strangers_do_not_tell_who_exists(xmpp: Scene, question: Element) -> None:
    await xmpp.people("alice", "bob")
    await xmpp.accounts.seen_on_xmpp(address("bob"))
    alice = await xmpp.online("alice")
    answers = []
    for user in ("bob", "nobody"):
        answer = await alice.ask("get", question.copy(), to=bare(user))
        error = answer.find("error")
        answers.append((answer.get("type"), error.elements[0].name if error is not None else ""))
        await alice.say(E("message", CLIENT_NS, {"to": bare(user), "type": "groupchat"}))
        alice.heard()
    assert answers[0] == answers[1]
