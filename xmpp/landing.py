"""The page an invitation's link leads to in a browser (XEP-0401 §4.2, XEP-0379 §3.3), as text. It has no
script, and what it says of an invitation knows who has the token."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from presence.invitations import Ticket, uri
from xmpp.settings import XmppSettings
from xmpp.web import files_at

INVITE_PATH = "/invite"
CLIENTS = (
    ("Android", "Conversations", "https://conversations.im/"),
    ("iPhone, iPad, Mac", "Monal", "https://monal-im.org/"),
    ("Linux", "Dino", "https://dino.im/"),
    ("Windows, Linux, Mac", "Gajim", "https://gajim.org/"),
)
"Platform, client, where it is to be had. Others are at xmpp.org/software."
STYLE = """
body { font: 1.1em/1.5 system-ui, sans-serif; max-width: 34em; margin: 3em auto; padding: 0 1em }
.open { display: inline-block; padding: .6em 1.2em; border-radius: .4em; background: #1a5fb4; color: #fff;
text-decoration: none; font-weight: bold }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}
"The token is in the address: nobody else is to learn it from here."


def landing_url(domain: str, settings: XmppSettings, token: str) -> str:
    """Empty where no pages are served over HTTPS."""
    if not (settings.web.public_url or settings.listen_web_tls):
        return ""
    return f"{files_at(domain, settings)}{INVITE_PATH}/{token}"


def write_landing(ticket: Ticket, *, may_register: bool) -> str:
    invitation = ticket.invitation
    link = escape(uri(ticket, may_register=may_register))
    if invitation.befriends and invitation.inviter is not None:
        who = escape(str(invitation.inviter))
        said, action = f"{who} invites you to chat", f"Chat with {who}"
    else:
        domain, reserved = escape(invitation.domain), escape(invitation.reserved)
        said = f"You are invited to {domain}"
        action = f"Make the account {reserved}" if reserved else f"Make an account at {domain}"
    clients = "".join(
        f'<li>{platform}: <a href="{address}" rel="noreferrer">{name}</a></li>'
        for platform, name, address in CLIENTS
    )
    return _page(
        said,
        f"<p>This is an invitation by XMPP (Jabber), the open network for messages and calls.</p>"
        f"<h2>1. Have a client</h2><p>The button below does nothing without one. Take any you like:</p>"
        f'<ul>{clients}<li>more: <a href="https://xmpp.org/software/" rel="noreferrer">xmpp.org</a></li></ul>'
        f'<h2>2. Open the invitation in it</h2><p><a class="open" href="{link}">{action}</a></p>'
        f"<p>Or copy this address into the client:<br><code>{link}</code></p>"
        f"<p>It is good once. Keep it to yourself.</p>",
    )


def write_refusal(text: str) -> str:
    """In place of an invitation."""
    return _page("No invitation", f"<p>{escape(text)}</p>")


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{title}</h1>{body}</body></html>\n"
    )
