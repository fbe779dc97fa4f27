"""The admin's HTTP server as a `Door`: uvicorn inside the node's own loop, without its signal handling."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.admin import resources
from gateway.admin.contact import Contact, write_contact
from gateway.admin.resource import ApiError, Desk, Resource, answer, authorised, registered
from gateway.discovery import modules
from presence.errors import PresenceError, Unavailable
from presence.ports import Envelope

log = structlog.get_logger()


def application(desk: Desk) -> Starlette:
    """All registered resources, each behind the token unless it is open."""
    for _ in modules(resources):
        pass
    return Starlette(routes=[Route(r.path, _endpoint(r, desk), methods=["GET"]) for r in registered.values()])


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
        self._sockets: list[socket.socket] = []
        self._server = uvicorn.Server(
            uvicorn.Config(
                application(desk),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                date_header=False,
                limit_concurrency=200,
                timeout_graceful_shutdown=1,
            )
        )

    async def start(self) -> None:
        host, port = self._desk.settings.admin.host, self._desk.settings.admin.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._sockets = [socket.create_server((host, port), family=family)]
        except OSError as error:
            raise OSError(
                error.errno, f"cannot listen on {host} port {port} (tcp): {error.strerror}"
            ) from error
        # uvicorn's own steps without `serve()`, which would take the process's signals.
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=self._sockets)
        bound = self._sockets[0].getsockname()[1]
        url = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
        write_contact(self._desk.settings.state_dir, Contact(url=url, token=self._desk.token))
        log.info("listening", transport="http", address=f"{host}:{bound}")

    async def stop(self) -> None:
        self._desk.stopping.set()
        self._server.should_exit = True
        if self._server.started:
            await self._server.shutdown(sockets=self._sockets)

    async def reload(self) -> None:
        """Nothing of its own is reloadable."""

    def receive(self, envelope: Envelope) -> None:
        """It watches nobody and holds no endpoint."""

    def sessions(self) -> list[dict[str, Any]]:
        return []
