"""The admin's HTTP server as a `Door`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.admin import resources
from gateway.admin.contact import Contact, write_contact
from gateway.admin.resource import ApiError, Desk, Resource, answer, authorised, registered
from gateway.web import WebServer
from presence.discovery import load
from presence.errors import PresenceError, Unavailable
from presence.ports import Envelope


def routes(desk: Desk) -> list[Route]:
    """All registered resources, each behind the token unless it is open."""
    load(resources.__name__)
    return [Route(r.path, _endpoint(r, desk), methods=["GET"]) for r in registered.values()]


def _endpoint(r: Resource, desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if not (r.open or authorised(request, desk.token)):
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        try:
            return await r.handler(request, desk)
        except ApiError as error:
            return answer({"error": str(error)}, error.status)
        except Unavailable as error:
            return answer({"error": f"the bus or the store cannot be reached: {error}"}, 503)
        except PresenceError as error:
            return answer({"error": str(error)}, 409)

    return endpoint


class AdminDoor:
    """Opens the port and tells the commands where it is."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        host, port = desk.settings.admin.host, desk.settings.admin.port
        self._server = WebServer(
            routes(desk), plain=[f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
        )

    async def start(self) -> None:
        await self._server.start()
        _, host, port = self._server.listening[0]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        write_contact(self._desk.settings.state_dir, Contact(url=url, token=self._desk.token))

    async def stop(self) -> None:
        self._desk.stopping.set()
        await self._server.stop()

    async def reload(self) -> None:
        """Nothing of its own is reloadable."""

    def receive(self, envelope: Envelope) -> None:
        """It watches nobody and holds no endpoint."""

    def sessions(self) -> list[dict[str, Any]]:
        return []
