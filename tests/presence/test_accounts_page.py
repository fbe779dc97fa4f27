"""docs/accounts.md says of each backend what its code says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presence.edge.accounts import AccountSettings, Backend, backends, open_accounts
from presence.edge.accounts.settings import RadiusSettings, UsersTxtSettings
from presence.edge.sql import SqlStore
from presence.ports import Accounts
from tests.support.stores import new_store

PAGE = Path(__file__).parents[2] / "docs" / "accounts.md"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = await new_store(tmp_path / "tandem.db")
    yield store
    await store.close()


async def row(backend: Backend, accounts: Accounts) -> str:
    everybody = await accounts.offers(None)
    cells = (
        f"`{backend.name}`",
        backend.summary,
        ", ".join(sorted(everybody)),
        ", ".join(sorted(accounts.mechanisms - everybody)) or "–",
        ", ".join(await accounts.digests()) or "none",
        "yes" if backend.creates else "no",
        "yes" if backend.lists else "no",
    )
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", sorted(backends()))
async def test_the_table_says_what_the_backend_can_prove(name: str, store: SqlStore, tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    file.write_text(f"alice:{'ab' * 16}:example.org:authorized\n")
    settings = AccountSettings(
        backend=name,
        users_txt=UsersTxtSettings(file=file),
        radius=RadiusSettings(servers=("127.0.0.1:1812",), secret_file=file),
    )
    accounts = open_accounts(settings, store)
    backend = backends()[name]
    assert await row(backend, accounts) in PAGE.read_text().splitlines()
    assert backend.phones is bool(await accounts.digests())
    await accounts.close()


def test_every_setting_of_a_backend_the_page_names_exists() -> None:
    words = {word.strip("`,.:;()") for word in PAGE.read_text().split()}
    for word in sorted(word for word in words if word.startswith("accounts.") and word.count(".") == 2):
        _, section, name = word.split(".")
        model = AccountSettings.model_fields[section].annotation
        assert model is not None
        assert name in model.model_fields, word
