"""One gateway serves two domains: each with its own certificate, and their people meet."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from gateway.certs import ensure_self_signed
from presence.address import parse_address
from tests.support.stage import Person, Stage, open_stage
from tests.support.tandem import Tandem
from tests.support.waiting import until

pytestmark = pytest.mark.journey

ONE, TWO = "one.test", "two.test"


def make(directory: Path, domain: str) -> tuple[Path, Path]:
    files = directory / f"{domain}.pem", directory / f"{domain}.key"
    for file in files:
        file.unlink(missing_ok=True)
    ensure_self_signed(*files, [domain])
    return files


def trusting(*certificates: Path) -> ssl.SSLContext:
    """A client that takes these certificates, for the names in them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for certificate in certificates:
        context.load_verify_locations(certificate)
    return context


async def person(stage: Stage, address: str) -> Person:
    await stage.accounts.add(parse_address(address), "secret")
    await stage.accounts.seen_on_xmpp(parse_address(address))
    return Person(address, "secret")


def shown(host: str, port: int, name: str) -> str:
    """The certificate shown to who asks for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True) or b"")


async def test_people_of_two_domains_see_each_other_and_chat(tmp_path: Path) -> None:
    ones, twos = make(tmp_path, ONE), make(tmp_path, TWO)
    named = json.dumps({TWO: {"certificate": str(twos[0]), "key": str(twos[1])}})
    tandem = Tandem(
        tmp_path / "tandem",
        DOMAINS=f"{ONE},{TWO}",
        TLS__CERTIFICATE=str(ones[0]),
        TLS__KEY=str(ones[1]),
        TLS__DOMAINS=named,
    )
    async with open_stage(tandem, "127.0.0.1") as stage:
        alice, bob = await person(stage, f"alice@{ONE}"), await person(stage, f"bob@{TWO}")
        await stage.befriend(alice, bob)
        desk, laptop = stage.client(alice), stage.client(bob)
        for client in (desk, laptop):
            client.xmpp.ssl_context = trusting(ones[0], twos[0])
        async with desk, laptop:
            await desk.online(bob.address)
            await laptop.online(alice.address)
            desk.say(bob.address, "hello over there")
            await laptop.hears("hello over there", alice.address)
            laptop.say(alice.address, "hello to you")
            await desk.hears("hello to you", bob.address)
            async with stage.phone(bob) as phone:
                await phone.register()
                assert (await phone.message(alice.address, "from the phone")).status < 300
                await desk.hears("from the phone", bob.address)
        # each is shown its own, also on SIP's port; others the first
        ports = stage.tandem.xmpps_port, stage.tandem.sips_port
        for port in ports:
            for name, files in ((ONE, ones), (TWO, twos), ("three.test", ones)):
                assert shown(stage.host, port, name) == files[0].read_text(), (port, name)
        # a renewed one is taken up
        make(tmp_path, TWO)
        os.kill(stage.tandem.supervisor, signal.SIGHUP)

        def renewed() -> bool:
            return all(shown(stage.host, port, TWO) == twos[0].read_text() for port in ports)

        await until("the renewed certificate is shown", renewed, 30)
        async with stage.client(bob) as again:
            await again.echo()
