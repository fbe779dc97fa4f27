"""The SIP application of one process: everything between the transactions and the domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import Any

from presence.ports import (
    AccountChanged,
    Accounts,
    AuthorisationChanged,
    Deliver,
    EndpointKind,
    Envelope,
    Failed,
    KeptChanged,
    Metrics,
    PresenceChanged,
    RecordTaken,
    Word,
)
from presence.service import PresenceService
from sip import words
from sip.assistant import Assistant
from sip.authenticator import Authenticator
from sip.bindings import NO_PUSH
from sip.delivery import Deliverer
from sip.desk import Desk
from sip.flow import Flow
from sip.following import Following
from sip.gruu import Sealer
from sip.limits import Limits, Rates
from sip.lists import Lookup, no_lists
from sip.methods import Services
from sip.missed import MissedCalls
from sip.notifier import Notifier
from sip.pager import Pager
from sip.publish import Publisher
from sip.push import Pns
from sip.registrar import Registrar
from sip.runtime import Runtime, Sender
from sip.settings import SipSettings
from sip.topology import Topology
from sip.uas import UserAgentServer
from sip.waking import Ringer, Waker, no_push
from sip.words import Arrived, Overheard, Strays
from sip.writing import Writer
from sip.xcap.library import Library
from sip.xcap.usages import pidf_manipulation


class SipServer:
    """Implements `presence.ports.Outlet`."""

    def __init__(
        self,
        settings: SipSettings,
        service: PresenceService,
        accounts: Accounts,
        metrics: Metrics,
        runtime: Runtime,
        sender: Sender,
        *,
        secret: bytes,
        is_here: Callable[[str], bool],
        topology: Topology,
        mark: str,
        library: Library,
        rates: Rates,
        lookup: Lookup = no_lists,
        passwords: Mapping[str, str] = MappingProxyType({}),
        ring: Ringer = no_push,
        push: Mapping[str, Pns] = NO_PUSH,
    ) -> None:
        """`lookup`: lists that have an address. `passwords`: see `Following`. `push`: services that wake
        phones, by `pn-provider`; `ring`: how they are asked to."""
        self._settings = settings
        self._node = service.node
        self._runtime = runtime
        self._library = library
        self._metrics = metrics
        self.limits = Limits(rates, topology)
        sealer = Sealer(secret)
        self.registrar = Registrar(settings, service, runtime, metrics, sealer, push)
        missed = MissedCalls(service, accounts, runtime, metrics, enabled=settings.missed_calls)
        self.publisher = Publisher(settings, service, self.registrar, runtime, metrics, missed)
        self.notifier = Notifier(
            settings,
            service,
            runtime,
            sender,
            metrics,
            self.registrar,
            topology,
            library,
            self.limits,
            lookup,
        )
        self.following = Following(
            settings, service, accounts, runtime, sender, metrics, missed, passwords, secret=secret
        )
        writer = Writer(settings)
        self.assistant = Assistant(settings, service, accounts, runtime)
        self.waker = Waker(push, ring, self.registrar, service, runtime, metrics)
        self.deliverer = Deliverer(
            settings, service, self.registrar, runtime, sender, writer, self.assistant, self.waker, metrics
        )
        desk = Desk(settings, service, runtime, self.deliverer)
        self.pager = Pager(service, self.registrar, runtime, writer, self.assistant, desk, metrics)
        services = Services(
            settings=settings,
            runtime=runtime,
            registrar=self.registrar,
            publisher=self.publisher,
            notifier=self.notifier,
            following=self.following,
            pager=self.pager,
            deliverer=self.deliverer,
            waker=self.waker,
            assistant=self.assistant,
            topology=topology,
            rates=rates,
        )
        authenticator = Authenticator(settings, service, accounts, metrics, topology, rates)
        uas = UserAgentServer(services, service, authenticator, metrics, is_here, self.limits, mark)
        self.answer = uas.answer

    def receive(self, envelope: Envelope) -> None:
        """An envelope of this node's inbox."""
        match envelope:
            case Deliver():
                self.deliverer.deliver(envelope)
            case PresenceChanged():
                self.notifier.changed(envelope)
            case AuthorisationChanged(resource=""):
                self.notifier.authorisation(envelope)
                self.assistant.authorisation(envelope)
            case Word(kind=EndpointKind.SIP, node=node, payload=payload) if node != self._node:
                self._heard(payload)
            case RecordTaken(key=key):
                self.notifier.taken(key)
            case KeptChanged():
                self.notifier.kept(envelope.owner)
            case Failed():
                self.deliverer.failed(envelope)
            case AccountChanged():
                if envelope.gone or envelope.renewed:
                    self.registrar.forget(envelope.address)
                    self.deliverer.forget(envelope.address)
                    self.notifier.shown_out(envelope.address)
                    self._runtime.spawn(self.registrar.account_gone(envelope.address))
                if envelope.gone:
                    self.notifier.account_gone(envelope.address)
                    self._runtime.spawn(pidf_manipulation.withdraw(self._library, envelope.address))
                elif not envelope.renewed:
                    self.notifier.account_changed(envelope.address)
            case _:
                # The XMPP side's own: relayed stanzas and the like.
                return

    def _heard(self, payload: bytes) -> None:
        """What another process of this server says."""
        match words.decode(payload):
            case Overheard(request=request):
                self.following.overheard(request)
            case Arrived() | Strays() as word:
                self.notifier.heard(word)
            case None:
                self._metrics.count("sip_words_unreadable_total")

    def flow_lost(self, flow: Flow) -> None:
        """A connection ended."""
        self.notifier.flow_lost(flow)
        for address, another in self.registrar.others_of(flow):
            self.notifier.moved(address, another.binding.contact, another.flow)
        if self.registrar.holds(flow):
            self._runtime.spawn(self.registrar.flow_lost(flow))

    def patience(self, flow: Flow) -> float:
        """Seconds a connection may be silent before it is closed."""
        if self.registrar.holds(flow):
            return self.registrar.patience(flow) or inf
        return inf if self.notifier.holds(flow) else self._settings.idle_timeout

    def tidy(self) -> None:
        """Now and then: forget what has expired, say how much there is."""
        self.registrar.prune()
        self.waker.tidy()
        self._runtime.spawn(self.following.look())
        self._metrics.gauge("sip_bindings", len(self.registrar))
        self._metrics.gauge("sip_bindings_woken", len(self.waker))
        self._metrics.gauge("sip_dialogs", len(self.notifier))

    def close(self) -> None:
        """Timers only; what is subscribed to here goes on in the next process."""
        self.notifier.close()
        self.following.close()

    def sessions(self) -> list[dict[str, Any]]:
        return [*self.registrar.sessions(), *self.notifier.sessions(), *self.following.sessions()]
