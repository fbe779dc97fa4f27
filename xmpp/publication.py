"""What the bus is to know of one session, and the steps that bring it there.

Presence may change faster than the bus answers: only the latest state is published.
"""

from __future__ import annotations

from dataclasses import dataclass

from presence.model import LastSeen, Person, PresenceTuple, Source
from presence.ports import Endpoint, EndpointKind, Lease, SourceWrite, Update


@dataclass(frozen=True, slots=True)
class Step:
    """One update, and what the bus knows when it is made."""

    update: Update
    shown: PresenceTuple | None
    eligible: bool | None
    person: Person | None = None


class Publication:
    """Pure; the session asks `step`, performs it, and says `made`."""

    __slots__ = (
        "_certain", "_eligible", "_id", "_lease", "_node", "_over", "_person", "_shown", "ended", "parting",
        "person", "wanted",
    )  # fmt: skip

    def __init__(self, resource: str, owner: str) -> None:
        self._id = f"xmpp:{resource}"
        "Id of the source and of the endpoint."
        self._node = owner.partition("/")[0]
        self._lease = Lease(owner=owner)
        self.wanted: PresenceTuple | None = None
        "The presence to be seen; None while the client is connected but not available."
        self.person: Person | None = None
        "What the user's clients say of the user, as long as this one is available."
        self.parting: PresenceTuple | None = None
        "The closed tuple to be seen before the source goes."
        self.ended = False
        self._shown: PresenceTuple | None = None
        self._person: Person | None = None
        "As shown."
        self._eligible: bool | None = None
        "None: the bus has no endpoint of ours."
        self._certain = False
        "False: the bus may still have a source of this id, from an earlier session."
        self._over = False

    def forget(self) -> None:
        """The bus may have lost everything: say all of it again."""
        self._eligible = None
        self._shown = None
        self._certain = False

    def step(self, now: float) -> Step | None:
        """The next update; None when the bus is to know nothing else."""
        if self._over:
            return None
        if self.wanted is not None and not self.ended:
            return self._show(self.wanted)
        if self.parting is not None and self._shown is not None and self._shown.open:
            write = self._write(self.parting)
            return Step(Update(put_sources=(write,)), self.parting, self._eligible)
        if self.ended:
            update = Update(
                drop_sources=(self._id,),
                drop_endpoints=(self._id,),
                only_owner=self._lease.owner,
                farewell=self._farewell(now),
            )
            return Step(update, None, None)
        if self._shown is None and self._certain and self._eligible is False:
            return None
        update = Update(
            drop_sources=(self._id,),
            put_endpoints=(self._endpoint(False),),
            farewell=self._farewell(now),
        )
        return Step(update, None, False)

    def made(self, step: Step) -> None:
        self._shown, self._eligible, self._certain = step.shown, step.eligible, True
        self._person = step.person
        if step.shown is None:
            self.parting = None
            self._over = self.ended and step.eligible is None

    def _show(self, wanted: PresenceTuple) -> Step | None:
        eligible = wanted.priority is None or wanted.priority >= 0
        endpoints = () if eligible is self._eligible else (self._endpoint(eligible),)
        same = wanted == self._shown and self.person == self._person
        sources = () if same else (self._write(wanted, self.person),)
        if not endpoints and not sources:
            return None
        return Step(Update(put_sources=sources, put_endpoints=endpoints), wanted, eligible, self.person)

    def _write(self, tuple_: PresenceTuple, person: Person | None = None) -> SourceWrite:
        source = Source(id=self._id, tuples=(tuple_,), person=person, since=tuple_.since)
        return SourceWrite(source=source, lease=self._lease)

    def _endpoint(self, eligible: bool) -> Endpoint:
        return Endpoint(
            id=self._id, kind=EndpointKind.XMPP, node=self._node, lease=self._lease, eligible=eligible
        )

    def _farewell(self, now: float) -> LastSeen:
        return LastSeen(at=now, notes=self.parting.notes if self.parting is not None else ())
