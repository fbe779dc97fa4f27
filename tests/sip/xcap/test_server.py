"""What an XCAP server answers (RFC 4825 §8), and its other usages."""

from __future__ import annotations

import asyncio
import time

import pytest

from presence.address import Address
from presence.composition import compose
from presence.ports import KeptChanged
from sip.xcap import manipulation
from sip.xcap.server import Question
from sip.xcap.usages import pidf_manipulation
from sip.xcap.usages.rls_services import ADDRESSES, packages_of, people, services_of
from tests.sip.house import ALICE, BOB, CAROL, DOMAIN
from tests.sip.xcap.desk import ELEMENT, LISTS, ROOT, SERVICES, Desk, fits

INDEX = "resource-lists/index"
EMPTY = '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">{}</resource-lists>'
PIDF = "application/pidf+xml"


# --- whose documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [f"sip:bob@{DOMAIN}", f"sip:nobody@{DOMAIN}", "sip:x@elsewhere.example"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_others_documents_are_forbidden_whether_they_exist_or_not(
    desk: Desk, user: str, method: str
) -> None:
    reply = await desk.ask(method, f"resource-lists/users/{user}/index", EMPTY.format(""), LISTS)
    assert (reply.status, reply.body) == (403, b"Not Your Documents\n")


@pytest.mark.parametrize(
    "user", [f"sip:alice@{DOMAIN}", f"sip:ALICE@{DOMAIN}", f"sip%3Aalice%40{DOMAIN}", f"alice@{DOMAIN}"]
)
async def test_ones_own_tree_in_any_spelling(desk: Desk, user: str) -> None:
    assert (await desk.ask("GET", f"resource-lists/users/{user}/index")).status == 200


@pytest.mark.parametrize(
    "path", ["unknown/index", "resource-lists/nowhere", "resource-lists/a/b", "resource-lists/"]
)
async def test_what_is_not_there_is_404(desk: Desk, path: str) -> None:
    assert (await desk.ask("GET", path)).status == 404


async def test_the_union_of_all_lists_is_for_nobody(desk: Desk) -> None:
    assert (await desk.ask("GET", "rls-services/global/index")).status == 403
    assert (await desk.ask("PUT", "xcap-caps/global/index", "<x/>")).status == 403


async def test_only_the_methods_of_xcap(desk: Desk) -> None:
    reply = await desk.ask("POST", INDEX)
    assert (reply.status, reply.headers) == (405, (("Allow", "GET, HEAD, PUT, DELETE"),))


async def test_a_document_in_a_folder_has_no_parent(desk: Desk) -> None:
    reply = await desk.ask("PUT", "resource-lists/folder/doc", EMPTY.format(""), LISTS)
    assert reply.status == 409
    assert b"<no-parent" in reply.body


# --- conditions -----------------------------------------------------------------------------------------


async def test_entity_tags_are_those_of_the_whole_document_and_change_with_it(desk: Desk) -> None:
    first = await desk.ask("GET", INDEX)
    node = await desk.ask("GET", f"{INDEX}/~~/resource-lists/list")
    assert node.etag == first.etag
    assert (await desk.ask("GET", INDEX, if_none_match=f'"{first.etag}"')).status == 304
    await desk.service.set_item(ALICE, BOB, "Bob", ())
    assert (await desk.ask("GET", INDEX, if_none_match=f'"{first.etag}"')).status == 200
    put = await desk.ask("PUT", INDEX, EMPTY.format(""), LISTS, if_match=f'"{first.etag}"')
    assert put.status == 412
    assert BOB in await desk.roster()


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"if_match": "*"}, 200),
        ({"if_match": '"nonsense"'}, 412),
        ({"if_match": '"nonsense", "{}"'}, 200),
        ({"if_match": 'W/"{}"'}, 412),
        ({"if_none_match": "*"}, 412),
        ({"if_none_match": '"{}"'}, 412),
        ({"if_none_match": '"nonsense"'}, 200),
    ],
)
async def test_conditional_puts(desk: Desk, conditions: dict[str, str], status: int) -> None:
    tag = (await desk.ask("GET", INDEX)).etag
    given = {name: value.format(tag) for name, value in conditions.items()}
    assert (await desk.ask("PUT", INDEX, EMPTY.format(""), LISTS, **given)).status == status


async def test_a_new_document_may_be_put_only_if_it_is_new(desk: Desk) -> None:
    put = ("PUT", "resource-lists/other", EMPTY.format(""), LISTS)
    assert (await desk.ask(*put, if_match="*")).status == 412
    first = await desk.ask(*put, if_none_match="*")
    assert first.status == 201
    assert first.headers == (("Location", f"{ROOT}/resource-lists/users/sip:{ALICE}/other"),)
    assert (await desk.ask(*put, if_none_match="*")).status == 412
    assert (await desk.ask("DELETE", "resource-lists/other", if_match='"x"')).status == 412
    assert (await desk.ask("DELETE", "resource-lists/other", if_match=f'"{first.etag}"')).status == 200


# --- bodies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (INDEX, "application/xml"),
        (f"{INDEX}/~~/resource-lists/list", LISTS),
        (f"{INDEX}/~~/resource-lists/list/@name", ELEMENT),
    ],
)
async def test_the_wrong_media_type_is_415(desk: Desk, path: str, kind: str) -> None:
    assert (await desk.ask("PUT", path, EMPTY.format(""), kind)).status == 415


@pytest.mark.parametrize(
    ("path", "body", "kind", "condition"),
    [
        (INDEX, "<resource-lists", LISTS, "not-well-formed"),
        (INDEX, "<!DOCTYPE x><x/>", LISTS, "not-well-formed"),
        (INDEX, "<x/>", LISTS, "schema-validation-error"),
        (f"{INDEX}/~~/resource-lists/list", "<list/><list/>", ELEMENT, "not-xml-frag"),
        (f"{INDEX}/~~/resource-lists/list%5B@name=%22a%22%5D", "<list/>", ELEMENT, "cannot-insert"),
        (f"{INDEX}/~~/resource-lists/list%5B9%5D/entry", "<entry/>", ELEMENT, "no-parent"),
        ("resource-lists/none/~~/resource-lists/list", "<list/>", ELEMENT, "no-parent"),
    ],
)
async def test_conflicts_are_explained_as_the_rfc_has_it(
    desk: Desk, path: str, body: str, kind: str, condition: str
) -> None:
    reply = await desk.ask("PUT", path, body, kind)
    assert (reply.status, reply.content_type) == (409, "application/xcap-error+xml")
    assert f"<{condition}".encode() in reply.body
    fits(reply.body, "xcap-error")


async def test_a_removal_that_leaves_no_valid_document_is_refused(desk: Desk) -> None:
    await desk.put(INDEX, EMPTY.format(f'<list name="a"><entry uri="sip:bob@{DOMAIN}"/></list>'), LISTS)
    reply = await desk.ask("DELETE", f"{INDEX}/~~/resource-lists/list/entry/@uri")
    assert reply.status == 409
    assert b"<schema-validation-error" in reply.body
    assert (await desk.ask("DELETE", f"{INDEX}/~~/resource-lists")).status == 409


async def test_documents_and_their_number_are_bounded(desk: Desk) -> None:
    for number in range(32):
        await desk.put(f"resource-lists/d{number}", EMPTY.format(""), LISTS)
    reply = await desk.ask("PUT", "resource-lists/one-more", EMPTY.format(""), LISTS)
    assert reply.status == 409
    assert b"too many documents" in reply.body


async def test_those_who_follow_the_documents_are_told(desk: Desk) -> None:
    await desk.put("resource-lists/other", EMPTY.format(""), LISTS)
    assert KeptChanged(owner=ALICE) in await desk.told()


# --- capabilities ---------------------------------------------------------------------------------------


async def test_the_capabilities_are_for_everybody(desk: Desk) -> None:
    reply = await desk.server.answer(None, Question(method="GET", path="/xcap-caps/global/index"))
    assert (reply.status, reply.content_type) == (200, "application/xcap-caps+xml")
    fits(reply.body, "xcap-caps")
    for auid in (
        "xcap-caps",
        "resource-lists",
        "rls-services",
        "pres-rules",
        "org.openmobilealliance.pres-rules",
        "pidf-manipulation",
    ):
        assert f"<auid>{auid}</auid>".encode() in reply.body


# --- lists with an address ------------------------------------------------------------------------------

SERVICE = (
    '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services"'
    ' xmlns:rl="urn:ietf:params:xml:ns:resource-lists">'
    f'<service uri="sip:{{}}@{DOMAIN}">{{}}<packages><package>presence</package></packages></service>'
    "</rls-services>"
)
INLINE = (
    f'<list name="marketing"><rl:entry uri="sip:bob@{DOMAIN}"/><rl:entry uri="sip:carol@{DOMAIN}"/></list>'
)
POINTER = (
    f"<resource-list>{ROOT}/resource-lists/users/sip:{ALICE}/index/~~/resource-lists/"
    "list%5B@name=%22work%22%5D</resource-list>"
)


async def test_a_service_with_a_list_of_its_own(desk: Desk) -> None:
    text = SERVICE.format("marketing", INLINE)
    assert (await desk.put("rls-services/index", text, SERVICES)).status == 200
    assert await desk.get("rls-services/index") == text
    document = await desk.library.show(desk.library.place(f"rls-services/users/sip:{ALICE}/index"))
    assert document is not None
    (service,) = services_of(document)
    assert await people(desk.library, ALICE, service) == {BOB: "", CAROL: ""}
    assert packages_of(service) == ("presence",)


async def test_a_service_that_points_to_a_list_follows_it(desk: Desk) -> None:
    await desk.put("rls-services/index", SERVICE.format("team", POINTER), SERVICES)
    document = await desk.library.show(desk.library.place(f"rls-services/users/sip:{ALICE}/index"))
    assert document is not None
    (service,) = services_of(document)
    assert await people(desk.library, ALICE, service) is None
    await desk.put(INDEX, EMPTY.format(f'<list name="work"><entry uri="sip:bob@{DOMAIN}"/></list>'), LISTS)
    await desk.service.set_item(ALICE, BOB, "Bob", ("work",))
    assert await people(desk.library, ALICE, service) == {BOB: "Bob"}


@pytest.mark.parametrize("taken", ["alice", "bob", "buddies", "presence", "theirs"])
async def test_an_address_that_is_taken_is_refused_with_others_that_are_not(desk: Desk, taken: str) -> None:
    theirs = desk.library.place(f"rls-services/users/sip:{BOB}/index")
    question = Question(
        method="PUT",
        path=f"/rls-services/users/sip:{BOB}/index",
        content_type=SERVICES,
        body=SERVICE.format("theirs", INLINE).encode(),
    )
    assert (await desk.server.answer(BOB, question)).status == 200
    assert theirs.owner == BOB
    reply = await desk.ask("PUT", "rls-services/index", SERVICE.format(taken, INLINE), SERVICES)
    assert reply.status == 409
    fits(reply.body, "xcap-error")
    assert b'<exists field="*/*%5B1%5D/@uri">' in reply.body
    assert f"<alt-value>sip:{taken}-alice@{DOMAIN}</alt-value>".encode() in reply.body
    await desk.put("rls-services/index", SERVICE.format(f"{taken}-alice", INLINE), SERVICES)


def put_services(owner: Address, *names: str) -> Question:
    services = "".join(f'<service uri="sip:{name}@{DOMAIN}">{INLINE}</service>' for name in names)
    return Question(
        method="PUT",
        path=f"/rls-services/users/sip:{owner}/index",
        content_type=SERVICES,
        body=SERVICE.partition("<service")[0].encode() + services.encode() + b"</rls-services>",
    )


async def index(desk: Desk) -> dict[str, str]:
    """Whose each address is."""
    kept = await desk.service.belongings.kept(Address("", DOMAIN), ADDRESSES)
    return {each.name: each.data.decode() for each in kept}


async def test_of_two_who_want_an_address_at_the_same_time_one_has_it(desk: Desk) -> None:
    async def ask(who: Address) -> int:
        return (await desk.server.answer(who, put_services(who, "team"))).status

    for _ in range(5):
        answers = dict(zip((ALICE, BOB), await asyncio.gather(ask(ALICE), ask(BOB)), strict=True))
        (winner,) = [who for who, status in answers.items() if status in (200, 201)]
        (loser,) = [who for who, status in answers.items() if status == 409]
        assert await index(desk) == {"team": str(winner)}
        # and what the other has not is not taken away
        await desk.server.answer(loser, put_services(loser))
        assert await index(desk) == {"team": str(winner)}
        assert (await desk.server.answer(winner, put_services(winner))).status == 200
        assert await index(desk) == {}


async def test_an_address_is_given_back_when_the_document_could_not_be_kept(desk: Desk) -> None:
    await desk.server.answer(BOB, put_services(BOB, "theirs"))
    desk.library.now = lambda: time.time() + 3600
    reply = await desk.server.answer(ALICE, put_services(ALICE, "mine", "theirs"))
    assert reply.status == 409
    assert await index(desk) == {"theirs": str(BOB)}


async def test_what_somebody_left_behind_is_free(desk: Desk) -> None:
    await desk.service.belongings.keep(Address("", DOMAIN), ADDRESSES, "team", str(BOB).encode(), 10)
    assert (await desk.server.answer(ALICE, put_services(ALICE, "team"))).status == 409
    desk.library.now = lambda: time.time() + 3600
    assert (await desk.server.answer(ALICE, put_services(ALICE, "team"))).status == 200
    assert await index(desk) == {"team": str(ALICE)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x@elsewhere.example;", INLINE),
        ("team", "<resource-list>resource-lists/users/sip:a@b/index</resource-list>"),
        ("team", f"<resource-list>{ROOT}/resource-lists/users/sip:{BOB}/index/~~/a</resource-list>"),
        ("team", f"<resource-list>{ROOT}/rls-services/users/sip:{ALICE}/index/~~/a</resource-list>"),
    ],
)
async def test_services_of_other_servers_and_lists_of_others_are_a_constraint_failure(
    desk: Desk, name: str, content: str
) -> None:
    reply = await desk.ask("PUT", "rls-services/index", SERVICE.format(name, content), SERVICES)
    assert reply.status == 409
    assert b"<constraint-failure" in reply.body


# --- presence that stays --------------------------------------------------------------------------------

VACATION = (
    '<?xml version="1.0" encoding="UTF-8"?><presence xmlns="urn:ietf:params:xml:ns:pidf"'
    ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rp="urn:ietf:params:xml:ns:pidf:rpid"'
    f' entity="sip:{ALICE}"><tuple id="x8"><status><basic>closed</basic></status>'
    "<note>Gone fishing</note></tuple>"
    '<dm:person id="p1"><rp:activities><rp:vacation/></rp:activities></dm:person></presence>'
)


async def test_a_presence_document_is_a_source_until_it_is_deleted(desk: Desk) -> None:
    assert (await desk.put("pidf-manipulation/index", VACATION, PIDF)).status == 201
    (snapshot,) = await desk.service.snapshots([ALICE])
    document = compose(snapshot)
    assert document.person is not None
    assert document.person.activities == ("vacation",)
    assert [note.text for each in document.tuples for note in each.notes] == ["Gone fishing"]
    note = "pidf-manipulation/index/~~/presence/tuple%5B@id='x8'%5D/note"
    await desk.put(note, "<note>Back on Monday</note>", ELEMENT)
    (snapshot,) = await desk.service.snapshots([ALICE])
    assert [note.text for each in compose(snapshot).tuples for note in each.notes] == ["Back on Monday"]
    assert (await desk.ask("DELETE", "pidf-manipulation/index")).status == 200
    (snapshot,) = await desk.service.snapshots([ALICE])
    assert snapshot.sources == ()


async def test_presence_documents_are_put_again_when_the_bus_has_lost_them(desk: Desk) -> None:
    await desk.put("pidf-manipulation/index", VACATION, PIDF)
    desk.bus._people.clear()
    await pidf_manipulation.restate(desk.library)
    (snapshot,) = await desk.service.snapshots([ALICE])
    assert len(snapshot.sources) == 1


async def test_a_presence_document_is_about_its_owner(desk: Desk) -> None:
    other = VACATION.replace(f'entity="sip:{ALICE}"', f'entity="sip:{Address("bob", DOMAIN)}"')
    reply = await desk.ask("PUT", "pidf-manipulation/index", other, PIDF)
    assert reply.status == 409
    assert (await desk.ask("PUT", "pidf-manipulation/other", VACATION, PIDF)).status == 409


async def test_what_takes_long_is_done_while_others_go_on(desk: Desk) -> None:
    small = EMPTY.format("<list name='a'/>")
    await desk.put("resource-lists/index", small, LISTS)
    await desk.get("resource-lists/index/~~/resource-lists/list%5B1%5D")
    assert desk.aside.done == 0
    large = EMPTY.format(f"<list name='a'/><!--{'x' * 40_000}-->")
    await desk.put("resource-lists/other", large, LISTS)
    # read, held against the schema, looked through for what the schema cannot say
    assert desk.aside.done >= 3
    before = desk.aside.done
    await desk.put("resource-lists/other/~~/resource-lists/list%5B1%5D/@name", '"b"', manipulation.ATTRIBUTE)
    assert desk.aside.done > before
    reply = await desk.ask("PUT", "resource-lists/other", large.replace("<list ", "<lizt "), LISTS)
    assert reply.status == 409
