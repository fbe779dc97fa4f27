"""`tandem user add|list|passwd|disable|enable|delete`: accounts, straight in their store; a running gateway
is told over the bus."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import listing, users_file
from gateway.cli.accounts import tell, with_accounts, with_store
from gateway.cli.app import app, err, example, fail, settings
from gateway.exits import Exit
from gateway.wiring import Backend
from presence.address import Address, parse_address
from presence.errors import Condition, InvalidAddress, Refused
from presence.invitations import Ticket, uri
from presence.ports import AccountChanged, Accounts
from xmpp.landing import landing_url

user = typer.Typer(no_args_is_help=True, help="Manage accounts.")
app.add_typer(user, name="user")

AddressArgument = Annotated[
    str, typer.Argument(help="The account, e.g. alice@example.org.", metavar="ADDRESS")
]


@user.command(epilog=example("user add alice@example.org"))
def add(context: typer.Context, address: AddressArgument) -> None:
    """Make an account. The password is asked for, or is the first line of standard input when that is no
    terminal."""
    chosen, wanted = settings(context), account_address(address)
    if wanted.domain not in chosen.domains:
        fail(f"{wanted.domain} is not served here, only {', '.join(chosen.domains)} (setting: domains)")
    password = _password()
    with_accounts(chosen, lambda accounts: accounts.add(wanted, password))
    tell(chosen, AccountChanged(address=wanted))
    err.print(f"{wanted} can log in now.", markup=False)


@user.command(epilog=example("user passwd alice@example.org"))
def passwd(context: typer.Context, address: AddressArgument) -> None:
    """Change a password, asked for or read from standard input like `user add` does. Sessions, registrations
    and dialogs that began with the old one end."""
    chosen, wanted = settings(context), account_address(address)
    password = _password()
    with_accounts(chosen, lambda accounts: _set(accounts, wanted, password))
    tell(chosen, AccountChanged(address=wanted, renewed=True))
    err.print(f"{wanted} has a new password.", markup=False)


@user.command(epilog=example("user delete alice@example.org --yes"))
def delete(
    context: typer.Context,
    address: AddressArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an account; its sessions, registrations and dialogs end."""
    chosen, wanted = settings(context), account_address(address)
    if not yes:
        typer.confirm(f"Delete {wanted}?", abort=True, err=True)
    with_accounts(chosen, lambda accounts: accounts.delete(wanted))
    tell(chosen, AccountChanged(address=wanted, gone=True))
    err.print(f"{wanted} is deleted.", markup=False)


@user.command(epilog=example("user disable alice@example.org"))
def disable(context: typer.Context, address: AddressArgument) -> None:
    """Keep an account's owner out: sessions, registrations and dialogs end at once; nothing is deleted."""
    chosen, wanted = settings(context), account_address(address)
    with_accounts(chosen, lambda accounts: accounts.set_enabled(wanted, False))
    tell(chosen, AccountChanged(address=wanted, gone=True))
    err.print(f"{wanted} cannot log in any more.", markup=False)


@user.command(epilog=example("user enable alice@example.org"))
def enable(context: typer.Context, address: AddressArgument) -> None:
    """Let the owner of a disabled account in again."""
    chosen, wanted = settings(context), account_address(address)
    with_accounts(chosen, lambda accounts: accounts.set_enabled(wanted, True))
    tell(chosen, AccountChanged(address=wanted))
    err.print(f"{wanted} can log in again.", markup=False)


@user.command(epilog=example("user invite --name juliet", "user invite --buddy alice@example.org --days 3"))
def invite(
    context: typer.Context,
    name: Annotated[
        str, typer.Option(help="The account to be made; else they choose.", metavar="LOCAL")
    ] = "",
    buddy: Annotated[
        str,
        typer.Option(help="Whoever accepts and this account become each other's buddies.", metavar="ADDRESS"),
    ] = "",
    domain: Annotated[
        str, typer.Option(help="Where; the first of the domains if not given.", metavar="DOMAIN")
    ] = "",
    days: Annotated[
        float | None, typer.Option(help="Good for so long; else xmpp.invitation_days.", min=0.01, max=366)
    ] = None,
) -> None:
    """Print a link with which somebody makes an account themselves, with a password nobody else knows, and
    the address of a page that has it, for a browser. It is good once."""
    chosen = settings(context)
    if chosen.xmpp.registration == "closed":
        fail('clients make no accounts here: set xmpp.registration = "invited"')
    inviter = account_address(buddy) if buddy else None
    where = domain or (inviter.domain if inviter is not None else chosen.domains[0])
    wanted = account_address(f"{name}@{where}") if name else None
    if where not in chosen.domains or (inviter is not None and inviter.domain not in chosen.domains):
        fail(f"only {', '.join(chosen.domains)} are served here (setting: domains)")
    seconds = (days if days is not None else chosen.xmpp.invitation_days) * 86_400
    ticket = with_store(chosen, lambda made: _invite(made, where, wanted, inviter, seconds))
    typer.echo(uri(ticket, may_register=True))
    page = landing_url(where, chosen.xmpp, ticket.token)
    if page:
        typer.echo(page)
    ends = datetime.datetime.fromtimestamp(ticket.invitation.expires, datetime.UTC)
    err.print(f"Good once, until {ends:%Y-%m-%d %H:%M} UTC.", markup=False)


@user.command("import", epilog=example("user import /etc/reTurn/users.txt"))
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="login:password-or-HA1:realm:state, one account a line.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Give known accounts the file's password and state, too.")
    ] = False,
) -> None:
    """Take over the accounts of a users.txt into the database. Broken lines are named and skipped; known
    accounts are kept as they are. A phone works at once; an XMPP client shows its password once (PLAIN over
    TLS), and has SCRAM from then on."""
    users_file.take_over(settings(context), file, replace_known=replace)


@user.command(epilog=example("user export --format coturn"))
def export(
    context: typer.Context,
    form: Annotated[
        users_file.Form,
        typer.Option("--format", help="`return`: a users.txt; `coturn`: lines for turnserver.conf."),
    ] = users_file.Form.RETURN,
) -> None:
    """Print the accounts with their HA1 (MD5). Whoever has that can log in as them: send it to a file nobody
    else can read, `(umask 077; tandem user export >users.txt)`."""
    users_file.print_all(settings(context), form)


@user.command("list")
def list_(
    context: typer.Context,
    plain: Annotated[bool, typer.Option("--plain", help="One address a line.")] = False,
) -> None:
    """List the accounts."""
    found = sorted(
        with_accounts(settings(context), lambda accounts: accounts.list()), key=lambda a: a.address
    )
    if plain:
        for account in found:
            typer.echo(str(account.address))
        return
    rows = []
    for account in found:
        who = "policy.phone (no XMPP login yet)" if account.phone_only else "in person"
        rows.append((str(account.address), "enabled" if account.enabled else "disabled", who))
    listing.show(("address", "state", "answers requests"), rows)


async def _invite(
    made: Backend, domain: str, wanted: Address | None, inviter: Address | None, seconds: float
) -> Ticket:
    if inviter is not None:
        await _must_exist(made.accounts, inviter)
    if wanted is not None and await made.accounts.find(wanted) is not None:
        raise Refused(Condition.CONFLICT)
    return await made.service.invitations.invite(
        domain,
        inviter=inviter,
        befriends=inviter is not None,
        local=wanted.local if wanted is not None else "",
        seconds=seconds,
    )


async def _set(accounts: Accounts, address: Address, password: str) -> None:
    await _must_exist(accounts, address)
    await accounts.set_password(address, password)


async def _must_exist(accounts: Accounts, address: Address) -> None:
    if await accounts.find(address) is None:
        fail(f"there is no account {address}")


def account_address(text: str) -> Address:
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
