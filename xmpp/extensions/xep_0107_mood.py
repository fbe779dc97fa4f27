"""XEP-0107 User Mood ↔ RPID's mood (RFC 4480 §3.5), whose names it took."""

from __future__ import annotations

from xmpp.element import E, Element
from xmpp.extensions import Extension, Status
from xmpp.person import Aspect

NS = "http://jabber.org/protocol/mood"
BOTH = frozenset([
    "afraid", "amazed", "angry", "annoyed", "anxious", "ashamed", "bored", "brave", "calm", "cold",
    "confused", "contented", "cranky", "curious", "depressed", "disappointed", "disgusted",
    "distracted", "embarrassed", "excited", "flirtatious", "frustrated", "grumpy", "guilty", "happy",
    "hot", "humbled", "humiliated", "hungry", "hurt", "impressed", "in_awe", "in_love", "indignant",
    "interested", "invincible", "jealous", "lonely", "mean", "moody", "nervous", "neutral", "offended",
    "playful", "proud", "relieved", "remorseful", "restless", "sad", "sarcastic", "serious", "shocked",
    "shy", "sick", "sleepy", "stressed", "surprised", "thirsty", "worried",
])  # fmt: skip
"Moods that both have a word for, the same."


def read(mood: Element) -> tuple[str, ...]:
    """The first of those."""
    return tuple(each.name for each in mood.elements if each.name in BOTH)[:1]


def write(names: tuple[str, ...]) -> Element:
    mood = E("mood", NS)
    found = next((name for name in names if name in BOTH), "")
    return mood.append(E(found, NS)) if found else mood


MOOD = Aspect(NS, "mood", read, write)

EXTENSION = Extension(
    spec="XEP-0107",
    name="User Mood",
    version="1.2.2",
    status=Status.COMPLETE,
    notes="Is the person's mood in what phones see, and the other way round.",
    kept=MOOD.kept(),
    words={NS: MOOD.heard},
    incoming=MOOD.incoming,
    hears=frozenset({"presence"}),
    person=MOOD.changed,
)
