"""The page of an invitation over HTTP (`xmpp.landing`)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from presence.errors import Unavailable
from presence.invitations import Ticket
from presence.ports import Guard
from presence.service import PresenceService
from xmpp.edge.visitor import visitor
from xmpp.landing import HEADERS, INVITE_PATH, write_landing, write_refusal
from xmpp.settings import XmppSettings

PAGES, HOUR = 120, 3600
"Of one network in an hour: each is looked for in the database."


class Landing:
    """Answers who has an invitation's address."""

    def __init__(self, settings: XmppSettings, service: PresenceService) -> None:
        self._settings = settings
        self._service = service

    def routes(self) -> list[BaseRoute]:
        return [Route(INVITE_PATH + "/{token}", self._answer, methods=["GET"])]

    async def _answer(self, request: Request) -> Response:
        guard: Guard = self._service.guard
        wait = await guard.admits("invite", visitor(request).peer, PAGES, HOUR)
        if wait:
            return _page(write_refusal("Too many from your network; try again later."), 429, int(wait))
        token = request.path_params["token"]
        try:
            invitation = await self._service.invitations.find(token)
        except Unavailable:
            return _page(write_refusal("This cannot be looked up just now; try again."), 503, 10)
        if invitation is None:
            return _page(write_refusal("This invitation was used already, has expired, or never was."), 404)
        may_register = self._settings.registration != "closed"
        return _page(write_landing(Ticket(token, invitation), may_register=may_register), 200)


def _page(text: str, status: int, wait: int = 0) -> Response:
    headers = HEADERS | ({"Retry-After": str(wait)} if wait else {})
    return Response(text, status, headers, "text/html; charset=utf-8")
