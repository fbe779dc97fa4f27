"""Requests, answers, losses and time in any order: one answer per request, nothing left at the end."""

from __future__ import annotations

import random

from sip.errors import TooBusy
from sip.message import Request, Response, respond
from sip.transaction import Answered, Effect, Incoming, Key, Send, TimedOut, TransactionLayer, TransportFailed
from sip.uri import parse_uri
from tests.fuzz.engine import main

LIMIT = 12
_METHODS = ("INVITE", "ACK", "CANCEL", "MESSAGE", "PUBLISH")
_STATUSES = (100, 180, 200, 202, 401, 407, 408, 487, 503, 603)
_FLOWS = (("udp", False), ("tcp-1", True), ("tcp-2", True))


class Story:
    """A random history of one layer, and what must hold in it."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.layer = TransactionLayer(limit=LIMIT)
        self.now = 0.0
        self.waiting: dict[Key, Request] = {}
        self.asked: dict[Key, Request] = {}
        self.branches = 0

    def step(self) -> None:
        self.source.choice(
            (self.request, self.request, self.answer, self.ask, self.reply, self.wait, self.fail)
        )()
        assert len(self.layer) <= 2 * LIMIT

    def request(self) -> None:
        flow, reliable = self.source.choice(_FLOWS)
        branch = self.source.choice(("", "z9hG4bK", "z9hG4bK1", "z9hG4bK2", "z9hG4bK3"))
        request = self.make(self.source.choice(_METHODS), branch)
        if self.source.random() < 0.3:
            request.headers.add("Authorization", self.source.choice(("Digest a", "Digest b")))
        effects = self.layer.receive(request, flow, reliable, self.now)
        for effect in effects:
            assert not isinstance(effect, Send) or effect.flow == flow
        self.take(effects)

    def answer(self) -> None:
        """The application answers, perhaps twice."""
        if not self.waiting:
            return
        key = self.source.choice(list(self.waiting))
        response = respond(self.waiting[key], self.source.choice(_STATUSES))
        effects = self.layer.respond(key, response, self.now)
        if response.status >= 200:
            repeated = self.layer.respond(key, response, self.now)
            del self.waiting[key]
            assert not repeated or response.status < 300
        self.take(effects)

    def ask(self) -> None:
        self.branches += 1
        flow, reliable = self.source.choice(_FLOWS)
        request = self.make(self.source.choice(("INVITE", "NOTIFY")), f"z9hG4bKours{self.branches}")
        try:
            key, effects = self.layer.send_request(request, flow, reliable, self.now)
        except TooBusy:
            return
        self.asked[key] = request
        self.take(effects)

    def reply(self) -> None:
        """A phone answers, perhaps something that was asked long ago."""
        if not self.asked:
            return
        request = self.source.choice(list(self.asked.values()))
        response: Response = respond(request, self.source.choice(_STATUSES), to_tag=self.source.choice("ab"))
        self.take(self.layer.receive(response, "udp", False, self.now))

    def wait(self) -> None:
        self.pass_until(self.now + self.source.choice((0.01, 0.5, 4.0, 40.0)))

    def fail(self) -> None:
        if self.source.random() < 0.2:
            self.take(self.layer.transport_failed(self.source.choice(_FLOWS)[0], self.now))

    def pass_until(self, end: float) -> None:
        while (deadline := self.layer.next_deadline()) is not None and deadline <= end:
            assert deadline >= self.now
            self.now = deadline
            self.take(self.layer.handle_timeout(deadline))
        self.now = end

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Incoming(key, request):
                    self.waiting[key] = request
                case Answered(key, response):
                    assert response.status >= 200
                    assert key in self.asked
                case TimedOut(key) | TransportFailed(key):
                    assert key in self.asked or isinstance(key, tuple)
                case _:
                    pass

    def end(self) -> None:
        for key, request in self.waiting.items():
            self.take(self.layer.respond(key, respond(request, 500), self.now))
        self.pass_until(self.now + 10)
        for key, request in self.asked.items():
            # A phone that rings would ring for ever.
            if key[1] == "INVITE":
                self.take(self.layer.receive(respond(request, 603), "udp", False, self.now))
        self.pass_until(self.now + 1000)
        assert len(self.layer) == 0
        assert self.layer.next_deadline() is None

    def make(self, method: str, branch: str) -> Request:
        via = "SIP/2.0/UDP h" + (f";branch={branch}" if branch else "")
        headers = [
            ("Via", via),
            ("From", "<sip:a@b>;tag=1"),
            ("To", "<sip:c@d>"),
            ("Call-ID", "x"),
            ("CSeq", f"1 {method}"),
        ]
        return Request(method, parse_uri("sip:c@d"), headers)


def target(source: random.Random) -> None:
    """Play a random story and check that nothing is left of it."""
    story = Story(source)
    for _ in range(source.randrange(1, 120)):
        story.step()
    story.end()


if __name__ == "__main__":
    main(target)
