"""The roster as resource-lists, both ways (RFC 4826)."""

from __future__ import annotations

import pytest

from presence.address import Address
from presence.subscriptions import Act, Subscription
from sip.xcap import document, naming
from tests.sip.house import ALICE, BOB, CAROL, DOMAIN
from tests.sip.xcap.desk import ELEMENT, LISTS, Desk

INDEX = "resource-lists/index"
IN_BUDDIES = f"{INDEX}/~~/resource-lists/list%5B@name=%22buddies%22%5D"
BOBS_ENTRY = f"{IN_BUDDIES}/entry%5B@uri=%22sip:bob@{DOMAIN}%22%5D"
DAVE = Address("dave", "elsewhere.example")


def lists(inner: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:x="urn:x">{inner}'
        "</resource-lists>"
    )


async def test_somebody_without_buddies_has_an_empty_list_to_put_them_in(desk: Desk) -> None:
    assert '<list name="buddies"></list>' in await desk.get(INDEX)


async def test_the_roster_is_shown_by_groups_with_names(desk: Desk) -> None:
    await desk.service.set_item(ALICE, BOB, "Bob & Co", ("Work", "Friends"))
    await desk.service.set_item(ALICE, CAROL, "", ())
    text = await desk.get(INDEX)
    bob = f'<entry uri="sip:bob@{DOMAIN}"><display-name>Bob &amp; Co</display-name></entry>'
    assert text.count(bob) == 2
    assert f'<entry uri="sip:carol@{DOMAIN}"/>' in await desk.get(IN_BUDDIES)
    assert bob in await desk.get(f"{INDEX}/~~/resource-lists/list%5B@name=%22Work%22%5D")
    assert (await desk.ask("PUT", INDEX, text, LISTS)).status == 200
    assert await desk.get(INDEX) == text


async def test_a_put_entry_is_in_the_roster_at_once_and_asked_to_be_seen(desk: Desk) -> None:
    selector = (
        f"{INDEX}/~~/resource-lists/list%5B@name=%22buddies%22%5D/entry%5B@uri=%22sip:bob@{DOMAIN}%22%5D"
    )
    body = f'<entry uri="sip:bob@{DOMAIN}"><display-name>Bob</display-name></entry>'
    reply = await desk.put(selector, body, ELEMENT)
    assert reply.status == 201
    item = (await desk.roster())[BOB]
    assert (item.listed, item.name, item.groups, item.ask) == (True, "Bob", (), True)
    assert (await desk.roster(BOB))[ALICE].pending_in
    assert {push.contact for push in await desk.pushes()} == {BOB}
    assert await desk.get(selector) == body
    again = await desk.put(selector, body, ELEMENT)
    assert (again.status, again.etag) == (200, reply.etag)
    assert await desk.pushes() == []


async def test_a_deleted_entry_leaves_the_roster_in_both_directions(desk: Desk) -> None:
    await desk.service.act(ALICE, BOB, Act.SUBSCRIBE)
    await desk.service.act(BOB, ALICE, Act.SUBSCRIBED)
    selector = (
        f"{INDEX}/~~/resource-lists/list%5B@name=%22buddies%22%5D/entry%5B@uri=%22sip:bob@{DOMAIN}%22%5D"
    )
    assert (await desk.ask("DELETE", selector)).status == 200
    assert BOB not in await desk.roster()
    assert not (await desk.roster(BOB))[ALICE].seen
    assert (await desk.ask("DELETE", selector)).status == 404


async def test_what_the_roster_cannot_hold_comes_back_as_it_was_put(desk: Desk) -> None:
    text = lists(
        f"""
      <!-- mine -->
  <list name="friends" x:colour="red"><display-name>Friends</display-name>
    <entry uri="sip:bob@{DOMAIN};user=phone" x:fast="1"><display-name xml:lang="en">Bob</display-name>
      <x:pic/></entry>
    <entry uri="tel:+15551234"/>
    <entry uri="sip:alice@{DOMAIN}"><display-name>Me</display-name></entry>
    <entry-ref ref="resource-lists/users/sip:a@b/index/~~/resource-lists"/>
    <list name="close"><entry uri="sip:carol@{DOMAIN}"/></list>
    <x:foreign>text</x:foreign>
  </list>
  <list name="oma_blockedcontacts"><entry uri="sip:eve@{DOMAIN}"/></list>
  <list name="empty"/><list name="buddies"/>"""
    )
    assert (await desk.put(INDEX, text, LISTS)).status == 200
    assert await desk.get(INDEX) == text
    roster = await desk.roster()
    assert {a: (i.name, i.groups) for a, i in roster.items()} == {
        BOB: ("Bob", ("Friends",)),
        CAROL: ("", ("close",)),
    }


async def test_what_an_xmpp_client_does_shows_in_the_phones_own_document(desk: Desk) -> None:
    text = lists(
        f"""
  <list name="l1"><display-name>Friends</display-name><entry uri="sip:bob@{DOMAIN}"/><x:last/></list>
  <list name="buddies"><entry uri="sip:carol@{DOMAIN}"/></list>"""
    )
    await desk.put(INDEX, text, LISTS)
    await desk.service.set_item(ALICE, BOB, "Robert", ("Friends", "Chess"))
    await desk.service.set_item(ALICE, DAVE, "", ("Friends",))
    await desk.service.remove_item(ALICE, CAROL)
    shown = await desk.get(INDEX)
    assert '<list name="l1"><display-name>Friends</display-name>' in shown
    assert f'<entry uri="sip:bob@{DOMAIN}"><display-name>Robert</display-name></entry>' in shown
    assert '<entry uri="sip:dave@elsewhere.example"/><x:last/></list>' in shown
    assert '<list name="Chess">' in shown
    assert "carol" not in shown
    await desk.service.set_item(ALICE, BOB, "", ())
    shown = await desk.get(INDEX)
    assert shown.count("sip:bob@") == 1
    assert f'uri="sip:bob@{DOMAIN}"' in await desk.get(IN_BUDDIES)


async def test_changed_names_and_groups_go_to_the_roster(desk: Desk) -> None:
    await desk.service.set_item(ALICE, BOB, "Bob", ("Work",))
    before = await desk.get(INDEX)
    after = before.replace("<display-name>Bob<", "<display-name>Robert<").replace(
        "<display-name>Work<", "<display-name>Office<"
    )
    await desk.put(INDEX, after, LISTS)
    item = (await desk.roster())[BOB]
    assert (item.name, item.groups) == ("Robert", ("Office",))
    assert await desk.get(INDEX) == after


async def test_a_client_that_never_read_the_roster_does_not_empty_it(desk: Desk) -> None:
    await desk.service.set_item(ALICE, BOB, "Bob", ())
    await desk.put(INDEX, lists(f'<list name="mine"><entry uri="sip:carol@{DOMAIN}"/></list>'), LISTS)
    assert set(await desk.roster()) == {BOB, CAROL}
    await desk.put(INDEX, lists('<list name="mine"/>'), LISTS)
    assert set(await desk.roster()) == {BOB}, "what it put itself it may take back"


async def test_a_client_that_knows_the_version_may_take_everybody_out(desk: Desk) -> None:
    await desk.service.set_item(ALICE, BOB, "Bob", ())
    tag = (await desk.ask("GET", INDEX)).etag
    await desk.put(INDEX, lists('<list name="mine"/>'), LISTS, if_match=f'"{tag}"')
    assert await desk.roster() == {}


async def test_deleting_the_document_takes_out_who_was_put_there(desk: Desk) -> None:
    await desk.service.set_item(ALICE, BOB, "Bob", ())
    assert (await desk.ask("DELETE", INDEX)).status == 404
    await desk.put(INDEX, lists(f'<list name="mine"><entry uri="sip:carol@{DOMAIN}"/></list>'), LISTS)
    assert (await desk.ask("DELETE", INDEX)).status == 200
    assert set(await desk.roster()) == {BOB}
    assert (await desk.ask("DELETE", INDEX)).status == 404


async def test_other_documents_are_only_kept(desk: Desk) -> None:
    text = lists(f'<list name="mine"><entry uri="sip:carol@{DOMAIN}"/></list>')
    assert (await desk.put("resource-lists/other", text, LISTS)).status == 201
    assert await desk.roster() == {}
    assert await desk.get("resource-lists/other") == text
    assert (await desk.ask("DELETE", "resource-lists/other")).status == 200
    assert (await desk.ask("GET", "resource-lists/other")).status == 404


async def test_people_of_other_servers_are_listed_but_not_asked(desk: Desk) -> None:
    await desk.put(INDEX, lists('<list name="mine"><entry uri="sip:dave@elsewhere.example"/></list>'), LISTS)
    item = (await desk.roster())[DAVE]
    assert (item.listed, item.ask, item.subscription) == (True, False, Subscription.NONE)


async def test_names_beyond_what_is_kept_are_a_constraint_failure(desk: Desk) -> None:
    name = f"<display-name>{'x' * 1100}</display-name>"
    text = lists(f'<list name="mine"><entry uri="sip:bob@{DOMAIN}">{name}</entry></list>')
    reply = await desk.ask("PUT", INDEX, text, LISTS)
    assert reply.status == 409
    assert b"<constraint-failure" in reply.body


async def test_documents_of_a_client_with_prefixes_are_filled_with_them(desk: Desk) -> None:
    text = (
        '<rl:resource-lists xmlns:rl="urn:ietf:params:xml:ns:resource-lists"><rl:list name="Work"/>'
        "</rl:resource-lists>"
    )
    await desk.put(INDEX, text, LISTS)
    await desk.service.set_item(ALICE, BOB, "Bob", ("Work",))
    shown = await desk.get(INDEX)
    assert (
        f'<rl:entry uri="sip:bob@{DOMAIN}"><rl:display-name>Bob</rl:display-name></rl:entry></rl:list>'
        in shown
    )
    assert (await desk.ask("PUT", INDEX, shown, LISTS)).status == 200


@pytest.mark.parametrize("name", ["buddies", "oma_buddylist", "oma_x"])
async def test_a_group_with_the_name_of_a_list_that_is_none_comes_back_as_that_group(
    desk: Desk, name: str
) -> None:
    await desk.service.set_item(ALICE, BOB, "", (name,))
    text = await desk.get(INDEX)
    assert f"<display-name>{name}</display-name>" in text
    await desk.put(INDEX, text.replace(f"bob@{DOMAIN}", f"carol@{DOMAIN}"), LISTS)
    assert (await desk.roster())[CAROL].groups == (name,)


@pytest.mark.parametrize(
    ("inner", "field"),
    [
        ('<list name="a"/><list name="a"/>', b'field="*/*%5B2%5D/@name"'),
        (
            '<list><entry uri="sip:x@y"/><entry uri="sip:x@y"/></list>',
            b'field="*/*%5B1%5D/*%5B2%5D/@uri"',
        ),
    ],
)
async def test_names_and_uris_are_unique_within_their_list(desk: Desk, inner: str, field: bytes) -> None:
    reply = await desk.ask("PUT", INDEX, lists(inner), LISTS)
    assert reply.status == 409
    assert b"<uniqueness-failure><exists " + field in reply.body


@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        ("<lost/>", b"schema-validation-error"),
        ("<list><entry/></list>", b"schema-validation-error"),
        ('<list><x:foreign/><entry uri="sip:b@x"/></list>', b"schema-validation-error"),
        ('<list><entry-ref ref="/absolute"/></list>', b"constraint-failure"),
        ('<list><external anchor="relative/list"/></list>', b"constraint-failure"),
    ],
)
async def test_what_the_schema_and_the_rfc_do_not_allow(desk: Desk, inner: str, condition: bytes) -> None:
    reply = await desk.ask("PUT", INDEX, lists(inner), LISTS)
    assert reply.status == 409
    assert b"<" + condition in reply.body


def people(*names: str) -> str:
    entries = "".join(f'<entry uri="sip:{name}@{DOMAIN}"/>' for name in names)
    return lists(f'<list name="buddies">{entries}</list>')


async def test_who_asks_too_many_at_once_is_told_when_to_come_again(desk: Desk) -> None:
    asked: list[int] = []

    def asking(owner: Address, people: int, now: float) -> float:
        asked.append(people)
        return 7.5 if sum(asked) > 3 else 0.0

    desk.library._asking = asking
    await desk.put(INDEX, people("bob", "carol"), LISTS)
    await desk.put(INDEX, people("bob", "carol", "dave"), LISTS)
    reply = await desk.ask("PUT", INDEX, people("bob", "carol", "dave", "erin"), LISTS)
    assert (reply.status, dict(reply.headers)) == (429, {"Retry-After": "8"})
    assert len(await desk.roster()) == 3
    assert "erin" not in await desk.get(INDEX)
    # who goes is not asked
    await desk.put(INDEX, people("bob"), LISTS, if_match="*")
    assert asked == [2, 1, 1]


def test_what_is_too_long_to_name_anybody_is_not_remembered() -> None:
    before = naming._address_of.cache_info().currsize
    assert naming.address_of("sip:" + "a" * 100_000) is None
    assert document.parse_document(f"<{'a' * 1000}/>".encode()).root.local == "a" * 1000
    assert naming._address_of.cache_info().currsize == before
