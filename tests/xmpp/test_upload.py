"""XEP-0363: names, types, tickets, the directory, HTTP, and the service clients ask."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.web import WebServer
from presence.address import parse_address
from presence.edge.uploads import MAX_OPEN, Broken, DirectoryUploads, Taken
from presence.uploads import (
    MAX_NAME,
    QuotaReached,
    Slot,
    Ticket,
    disposition,
    fit_name,
    fit_type,
    patience_for,
    sign,
    slot,
    verify,
)
from tests.support.waiting import until
from tests.xmpp.scene import Client, Scene, Silence
from xmpp.edge.fileserver import FileServer
from xmpp.element import E, Element
from xmpp.extensions.xep_0363_upload import NS, PURPOSE_NS, provide
from xmpp.hosted import INFO_NS, ITEMS_NS
from xmpp.settings import UploadSettings

ALICE = parse_address("alice@example.org")
BOB = parse_address("bob@example.org")
BASE = "https://files.example.org"
UPLOAD = "upload.example.org"
NOW = 1_800_000_000.0
DAY = 86_400


# --- pure -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("très cool.jpg", "très cool.jpg"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\\b\x00c\n.txt", "a_b_c_.txt"),
        ("...", "file"),
        ("", "file"),
        ("\u202egpj.exe", "_gpj.exe"),
        ("x" * 500 + ".jpg", "x" * (MAX_NAME - 4) + ".jpg"),
        ("ä" * 200, "ä" * (MAX_NAME // 2)),
        (".htaccess", "htaccess"),
    ],
)
def test_a_name_fits_an_address_and_a_header(said: str, kept: str) -> None:
    assert fit_name(said) == kept
    assert len(fit_name(said).encode()) <= MAX_NAME


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("image/jpeg", "image/jpeg"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/html\r\nSet-Cookie: a=b", ""),
        ("nonsense", ""),
        ("text/plain" + "; a=b" * 1000, ""),
    ],
)
def test_a_type_is_one_or_none(said: str, kept: str) -> None:
    assert fit_type(said) == kept


@pytest.mark.parametrize(
    ("type_", "shown"),
    [
        ("image/png", "inline"),
        ("video/mp4", "inline"),
        ("text/plain; charset=utf-8", "inline"),
        ("image/svg+xml", "attachment"),
        ("text/html", "attachment"),
        ("application/pdf", "attachment"),
    ],
)
def test_only_what_runs_nothing_is_shown(type_: str, shown: str) -> None:
    assert disposition(type_) == shown


def test_a_ticket_holds_for_what_it_says_and_nobody_else_writes_one() -> None:
    ticket = Ticket("id", "owner", "name", "image/png", 5, 10, 20)
    text = sign(ticket, b"secret")
    assert verify(text, b"secret") == ticket
    assert verify(text, b"other") is None
    assert verify(text[:-2] + "AA", b"secret") is None
    assert verify("", b"secret") is None
    assert verify("ä", b"secret") is None


def test_the_addresses_of_a_slot_are_uris() -> None:
    """§5: what is not ASCII is percent-encoded."""
    made = slot(Ticket("id", "owner", "très cool?.jpg", "", 5, 10, 20), BASE, b"secret")
    assert made.get == "https://files.example.org/upload/id/tr%C3%A8s%20cool%3F.jpg"
    assert made.put.startswith(made.get + "?ticket=")


# --- the directory --------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def uploads(directory: Path, clock: Callable[[], float] | None = None, **settings: Any) -> DirectoryUploads:
    made = DirectoryUploads(directory / "uploads", UploadSettings(**settings), clock or Clock())
    made.prepare()
    return made


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


def ticket_of(kept: DirectoryUploads, made: Slot) -> Ticket:
    found = kept.ticket(made.put.partition("ticket=")[2])
    assert found is not None
    return found


async def reserve(kept: DirectoryUploads, size: int = 5, *, owner: Any = ALICE, **more: Any) -> Ticket:
    return ticket_of(kept, await kept.reserve(owner, BASE, "a.txt", "text/plain", size, **more))


async def put(kept: DirectoryUploads, data: bytes, **more: Any) -> str:
    """Returns the file's id."""
    ticket = await reserve(kept, len(data), **more)
    await kept.put(ticket, ticket.type, chunks(data))
    return ticket.id


async def test_a_file_is_kept_whole_and_private(tmp_path: Path) -> None:
    kept = uploads(tmp_path)
    ticket = await reserve(kept, 10)
    assert kept.find(ticket.id) is None
    await kept.put(ticket, "text/plain", chunks(b"hello", b"", b"world"))
    stored = kept.find(ticket.id)
    assert stored is not None
    assert stored.path.read_bytes() == b"helloworld"
    assert (stored.meta.name, stored.meta.type) == ("a.txt", "text/plain")
    assert stored.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("data", [b"", b"four", b"sixsix"])
async def test_what_is_not_as_long_as_announced_leaves_nothing_and_may_come_again(
    tmp_path: Path, data: bytes
) -> None:
    kept = uploads(tmp_path)
    ticket = await reserve(kept, 5)
    with pytest.raises(Broken):
        await kept.put(ticket, "text/plain", chunks(data))
    assert kept.find(ticket.id) is None
    await kept.put(ticket, "text/plain", chunks(b"hello"))
    assert kept.find(ticket.id) is not None


async def test_a_slot_takes_one_file(tmp_path: Path) -> None:
    kept = uploads(tmp_path)
    ticket = await reserve(kept)
    await kept.put(ticket, "text/plain", chunks(b"hello"))
    with pytest.raises(Taken):
        await kept.put(ticket, "text/plain", chunks(b"other"))


async def test_a_slot_takes_one_upload_at_a_time(tmp_path: Path) -> None:
    kept = uploads(tmp_path)
    ticket = await reserve(kept)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        begun.set()
        await go_on.wait()
        yield b"hello"

    first = asyncio.ensure_future(kept.put(ticket, "text/plain", slowly()))
    await begun.wait()
    with pytest.raises(Taken):
        await kept.put(ticket, "text/plain", chunks(b"other"))
    go_on.set()
    await first
    assert kept.find(ticket.id) is not None


async def test_a_ticket_ends(tmp_path: Path) -> None:
    clock = Clock()
    kept = uploads(tmp_path, clock, slot_lifetime=300)
    made = await kept.reserve(ALICE, BASE, "a", "", 5)
    clock.now += 301
    assert kept.ticket(made.put.partition("ticket=")[2]) is None


async def test_files_and_slots_count_for_their_owner_alone(tmp_path: Path) -> None:
    kept = uploads(tmp_path, quota=100)
    await put(kept, b"x" * 60)
    with pytest.raises(QuotaReached) as reached:
        await reserve(kept, 41)
    assert reached.value.retry == NOW + 30 * DAY
    await reserve(kept, 40)
    with pytest.raises(QuotaReached):
        await reserve(kept, 1)
    await reserve(kept, 100, owner=BOB)


async def test_a_slot_nobody_used_gives_its_room_back(tmp_path: Path) -> None:
    clock = Clock()
    kept = uploads(tmp_path, clock, quota=100)
    await reserve(kept, 100)
    with pytest.raises(QuotaReached) as reached:
        await reserve(kept, 1)
    assert reached.value.retry == NOW + 300
    clock.now += 300
    await reserve(kept, 100)


async def test_a_file_that_comes_counts_until_it_is_there_or_given_up(tmp_path: Path) -> None:
    """However long it takes."""
    clock = Clock()
    kept = uploads(tmp_path, clock, quota=100, days=0)
    ticket = await reserve(kept, 100)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        begun.set()
        await go_on.wait()
        yield b"x" * 100

    clock.now = ticket.until - 1
    coming = asyncio.ensure_future(kept.put(ticket, "text/plain", slowly()))
    await begun.wait()
    clock.now = ticket.until + 1
    with pytest.raises(QuotaReached):
        await reserve(kept, 1)
    go_on.set()
    await coming
    clock.now += DAY
    with pytest.raises(QuotaReached):
        await reserve(kept, 1)


async def test_a_file_does_not_come_for_ever(tmp_path: Path) -> None:
    assert patience_for(8192) == 61
    clock = Clock()
    settings = UploadSettings(quota=100)
    kept = DirectoryUploads(tmp_path / "uploads", settings, clock, patience=lambda _: 0.05)
    kept.prepare()
    ticket = await reserve(kept, 100)

    async def drop_by_drop() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.02)

    with pytest.raises(TimeoutError):
        await kept.put(ticket, "text/plain", drop_by_drop())
    with pytest.raises(QuotaReached):
        await reserve(kept, 1)
    clock.now = ticket.until + 1
    await reserve(kept, 100)


async def test_files_of_one_person_are_counted(tmp_path: Path) -> None:
    """Each takes more than its bytes."""
    kept = uploads(tmp_path, max_files=3)
    for _ in range(2):
        await put(kept, b"x")
    await reserve(kept, 1)
    with pytest.raises(QuotaReached, match="many files"):
        await reserve(kept, 1)
    await reserve(kept, 1, owner=BOB)


async def test_slots_that_are_being_used_are_open(tmp_path: Path) -> None:
    kept = uploads(tmp_path)
    go_on = asyncio.Event()

    async def later() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"hello"

    tickets = [await reserve(kept) for _ in range(MAX_OPEN)]
    coming = [asyncio.ensure_future(kept.put(each, "text/plain", later())) for each in tickets]
    directory = tmp_path / "uploads" / "owners" / tickets[0].owner
    await until("they come", lambda: len(list(directory.glob("*.part"))) == MAX_OPEN, 20)
    with pytest.raises(QuotaReached, match="first use"):
        await reserve(kept)
    go_on.set()
    await asyncio.gather(*coming)
    await reserve(kept)


async def test_slots_are_not_hoarded(tmp_path: Path) -> None:
    kept = uploads(tmp_path)
    for _ in range(MAX_OPEN):
        await reserve(kept)
    with pytest.raises(QuotaReached, match="first use"):
        await reserve(kept)


async def test_several_processes_share_the_room_and_the_secret(tmp_path: Path) -> None:
    one, other = uploads(tmp_path, quota=100), uploads(tmp_path, quota=100)
    made = [(one, other)[number % 2].reserve(ALICE, BASE, "a", "", 10) for number in range(20)]
    results = await asyncio.gather(*made, return_exceptions=True)
    slots = [result for result in results if isinstance(result, Slot)]
    assert len(slots) == 10
    ticket = ticket_of(other, slots[0])
    await other.put(ticket, "text/plain", chunks(b"0123456789"))
    assert one.find(ticket.id) is not None


async def test_files_end_and_are_deleted(tmp_path: Path) -> None:
    clock = Clock()
    kept = uploads(tmp_path, clock, days=1, quota=10)
    id = await put(kept, b"0123456789")
    clock.now += DAY - 1
    assert kept.clean() == 0
    assert kept.find(id) is not None
    clock.now += 1
    assert kept.find(id) is None
    assert kept.clean() == 1
    assert list((tmp_path / "uploads/files").glob("*/*")) == []
    await reserve(kept, 10)


async def test_the_owner_may_want_it_gone_sooner_but_not_later(tmp_path: Path) -> None:
    """§6.3."""
    kept = uploads(tmp_path, days=1)
    assert (await reserve(kept, expires=NOW + 60)).expires == NOW + 60
    assert (await reserve(kept, expires=NOW + 5 * DAY)).expires == NOW + DAY
    assert (await reserve(uploads(tmp_path, days=0))).expires == 0


async def test_what_never_became_whole_is_deleted_after_a_day(tmp_path: Path) -> None:
    clock = Clock()
    kept = uploads(tmp_path, clock)
    part = tmp_path / "uploads/files/ab/abc.part"
    part.parent.mkdir()
    part.write_bytes(b"x")
    os.utime(part, (NOW, NOW))
    kept.clean()
    assert part.exists()
    clock.now += DAY + 1
    kept.clean()
    assert not part.exists()


@pytest.mark.parametrize("id", ["..", "../secret", "x" * 31, "." * 32, ""])
def test_only_ids_of_ours_name_files(tmp_path: Path, id: str) -> None:
    assert uploads(tmp_path).find(id) is None


# --- HTTP -----------------------------------------------------------------------------------------------


class Served:
    def __init__(self, kept: DirectoryUploads, base: str, http: httpx.AsyncClient) -> None:
        self.kept = kept
        self.base = base
        self.http = http

    async def slot(self, size: int, name: str = "a b.txt", type_: str = "text/plain") -> Slot:
        return await self.kept.reserve(ALICE, self.base, name, type_, size)

    async def put(self, data: bytes, name: str = "a b.txt", type_: str = "text/plain") -> Slot:
        made = await self.slot(len(data), name, type_)
        answer = await self.http.put(made.put, content=data, headers={"Content-Type": type_})
        assert answer.status_code == 201
        return made


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Served]:
    kept = uploads(directory, time.time)
    server = WebServer(FileServer(kept, Silence()).routes(), plain=["127.0.0.1:0"])
    await server.start()
    _, host, port = server.listening[0]
    async with httpx.AsyncClient(verify=False, trust_env=False) as http:
        yield Served(kept, f"http://{host}:{port}", http)
    await server.stop()


async def test_what_was_put_is_got_with_safe_headers(tmp_path: Path) -> None:
    async with served(tmp_path) as files:
        data = os.urandom(3_000_000)
        made = await files.put(data, "photo.jpg", "image/jpeg")
        got = await files.http.get(made.get)
        head = await files.http.head(made.get)
    assert got.content == data
    assert got.headers["content-type"] == "image/jpeg"
    assert got.headers["content-disposition"] == 'inline; filename="photo.jpg"'
    assert got.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["access-control-allow-origin"] == "*"
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "3000000", b"")


async def test_a_page_is_only_ever_saved(tmp_path: Path) -> None:
    async with served(tmp_path) as files:
        made = await files.put(b"<script>alert(1)</script>", "ü.html", "text/html")
        got = await files.http.get(made.get)
    assert got.headers["content-disposition"] == "attachment; filename*=utf-8''%C3%BC.html"


async def test_parts_of_a_file(tmp_path: Path) -> None:
    async with served(tmp_path) as files:
        made = await files.put(b"0123456789")
        part = await files.http.get(made.get, headers={"Range": "bytes=2-4"})
        beyond = await files.http.get(made.get, headers={"Range": "bytes=20-"})
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"12345", {"Content-Type": "text/html"}, 415),
        (b"1234", {"Content-Type": "text/plain"}, 413),
        (b"123456", {"Content-Type": "text/plain"}, 413),
        (b"12345", {"Content-Type": "TEXT/PLAIN; charset=utf-8"}, 201),
        (b"12345", {}, 201),
    ],
)
async def test_only_what_was_announced_is_taken(
    tmp_path: Path, data: bytes, headers: dict[str, str], status: int
) -> None:
    """§8."""
    async with served(tmp_path) as files:
        made = await files.slot(5)
        assert (await files.http.put(made.put, content=data, headers=headers)).status_code == status
        assert (await files.http.get(made.get)).status_code == (200 if status == 201 else 404)


async def test_the_length_must_be_known_beforehand(tmp_path: Path) -> None:
    async with served(tmp_path) as files:
        made = await files.slot(5)
        answer = await files.http.put(made.put, content=chunks(b"hello"))
    assert answer.status_code == 411


async def test_an_address_without_a_good_ticket_takes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as files:
        made, other = await files.slot(5), await files.slot(5, "other.txt")
        stolen = other.put.replace("other.txt", "a%20b.txt")
        for url in (made.get, made.put[:-2], made.put.replace("a%20b", "c"), stolen):
            assert (await files.http.put(url, content=b"hello")).status_code == 403
        assert (await files.http.put(made.put, content=b"hello")).status_code == 201
        assert (await files.http.put(made.put, content=b"hello")).status_code == 409


async def test_another_name_is_another_file(tmp_path: Path) -> None:
    async with served(tmp_path) as files:
        made = await files.put(b"hello")
        assert (await files.http.get(made.get.replace("a%20b.txt", "invoice.exe"))).status_code == 404


async def test_pages_of_any_origin_may_put_and_get(tmp_path: Path) -> None:
    async with served(tmp_path) as files:
        made = await files.slot(5)
        asked = {"Origin": "https://chat.example.com", "Access-Control-Request-Method": "PUT"}
        answer = await files.http.options(made.put, headers=asked)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "PUT" in answer.headers["access-control-allow-methods"]


# --- the service ----------------------------------------------------------------------------------------


class Ledger:
    """Implements `Uploads`."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.full: Exception | None = None

    async def reserve(
        self, owner: Any, base: str, name: str, type: str, size: int, *, expires: Any = None
    ) -> Slot:
        if self.full is not None:
            raise self.full
        self.asked.append((str(owner), base, name, type, size, expires))
        return Slot(f"{base}/put", f"{base}/get")


async def asker(xmpp: Scene, ledger: Ledger | None = None) -> Client:
    await xmpp.people("alice")
    router = await xmpp.node("xmpp-1", web={"public_url": BASE}, upload={"max_size": 1000})
    if ledger is not None:
        provide(router, ledger, {"example.org": BASE})
    return await xmpp.online("alice")


def request(*children: Element, **attrs: str) -> Element:
    told = {"filename": "a.jpg", "size": "10", "content-type": "image/jpeg"} | attrs
    return E("request", NS, {name: value for name, value in told.items() if value}, *children)


async def test_the_server_lists_the_service_and_the_service_tells_its_limit(xmpp: Scene) -> None:
    """§3."""
    alice = await asker(xmpp)
    items = await alice.ask("get", E("query", ITEMS_NS), "example.org")
    assert {"jid": UPLOAD, "name": "HTTP File Upload"} in [item.attrs for item in items.elements[0].elements]
    (told,) = (await alice.ask("get", E("query", INFO_NS), UPLOAD)).elements
    assert {f.get("var") for f in told.findall("feature")} >= {
        NS,
        f"{PURPOSE_NS}#message",
        f"{PURPOSE_NS}#ephemeral",
    }
    form = told.find("x", "jabber:x:data")
    assert form is not None
    fields = {field.get("var"): field.elements[0].text for field in form.findall("field")}
    assert fields == {"FORM_TYPE": NS, "max-file-size": "1000"}


async def test_a_slot_is_two_addresses(xmpp: Scene) -> None:
    ledger = Ledger()
    alice = await asker(xmpp, ledger)
    answer = await alice.ask("get", request(), UPLOAD)
    assert answer.get("type") == "result"
    (given,) = answer.elements
    assert [(each.name, each.get("url")) for each in given.elements] == [
        ("put", f"{BASE}/put"),
        ("get", f"{BASE}/get"),
    ]
    assert ledger.asked == [("alice@example.org", BASE, "a.jpg", "image/jpeg", 10, None)]


@pytest.mark.parametrize(
    ("attrs", "condition"),
    [
        ({"size": "1001"}, "not-acceptable"),
        ({"size": "9" * 400}, "not-acceptable"),
        ({"size": "0"}, "bad-request"),
        ({"size": "0" * 5000 + "9" * 5000}, "not-acceptable"),
        ({"size": "-1"}, "bad-request"),
        ({"size": ""}, "bad-request"),
        ({"filename": ""}, "bad-request"),
    ],
)
async def test_what_gets_no_slot(xmpp: Scene, attrs: dict[str, str], condition: str) -> None:
    """§7."""
    alice = await asker(xmpp, Ledger())
    answer = await alice.ask("get", request(**attrs), UPLOAD)
    error = answer.find("error")
    assert error is not None
    assert error.elements[0].name == condition
    too_large = error.find("file-too-large", NS)
    assert (too_large is not None) == (condition == "not-acceptable")
    if too_large is not None:
        assert too_large.elements[0].text == "1000"


async def test_slots_are_not_asked_for_without_end(xmpp: Scene) -> None:
    ledger = Ledger()
    alice = await asker(xmpp, ledger)
    answers = [(await alice.ask("get", request(), UPLOAD)).get("type") for _ in range(120)]
    assert 100 <= len(ledger.asked) < 110
    assert answers[-1] == "error"
    await xmpp.wait(60)
    assert (await alice.ask("get", request(), UPLOAD)).get("type") == "result"


async def test_who_has_no_room_hears_when_there_is(xmpp: Scene) -> None:
    ledger = Ledger()
    ledger.full = QuotaReached("full", NOW)
    alice = await asker(xmpp, ledger)
    error = (await alice.ask("get", request(), UPLOAD)).find("error")
    assert error is not None
    assert error.get("type") == "wait"
    retry = error.find("retry", NS)
    assert retry is not None
    assert retry.get("stamp") == "2027-01-15T08:00:00.000Z"


async def test_a_file_may_be_for_a_while(xmpp: Scene) -> None:
    """§6.3."""
    ledger = Ledger()
    alice = await asker(xmpp, ledger)
    await alice.ask(
        "get", request(E("ephemeral", PURPOSE_NS, {"expire-before": "2099-01-15T08:00:00Z"})), UPLOAD
    )
    assert ledger.asked[0][-1] == 4_072_147_200.0
    gone = request(E("ephemeral", PURPOSE_NS, {"expire-before": "1999-01-15T08:00:00Z"}))
    assert (await alice.ask("get", gone, UPLOAD)).get("type") == "error"
