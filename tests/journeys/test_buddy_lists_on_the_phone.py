"""A phone keeps its buddies and rules with XCAP: they are those of the XMPP client, at once, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.stage import Person, Stage
from tests.support.xcapclient import ELEMENT, LISTS, RULES, SERVICES, Xcap

pytestmark = pytest.mark.journey

BUDDIES = 'resource-lists/list[@name="buddies"]'


def xcap(stage: Stage, person: Person) -> Xcap:
    root = f"https://{stage.host}:{stage.tandem.sip_webs_port}/xcap-root"
    return Xcap(root, person.address, person.password)


def of(person: Person, kind: str) -> Callable[[Any], bool]:
    """A presence stanza from them."""
    return lambda stanza: stanza["from"].bare == person.address and stanza["type"] == kind


def says(*texts: str) -> Callable[[Any], bool]:
    return lambda stanza: all(text in str(stanza) for text in texts)


async def test_a_buddy_added_on_the_phone_is_in_the_xmpp_client_at_once(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    entry = f'{BUDDIES}/entry[@uri="sip:{bob.address}"]'
    async with stage.client(alice) as desk, stage.client(bob) as his, xcap(stage, alice) as phone:
        body = f'<entry uri="sip:{bob.address}"><display-name>Bob</display-name></entry>'
        await phone.put("resource-lists", body, ELEMENT, entry)
        push = await desk.pushes.take(
            "bob in the roster", lambda p: bob.address in str(p) and "Bob" in str(p)
        )
        assert "remove" not in str(push)
        await his.presences.take(
            "the request", lambda p: p["type"] == "subscribe" and p["from"] == alice.address
        )
        his.answer(alice.address, "subscribed")
        await desk.pushes.take("granted", says('subscription="to"'))
        await desk.presences.take("bob's presence", of(bob, "available"))
        await phone.delete("resource-lists", entry)
        await desk.pushes.take("gone", says('subscription="remove"'))


async def test_what_the_xmpp_client_does_to_the_roster_is_on_the_phone(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, xcap(stage, alice) as phone:
        assert f'uri="sip:{bob.address}"' in await phone.get("resource-lists", BUDDIES)
        await desk.xmpp.update_roster(bob.address, name="Robert", groups=["Chess"])
        shown = await phone.get("resource-lists", 'resource-lists/list[@name="Chess"]')
        assert f'<entry uri="sip:{bob.address}"><display-name>Robert</display-name></entry>' in shown
        await desk.xmpp.del_roster_item(bob.address)
        assert bob.address not in await phone.get("resource-lists")


async def test_a_phone_is_told_when_the_xmpp_client_changed_its_list(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with stage.client(alice) as desk, xcap(stage, alice) as lists, stage.phone(alice, "tls") as phone:
        await phone.register()
        watch = await phone.subscribe(alice.address, event="xcap-diff", Accept="application/xcap-diff+xml")
        first = await watch.state("active")
        assert f'sel="resource-lists/users/sip:{alice.address}/index"' in first.text
        await desk.xmpp.update_roster(bob.address, name="Robert", groups=["Chess"])
        told = await watch.notified("the new list", lambda n: "resource-lists" in n.text)
        assert f'new-etag="{await lists.tag("resource-lists")}"' in told.text


async def test_a_request_is_granted_by_the_phones_rules(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    async with stage.client(alice) as desk, xcap(stage, alice) as rules, stage.phone(bob, "tcp") as phone:
        await phone.register()
        watch = await phone.subscribe(alice.address)
        await watch.state("pending")
        await desk.presences.take("the request", of(bob, "subscribe"))
        text = await rules.get("pres-rules")
        allow = (
            f'<rule id="a"><conditions><identity><one id="sip:{bob.address}"/></identity></conditions>'
            "<actions><pr:sub-handling>allow</pr:sub-handling></actions></rule>"
        )
        await rules.put("pres-rules", text.replace("</ruleset>", f"{allow}</ruleset>"), RULES)
        await watch.state("active")
        await desk.pushes.take("bob may see her", says('subscription="from"'))
        desk.answer(bob.address, "unsubscribed")
        await watch.state("terminated")
        assert bob.address not in await rules.get("pres-rules")


async def test_a_phone_blocks_somebody_for_both(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    async with (
        stage.client(alice, plugins=("xep_0191",)) as desk,
        stage.client(bob) as his,
        xcap(stage, alice) as rules,
    ):
        await his.presences.take("alice there", of(alice, "available"))
        text = await rules.get("pres-rules")
        block = (
            f'<rule id="b"><conditions><identity><one id="sip:{bob.address}"/></identity></conditions>'
            "<actions><pr:sub-handling>block</pr:sub-handling></actions></rule>"
        )
        others = f'<many><except id="sip:{bob.address}"/></many>'
        text = text.replace("<many/>", others).replace(
            f'<one id="sip:{bob.address}"/>', '<one id="sip:x@y"/>'
        )
        await rules.put("pres-rules", text.replace("</ruleset>", f"{block}</ruleset>"), RULES)
        await his.presences.take("she is gone", of(alice, "unavailable"))
        blocked = await desk.xmpp.plugin["xep_0191"].get_blocked_jids()
        assert bob.address in {str(each) for each in blocked}
        await desk.xmpp.plugin["xep_0191"].unblock([bob.address])
        assert "block<" not in await rules.get("pres-rules")


async def test_what_a_phones_rules_keep_to_oneself_is_in_neither_world(stage: Stage) -> None:
    alice, bob = await stage.friends("alice", "bob")
    rule = (
        '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules">'
        f'<rule id="a"><conditions><identity><one id="sip:{bob.address}"/></identity></conditions><actions>'
        "<pr:sub-handling>allow</pr:sub-handling></actions><transformations><pr:provide-services>"
        "<pr:all-services/></pr:provide-services></transformations></rule></ruleset>"
    )
    async with (
        stage.client(alice) as desk,
        stage.client(bob) as his,
        stage.phone(bob, "tcp") as phone,
        xcap(stage, alice) as rules,
    ):
        desk.show("away", "with the dentist")
        await his.presences.take("all of it", says("with the dentist"))
        watch = await phone.subscribe(alice.address)
        assert "dentist" in (await watch.state("active")).text
        await rules.put("pres-rules", rule, RULES)
        await his.presences.take(
            "less of it", lambda p: of(alice, "available")(p) and "dentist" not in str(p) and not p["show"]
        )
        told = await watch.notified("less of it", lambda n: "dentist" not in n.text)
        assert "<basic>open</basic>" in told.text
        assert "away" not in told.text


async def test_the_whole_list_of_a_phone_is_taken_over(stage: Stage) -> None:
    alice, bob = await stage.person("alice"), await stage.person("bob")
    carol = await stage.person("carol")
    async with stage.client(alice) as desk, xcap(stage, alice) as phone:
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
            f'<list name="family"><display-name>Family</display-name><entry uri="sip:{bob.address}"/></list>'
            f'<list name="work"><entry uri="sip:{carol.address}"/></list></resource-lists>'
        )
        await phone.put("resource-lists", text, LISTS)
        await desk.pushes.take("bob", says(bob.address, "<group>Family</group>"))
        await desk.pushes.take("carol", says(carol.address, "<group>work</group>"))
        assert await phone.get("resource-lists") == text


async def test_a_list_with_an_address_follows_the_xmpp_clients_group(stage: Stage) -> None:
    alice, bob, carol = await stage.friends("alice", "bob", "carol")
    team = f"team-{alice.address}"
    async with stage.client(alice) as desk, xcap(stage, alice) as lists, stage.phone(alice, "tcp") as phone:
        await desk.xmpp.update_roster(bob.address, name="Bob", groups=["Team"])
        pointer = lists.url("resource-lists", 'resource-lists/list[@name="Team"]')
        await lists.put(
            "rls-services",
            '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services">'
            f'<service uri="sip:{team}"><resource-list>{pointer}</resource-list>'
            "<packages><package>presence</package></packages></service></rls-services>",
            SERVICES,
        )
        await phone.register()
        watch = await phone.subscribe(
            team,
            Supported="eventlist",
            Accept="multipart/related, application/rlmi+xml, application/pidf+xml",
        )
        first = await watch.state("active")
        assert bob.address in first.text
        assert carol.address not in first.text
        await desk.xmpp.update_roster(carol.address, name="Carol", groups=["Team"])
        await watch.notified("carol in the list", lambda n: carol.address in n.text)
