"""PUT and GET of uploaded files (XEP-0363 §8)."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from presence.edge.taking import NotTaken, chunks, take
from presence.edge.uploads import DirectoryUploads
from presence.ports import Metrics
from presence.uploads import ANY_TYPE, UPLOAD_PATH, disposition, fit_type, safety, same_type

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, PUT, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Range",
    "Access-Control-Max-Age": "86400",
}
SHARED = {
    "Access-Control-Allow-Origin": "*",  # nothing a browser adds by itself opens anything here
    "Access-Control-Expose-Headers": "Content-Range, Accept-Ranges",
}


class FileServer:
    def __init__(self, uploads: DirectoryUploads, metrics: Metrics) -> None:
        self._uploads = uploads
        self._metrics = metrics

    def routes(self) -> list[BaseRoute]:
        methods = ["GET", "HEAD", "PUT", "OPTIONS"]
        return [Route(UPLOAD_PATH + "/{id}/{name}", self._answer, methods=methods)]

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(headers=SHARED | PREFLIGHT)
        if request.method == "PUT":
            status, text = await self._put(request)
            self._metrics.count("xmpp_uploads_total", status=str(status))
            return Response(text, status, SHARED, "text/plain")
        return await self._get(request)

    async def _get(self, request: Request) -> Response:
        stored = await asyncio.to_thread(self._uploads.find, request.path_params["id"])
        if stored is None or stored.meta.name != request.path_params["name"]:
            return Response("there is no such file\n", 404, SHARED | safety(), "text/plain")
        return FileResponse(
            stored.path,
            headers=SHARED | safety() | {"Cache-Control": "private, max-age=604800, immutable"},
            media_type=stored.meta.type,
            filename=stored.meta.name,
            content_disposition_type=disposition(stored.meta.type),
        )

    async def _put(self, request: Request) -> tuple[int, str]:
        """Status and a word for humans."""
        ticket = self._uploads.ticket(request.query_params.get("ticket", ""))
        place = request.path_params["id"], request.path_params["name"]
        if ticket is None or (ticket.id, ticket.name) != place:
            return 403, "this address is not, or no longer, good for an upload\n"
        type_ = request.headers.get("content-type", "")
        if ticket.type and type_ and not same_type(type_, ticket.type):
            return 415, f"{ticket.type} was announced\n"
        length = request.headers.get("content-length")
        if length is None:
            return 411, "Content-Length is wanted\n"
        if length != str(ticket.size):  # §8: the server MUST
            return 413, f"{ticket.size} bytes were announced\n"
        try:
            await take(self._uploads, ticket, ticket.type or fit_type(type_) or ANY_TYPE, chunks(request))
        except NotTaken as refused:
            return refused.status, f"{refused.text}\n"
        return 201, ""
