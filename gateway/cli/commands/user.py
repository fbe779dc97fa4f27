"""`tandem user add|list|passwd|delete`: accounts, straight in their store; a running gateway is told over
the bus."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from gateway import config
from gateway.cli.app import app, err, fail, out, settings
from gateway.exits import Exit
from gateway.wiring import backend, make_state_dir, valkey_dir
from presence.address import Address, parse_address
from presence.edge.embedded import answers, socket_path
from presence.errors import Condition, InvalidAddress, Refused, Unavailable
from presence.ports import AccountChanged, Accounts

user = typer.Typer(no_args_is_help=True, help="Manage accounts.")
app.add_typer(user, name="user")

T = TypeVar("T")
AddressArgument = Annotated[
    str, typer.Argument(help="The account, e.g. alice@example.org.", metavar="ADDRESS")
]


@user.command()
def add(context: typer.Context, address: AddressArgument) -> None:
    """Make an account. The password is asked for, or is the first line of standard input when that is no
    terminal."""
    chosen, wanted = settings(context), _address(address)
    if wanted.domain not in chosen.domains:
        fail(f"{wanted.domain} is not served here, only {', '.join(chosen.domains)} (setting: domains)")
    password = _password()
    _with_accounts(chosen, lambda accounts: accounts.add(wanted, password))
    _tell(chosen, AccountChanged(address=wanted))
    err.print(f"{wanted} can log in now.", markup=False)


@user.command()
def passwd(context: typer.Context, address: AddressArgument) -> None:
    """Change a password, asked for or read from standard input like `user add` does."""
    chosen, wanted = settings(context), _address(address)
    password = _password()
    _with_accounts(chosen, lambda accounts: _set(accounts, wanted, password))
    _tell(chosen, AccountChanged(address=wanted))
    err.print(f"{wanted} has a new password.", markup=False)


@user.command()
def delete(
    context: typer.Context,
    address: AddressArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an account; its sessions, registrations and dialogs end."""
    chosen, wanted = settings(context), _address(address)
    if not yes:
        typer.confirm(f"Delete {wanted}?", abort=True, err=True)
    _with_accounts(chosen, lambda accounts: _delete(accounts, wanted))
    _tell(chosen, AccountChanged(address=wanted, gone=True))
    err.print(f"{wanted} is deleted.", markup=False)


@user.command("list")
def list_(
    context: typer.Context,
    plain: Annotated[bool, typer.Option("--plain", help="One address a line.")] = False,
) -> None:
    """List the accounts."""
    found = sorted(
        _with_accounts(settings(context), lambda accounts: accounts.list()), key=lambda a: a.address
    )
    if plain:
        for account in found:
            typer.echo(str(account.address))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("address", "state", "answers requests"):
        table.add_column(name)
    for account in found:
        who = "policy.phone (no XMPP login yet)" if account.phone_only else "in person"
        table.add_row(str(account.address), "enabled" if account.enabled else "disabled", who)
    out.print(table)


async def _set(accounts: Accounts, address: Address, password: str) -> None:
    await _must_exist(accounts, address)
    await accounts.set_password(address, password)


async def _delete(accounts: Accounts, address: Address) -> None:
    await _must_exist(accounts, address)
    await accounts.delete(address)


async def _must_exist(accounts: Accounts, address: Address) -> None:
    if await accounts.find(address) is None:
        fail(f"there is no account {address}")


def _address(text: str) -> Address:
    try:
        address = parse_address(text)
    except InvalidAddress as error:
        fail(f"not an address: {text} ({error})", Exit.USAGE)
    if not address.local:
        fail(f"an account is written USER@DOMAIN, not {text}", Exit.USAGE)
    return address


def _password() -> str:
    if sys.stdin.isatty():
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        fail("an empty password is not accepted", Exit.USAGE)
    return password


def _with_accounts(chosen: config.Settings, use: Callable[[Accounts], Awaitable[T]]) -> T:
    async def work() -> T:
        made = backend(chosen, "cli")
        try:
            await made.store.migrate()
            return await use(made.accounts)
        finally:
            await made.close()

    try:
        make_state_dir(chosen)
        return asyncio.run(work())
    except config.ConfigError as error:
        fail(str(error), Exit.CONFIG)
    except Refused as refused:
        text = "there is such an account already" if refused.condition is Condition.CONFLICT else str(refused)
        fail(text)
    except Unavailable as error:
        fail(f"the account store cannot be reached: {error}", Exit.NOT_RUNNING)


def _tell(chosen: config.Settings, change: AccountChanged) -> None:
    """Running processes forget what they know of the account; nobody may be running, which is fine."""

    async def work() -> None:
        if not chosen.bus.url and not await answers(socket_path(valkey_dir(chosen))):
            return
        made = backend(chosen, "cli")
        try:
            async with asyncio.timeout(2):
                await made.connect()
                await made.bus.broadcast(change)
        finally:
            await made.close()

    with contextlib.suppress(Unavailable, TimeoutError):
        asyncio.run(work())
