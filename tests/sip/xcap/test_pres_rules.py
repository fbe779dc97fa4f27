"""Rules about who may see one: a view of the one table (RFC 5025, RFC 4745)."""

from __future__ import annotations

import time

import pytest

from presence.address import Address
from presence.policy import Standing
from presence.privacy import ALL, CAPABILITIES, EVERY, Permissions, UserInput
from presence.subscriptions import Act
from sip.xcap.document import parse_document
from sip.xcap.rules import Rules, changes, shown
from tests.sip.house import ALICE, BOB, CAROL, DOMAIN
from tests.sip.xcap.desk import ELEMENT, LISTS, ROOT, RULES, Desk

INDEX = "pres-rules/index"
EVE = Address("eve", DOMAIN)
QUERY = "xmlns(cr=urn:ietf:params:xml:ns:common-policy)"


def one(address: Address) -> str:
    return f'<cr:one id="sip:{address}"/>'


def rule(name: str, handling: str, identity: str = "", rest: str = "") -> str:
    conditions = f"<cr:conditions><cr:identity>{identity}</cr:identity></cr:conditions>" if identity else rest
    return (
        f'<cr:rule id="{name}">{conditions}<cr:actions><pr:sub-handling>{handling}</pr:sub-handling>'
        "</cr:actions></cr:rule>"
    )


def showing(name: str, identity: str, provided: str, handling: str = "allow") -> str:
    whole = rule(name, handling, identity)
    return whole.replace("</cr:rule>", f"<cr:transformations>{provided}</cr:transformations></cr:rule>")


def ruleset(*rules: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<cr:ruleset xmlns="urn:ietf:params:xml:ns:pres-rules"'
        ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules" xmlns:cr="urn:ietf:params:xml:ns:common-policy"'
        f' xmlns:ocp="urn:oma:xml:xdm:common-policy">{"".join(rules)}</cr:ruleset>'
    )


ASK = rule("ask", "confirm")


async def standing(desk: Desk, watcher: Address) -> Standing:
    return (await desk.service.decide(watcher, ALICE)).standing


async def test_rules_nobody_wrote_say_what_holds(desk: Desk) -> None:
    await desk.service.act(BOB, ALICE, Act.SUBSCRIBE)
    await desk.service.act(ALICE, BOB, Act.SUBSCRIBED)
    await desk.service.blocking.block(ALICE, [str(EVE)])
    text = await desk.get(INDEX)
    assert f'id="tandem_allow"><conditions><identity><one id="sip:{BOB}"/>' in text
    assert f'id="tandem_block"><conditions><identity><one id="sip:{EVE}"/>' in text
    assert '<rule id="tandem_others"><conditions><identity><many><except id="sip:eve@' in text
    assert (await desk.ask("PUT", INDEX, text, RULES)).status in (200, 201)
    assert await desk.get(INDEX) == text
    assert await standing(desk, BOB) is Standing.ACTIVE
    assert (await desk.service.blocking.of(ALICE)).names == (str(EVE),)


async def test_allow_grants_a_waiting_request_and_shows_in_the_roster(desk: Desk) -> None:
    await desk.service.request(BOB, ALICE)
    assert await standing(desk, BOB) is Standing.PENDING
    text = ruleset(rule("a", "allow", one(BOB)), ASK)
    await desk.put(INDEX, text, RULES)
    assert await standing(desk, BOB) is Standing.ACTIVE
    assert (await desk.roster())[BOB].seen
    assert await desk.get(INDEX) == text


async def test_allow_before_anybody_asked_grants_the_request_when_it_comes(desk: Desk) -> None:
    await desk.put(INDEX, ruleset(rule("a", "allow", one(BOB)), ASK), RULES)
    assert (await desk.service.request(BOB, ALICE)).standing is Standing.ACTIVE
    assert (await desk.service.request(CAROL, ALICE)).standing is Standing.PENDING


async def test_block_goes_onto_the_blocklist_and_comes_off_again(desk: Desk) -> None:
    ask = rule("ask", "confirm", rest="<cr:conditions><ocp:other-identity/></cr:conditions>")
    blocked = ruleset(rule("b", "block", one(BOB)), rule("p", "polite-block", one(CAROL)), ask)
    await desk.put(INDEX, blocked, RULES)
    assert set((await desk.service.blocking.of(ALICE)).names) == {str(BOB), str(CAROL)}
    assert await standing(desk, BOB) is Standing.REJECTED
    assert await desk.get(INDEX) == blocked
    await desk.put(INDEX, ruleset(rule("b", "block", one(BOB)), ask), RULES)
    assert (await desk.service.blocking.of(ALICE)).names == (str(BOB),)
    assert (
        await desk.ask("DELETE", f"{INDEX}/~~/cr:ruleset/cr:rule%5B@id=%22b%22%5D", query=QUERY)
    ).status == 200
    assert (await desk.service.blocking.of(ALICE)).names == ()


async def test_what_an_xmpp_client_decides_shows_in_the_written_rules(desk: Desk) -> None:
    await desk.put(INDEX, ruleset(rule("a", "allow", one(BOB) + one(CAROL)), ASK), RULES)
    await desk.service.request(BOB, ALICE)
    await desk.service.act(ALICE, BOB, Act.UNSUBSCRIBED)
    await desk.service.blocking.block(ALICE, [str(CAROL)])
    await desk.service.request(EVE, ALICE)
    await desk.service.act(EVE, ALICE, Act.SUBSCRIBE)
    await desk.service.act(ALICE, EVE, Act.SUBSCRIBED)
    text = await desk.get(INDEX)
    assert 'id="a"' not in text, "a rule that names nobody any more would be for everybody"
    assert f'id="tandem_block"><conditions><identity><one id="sip:{CAROL}"/>' in text
    assert f'id="tandem_allow"><conditions><identity><one id="sip:{EVE}"/>' in text
    assert f'<cr:rule id="ask"><cr:conditions><cr:identity><cr:many><cr:except id="sip:{CAROL}"/>' in text
    await desk.service.blocking.unblock(ALICE, None)
    text = await desk.get(INDEX)
    assert f'<cr:one id="sip:{CAROL}"/>' in text, "she was allowed before"
    assert "tandem_block" not in text


async def test_the_highest_of_all_that_match_counts_even_for_who_is_blocked_by_name(desk: Desk) -> None:
    await desk.put(INDEX, ruleset(rule("b", "block", one(BOB)), ASK), RULES)
    assert (await desk.service.blocking.of(ALICE)).names == ()
    assert (await desk.service.request(BOB, ALICE)).standing is Standing.PENDING


async def test_who_is_unblocked_is_not_refused_by_an_exception_made_for_the_block(
    desk: Desk,
) -> None:
    await desk.service.blocking.block(ALICE, [str(BOB)])
    text = await desk.get(INDEX)
    assert f'<many><except id="sip:{BOB}"/></many>' in text
    await desk.put(INDEX, text, RULES)
    await desk.service.blocking.unblock(ALICE, None)
    assert str(BOB) not in await desk.get(INDEX)
    assert (await desk.service.request(BOB, ALICE)).standing is Standing.PENDING


async def test_the_one_who_is_blocked_is_excepted_from_rules_for_many(desk: Desk) -> None:
    await desk.put(INDEX, ruleset(rule("all", "allow", f'<cr:many domain="{DOMAIN}"/>'), ASK), RULES)
    await desk.service.blocking.block(ALICE, [str(BOB)])
    text = await desk.get(INDEX)
    assert f'<cr:many domain="{DOMAIN}"><cr:except id="sip:{BOB}"/></cr:many>' in text


async def test_rules_for_many_answer_whoever_comes(desk: Desk) -> None:
    await desk.put(
        INDEX,
        ruleset(rule("all", "allow", f'<cr:many domain="{DOMAIN}"><cr:except id="sip:{CAROL}"/></cr:many>')),
        RULES,
    )
    assert (await desk.service.request(BOB, ALICE)).standing is Standing.ACTIVE
    assert (await desk.service.request(CAROL, ALICE)).standing is Standing.REJECTED
    assert (await desk.ask("DELETE", INDEX)).status == 200
    assert await standing(desk, BOB) is Standing.ACTIVE
    assert (await desk.service.request(CAROL, ALICE)).standing is Standing.PENDING


async def test_no_rule_at_all_refuses_and_takes_back(desk: Desk) -> None:
    await desk.put(INDEX, ruleset(rule("a", "allow", one(BOB)), ASK), RULES)
    await desk.service.request(BOB, ALICE)
    await desk.service.request(CAROL, ALICE)
    await desk.put(INDEX, ruleset(), RULES)
    assert not (await desk.roster())[BOB].seen
    assert await standing(desk, CAROL) is Standing.REJECTED
    assert (await desk.service.blocking.of(ALICE)).names == ()


async def test_a_client_that_does_not_know_our_rules_takes_nothing_back(desk: Desk) -> None:
    await desk.service.act(BOB, ALICE, Act.SUBSCRIBE)
    await desk.service.act(ALICE, BOB, Act.SUBSCRIBED)
    await desk.put(INDEX, ruleset(ASK), RULES)
    assert (await desk.roster())[BOB].seen
    assert f'<one id="sip:{BOB}"/>' in await desk.get(INDEX)
    selector = f"{INDEX}/~~/cr:ruleset/cr:rule%5B@id=%22tandem_allow%22%5D"
    assert (await desk.ask("DELETE", selector, query=QUERY)).status == 200
    assert not (await desk.roster())[BOB].seen


async def test_both_names_are_one_document(desk: Desk) -> None:
    text = ruleset(rule("a", "allow", one(BOB)), ASK)
    await desk.put("org.openmobilealliance.pres-rules/pres-rules", text, RULES)
    assert await desk.get(INDEX) == text
    assert await desk.get("org.openmobilealliance.pres-rules/index") == text
    assert (await desk.ask("PUT", "pres-rules/third", text, RULES)).status == 409


async def test_omas_lists_and_its_other_identity(desk: Desk) -> None:
    """As Blink writes them: contacts to allow and to block stand in lists the rules point to."""
    selector = "~~/resource-lists/list%5B@name=%22{}%22%5D"
    anchor = f"{ROOT}/resource-lists/users/sip:{ALICE}/index/{selector}"
    external = '<cr:conditions><ocp:external-list><ocp:entry anc="{}"/></ocp:external-list></cr:conditions>'
    text = ruleset(
        rule("granted", "allow", rest=external.format(anchor.format("oma_grantedcontacts"))),
        rule("blocked", "polite-block", rest=external.format(anchor.format("oma_blockedcontacts"))),
        rule("unlisted", "confirm", rest="<cr:conditions><ocp:other-identity/></cr:conditions>"),
        rule("anonymous", "block", rest="<cr:conditions><ocp:anonymous-request/></cr:conditions>"),
        rule("own", "allow", one(ALICE)),
    )
    await desk.put("org.openmobilealliance.pres-rules/index", text, RULES)
    await desk.service.request(BOB, ALICE)
    await desk.put(
        "resource-lists/index",
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="oma_grantedcontacts">'
        f'<entry uri="sip:{BOB}"/></list><list name="oma_blockedcontacts"><entry uri="sip:{CAROL}"/></list>'
        "</resource-lists>",
        LISTS,
    )
    assert await standing(desk, BOB) is Standing.ACTIVE
    assert (await desk.service.blocking.of(ALICE)).names == (str(CAROL),)
    assert (await desk.service.request(EVE, ALICE)).standing is Standing.PENDING
    assert await desk.get(INDEX) == text


async def test_a_single_identity_is_added_and_removed(desk: Desk) -> None:
    await desk.put(INDEX, ruleset(rule("a", "allow", one(BOB)), ASK), RULES)
    identity = f"{INDEX}/~~/cr:ruleset/cr:rule%5B@id=%22a%22%5D/cr:conditions/cr:identity"
    added = f"{identity}/cr:one%5B@id=%22sip:{CAROL}%22%5D"
    reply = await desk.put(added, f'<cr:one id="sip:{CAROL}"/>', ELEMENT, query=QUERY)
    assert reply.status == 201
    assert (await desk.service.request(CAROL, ALICE)).standing is Standing.ACTIVE
    assert (await desk.ask("DELETE", added, query=QUERY)).status == 200
    assert await standing(desk, CAROL) is not Standing.ACTIVE


async def test_a_phones_owner_reads_what_the_policy_answers_for_them(desk: Desk) -> None:
    place = desk.library.place(f"pres-rules/users/sip:{CAROL}/index")
    shown = await desk.library.show(place)
    assert shown is not None
    assert f'<many domain="{DOMAIN}"/>'.encode() in shown.data


@pytest.mark.parametrize(
    "text",
    [
        rule("a", "allow", rest='<cr:conditions><cr:sphere value="work"/></cr:conditions>'),
        rule(
            "a",
            "allow",
            rest="<cr:conditions><cr:validity><cr:from>2030-01-01T00:00:00Z</cr:from>"
            "<cr:until>2031-01-01T00:00:00Z</cr:until></cr:validity></cr:conditions>",
        ),
    ],
)
async def test_rules_that_would_show_more_than_they_say_are_refused(desk: Desk, text: str) -> None:
    reply = await desk.ask("PUT", INDEX, ruleset(text), RULES)
    assert reply.status == 409
    assert b"<constraint-failure" in reply.body


WHOLE = (
    "<pr:provide-services><pr:all-services/></pr:provide-services><pr:provide-persons><pr:all-persons/>"
    "</pr:provide-persons><pr:provide-all-attributes/>"
)


async def permissions(desk: Desk, watcher: Address) -> Permissions | None:
    rules = (await desk.service.privacy.of([ALICE])).get(ALICE)
    return rules.permissions(watcher) if rules is not None else None


@pytest.mark.parametrize(
    ("provided", "expected"),
    [
        ("", Permissions()),
        ("<pr:provide-devices><pr:all-devices/></pr:provide-devices>", Permissions()),
        ("<pr:provide-services><pr:all-services/></pr:provide-services>", Permissions(EVERY)),
        (
            "<pr:provide-services><pr:class>work</pr:class><pr:occurrence-id>ID-my_x20_desk</pr:occurrence-id>"
            "</pr:provide-services>",
            Permissions(frozenset((("class", "work"), ("id", "my desk")))),
        ),
        (
            f"<pr:provide-services><pr:service-uri>sip:{ALICE}</pr:service-uri></pr:provide-services>",
            Permissions(EVERY),
        ),
        (
            "<pr:provide-services><pr:service-uri-scheme>sip</pr:service-uri-scheme></pr:provide-services>",
            Permissions(EVERY),
        ),
        (
            "<pr:provide-services><pr:service-uri-scheme>mailto</pr:service-uri-scheme></pr:provide-services>",
            Permissions(),
        ),
        (
            "<pr:provide-persons><pr:class>private</pr:class></pr:provide-persons>"
            "<pr:provide-activities>true</pr:provide-activities><pr:provide-mood>1</pr:provide-mood>"
            "<pr:provide-note>false</pr:provide-note><pr:provide-user-input>bare</pr:provide-user-input>",
            Permissions(
                persons=frozenset((("class", "private"),)),
                attributes=frozenset(("activities", "mood")),
                user_input=UserInput.BARE,
            ),
        ),
        (
            '<pr:provide-unknown-attribute name="servcaps" ns="urn:ietf:params:xml:ns:pidf:caps">true'
            '</pr:provide-unknown-attribute><pr:provide-unknown-attribute name="x" ns="urn:x">true'
            "</pr:provide-unknown-attribute>",
            Permissions(attributes=frozenset((CAPABILITIES,))),
        ),
        (
            "<pr:provide-user-input>bare</pr:provide-user-input><pr:provide-all-attributes/>",
            Permissions(attributes=frozenset((ALL,)), user_input=UserInput.FULL),
        ),
        (WHOLE, None),
    ],
)
async def test_transformations_say_what_is_shown(
    desk: Desk, provided: str, expected: Permissions | None
) -> None:
    text = ruleset(showing("a", one(BOB), provided), ASK)
    await desk.put(INDEX, text, RULES)
    assert await desk.get(INDEX) == text
    assert await permissions(desk, BOB) == expected


async def test_who_is_blocked_by_name_is_told_or_not_as_the_rule_says(desk: Desk) -> None:
    await desk.put(INDEX, ruleset(rule("a", "block", one(BOB)), rule("b", "polite-block", one(CAROL))), RULES)
    assert (await standing(desk, BOB), await standing(desk, CAROL)) == (Standing.REJECTED, Standing.VEILED)
    assert await permissions(desk, BOB) is None


async def test_a_rule_of_the_servers_own_does_not_say_whether_they_are_told(desk: Desk) -> None:
    await desk.service.blocking.block(ALICE, [str(EVE)])
    await desk.put(INDEX, await desk.get(INDEX), RULES)
    assert await desk.service.privacy.of([ALICE]) == {}


async def test_what_is_shown_follows_the_document(desk: Desk) -> None:
    services = "<pr:provide-services><pr:all-services/></pr:provide-services>"
    await desk.put(INDEX, ruleset(showing("a", one(BOB), services), rule("b", "allow", one(CAROL))), RULES)
    assert (await permissions(desk, BOB), await permissions(desk, CAROL)) == (Permissions(EVERY), None)
    await desk.put(INDEX, ruleset(showing("a", one(BOB), WHOLE), rule("b", "allow", one(CAROL))), RULES)
    assert await permissions(desk, BOB) is None
    await desk.put(INDEX, ruleset(showing("a", "<cr:many/>", services)), RULES)
    assert await permissions(desk, CAROL) == Permissions(EVERY)
    assert (await desk.ask("DELETE", INDEX)).status == 200
    assert await permissions(desk, CAROL) is None


async def test_what_a_list_is_shown_follows_who_stands_in_it(desk: Desk) -> None:
    anchor = f"{ROOT}/resource-lists/users/sip:{ALICE}/index/~~/resource-lists/list%5B@name=%22few%22%5D"
    listed = rule(
        "few",
        "allow",
        rest=f'<cr:conditions><ocp:external-list><ocp:entry anc="{anchor}"/></ocp:external-list>'
        "</cr:conditions>",
    ).replace("</cr:rule>", "<cr:transformations/></cr:rule>")
    await desk.put(INDEX, ruleset(listed, ASK), RULES)
    assert await permissions(desk, BOB) is None
    await desk.put(
        "resource-lists/index",
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="few">'
        f'<entry uri="sip:{BOB}"/></list></resource-lists>',
        LISTS,
    )
    assert await permissions(desk, BOB) == Permissions()


async def test_sub_handling_has_four_words(desk: Desk) -> None:
    reply = await desk.ask("PUT", INDEX, ruleset(rule("a", "perhaps", one(BOB))), RULES)
    assert reply.status == 409
    assert b"<schema-validation-error" in reply.body


async def test_rules_for_many_are_bounded(desk: Desk) -> None:
    many = [rule(f"r{number}", "confirm", "<cr:many/>") for number in range(101)]
    assert (await desk.ask("PUT", INDEX, ruleset(*many[1:]), RULES)).status in (200, 201)
    assert (await desk.ask("PUT", INDEX, ruleset(*many), RULES)).status == 409
    wide = ruleset(rule("one", "confirm", "<cr:many/>" * 101))
    assert (await desk.ask("PUT", INDEX, wide, RULES)).status == 409


def test_rules_that_name_thousands_are_compared_in_one_go() -> None:
    people = [rule(f"r{n}", "allow", one(Address(f"u{n}", DOMAIN))) for n in range(3000)]
    nobody = Rules(parse_document(ruleset().encode()), lambda _: ())
    written = Rules(parse_document(ruleset(*people).encode()), lambda _: ())
    begun = time.process_time()
    assert len(changes(nobody, written, ALICE, (), whole=True)) == 3000
    shown(written, ALICE, set(), set())
    assert time.process_time() - begun < 5
