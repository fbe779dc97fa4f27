"""XCAP over real HTTP: who may in, what is bounded, and how URIs come (RFC 4825 §8, RFC 7616)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from presence.guarding import Unguarded
from sip.digest import compute, make_ha1
from sip.xcap.buddies import EMPTY
from tests.sip.house import ALICE, BOB, DOMAIN, PASSWORD, House, open_house
from tests.support.inbox import PATIENCE

LISTS = {"Content-Type": "application/resource-lists+xml"}
ELEMENT = {"Content-Type": "application/xcap-el+xml"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


def client(house: House, user: str = "alice", password: str = PASSWORD) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=False,
        base_url=f"http://127.0.0.1:{house.ports['ws']}/xcap-root",
        auth=httpx.DigestAuth(user, password),
    )


def index(user: object = ALICE) -> str:
    return f"/resource-lists/users/sip:{user}/index"


async def test_the_owner_gets_in_with_the_password_of_the_phone(house: House) -> None:
    async with client(house) as http:
        answer = await http.get(index())
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/resource-lists+xml"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["ETag"].startswith('"')
        again = await http.get(index(), headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_nobody_gets_in_without_it(house: House) -> None:
    async with client(house, password="wrong") as http:
        assert (await http.get(index())).status_code == 401
    async with httpx.AsyncClient(verify=False) as http:
        url = f"http://127.0.0.1:{house.ports['ws']}/xcap-root"
        known, unknown = [await http.get(url + index(who)) for who in (ALICE, f"nobody@{DOMAIN}")]
        assert known.status_code == unknown.status_code == 401
        for answer in (known, unknown):
            algorithms = [value.split("algorithm=")[1].split(",")[0] for value in _challenges(answer)]
            assert algorithms == ["SHA-256", "MD5"]
        assert (await http.get(url + "/xcap-caps/global/index")).status_code == 200
        assert (await http.get(url + "/nothing/users/sip:x@y/index")).status_code == 404
        assert (await http.get(url + index("x@elsewhere.example"))).status_code == 404


async def test_clients_that_know_md5_only_are_offered_nothing_else(house: House) -> None:
    async with httpx.AsyncClient(verify=False, headers={"User-Agent": "python-xcaplib/2.0"}) as http:
        answer = await http.get(f"http://127.0.0.1:{house.ports['ws']}/xcap-root{index()}")
        assert len(_challenges(answer)) == 1
        assert "algorithm=MD5" in _challenges(answer)[0]


def _challenges(answer: httpx.Response) -> list[str]:
    return answer.headers.get_list("WWW-Authenticate")


class Strict(Unguarded):
    """Counts, and bans after the first failure."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []

    async def wait(self, peer: str, account: str) -> float:
        return 29.5 if (peer, account) in self.failures else 0.0

    async def failed(self, peer: str, account: str) -> None:
        self.failures.append((peer, account))


async def test_wrong_passwords_count_and_bans_hold_as_at_the_sip_door(tmp_path: Path) -> None:
    guard = Strict()
    async with open_house(tmp_path, guard) as house:
        async with client(house, password="wrong") as http:
            assert (await http.get(index())).status_code == 401
        assert guard.failures == [("127.0.0.1", str(ALICE))]
        async with client(house) as http:
            answer = await http.get(index())
            assert (answer.status_code, answer.headers["Retry-After"]) == (403, "30")


async def test_another_users_tree_is_forbidden(house: House) -> None:
    async with client(house) as http:
        for who in (BOB, f"nobody@{DOMAIN}"):
            assert (await http.get(index(who))).status_code == 403


async def test_credentials_for_one_document_do_not_open_another(house: House) -> None:
    url = f"http://127.0.0.1:{house.ports['ws']}/xcap-root"
    async with httpx.AsyncClient(verify=False) as http:
        (challenge,) = [c for c in _challenges(await http.get(url + index())) if "MD5" in c]
        nonce = challenge.split('nonce="')[1].split('"')[0]
        signed = f"/xcap-root{index()}"

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        ha1, ha2 = md5(f"alice:{DOMAIN}:{PASSWORD}"), md5(f"GET:{signed}")
        response = md5(f"{ha1}:{nonce}:00000001:c:auth:{ha2}")
        header = (
            f'Digest username="alice", realm="{DOMAIN}", nonce="{nonce}", uri="{signed}", qop=auth,'
            f' nc=00000001, cnonce="c", response="{response}"'
        )
        other = f"/rls-services/users/sip:{ALICE}/index"
        answer = await http.get(url + other, headers={"Authorization": header})
        assert answer.status_code == 400
        # and a nonce's count is good for one request
        answer = await http.get(url + index(), headers={"Authorization": header})
        assert answer.status_code == 401
        assert all("stale=true" in each for each in _challenges(answer))


@pytest.mark.parametrize(
    "selector",
    [
        "resource-lists/list%5B@name=%22buddies%22%5D/entry%5B@uri=%22sip:bob@example.org%22%5D",
        'resource-lists/list[@name="buddies"]/entry[@uri="sip:bob@example.org"]',
        "resource-lists/list%5b%40name%3d%22buddies%22%5d/entry%5b%40uri%3d%22sip%3abob%40example.org%22%5d",
        "x:resource-lists/x:list/x:entry%5B@uri='sip:bob@example.org'%5D"
        "?xmlns(x=urn:ietf:params:xml:ns:resource-lists)",
    ],
)
async def test_selectors_in_every_spelling(house: House, selector: str) -> None:
    entry = b'<entry uri="sip:bob@example.org"/>'
    async with client(house) as http:
        path = f"{index()}/~~/{selector}"
        assert (await http.put(path, content=entry, headers=ELEMENT)).status_code == 201
        answer = await http.get(path)
        assert (answer.status_code, answer.content) == (200, entry)
        assert answer.headers["Content-Type"] == "application/xcap-el+xml"
        assert (await http.delete(path)).status_code == 200
        assert (await http.get(path)).status_code == 404


async def test_what_is_too_large_is_not_read(house: House) -> None:
    async with client(house) as http:
        answer = await http.put(index(), content=b"x" * 600_000, headers=LISTS)
        assert answer.status_code == 413


async def test_nothing_of_a_body_is_waited_for_before_it_is_known_whose_it_is(house: House) -> None:
    head = (
        f"PUT /xcap-root{index()} HTTP/1.1\r\nHost: xcap\r\nContent-Type: application/resource-lists+xml\r\n"
        'Authorization: Digest username="alice", realm="example.org", nonce="x", uri="x", qop=auth,'
        ' nc=00000001, cnonce="c", response="x"\r\nContent-Length: 500000\r\n\r\n'
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", house.ports["ws"])
    writer.write(head.encode() + b"<some of it")
    async with asyncio.timeout(PATIENCE):
        assert b" 401 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("qop", ["", 'qop="auth-int", ', "qop=AUTH-INT, "])
async def test_a_login_that_could_be_repeated_or_needs_the_body_is_none(house: House, qop: str) -> None:
    url = f"http://127.0.0.1:{house.ports['ws']}/xcap-root{index()}"
    async with httpx.AsyncClient(verify=False) as http:
        (challenge,) = [c for c in _challenges(await http.get(url)) if "MD5" in c]
        nonce = challenge.split('nonce="')[1].split('"')[0]
        fields = {"nonce": nonce, "uri": f"/xcap-root{index()}"}
        if qop:
            fields |= {"qop": "auth-int", "nc": "00000001", "cnonce": "c"}
        response = compute(fields, "MD5", make_ha1("MD5", "alice", DOMAIN, PASSWORD), "GET")
        header = (
            f'Digest username="alice", realm="{DOMAIN}", nonce="{nonce}", uri="{fields["uri"]}", {qop}'
            f'nc=00000001, cnonce="c", response="{response}"'
        )
        assert (await http.get(url, headers={"Authorization": header})).status_code == 401


async def test_who_is_too_fast_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with open_house(tmp_path, requests_per_address=0.5, unlimited=()) as house:
        async with httpx.AsyncClient(verify=False) as http:
            url = f"http://127.0.0.1:{house.ports['ws']}/xcap-root{index()}"
            heard = [await http.get(url) for _ in range(8)]
        assert [answer.status_code for answer in heard] == [401] * 6 + [429] * 2
        assert 1 <= int(heard[-1].headers["Retry-After"]) <= 2


async def test_an_account_has_its_rate_and_large_documents_count_as_more(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path, requests_per_account=0.5, requests_per_address=0, unlimited=()) as house,
        client(house) as http,
    ):
        heard = [await http.get(index()) for _ in range(8)]
        assert [answer.status_code for answer in heard] == [200] * 6 + [429] * 2
        async with client(house, "bob") as other:
            large = EMPTY.replace("</resource-lists>", f"<!--{'x' * 131_072}--></resource-lists>")
            answer = await other.put(index(BOB), content=large, headers=LISTS)
            assert answer.status_code == 200
            assert (await other.get(index(BOB))).status_code == 429


async def test_conflicts_and_other_methods_over_http(house: House) -> None:
    async with client(house) as http:
        answer = await http.put(index(), content=b"<x", headers=LISTS)
        assert answer.status_code == 409
        assert answer.headers["Content-Type"] == "application/xcap-error+xml"
        assert b"<not-well-formed" in answer.content
        answer = await http.post(index(), content=b"")
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}


async def test_without_a_root_there_is_no_xcap(tmp_path: Path) -> None:
    async with open_house(tmp_path, xcap_root="") as house, client(house) as http:
        assert (await http.get("/xcap-caps/global/index")).status_code == 404


async def test_a_root_that_is_a_whole_url_is_served_at_its_path(tmp_path: Path) -> None:
    root = "https://xcap.example.org/here"
    async with open_house(tmp_path, xcap_root=root) as house, client(house) as http:
        base = f"http://127.0.0.1:{house.ports['ws']}/here"
        answer = await http.put(
            f"{base}/resource-lists/users/sip:{ALICE}/other",
            content=b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"/>',
            headers=LISTS,
        )
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{root}/resource-lists/users/sip:{ALICE}/other"


async def test_two_processes_change_one_document_one_after_the_other(house: House) -> None:
    document = (
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="l"/></resource-lists>'
    )
    url = f"/resource-lists/users/sip:{ALICE}/mine"
    people = [f"sip:friend{number}@{DOMAIN}" for number in range(12)]
    async with house.second() as other, client(house) as http, client(other) as elsewhere:
        assert (await http.put(url, content=document.encode(), headers=LISTS)).status_code == 201

        async def add(uri: str, through: httpx.AsyncClient) -> int:
            selector = f"{url}/~~/resource-lists/list/entry%5B@uri=%22{uri}%22%5D"
            body = f'<entry uri="{uri}"/>'.encode()
            return (await through.put(selector, content=body, headers=ELEMENT)).status_code

        changes = [add(uri, (http, elsewhere)[number % 2]) for number, uri in enumerate(people)]
        assert set(await asyncio.gather(*changes)) == {201}
        shown = (await http.get(url)).text
        assert [uri for uri in people if uri not in shown] == []


async def test_while_another_process_changes_it_a_change_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip.edge.xcap._TURN", 0.2)
    name = f"xcap {ALICE}"
    async with client(house) as http:
        assert await house.other.lease(name, 60)
        busy = await http.put(index(), content=EMPTY, headers=LISTS)
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "5")
        assert await house.other.lease(name, 0.001)
        assert (await http.put(index(), content=EMPTY, headers=LISTS)).status_code == 200
