"""A phone hears when its documents change (RFC 5875, RFC 5874)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sip.xcap.following import Selection, render, selections, state_of
from tests.sip.house import ALICE, BOB, CAROL, DOMAIN, PASSWORD, House, open_house
from tests.sip.xcap.desk import ELEMENT, LISTS, Desk, fits
from tests.support.sipclient import Phone, Watch

ROOT = "/xcap-root"
TYPE: dict[str, Any] = {
    "Content_Type": "application/resource-lists+xml",
    "Accept": "application/xcap-diff+xml",
}
INDEX = f"resource-lists/users/sip:{ALICE}/index"


def listing(*uris: str) -> bytes:
    entries = "".join(f'<entry uri="{uri}"/>' for uri in uris)
    return (
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
        f"<list>{entries}</list></resource-lists>"
    ).encode()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


async def follow(phone: Phone, *uris: str, to: object = ALICE, **more: Any) -> Watch:
    return await phone.subscribe(str(to), event="xcap-diff", body=listing(*uris), **TYPE, **more)


async def test_a_phone_is_told_that_the_xmpp_client_changed_the_roster(house: House) -> None:
    async with house.phone(ALICE, "tcp") as phone:
        watch = await follow(phone, INDEX)
        assert watch.response.status == 200
        first = await watch.state("active")
        assert first["Content-Type"] == "application/xcap-diff+xml"
        assert f'<d:document sel="{INDEX}" new-etag="' in first.text
        tag = first.text.split('new-etag="')[1].split('"')[0]
        await house.other.set_item(ALICE, BOB, "Bob", ())
        second = await watch.notified("the change")
        assert f'previous-etag="{tag}"' in second.text
        async with httpx.AsyncClient(verify=False, auth=httpx.DigestAuth("alice", PASSWORD)) as http:
            answer = await http.get(f"http://127.0.0.1:{house.ports['ws']}{ROOT}/{INDEX}")
        assert f"new-etag={answer.headers['ETag']}" in second.text


async def test_another_phone_and_a_block_are_told_too(house: House) -> None:
    async with (
        house.phone(ALICE, "tcp") as phone,
        httpx.AsyncClient(
            verify=False,
            auth=httpx.DigestAuth("alice", PASSWORD),
            base_url=f"http://127.0.0.1:{house.ports['ws']}{ROOT}",
        ) as http,
    ):
        watch = await phone.subscribe(str(ALICE), event="xcap-diff", Accept="application/xcap-diff+xml")
        first = await watch.state("active")
        for auid in ("resource-lists", "rls-services", "pres-rules"):
            assert f'sel="{auid}/users/sip:{ALICE}/index" new-etag=' in first.text
        other = f"/resource-lists/users/sip:{ALICE}/other"
        await http.put(
            other,
            content=b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"/>',
            headers={"Content-Type": LISTS},
        )
        told = await watch.notified("the new document")
        assert f'<d:document sel="{other[1:]}" new-etag="' in told.text
        assert INDEX not in told.text
        await http.delete(other)
        told = await watch.notified("that it is gone")
        assert f'<d:document sel="{other[1:]}" previous-etag="' in told.text
        assert "new-etag" not in told.text
        await house.other.blocking.block(ALICE, [str(CAROL)])
        told = await watch.notified("the rules")
        assert f'sel="pres-rules/users/sip:{ALICE}/index"' in told.text


async def test_nobody_follows_anothers_documents(house: House) -> None:
    async with house.phone(BOB, "tcp") as phone:
        assert (await follow(phone, INDEX)).response.status == 403
        watch = await follow(phone, INDEX, "resource-lists/", to=BOB)
        first = await watch.state("active")
        assert str(ALICE) not in first.text
        assert str(BOB) in first.text


async def test_a_list_in_another_format_or_broken_is_refused(house: House) -> None:
    async with house.phone(ALICE, "tcp") as phone:
        for body, given, status in (
            (b"x", {**TYPE, "Content_Type": "text/plain"}, 415),
            (b"<x", TYPE, 400),
            (b"x" * 20_000, TYPE, 413),
        ):
            watch = await phone.subscribe(str(ALICE), event="xcap-diff", body=body, **given)
            assert watch.response.status == status


async def test_what_is_followed_outlives_the_process(house: House) -> None:
    async with house.phone(ALICE, "udp") as phone:
        watch = await follow(phone, "resource-lists/")
        await watch.state("active")
        await house.stop()
        await house.start()
        again = await watch.state("active")
        assert "resource-lists/" in again.text
        assert "pres-rules" not in again.text


# --- what is followed -------------------------------------------------------------------------------------


def test_uris_are_relative_to_the_root_or_absolute() -> None:
    root = "https://xcap.example.org/xcap-root"
    chosen = selections(
        listing(
            "resource-lists/users/sip:a@b/index",
            f"{root}/resource-lists/users/sip:a@b/index",
            "rls-services/users/sip:a@b/index/~~/*/service%5b@uri='sip:x@b'%5d?xmlns(a=b)",
            "pidf-manipulation/",
        ),
        root,
    )
    assert [(each.path, each.selector, each.query) for each in chosen] == [
        ("resource-lists/users/sip:a@b/index", "", ""),
        ("resource-lists/users/sip:a@b/index", "", ""),
        ("rls-services/users/sip:a@b/index", "*/service%5b@uri='sip:x@b'%5d", "xmlns(a=b)"),
        ("pidf-manipulation/", "", ""),
    ]
    assert chosen[1].uri == f"{root}/resource-lists/users/sip:a@b/index"


async def test_components_come_with_their_content_and_go_with_exists_false(desk: Desk) -> None:
    element = f"{INDEX}/~~/resource-lists/list%5B@name=%22buddies%22%5D/entry"
    chosen = [
        Selection(uri, INDEX, uri.partition("/~~/")[2])
        for uri in (element, f"{element}/@uri", f"{element}/@no")
    ]
    assert await state_of(desk.library, ALICE, chosen) == {}
    body = f'<entry uri="sip:bob@{DOMAIN}"/>'
    await desk.put(
        "resource-lists/index/~~/resource-lists/list%5B@name=%22buddies%22%5D/entry", body, ELEMENT
    )
    now = await state_of(desk.library, ALICE, chosen)
    text = render({}, now, ROOT, full=True).decode()
    assert f' xmlns="urn:ietf:params:xml:ns:resource-lists">{body}</d:element>' in text
    assert f">sip:bob@{DOMAIN}</d:attribute>" in text
    assert "@no" not in text
    gone = render(now, {}, ROOT, full=False).decode()
    for each in (text, gone):
        fits(each.encode(), "xcap-diff")
    assert gone.count('exists="false"') == 2
    bare = render({}, now, ROOT, full=True, bare=True).decode()
    assert body not in bare


async def test_what_one_subscription_shows_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    element = f"{INDEX}/~~/resource-lists/list%5B@name=%22buddies%22%5D/entry"
    body = f'<entry uri="sip:bob@{DOMAIN}"/>'
    await desk.put(
        "resource-lists/index/~~/resource-lists/list%5B@name=%22buddies%22%5D/entry", body, ELEMENT
    )
    chosen = [Selection(f"{number}", INDEX, element.partition("/~~/")[2]) for number in range(10)]
    assert len(await state_of(desk.library, ALICE, chosen)) == 10
    monkeypatch.setattr("sip.xcap.following.MAX_SHOWN", 500)
    assert 1 <= len(await state_of(desk.library, ALICE, chosen)) < 10
