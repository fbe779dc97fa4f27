"""What each path may cost: CPU microseconds of all server processes together, per operation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Path:
    """One measured path through the gateway."""

    name: str
    title: str
    saturated: float
    "µs per operation under a saturated closed loop."
    calm: float | None = None
    "µs per operation at 200 a second, where waking up costs most."
    window: int = 1
    "Operations each pair of people keeps under way when saturated."
    p99: float | None = None
    "Milliseconds, at half load."


PATHS = {
    path.name: path
    for path in (
        Path("sip-xmpp", "SIP MESSAGE → XMPP", saturated=150, calm=500, window=4, p99=20),
        Path("xmpp-sip", "XMPP → SIP MESSAGE", saturated=150, calm=500, window=4, p99=20),
        Path("publish-presence", "PUBLISH → XMPP presence, 1 watcher", saturated=150),
        Path("presence-notify", "XMPP presence → NOTIFY, 1 watcher", saturated=150),
        Path("xmpp-xmpp", "XMPP → XMPP message", saturated=105, window=8, p99=20),
    )
}
