"""sip/fileform.py, sip/edge/filetransfer.py: a phone puts a file as Linphone does, by raw HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from presence.edge.uploads import DirectoryUploads
from presence.files import SharedFile
from presence.uploads import Limits, owner_of
from sip.bodies import Content, understand
from sip.bodies.file import CONTENT_TYPE
from sip.fileform import MAX_HEAD, MAX_PARTS, BadForm, FileForm
from tests.sip.house import BOB, PASSWORD, House, open_house
from xmpp.settings import UploadSettings

LIMITS: Limits = UploadSettings()
PNG = b"\x89PNG\r\n--not-the-boundary\r\n\x00"


def form(data: bytes, name: str = "cat.png", kind: str = "image/png", boundary: str = "abc") -> bytes:
    head = f'Content-disposition: form-data; name="File"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    return f"--{boundary}\r\n{head}".encode() + data + f"\r\n--{boundary}--\r\n".encode()


# --- forms ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize("data", [PNG, b"", b"\r\n", b"\r\n--ab", b"x" * 500])
def test_the_file_comes_out_whole_however_its_bytes_come(data: bytes, step: int) -> None:
    whole = b"preamble\r\n" + form(data) + b"epilogue"
    read = FileForm("abc")
    got = b"".join(read.feed(whole[at : at + step]) for at in range(0, len(whole), step))
    assert (got, read.name, read.type, read.over) == (data, "cat.png", "image/png", True)


def test_other_parts_are_left_aside() -> None:
    tid = b'--abc\r\nContent-Disposition: form-data; name="tid"\r\n\r\n\r\n'
    small = b'--abc\r\nContent-Disposition: form-data; name="Thumbnail"; filename="s.png"\r\n\r\nsmall\r\n'
    read = FileForm("abc")
    assert read.feed(tid + small + form(PNG, 'my \\"cat\\".png')) == PNG
    assert read.name == 'my "cat".png'


def test_a_form_without_a_file_is_over_without_one() -> None:
    read = FileForm("abc")
    assert read.feed(b'--abc\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--abc--\r\n') == b""
    assert (read.found, read.over) == (False, True)


def test_what_is_no_form_is_refused_or_never_found() -> None:
    for boundary in ("", "a" * 71, "a\r\nb", "ä"):
        with pytest.raises(BadForm):
            FileForm(boundary)
    with pytest.raises(BadForm):
        FileForm("abc").feed(b"--abc\r\n" + b"x" * (MAX_HEAD + 1))
    with pytest.raises(BadForm):
        FileForm("abc").feed(b"--abc\r\n\r\n\r\n" * (MAX_PARTS + 1))
    read = FileForm("abc")
    assert read.feed(b"x" * 1_000_000) == b""
    assert len(read._buffer) < 10


# --- the door -------------------------------------------------------------------------------------------


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.fixture
async def phone(house: House) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"From": f"sip:{BOB}", "User-Agent": "Linphone"}
    base = f"http://127.0.0.1:{house.ports['ws']}"
    auth = httpx.DigestAuth(BOB.local, PASSWORD)
    async with httpx.AsyncClient(base_url=base, headers=headers, auth=auth) as client:
        yield client


async def put(phone: httpx.AsyncClient, body: bytes, kind: str = "multipart/form-data; boundary=abc") -> int:
    answer = await phone.post("/file-transfer", content=body, headers={"Content-Type": kind})
    return answer.status_code


def kept(house: House) -> list[int]:
    """Sizes of what counts for bob."""
    folder = house.folder / "uploads/owners" / owner_of(BOB)
    return [int(each.name.split(".")[1]) for each in folder.iterdir()] if folder.exists() else []


async def test_an_empty_post_is_204_and_the_file_comes_back_described(
    house: House, phone: httpx.AsyncClient
) -> None:
    assert (await phone.post("/file-transfer")).status_code == 204
    answer = await phone.post(
        "/file-transfer", content=form(PNG), headers={"Content-Type": "multipart/form-data; boundary=abc"}
    )
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
    file = understand(Content(CONTENT_TYPE, "utf-8", answer.content)).file
    assert file is not None
    assert file == SharedFile(file.url, "cat.png", len(PNG), "image/png")
    place = file.url.removeprefix("https://files.example.org/upload/").split("/")
    stored = DirectoryUploads(house.folder / "uploads", LIMITS).find(place[0])
    assert stored is not None
    assert stored.path.read_bytes() == PNG
    assert (stored.meta.name, stored.meta.type, place[1]) == ("cat.png", "image/png", "cat.png")
    assert b'until="' in answer.content
    assert kept(house) == [len(PNG)]


async def test_without_the_right_password_nothing_is_taken(house: House, phone: httpx.AsyncClient) -> None:
    phone.auth = None  # type: ignore[assignment]
    answer = await phone.post("/file-transfer")
    assert answer.status_code == 401
    assert 'realm="example.org"' in answer.headers["WWW-Authenticate"]
    phone.auth = httpx.DigestAuth(BOB.local, "wrong")
    assert await put(phone, form(PNG)) == 401
    assert kept(house) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (form(b"x" * 100_001), "multipart/form-data; boundary=abc", 400),
        (b"x" * 200_000, "multipart/form-data; boundary=abc", 413),
        (form(PNG)[:-9], "multipart/form-data; boundary=abc", 400),
        (b"nothing", "multipart/form-data; boundary=abc", 400),
        (form(PNG), "multipart/form-data", 400),
        (form(PNG), "nonsense", 400),
        (PNG, "image/png", 415),
    ],
)
async def test_what_is_not_taken_takes_no_room(
    house: House, phone: httpx.AsyncClient, body: bytes, kind: str, status: int
) -> None:
    assert await put(phone, body, kind) == status
    assert kept(house) == []
    assert not [each for each in (house.folder / "uploads/files").rglob("*") if each.is_file()]


async def test_a_chunked_body_has_no_size_to_look_at(phone: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield form(PNG)

    assert (await phone.post("/file-transfer")).status_code == 204
    answer = await phone.post("/file-transfer", content=body())
    assert answer.status_code == 411


async def test_a_phones_files_have_the_quota_of_its_account(house: House, phone: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert await put(phone, form(b"x" * 99_000)) == 200
    assert await put(phone, form(b"x" * 99_000)) == 507
    assert await put(phone, form(b"x" * 40_000)) == 200
    assert sorted(kept(house)) == [40_000, 99_000, 99_000]


async def test_where_phones_may_not_share_files_there_is_no_such_place(tmp_path: Path) -> None:
    async with open_house(tmp_path, file_transfer="") as house, httpx.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{house.ports['ws']}/file-transfer")
        assert answer.status_code == 404


async def test_two_at_once_do_not_mix(phone: httpx.AsyncClient) -> None:
    one, other = await asyncio.gather(
        put(phone, form(b"1" * 50_000, "1")), put(phone, form(b"2" * 50_000, "2"))
    )
    assert (one, other) == (200, 200)
