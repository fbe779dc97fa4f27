"""XEP-0045 §8 to §10: roles, affiliations, configuration, destruction; what a room says of itself."""

from __future__ import annotations

from tests.xmpp.rooms_scene import (
    ROOMS,
    TEA,
    administer,
    condition,
    configure,
    item,
    join,
    opened,
    presence,
    say,
    summary,
    three,
)
from tests.xmpp.scene import Client, Scene, bare
from xmpp.element import CLIENT_NS, E, Element
from xmpp.extensions.xep_0280_carbons import NS as CARBONS_NS
from xmpp.forms import NS as FORM_NS
from xmpp.forms import read_form, write_form
from xmpp.hosted import INFO_NS, ITEMS_NS, PING_NS
from xmpp.rooms.names import (
    ADMIN_NS,
    CONFERENCE_NS,
    MUC_NS,
    OWNER_NS,
    REGISTER_FORM_NS,
    REGISTER_NS,
    REQUEST_NS,
    USER_NS,
    VCARD_NS,
    VCARD_UPDATE_NS,
)
from xmpp.rooms.requests import RSM_NS


async def listed(client: Client, **wanted: str) -> list[dict[str, str]]:
    answer = await client.ask("get", E("query", ADMIN_NS, {}, item(**wanted)), TEA)
    assert answer.get("type") == "result", condition(answer)
    return [each.attrs for each in answer.elements[0].elements]


async def test_a_moderator_kicks_with_a_reason(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    answer = await administer(alice, item("too loud", nick="bob", role="none"))
    assert answer.get("type") == "result"
    (kicked,) = bob.heard()
    assert (presence(kicked).statuses, presence(kicked).role) == ((110, 307), "none")
    user = kicked.find("x", USER_NS)
    assert user is not None
    shown = user.elements[0]
    assert [(each.name, each.text or each.get("nick")) for each in shown.elements] == [
        ("actor", "ali"),
        ("reason", "too loud"),
    ]
    (seen,) = alice.heard()
    assert presence(seen).statuses == (307,)
    await say(bob, "still here?")
    assert condition(bob.heard()[0]) == "not-acceptable"


async def test_whoever_is_no_moderator_kicks_nobody(xmpp: Scene) -> None:
    _, bob, _ = await three(xmpp)
    assert condition(await administer(bob, item(nick="ali", role="none"))) == "forbidden"
    assert condition(await administer(bob, item(jid=bare("alice"), affiliation="outcast"))) == "forbidden"


async def test_whoever_is_banned_leaves_and_stays_away(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await administer(alice, item("spam", jid=bare("bob"), affiliation="outcast"))
    (banned,) = bob.heard()
    assert presence(banned).statuses == (110, 301)
    (refused,) = await join(bob, "bob")
    assert condition(refused) == "forbidden"
    assert await listed(alice, affiliation="outcast") == [{"affiliation": "outcast", "jid": bare("bob")}]
    await administer(alice, item(jid=bare("bob"), affiliation="none"))
    assert summary((await join(bob, "bob"))[0]) == "presence ali"


async def test_a_moderated_room_is_for_those_with_a_voice(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await configure(alice, moderatedroom="1")
    heard = await join(carol, "caz")
    assert presence(heard[2]).role == "visitor"
    await say(carol, "may I?")
    (refused,) = carol.heard()
    assert condition(refused) == "forbidden"
    alice.heard()
    form = write_form("submit", REQUEST_NS, {"muc#role": ["participant"]})
    await carol.say(E("message", CLIENT_NS, {"to": TEA}, form))
    asked = next(each for each in alice.heard() if each.find("x", FORM_NS) is not None)
    request = asked.find("x", FORM_NS)
    assert request is not None
    assert read_form(request)["muc#roomnick"] == ("caz",)
    bob.heard()
    fields = {"muc#role": ["participant"], "muc#roomnick": ["caz"], "muc#request_allow": ["true"]}
    await alice.say(E("message", CLIENT_NS, {"to": TEA}, write_form("submit", REQUEST_NS, fields)))
    assert presence(carol.heard()[0]).role == "participant"
    await say(carol, "thank you")
    assert summary(bob.heard()[-1]) == "message-groupchat caz thank you"
    await administer(alice, item(nick="caz", role="visitor"))
    assert presence(carol.heard("presence")[-1]).role == "visitor"


def shown(client: Client) -> list[tuple[str, str, str]]:
    """Who the client was told is there with which role, or is not."""
    told = [presence(each) for each in client.heard("presence")]
    return [(each.nick, each.type, each.role) for each in told]


async def test_who_is_there_is_told_of_those_roles_alone_that_owners_choose(xmpp: Scene) -> None:
    """§7.2.2, §10.1.3: `muc#roomconfig_presencebroadcast`."""
    alice, bob, carol = await three(xmpp)
    await configure(alice, moderatedroom="1", presencebroadcast=["moderator", "participant"])
    alice.heard(), bob.heard()
    heard = [presence(each) for each in await join(carol, "caz") if each.name == "presence"]
    assert [(each.nick, each.role) for each in heard] == [
        ("ali", "moderator"), ("bob", "participant"), ("caz", "visitor"),
    ]  # fmt: skip
    assert heard[-1].statuses == (110, 170)
    assert (shown(alice), shown(bob)) == ([], [])
    await carol.here(E("show", CLIENT_NS, {}, "away"), to=f"{TEA}/caz")
    await carol.here(to=f"{TEA}/caro")
    assert [each[0] for each in shown(carol)] == ["caz", "caz", "caro"]
    assert (shown(alice), shown(bob)) == ([], [])
    items = await bob.ask("get", E("query", ITEMS_NS), TEA)
    assert [each.get("jid") for each in items.elements[0].elements] == [f"{TEA}/ali", f"{TEA}/bob"]
    await administer(alice, item(nick="caro", role="participant"))
    assert (shown(carol), shown(bob)) == ([("caro", "", "participant")],) * 2
    await administer(alice, item(nick="caro", role="visitor"))
    assert (shown(carol), shown(bob)) == ([("caro", "", "visitor")], [("caro", "unavailable", "none")])
    await carol.here(type="unavailable", to=f"{TEA}/caro")
    assert (shown(carol), shown(bob)) == ([("caro", "unavailable", "none")], [])
    alice.heard()
    await join(carol, "caz")
    await administer(alice, item(nick="caz", role="none"))
    assert (shown(carol), shown(alice)) == ([("caz", "unavailable", "none")], [])


async def test_whoever_is_not_to_be_seen_any_more_leaves_for_the_others(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await configure(alice, presencebroadcast=["moderator"])
    assert shown(alice) == [("bob", "unavailable", "none")]
    assert shown(bob) == [("bob", "", "participant")]
    await say(bob, "still here")
    assert summary(alice.heard()[-1]) == "message-groupchat bob still here"
    bob.heard()
    await configure(alice, presencebroadcast=["moderator", "participant"])
    assert (shown(alice), shown(bob)) == ([("bob", "", "participant")],) * 2
    assert condition(await configure(alice, presencebroadcast=["cats"])) == "bad-request"
    await configure(alice, presencebroadcast=["moderator"], membersonly="1")
    assert (shown(alice), shown(bob)) == ([("bob", "unavailable", "none")],) * 2


async def test_whoever_is_not_seen_is_not_named_for_what_they_do_either(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await join(carol, "caz")
    await configure(alice, presencebroadcast=["participant", "visitor"])
    for client in (bob, carol):
        client.heard()
    await administer(alice, item(nick="caz", role="visitor"))
    await administer(alice, item(nick="caz", role="none"))
    for client in (bob, carol):
        users = [each.find("x", USER_NS) for each in client.heard("presence")]
        assert [each.elements[0].elements for each in users if each is not None] == [[], []]


async def test_owners_choose_which_roles_see_the_member_list(xmpp: Scene) -> None:
    """§7.11: `muc#roomconfig_getmemberlist`."""
    alice, bob, _ = await three(xmpp)
    await configure(alice, whois="anyone")
    await administer(alice, item(jid=bare("bob"), affiliation="member"))
    assert await listed(bob, affiliation="member") == [{"affiliation": "member", "jid": bare("bob")}]
    await configure(alice, getmemberlist=["moderator"])
    answer = await bob.ask("get", E("query", ADMIN_NS, {}, item(affiliation="member")), TEA)
    assert condition(answer) == "forbidden"
    assert await listed(alice, affiliation="member")
    await administer(alice, item(nick="bob", role="moderator"))
    assert await listed(bob, affiliation="member")
    form = (await alice.ask("get", E("query", OWNER_NS), TEA)).elements[0].find("x", FORM_NS)
    assert form is not None
    fields = read_form(form)
    assert fields["muc#roomconfig_getmemberlist"] == ("moderator",)
    assert fields["muc#roomconfig_presencebroadcast"] == ("moderator", "participant", "visitor")


async def test_members_enter_a_room_for_members_only(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await configure(alice, membersonly="1")
    assert presence(bob.heard("presence")[0]).statuses == (110, 322)
    (refused,) = await join(carol, "caz")
    assert condition(refused) == "registration-required"
    await administer(alice, item(jid=bare("carol"), affiliation="member"))
    heard = await join(carol, "caz")
    assert presence(heard[1]).affiliation == "member"
    await administer(alice, item(jid=bare("carol"), affiliation="none"))
    assert presence(carol.heard("presence")[0]).statuses == (110, 321)


async def test_a_room_with_a_password_asks_for_it(xmpp: Scene) -> None:
    alice, _, carol = await three(xmpp)
    answer = await configure(alice, passwordprotectedroom="1")
    assert condition(answer) == "not-acceptable"
    await configure(alice, passwordprotectedroom="1", roomsecret="oolong")
    for attempt in ([], [E("password", MUC_NS, {}, "assam")]):
        (refused,) = await join(carol, "caz", *attempt)
        assert condition(refused) == "not-authorized"
    heard = await join(carol, "caz", E("password", MUC_NS, {}, "oolong"))
    assert summary(heard[0]) == "presence ali"
    await configure(alice, passwordprotectedroom="0")
    await carol.here(type="unavailable", to=f"{TEA}/caz")
    carol.heard()
    assert summary((await join(carol, "caz"))[0]) == "presence ali"


async def test_owners_and_admins_are_made_and_an_owner_stays(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    assert condition(await administer(alice, item(jid=bare("alice"), affiliation="admin"))) == "conflict"
    assert condition(await administer(alice, item(jid=bare("alice"), affiliation="outcast"))) == "conflict"
    await administer(alice, item(jid=bare("bob"), affiliation="admin"))
    assert presence(bob.heard()[0]).role == "moderator"
    assert condition(await administer(bob, item(jid=bare("carol"), affiliation="admin"))) == "not-allowed"
    assert condition(await administer(bob, item(jid=bare("alice"), affiliation="none"))) == "not-allowed"
    assert condition(await administer(bob, item(nick="ali", role="none"))) == "not-allowed"
    assert (await administer(bob, item(jid=bare("carol"), affiliation="member"))).get("type") == "result"
    assert await listed(bob, affiliation="member") == [{"affiliation": "member", "jid": bare("carol")}]
    moderators = await listed(bob, role="moderator")
    assert sorted(each["nick"] for each in moderators) == ["ali", "bob"]
    await administer(alice, item(jid=bare("bob"), affiliation="owner"))
    assert (await administer(bob, item(jid=bare("alice"), affiliation="none"))).get("type") == "result"
    assert presence(alice.heard("presence")[-1]).role == "participant"


async def test_an_item_has_a_role_or_an_affiliation(xmpp: Scene) -> None:
    """§17.4, rule 4."""
    alice, _, _ = await three(xmpp)
    answer = await administer(alice, item(nick="bob", role="visitor", affiliation="member"))
    assert condition(answer) == "bad-request"


async def test_several_changes_are_made_together_or_not_at_all(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    answer = await administer(
        alice, item(jid=bare("carol"), affiliation="member"), item(nick="nobody", role="none")
    )
    assert condition(answer) == "item-not-found"
    assert await listed(alice, affiliation="member") == []
    assert bob.heard() == []


async def test_owners_configure_and_nobody_else(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    answer = await alice.ask("get", E("query", OWNER_NS), TEA)
    form = answer.elements[0].find("x", FORM_NS)
    assert form is not None
    fields = read_form(form)
    assert fields["muc#roomconfig_membersonly"] == ("0",)
    assert fields["muc#roomconfig_whois"] == ("moderators",)
    assert fields["muc#roomconfig_roomowners"] == (bare("alice"),)
    assert condition(await bob.ask("get", E("query", OWNER_NS), TEA)) == "forbidden"
    assert condition(await configure(bob, roomname="Mine")) == "forbidden"
    assert condition(await configure(alice, membersonly="perhaps")) == "bad-request"
    assert condition(await configure(alice, allowpm="cats")) == "bad-request"
    assert (await configure(alice, roomname="Tea", surprise="1")).get("type") == "result"
    (told,) = bob.heard()
    user = told.find("x", USER_NS)
    assert user is not None
    assert [each.get("code") for each in user.elements] == ["104"]


async def test_a_form_that_is_sent_back_whole_makes_admins(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await configure(alice, roomadmins=bare("bob"))
    assert await listed(alice, affiliation="admin") == [{"affiliation": "admin", "jid": bare("bob")}]
    assert condition(await configure(alice, roomowners="")) == "conflict"
    await configure(alice, roomadmins="")
    assert await listed(alice, affiliation="admin") == []
    assert bob.heard()


async def test_a_destroyed_room_sends_everybody_out_and_elsewhere(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await configure(alice, persistentroom="1")
    bob.heard()
    reason = E("reason", OWNER_NS, {}, "moved")
    end = E("destroy", OWNER_NS, {"jid": f"coffee@{ROOMS}"}, reason)
    assert condition(await bob.ask("set", E("query", OWNER_NS, {}, end), TEA)) == "forbidden"
    assert (await alice.ask("set", E("query", OWNER_NS, {}, end), TEA)).get("type") == "result"
    (gone,) = bob.heard()
    user = gone.find("x", USER_NS)
    assert user is not None
    destroyed = user.find("destroy")
    assert destroyed is not None
    assert (gone.get("type"), destroyed.get("jid")) == ("unavailable", f"coffee@{ROOMS}")
    assert condition(await bob.ask("get", E("query", INFO_NS), TEA)) == "item-not-found"
    await join(bob, "bob")
    assert condition(await alice.ask("get", E("query", OWNER_NS), TEA)) == "forbidden"


# --- invitations -------------------------------------------------------------------------------------


def mediated(to: str, reason: str = "", *more: Element) -> Element:
    told = [E("reason", USER_NS, {}, reason)] if reason else []
    invite = E("invite", USER_NS, {"to": to}, *told, *more)
    return E("message", CLIENT_NS, {"to": TEA}, E("x", USER_NS, {}, invite))


async def test_the_room_passes_invitations_on_and_makes_members(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await configure(alice, membersonly="1", passwordprotectedroom="1", roomsecret="oolong")
    await alice.say(mediated(bare("carol"), "join us"))
    (invitation,) = carol.heard("message")
    user, direct = invitation.find("x", USER_NS), invitation.find("x", CONFERENCE_NS)
    assert user is not None
    assert direct is not None
    assert [(each.name, each.text) for each in user.elements] == [("invite", ""), ("password", "oolong")]
    assert user.elements[0].get("from") == f"{TEA}/ali"
    assert direct.attrs == {"jid": TEA, "reason": "join us", "password": "oolong"}
    assert await listed(alice, affiliation="member") == [{"affiliation": "member", "jid": bare("carol")}]
    decline = E("decline", USER_NS, {"to": f"{TEA}/ali"}, E("reason", USER_NS, {}, "no time"))
    alice.heard()
    await carol.say(E("message", CLIENT_NS, {"to": TEA}, E("x", USER_NS, {}, decline)))
    (declined,) = alice.heard("message")
    user = declined.find("x", USER_NS)
    assert user is not None
    assert user.elements[0].get("from") == bare("carol")
    await bob.say(mediated(bare("carol")))
    assert condition(bob.heard("message")[-1]) == "not-acceptable"  # he was sent out


async def test_clients_that_take_no_messages_hear_of_invitations_by_carbons(xmpp: Scene) -> None:
    """XEP-0280 §6.1."""
    alice, _, _ = await three(xmpp)
    quiet = await xmpp.connect("carol", "quiet")
    await quiet.ask("set", E("enable", CARBONS_NS))
    await quiet.here(E("priority", CLIENT_NS, {}, "-1"))
    quiet.heard()
    await alice.say(mediated(bare("carol")))
    (carbon,) = quiet.heard("message")
    assert carbon.find("received", CARBONS_NS) is not None


async def test_an_invitation_tells_which_chat_of_two_goes_on(xmpp: Scene) -> None:
    """§7.9, XEP-0249 §2."""
    alice, _, carol = await three(xmpp)
    await alice.say(mediated(bare("carol"), "", E("continue", USER_NS, {"thread": "t1"})))
    (invitation,) = carol.heard("message")
    user, direct = invitation.find("x", USER_NS), invitation.find("x", CONFERENCE_NS)
    assert user is not None
    assert direct is not None
    told = user.elements[0].find("continue")
    assert told is not None
    assert told.get("thread") == "t1"
    assert direct.attrs == {"jid": TEA, "continue": "true", "thread": "t1"}


async def test_an_invitation_waits_for_who_is_not_there(xmpp: Scene) -> None:
    alice, _, carol = await three(xmpp)
    await carol.gone("closed")
    await alice.say(mediated(bare("carol")))
    carol = await xmpp.online_and_hear("carol")
    assert [each for each in carol.heard("message") if each.find("x", CONFERENCE_NS) is not None]
    await alice.say(mediated("nobody@example.org"))
    assert condition(alice.heard("message")[-1]) == "service-unavailable"


async def test_who_declines_does_not_learn_who_is_there(xmpp: Scene) -> None:
    alice, _, carol = await three(xmpp)
    alice.heard(), carol.heard()
    for whom in (bare("alice"), bare("nobody"), f"{TEA}/ali", f"{TEA}/no"):
        decline = E("decline", USER_NS, {"to": whom})
        await carol.say(E("message", CLIENT_NS, {"to": TEA}, E("x", USER_NS, {}, decline)))
    assert (len(alice.heard("message")), carol.heard("message")) == (2, [])


async def block(client: Client, whom: str) -> None:
    item = E("item", "urn:xmpp:blocking", {"jid": whom})
    await client.ask("set", E("block", "urn:xmpp:blocking", {}, item))


async def test_nobody_is_invited_or_told_no_by_whom_they_block(xmpp: Scene) -> None:
    """XEP-0191: a room is no way around it."""
    alice, bob, carol = await three(xmpp)
    await block(carol, bare("bob"))
    await bob.say(mediated(bare("carol")))
    assert condition(bob.heard("message")[-1]) == "service-unavailable"
    assert carol.heard("message") == []
    await block(alice, bare("carol"))
    await carol.say(declining(f"{TEA}/ali"))
    assert (alice.heard("message"), carol.heard("message")) == ([], [])


def declining(to: str) -> Element:
    decline = E("decline", USER_NS, {"to": to})
    return E("message", CLIENT_NS, {"to": TEA}, E("x", USER_NS, {}, decline))


async def test_whoever_is_banned_neither_declines_nor_invites(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    await administer(alice, item(jid=bare("bob"), affiliation="outcast"))
    alice.heard(), bob.heard()
    await bob.say(declining(f"{TEA}/ali"))
    assert alice.heard("message") == []
    await bob.say(mediated(bare("carol")))
    assert condition(bob.heard("message")[-1]) == "not-acceptable"
    assert carol.heard("message") == []


async def test_many_changes_at_once_count_as_several(xmpp: Scene) -> None:
    alice, _, _ = await three(xmpp)
    answers = []
    for round_ in range(4):
        items = [
            item(jid=f"p{n}@elsewhere.example", affiliation=AFFILIATIONS[round_ % 2]) for n in range(200)
        ]
        answers.append((await administer(alice, *items)).get("type"))
    assert answers == ["result", "error", "error", "error"]


AFFILIATIONS = ("member", "outcast")


async def test_the_list_of_rooms_is_not_asked_for_without_end(xmpp: Scene) -> None:
    alice, _, _ = await three(xmpp)
    answers = [(await alice.ask("get", E("query", ITEMS_NS), ROOMS)).get("type") for _ in range(60)]
    assert answers.count("error") > 10


async def test_a_page_of_the_list_of_rooms_begins_where_it_is_wanted(xmpp: Scene) -> None:
    """XEP-0059 §2.6."""
    alice, bob, _ = await three(xmpp)
    for name in ("assam", "water"):
        await opened(alice, "ali", f"{name}@{ROOMS}")

    async def page(**words: str) -> tuple[list[str], str]:
        asked = E("set", RSM_NS, {}, *(E(name, RSM_NS, {}, text) for name, text in words.items()))
        listed = (await bob.ask("get", E("query", ITEMS_NS, {}, asked), ROOMS)).elements[0]
        first = listed.elements[-1].find("first")
        items = [each.get("jid").partition("@")[0] for each in listed.findall("item")]
        return items, first.get("index") if first is not None else ""

    assert await page(index="1", max="1") == (["tea"], "1")
    assert await page(index="1", max="5") == (["tea", "water"], "1")
    assert await page(index="3", max="5") == ([], "")
    assert await page(before="", max="2") == (["tea", "water"], "1")
    assert await page(max="2") == (["assam", "tea"], "0")
    assert await page(max="0") == ([], "")


# --- what a room says of itself ------------------------------------------------------------------------


async def test_the_service_lists_public_rooms_page_by_page(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await configure(alice, roomname="Tea time")
    await opened(alice, "ali", f"coffee@{ROOMS}", publicroom="0")
    await opened(alice, "ali", f"water@{ROOMS}", persistentroom="1")
    items = (await bob.ask("get", E("query", ITEMS_NS), ROOMS)).elements[0]
    assert [(each.get("jid"), each.get("name")) for each in items.elements] == [
        (TEA, "Tea time"),
        (f"water@{ROOMS}", "water"),
    ]
    rsm = "http://jabber.org/protocol/rsm"
    page = E("set", rsm, {}, E("max", rsm, {}, "1"), E("after", rsm, {}, TEA))
    items = (await bob.ask("get", E("query", ITEMS_NS, {}, page), ROOMS)).elements[0]
    assert [each.get("jid") for each in items.findall("item")] == [f"water@{ROOMS}"]
    server = (await bob.ask("get", E("query", ITEMS_NS), "example.org")).elements[0]
    assert ROOMS in [each.get("jid") for each in server.elements]
    info = (await bob.ask("get", E("query", INFO_NS), ROOMS)).elements[0]
    assert info.elements[0].attrs == {"category": "conference", "type": "text", "name": "Rooms"}


async def test_a_room_says_what_it_is(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await configure(alice, roomname="Tea time", roomdesc="About tea", persistentroom="1", membersonly="0")
    info = (await bob.ask("get", E("query", INFO_NS), TEA)).elements[0]
    assert info.elements[0].get("name") == "Tea time"
    features = {each.get("var") for each in info.findall("feature")}
    assert {
        *("muc_persistent", "muc_public", "muc_open", "muc_unmoderated", "muc_semianonymous"),
        *("muc_unsecured", MUC_NS, "urn:xmpp:mam:2", "urn:xmpp:occupant-id:0", "urn:xmpp:sid:0"),
        *("urn:xmpp:message-moderate:1", "http://jabber.org/protocol/muc#self-ping-optimization"),
    } <= features
    form = info.find("x", FORM_NS)
    assert form is not None
    facts = read_form(form)
    assert facts["muc#roominfo_description"] == ("About tea",)
    assert facts["muc#roominfo_occupants"] == ("2",)
    seen = (await bob.ask("get", E("query", ITEMS_NS), TEA)).elements[0]
    assert [each.get("jid") for each in seen.elements] == [f"{TEA}/ali", f"{TEA}/bob"]


async def test_a_nickname_is_reserved_for_a_member(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    offer = (await bob.ask("get", E("query", REGISTER_NS), TEA)).elements[0]
    assert offer.find("x", FORM_NS) is not None
    form = write_form("submit", REGISTER_FORM_NS, {"muc#register_roomnick": ["robert"]})
    assert (await bob.ask("set", E("query", REGISTER_NS, {}, form), TEA)).get("type") == "result"
    assert presence(bob.heard("presence")[-1]).affiliation == "member"
    (refused,) = await join(carol, "robert")
    assert condition(refused) == "conflict"
    assert condition(await carol.ask("set", E("query", REGISTER_NS, {}, form.copy()), TEA)) == "conflict"
    info = (await bob.ask("get", E("query", INFO_NS, {"node": "x-roomuser-item"}), TEA)).elements[0]
    assert [each.get("name") for each in info.elements] == ["robert"]
    known = (await bob.ask("get", E("query", REGISTER_NS), TEA)).elements[0]
    assert known.find("registered") is not None
    remove = E("query", REGISTER_NS, {}, E("remove", REGISTER_NS))
    assert (await bob.ask("set", remove, TEA)).get("type") == "result"
    assert summary((await join(carol, "robert"))[0]) == "presence ali"
    assert alice.heard()


async def test_nobody_is_offered_what_they_may_not_do(xmpp: Scene) -> None:
    """§7.10."""
    alice, _, carol = await three(xmpp)
    await configure(alice, membersonly="1")
    assert condition(await carol.ask("get", E("query", REGISTER_NS), TEA)) == "not-allowed"


async def test_a_room_says_nothing_of_what_it_lets_through_as_that_is_all(xmpp: Scene) -> None:
    """§18.1.1."""
    _, bob, _ = await three(xmpp)
    answer = await bob.ask("get", E("query", INFO_NS, {"node": f"{MUC_NS}#traffic"}), TEA)
    assert condition(answer) == "service-unavailable"


# --- between occupants ---------------------------------------------------------------------------------


async def test_a_self_ping_is_answered_by_the_room(xmpp: Scene) -> None:
    _, bob, carol = await three(xmpp)
    assert (await bob.ask("get", E("ping", PING_NS), f"{TEA}/bob")).get("type") == "result"
    assert condition(await carol.ask("get", E("ping", PING_NS), f"{TEA}/carol")) == "not-acceptable"
    assert condition(await bob.ask("get", E("ping", PING_NS), f"{TEA}/nobody")) == "item-not-found"
    assert bob.heard() == []


async def test_requests_between_occupants_hide_who_they_are(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    question = E("iq", CLIENT_NS, {"type": "get", "id": "v1", "to": f"{TEA}/ali"}, E("q", "urn:q"))
    await bob.say(question)
    (asked,) = alice.heard("iq")
    assert (asked.get("from"), asked.get("to")) == (f"{TEA}/bob", alice.jid)
    answer = {"type": "result", "id": asked.get("id"), "to": asked.get("from")}
    await alice.say(E("iq", CLIENT_NS, answer, E("q", "urn:q", {"said": "yes"})))
    (answered,) = bob.heard("iq")
    assert (answered.get("from"), answered.get("id")) == (f"{TEA}/ali", "v1")
    assert answered.elements[0].get("said") == "yes"
    await alice.say(E("iq", CLIENT_NS, {**answer, "id": "made-up v1"}))
    assert bob.heard() == []


async def test_the_card_of_an_occupant_is_shown_by_nickname(xmpp: Scene) -> None:
    alice, bob, _ = await three(xmpp)
    await alice.ask("set", E("vCard", VCARD_NS, {}, E("FN", VCARD_NS, {}, "Alice")))
    answer = await bob.ask("get", E("vCard", VCARD_NS), f"{TEA}/ali")
    assert answer.get("from") == f"{TEA}/ali"
    assert answer.elements[0].elements[0].text == "Alice"


async def test_a_room_has_a_picture_that_owners_set(xmpp: Scene) -> None:
    alice, bob, carol = await three(xmpp)
    binary = E("BINVAL", VCARD_NS, {}, "aGVsbG8=")
    card = E("vCard", VCARD_NS, {}, E("PHOTO", VCARD_NS, {}, binary))
    assert condition(await bob.ask("set", card.copy(), TEA)) == "forbidden"
    assert condition(await bob.ask("get", E("vCard", VCARD_NS), TEA)) == "item-not-found"
    assert (await alice.ask("set", card.copy(), TEA)).get("type") == "result"
    shown = next(each for each in bob.heard("presence") if each.get("from") == TEA)
    update = shown.find("x", VCARD_UPDATE_NS)
    assert update is not None
    hash = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
    assert update.elements[0].text == hash
    assert (await bob.ask("get", E("vCard", VCARD_NS), TEA)).elements[0] == card
    heard = await join(carol, "caz")
    assert heard[0].find("x", VCARD_UPDATE_NS) == update
    info = (await bob.ask("get", E("query", INFO_NS), TEA)).elements[0]
    form = info.find("x", FORM_NS)
    assert form is not None
    assert read_form(form)["muc#roominfo_avatarhash"] == (hash,)
