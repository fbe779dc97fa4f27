"""What extensions do for clients that are not logged in, or are just logging in.

An extension registers an `Entrance`; the listener's streams see the `Threshold` made of all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from xmpp.element import Element
from xmpp.host import Negotiable

if TYPE_CHECKING:
    from xmpp.effects import Effect
    from xmpp.negotiation import Negotiation
    from xmpp.router import XmppRouter
    from xmpp.sasl import Mechanism
    from xmpp.welcome import Task, Welcome

    Made = Awaitable[list[Element]]
    Done = Awaitable[list[Effect]]
    Answer = Awaitable[Element | None]
    Asked = Callable[[XmppRouter, Negotiation, Element], Answer]

Question = tuple[str, str, str]
"An IQ's type, namespace and name of its payload."
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One extension's part. Handlers of elements raise `StreamError`; of IQs `StanzaError` or a domain error;
    mechanisms and tasks `SaslFailure`."""

    features: Callable[[XmppRouter, Negotiation], Made] | None = None
    """Stream features before authentication. These and those below depend on what is offered, on trust and
    the channel bindings alone, for they are written once (`Negotiation`)."""
    elements: dict[str, Callable[[XmppRouter, Negotiation, Element], Done]] = field(default_factory=dict)
    "Namespace → handler of top-level elements before authentication."
    iq: dict[Question, Asked] = field(default_factory=dict)
    "What answers the payload of an IQ before authentication with the payload of the result."
    login_features: Callable[[XmppRouter, Negotiation], Made] | None = None
    "Children of SASL2's feature (XEP-0388 §2.1)."
    inline_features: Callable[[XmppRouter, Negotiation], Made] | None = None
    "What a client may ask for together with authentication; children of `<inline/>`."
    inline: Callable[[XmppRouter, Welcome], Awaitable[None]] | None = None
    "Does it, if it was asked for."
    order: int = 0
    "Of `inline`; lower ones first."
    mechanisms: dict[str, Callable[[XmppRouter, Negotiation, Element], Mechanism]] = field(
        default_factory=dict
    )
    "SASL2 mechanisms that are not on the list, by name; made for one `<authenticate/>`."
    tasks: Callable[[XmppRouter, Welcome], Awaitable[list[Task]]] | None = None
    "What is still to be done between the proof and the success (XEP-0388 §2.6.3)."


@dataclass(frozen=True, slots=True)
class Threshold:
    """All of them together, for the streams of one door; the fields are those of `Entrance`."""

    negotiable: Mapping[str, Negotiable] = field(default_factory=dict)
    "Namespace → who answers its elements between authentication and binding."
    features: Sequence[Callable[[Negotiation], Made]] = ()
    elements: Mapping[str, Callable[[Negotiation, Element], Done]] = field(default_factory=dict)
    iq: Mapping[Question, Callable[[Negotiation, Element], Answer]] = field(default_factory=dict)
    login_features: Sequence[Callable[[Negotiation], Made]] = ()
    inline_features: Sequence[Callable[[Negotiation], Made]] = ()
    inline: Sequence[Callable[[Welcome], Awaitable[None]]] = ()
    mechanisms: Mapping[str, Callable[[Negotiation, Element], Mechanism]] = field(default_factory=dict)
    tasks: Sequence[Callable[[Welcome], Awaitable[list[Task]]]] = ()

    @classmethod
    def of(
        cls, router: XmppRouter, entrances: Iterable[Entrance], negotiable: Mapping[str, Negotiable]
    ) -> Threshold:
        """With the router given to everybody."""

        def given(functions: Iterable[Callable[..., T] | None]) -> list[Callable[..., T]]:
            return [partial(f, router) for f in functions if f is not None]

        all_ = sorted(entrances, key=lambda e: e.order)
        return cls(
            negotiable=negotiable,
            features=given(e.features for e in all_),
            elements={ns: partial(f, router) for e in all_ for ns, f in e.elements.items()},
            iq={key: partial(f, router) for e in all_ for key, f in e.iq.items()},
            login_features=given(e.login_features for e in all_),
            inline_features=given(e.inline_features for e in all_),
            inline=given(e.inline for e in all_),
            mechanisms={name: partial(f, router) for e in all_ for name, f in e.mechanisms.items()},
            tasks=given(e.tasks for e in all_),
        )
