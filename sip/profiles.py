"""What to do differently for which phone: one row per User-Agent whose behaviour was seen on the wire.

The rest of the package asks a profile, never a User-Agent. Rows are tried in order; the first that fits
counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    name: str
    agents: tuple[str, ...] = ()
    "Beginnings of User-Agent, in lower case."
    unique_call_ids: bool = True
    """Each MESSAGE has a Call-ID of its own. RFC 7572 §5 would make it the thread's, but there are phones
    that take the second message of one Call-ID for a retransmission of the first."""
    gruu_in_from: bool = False
    """From carries the sender's resource as `gr` (RFC 7572 §5). Most phones match From with their contact
    list as text and would show a stranger."""
    digests: tuple[str, ...] = ()
    """The only digest algorithms it may be offered; empty: all. RFC 8760 §2.4 lets a client pass over a
    challenge it does not know, but there are phones that then give up."""
    answers_with_to_tag: bool = True
    "False: its responses may lack the To tag."


PROFILES: tuple[Profile, ...] = (
    Profile(name="baresip-1", agents=("baresip v0.", "baresip v1."), digests=("MD5",)),
    Profile(name="md5-only", agents=("python/", "sipp", "sipsak"), digests=("MD5",)),
    Profile(name="linphone", agents=("linphone", "belle-sip", "flexisip")),
    Profile(name="libpurple", agents=("purple/",), answers_with_to_tag=False),
    Profile(name="tandem", agents=("tandem/",), unique_call_ids=False, gruu_in_from=True),
)
DEFAULT = Profile(name="default")


@lru_cache(maxsize=1024)
def profile_of(agent: str) -> Profile:
    """The profile for a User-Agent."""
    agent = agent.lower()
    return next((row for row in PROFILES if agent.startswith(row.agents)), DEFAULT)
