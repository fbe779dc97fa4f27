"""XEP-0108 User Activity ↔ RPID's activities (RFC 4480 §3.2): phones see what a client publishes, and who
is on the phone is talking."""

from __future__ import annotations

from xmpp.element import E, Element
from xmpp.extensions import Extension, Status
from xmpp.person import Aspect

NS = "http://jabber.org/protocol/activity"

_RPID = {
    ("talking", "on_the_phone"): "on-the-phone",
    ("talking", "on_video_phone"): "on-the-phone",
    ("having_appointment", ""): "appointment",
    ("working", "in_a_meeting"): "meeting",
    ("working", ""): "working",
    ("eating", "having_breakfast"): "breakfast",
    ("eating", "having_dinner"): "dinner",
    ("eating", "having_lunch"): "lunch",
    ("eating", ""): "meal",
    ("inactive", "sleeping"): "sleeping",
    ("inactive", "scheduled_holiday"): "holiday",
    ("inactive", "day_off"): "vacation",
    ("traveling", "commuting"): "in-transit",
    ("traveling", "driving"): "steering",
    ("traveling", ""): "travel",
    ("relaxing", "playing"): "playing",
    ("relaxing", "gaming"): "playing",
    ("relaxing", "shopping"): "shopping",
    ("relaxing", "watching_tv"): "tv",
    ("relaxing", "watching_a_movie"): "spectator",
    ("relaxing", "going_out"): "away",
}
"(general, specific) → activity; an unlisted specific counts as its general."
_HERE = {name: pair for pair, name in reversed(_RPID.items())} | {
    "busy": ("working", ""),
    "performance": ("working", ""),
    "presentation": ("working", ""),
    "worship": ("inactive", "praying"),
}
_NOTHING = ("text",)


def read(activity: Element) -> tuple[str, ...]:
    """RPID's name for it, if there is one."""
    for general in activity.elements:
        if general.name in _NOTHING:
            continue
        specific = next((each.name for each in general.elements), "")
        name = _RPID.get((general.name, specific)) or _RPID.get((general.name, ""))
        return (name,) if name else ()
    return ()


def write(names: tuple[str, ...]) -> Element:
    """The first activity that has a name here."""
    activity = E("activity", NS)
    found = next((_HERE[name] for name in names if name in _HERE), None)
    if found is not None:
        general, specific = found
        activity.append(E(general, NS, {}, *([E(specific, NS)] if specific else [])))
    return activity


ACTIVITY = Aspect(NS, "activities", read, write)

EXTENSION = Extension(
    spec="XEP-0108",
    name="User Activity",
    version="1.3.1",
    status=Status.COMPLETE,
    notes="Is the person's activity in what phones see, and the other way round.",
    kept=ACTIVITY.kept(),
    words={NS: ACTIVITY.heard},
    incoming=ACTIVITY.incoming,
    hears=frozenset({"presence"}),
    person=ACTIVITY.changed,
)
