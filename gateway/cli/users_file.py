"""Accounts from and to the files that TURN servers and web servers read them from."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

from gateway.cli.accounts import tell, with_accounts
from gateway.cli.app import err, fail
from gateway.config import Settings
from gateway.exits import Exit
from presence.edge.accounts.sql import Adopted, SqlAccounts
from presence.edge.accounts.users_file import parse_users, write_users
from presence.ports import AccountChanged, Accounts


class Form(StrEnum):
    """How an export looks."""

    RETURN = "return"
    COTURN = "coturn"


def take_over(chosen: Settings, file: Path, *, replace_known: bool) -> None:
    """Put the accounts of a reTurn `users.txt` or an htdigest file into Tandem's database."""
    options = chosen.accounts.users_txt
    try:
        parsed = parse_users(file.read_bytes(), secrets=options.second_column, domains=options.domains)
    except OSError as error:
        fail(f"{file}: {error.strerror}", Exit.USAGE)
    for problem in parsed.problems:
        err.print(f"{file}, line {problem.line}: {problem.text}; skipped", style="yellow", markup=False)
    ours = [entry for entry in parsed.entries.values() if entry.address.domain in chosen.domains]
    if foreign := len(parsed.entries) - len(ours):
        err.print(f"{foreign} accounts of domains not served here are left out", style="yellow")

    async def adopt(accounts: Accounts) -> Adopted:
        if not isinstance(accounts, SqlAccounts):
            fail(f"the accounts are kept by the backend {chosen.accounts.backend}, not in Tandem's database")
        return await accounts.adopt(ours, replace_known=replace_known)

    adopted = with_accounts(chosen, adopt)
    if adopted.replaced:
        changes = (
            AccountChanged(address=entry.address, gone=not entry.enabled, renewed=entry.enabled)
            for entry in ours
        )
        tell(chosen, *changes)
    if adopted.left_out:
        err.print(
            f"{adopted.left_out} accounts have names of the server's own and are left out", style="yellow"
        )
    err.print(
        f"{adopted.added} accounts added, {adopted.replaced} replaced, {adopted.kept} kept as they were, "
        f"{parsed.broken} lines skipped."
    )


def print_all(chosen: Settings, form: Form) -> None:
    """All accounts that have an HA1, as the TURN server reads them."""
    found = with_accounts(chosen, lambda accounts: accounts.list())
    written = 0
    for line in write_users(sorted(found, key=lambda account: account.address)):
        login, hashed, _, state = line.split(":")
        if form is Form.COTURN and state == "refused":
            continue
        sys.stdout.write(f"{line}\n" if form is Form.RETURN else f"user={login}:0x{hashed}\n")
        written += 1
    if left := len(found) - written:
        err.print(f"{left} accounts are left out: disabled, or without an HA1")
