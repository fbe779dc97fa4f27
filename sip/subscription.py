"""One subscription of a watching phone: what it sees, how far it may, and the dialog it is notified in.

It outlives the process as a `Record`. CSeq numbers are reserved in blocks, so that not every NOTIFY
writes: after a restart the numbers go on behind the block, and gaps do no harm (RFC 3261 §12.2.1.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from presence.address import Address
from presence.policy import Standing
from sip.dialog import Dialog
from sip.flow import Flow, parse_flow
from sip.packages import Feed, Package, packages
from sip.runtime import Timer

CSEQ_BLOCK = 100
RECORD = "sip-dialog:"
"Prefix of the records' keys."


class Record(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a subscription on the bus."""

    schema: int
    dialog: Dialog
    "Its `local_cseq` is the end of the reserved block."
    watcher: Address
    presentity: Address
    event: str
    "Package and parameters, as the watcher wrote them."
    package: str
    active: bool
    expires: float
    flow: str
    since: float
    media: str = ""
    "Empty in records of earlier versions: the package's usual one."
    condition: str = ""
    listed: bool = False
    "Not written by earlier versions, which knew one list by its address."
    names: tuple[tuple[Address, str], ...] | None = None
    content: bytes = b""
    veiled: bool = False


_SCHEMA = 1
_decoder = msgspec.msgpack.Decoder(Record)


def key_of(watcher: Address, call_id: str, local_tag: str, remote_tag: str) -> str:
    """Of the record. Who knows a dialog of somebody else still cannot name it."""
    words = "\0".join((str(watcher), call_id, local_tag, remote_tag))
    return RECORD + hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=12).hexdigest()


class Subscription:
    """Live state; compared by identity."""

    __slots__ = (
        "active",
        "begun",
        "condition",
        "content",
        "cut",
        "decided",
        "dialog",
        "due",
        "ending",
        "event",
        "expires",
        "expiry",
        "failing_since",
        "failures",
        "feed",
        "flow",
        "key",
        "listed",
        "media",
        "names",
        "next_at",
        "outstanding",
        "package",
        "presentity",
        "reserved",
        "shown",
        "since",
        "throttle",
        "told",
        "urgent",
        "veiled",
        "watcher",
    )

    def __init__(
        self,
        *,
        dialog: Dialog,
        watcher: Address,
        presentity: Address,
        package: Package,
        event: str,
        expires: float,
        flow: Flow | None,
        since: float,
        media: str = "",
        condition: str = "",
        listed: bool = False,
        names: Mapping[Address, str] | None = None,
        content: bytes = b"",
    ) -> None:
        self.key = key_of(watcher, *dialog.id)
        self.dialog = dialog
        self.watcher = watcher
        self.presentity = presentity
        self.package = package
        self.event = event
        self.expires = expires
        "Unix seconds."
        self.flow = flow
        "None while there is no way to the phone."
        self.since = since
        self.media = media or package.notified
        "Media type of what it is notified of."
        self.content = content
        "What it brought to say what it is about."
        self.condition = condition
        "Entity-tag the watcher need not be told again, or `*` (RFC 5839)."
        self.active = False
        "Authorised; otherwise pending, and nothing may be shown."
        self.veiled = False
        "Active as far as the phone can tell; it sees somebody who is never there."
        self.decided = False
        "The authorisation was heard of."
        self.begun = False
        "The 2xx has gone out, NOTIFYs may."
        self.ending = ""
        "Reason of the terminating NOTIFY that is due."
        self.outstanding = False
        "A NOTIFY has no answer yet."
        self.due = False
        "There is something to notify of."
        self.urgent = False
        "And it may not wait for its turn."
        self.next_at = 0.0
        "When the next NOTIFY is allowed that is not urgent."
        self.reserved = dialog.local_cseq
        "Highest CSeq the record allows."
        self.feed: Feed | None = None
        "What it is notified of, unless that is just the presentity's presence."
        self.listed = listed
        "It is about a list (RFC 4662)."
        self.names = names
        "Who is in the list, where it came along."
        self.told = ""
        "The Subscription-State the phone has acknowledged last, without parameters."
        self.shown = ""
        "Entity-tag of the full state it has acknowledged last."
        self.cut = ("", "")
        "Entity-tags of a full state, and of what was said of it where it did not fit."
        self.failures = 0
        "NOTIFYs in a row that were not accepted."
        self.failing_since = 0.0
        self.throttle: Timer | None = None
        self.expiry: Timer | None = None

    @property
    def state(self) -> str:
        return "active" if self.active else "pending"

    def judge(self, standing: Standing) -> None:
        """How far it is authorised."""
        self.veiled = standing is Standing.VEILED
        self.active = self.veiled or standing is Standing.ACTIVE

    def cancel_timers(self) -> None:
        for timer in (self.throttle, self.expiry):
            if timer is not None:
                timer.cancel()
        self.throttle = self.expiry = None

    def reserve(self) -> bool:
        """True when the next CSeq needs a new block, so that the record must be written."""
        if self.dialog.local_cseq < self.reserved:
            return False
        self.reserved = self.dialog.local_cseq + CSEQ_BLOCK
        return True

    def record(self) -> dict[str, bytes]:
        """Key and value for the bus."""
        kept = Record(
            _SCHEMA,
            msgspec.structs.replace(self.dialog, local_cseq=self.reserved),
            self.watcher,
            self.presentity,
            self.event,
            self.package.name,
            self.active,
            self.expires,
            str(self.flow) if self.flow is not None else "",
            self.since,
            self.media,
            self.condition,
            self.listed,
            tuple(self.names.items()) if self.names is not None else None,
            self.content,
            self.veiled,
        )
        return {self.key: msgspec.msgpack.encode(kept)}


def restore(data: bytes) -> Subscription | None:
    """A subscription from its record, of which nothing is heard yet (`Pacing.heard`); None when this version
    cannot serve it. A connection is not restored."""
    try:
        kept = _decoder.decode(data)
        flow = parse_flow(kept.flow) if kept.flow else None
    except (msgspec.DecodeError, ValueError):
        return None
    package = packages().get(kept.package)
    if package is None or kept.schema != _SCHEMA:
        return None
    subscription = Subscription(
        dialog=kept.dialog,
        watcher=kept.watcher,
        presentity=kept.presentity,
        package=package,
        event=kept.event,
        expires=kept.expires,
        flow=None if flow is None or (flow.reliable and not flow.routed) else flow,
        since=kept.since,
        media=kept.media,
        condition=kept.condition,
        listed=kept.listed,
        names=dict(kept.names) if kept.names is not None else None,
        content=kept.content,
    )
    subscription.active = kept.active
    subscription.veiled = kept.veiled
    return subscription
