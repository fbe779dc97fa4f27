"""What to do differently for which phone: one row per User-Agent whose behaviour was seen on the wire, here
or, for the phones that want xpidf, by Asterisk and SER.

The rest of the package asks a profile, never a User-Agent. Rows are tried in order; the first that fits
counts. An operator's own rows (`sip.profiles`) change single fields of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    name: str
    agents: tuple[str, ...] = ()
    "Beginnings of User-Agent, in lower case."
    seen: str = ""
    "Where the behaviour was seen, for the public table."
    unique_call_ids: bool = True
    """Each MESSAGE has a Call-ID of its own. RFC 7572 §5 would make it the thread's, but there are phones
    that take the second message of one Call-ID for a retransmission of the first."""
    gruu_in_from: bool | None = None
    """From carries the sender's resource as `gr` (RFC 7572 §5). None: for phones that say they know GRUUs
    (RFC 5627); most others match From with their contact list as text and would show a stranger."""
    digests: tuple[str, ...] = ()
    """The only digest algorithms it may be offered; empty: all. RFC 8760 §2.4 lets a client pass over a
    challenge it does not know, but there are phones that then give up."""
    bodies: tuple[str, ...] = ()
    """Media types of notifications it shows better than the one it would get. Some phones name PIDF in
    Accept and understand xpidf only."""
    answers_with_to_tag: bool = True
    "False: its responses may lack the To tag."
    charset: str = "utf-8"
    """What its texts are written in. Of what that cannot say, quotes, dashes and dots become simpler ones,
    the rest question marks."""
    split_texts: bool = False
    """A text too long for a packet (RFC 3428 §8), to a phone without TCP or TLS, goes in numbered parts. RFC
    7572 §6 would have it refused to its sender."""
    plain_text_only: bool = False
    """It is sent texts and nothing else, whatever it says it takes: no envelopes (RFC 3862), no typing
    notices (RFC 3994), no markup."""


XPIDF = "application/xpidf+xml"

PROFILES: tuple[Profile, ...] = (
    Profile(
        name="baresip-1",
        agents=("baresip v0.", "baresip v1."),
        seen="baresip 1.0 gives up at the first challenge when that is not MD5",
        digests=("MD5",),
    ),
    Profile(
        name="md5-only",
        agents=("python/", "sipp", "sipsak"),
        seen="aiosip 0.2, SIPp 3.6 and sipsak 0.9 read one challenge only and know MD5 only",
        digests=("MD5",),
    ),
    Profile(
        name="xcap-md5-only",
        agents=("python-xcaplib", "python-urllib"),
        seen="xcaplib 2.0 (Blink) reads one challenge only and knows MD5 only",
        digests=("MD5",),
    ),
    Profile(
        name="browser",
        agents=("sip.js/", "jssip "),
        seen="SIP.js 0.21 and JsSIP 3.13 read one challenge only and know MD5 only",
        digests=("MD5",),
    ),
    Profile(
        name="polycom",
        agents=("polycomsoundpoint", "polycom soundpoint"),
        seen="Asterisk: SoundPoint phones name PIDF in Accept and show xpidf only",
        bodies=(XPIDF,),
    ),
    Profile(
        name="windows-messenger",
        agents=("rtc/1.",),
        seen="SER: Windows Messenger shows xpidf only, whatever it accepts",
        bodies=(XPIDF,),
    ),
    Profile(
        name="linphone",
        agents=("linphone", "belle-sip", "flexisip"),
        seen="liblinphone issue 198: a second message with the same Call-ID is dropped",
    ),
    Profile(
        name="libpurple",
        agents=("purple/",),
        seen="Pidgin and BitlBee (prpl-simple): answers echo the request and have no To tag",
        answers_with_to_tag=False,
    ),
    Profile(
        name="tandem",
        agents=("tandem/",),
        seen="gateways that keep threads and resources (RFC 7572 §5)",
        unique_call_ids=False,
        gruu_in_from=True,
    ),
)
DEFAULT = Profile(name="default")


class Override(Protocol):
    """An operator's row: what is None stays as it is. `sip.settings.PhoneProfile` is one."""

    @property
    def agents(self) -> tuple[str, ...]: ...


_CHANGEABLE = tuple(field.name for field in fields(Profile) if field.name not in ("name", "agents", "seen"))


@lru_cache(maxsize=1024)
def profile_of(agent: str, overrides: Sequence[Override] = ()) -> Profile:
    """The profile for a User-Agent; `overrides` in order, later ones win."""
    agent = agent.lower()
    profile = next((row for row in PROFILES if agent.startswith(row.agents)), DEFAULT)
    for row in overrides:
        if agent.startswith(tuple(beginning.lower() for beginning in row.agents)):
            given = {name: getattr(row, name, None) for name in _CHANGEABLE}
            profile = replace(profile, **{name: value for name, value in given.items() if value is not None})
    return profile


def differences(profile: Profile) -> str:
    """What a row changes, by the names of its settings."""
    changed = ((name, getattr(profile, name)) for name in _CHANGEABLE)
    told = ((name, value) for name, value in changed if value != getattr(DEFAULT, name))
    written = ((name, "/".join(v) if isinstance(v, tuple) else str(v).lower()) for name, v in told)
    return ", ".join(f"{name} = {value}" for name, value in written)
