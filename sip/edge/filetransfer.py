"""Where phones put the files they share (GSMA RCC.07 §3.2.5.3, as Linphone does it).

An empty POST asks whether one may, and is answered 204; a POST of a form with the file in it, 200 and the
document that describes it. Both by digest, as the account. The xmpp role serves what was put there, under the
limits of `xmpp.upload`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from presence.address import Address
from presence.edge.taking import NotTaken, chunks, take
from presence.edge.uploads import DirectoryUploads
from presence.errors import Unavailable
from presence.files import SharedFile
from presence.ports import Metrics
from presence.uploads import ANY_TYPE, QuotaReached, Ticket, address_of, fit_name, fit_type
from sip.addressing import to_address
from sip.bodies.file import CONTENT_TYPE, write_file
from sip.edge.asking import not_before, who_asks
from sip.edge.sockets import client_of
from sip.errors import ProtocolError
from sip.fileform import MAX_HEAD, BadForm, FileForm
from sip.grammar import Malformed
from sip.headers import MediaType, NameAddr
from sip.limits import Rates
from sip.outgoing import stamp
from sip.weblogin import HttpRefused, Login

FORM = "multipart/form-data"
HEAD_TIMEOUT = 60.0
"Seconds until the file begins."
_COST = 10.0
"A file is as much work as so many requests more: all of its owner's are counted."


class FileTransfer:
    def __init__(
        self,
        uploads: DirectoryUploads,
        bases: Mapping[str, str],
        login: Login,
        rates: Rates,
        metrics: Metrics,
        *,
        path: str,
    ) -> None:
        """`bases`: domain with accounts, the default first → address of its files. `path`: where phones
        POST."""
        self._uploads = uploads
        self._bases = bases
        self._login = login
        self._rates = rates
        self._metrics = metrics
        self._path = path

    def routes(self) -> list[Route]:
        return [Route(self._path, self._answer, methods=["POST"])]

    async def _answer(self, request: Request) -> Response:
        try:
            response = await self._answered(request)
        except HttpRefused as refused:
            response = Response(f"{refused.reason}\n", refused.status, media_type="text/plain")
            for name, value in refused.headers:
                response.headers.append(name, value)
        except NotTaken as refused:
            response = Response(f"{refused.text}\n", refused.status, media_type="text/plain")
        except QuotaReached as reached:
            response = Response(f"{reached}\n", 507, media_type="text/plain")
        except Unavailable:
            response = Response(status_code=503, headers={"Retry-After": "5"})
        response.headers["Cache-Control"] = "no-store"
        self._metrics.count("sip_uploads_total", status=str(response.status_code))
        return response

    async def _answered(self, request: Request) -> Response:
        peer, _ = client_of(request)
        not_before(self._rates.network(peer, time.time()))
        user = await who_asks(request, self._realm(request), self._login, self._rates)
        length = request.headers.get("content-length", "")
        if "transfer-encoding" in request.headers or (length and not length.isdecimal()):
            raise HttpRefused(411, "Content-Length Is Wanted")
        if not length or int(length) == 0:
            return Response(status_code=204)
        if int(length) > self._uploads.max_size + 4 * MAX_HEAD:
            raise HttpRefused(413, "File Too Large")
        self._rates.charge(user, peer, time.time(), _COST)
        document = await self._put(user, _form_of(request), int(length), chunks(request))
        return Response(document, media_type=CONTENT_TYPE)

    def _realm(self, request: Request) -> str:
        """The domain of whom the phone says it is (From, RFC 9110 §10.1.2), else the default; the digest is
        to prove it."""
        try:
            said = to_address(NameAddr.parse(request.headers.get("from", "")).uri).domain
        except (Malformed, ProtocolError):
            said = ""
        return said if said in self._bases else next(iter(self._bases))

    async def _put(self, user: Address, form: FileForm, length: int, body: AsyncIterator[bytes]) -> bytes:
        """Keep the file in a body of that length; the document that describes it."""
        try:
            async with asyncio.timeout(HEAD_TIMEOUT):
                first = await _begin(form, body)
        except (BadForm, ClientDisconnect, TimeoutError) as error:
            raise HttpRefused(400, f"Bad Form: {error}") from None
        if not form.found:
            raise HttpRefused(400, "Bad Form: No File In It")
        most = min(length, self._uploads.max_size)
        name, type_ = fit_name(form.name), fit_type(form.type) or ANY_TYPE
        try:
            ticket = await self._uploads.claim(user, name, type_, most)
        except OSError:
            raise NotTaken(500, "it cannot be kept") from None
        try:
            size = await take(self._uploads, ticket, type_, _file(form, first, body), at_most=True)
        except BaseException:
            await self._uploads.release(ticket)
            raise
        return self._described(user, ticket, size)

    def _described(self, user: Address, ticket: Ticket, size: int) -> bytes:
        url = address_of(ticket, self._bases[user.domain])
        until = stamp(ticket.expires) if ticket.expires else ""
        return write_file(SharedFile(url, ticket.name, size, ticket.type), until)


def _form_of(request: Request) -> FileForm:
    """Raises `HttpRefused` 400, 415."""
    try:
        media = MediaType.parse(request.headers.get("content-type", ""))
        if media.value == FORM:
            return FileForm(media.parameter("boundary") or "")
    except (Malformed, BadForm):
        raise HttpRefused(400, "Bad Content-Type") from None
    raise HttpRefused(415, f"{FORM} Is Wanted", (("Accept", FORM),))


async def _begin(form: FileForm, body: AsyncIterator[bytes]) -> bytes:
    """Read up to the file, if there is one; its first bytes."""
    async for chunk in body:
        first = form.feed(chunk)
        if form.found or form.over:
            return first
    return b""


async def _file(form: FileForm, first: bytes, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The file's bytes; what comes behind it is read and left. Raises `NotTaken` 400 where it has no end."""
    yield first
    async for chunk in body:
        yield form.feed(chunk)
    if not form.over:
        raise NotTaken(400, "the form does not end")
