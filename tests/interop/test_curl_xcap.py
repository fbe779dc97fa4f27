"""curl and xmllint keep a buddy list: HTTP, digest, TLS and XML of programs nobody here wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.programs import need, run
from tests.support.stage import Person, Stage

pytestmark = pytest.mark.interop

SCHEMAS = Path(__file__).parents[2] / "sip" / "xcap" / "schemas"
LISTS = "Content-Type: application/resource-lists+xml"
ELEMENT = "Content-Type: application/xcap-el+xml"


class Curl:
    """One user's documents."""

    def __init__(self, stage: Stage, person: Person, folder: Path) -> None:
        self.root = f"https://{stage.host}:{stage.tandem.sip_webs_port}/xcap-root"
        self.person = person
        self.folder = folder

    async def __call__(self, path: str, *words: str) -> tuple[str, str]:
        """Status and body."""
        user = f"{self.person.address.partition('@')[0]}:{self.person.password}"
        url = f"{self.root}/{path}".replace("~", f"users/sip:{self.person.address}", 1)
        answered = self.folder / "answer"
        code, status = await run(
            "curl", "--silent", "--show-error", "--insecure", "--globoff", "--digest", "--user", user,
            "--output", str(answered), "--write-out", "%{http_code}", *words, url,
            cwd=self.folder,
        )  # fmt: skip
        assert code == 0, status
        return status, answered.read_text() if answered.exists() else ""


async def test_a_list_is_read_checked_changed_and_read_again(stage: Stage, tmp_path: Path) -> None:
    need("curl", "xmllint")
    alice, bob = await stage.friends("alice", "bob")
    curl = Curl(stage, alice, tmp_path)
    async with stage.client(alice) as desk:
        await desk.xmpp.update_roster(bob.address, name="Bob & Co", groups=["Chess <club>"])
        status, text = await curl("resource-lists/~/index")
        assert status == "200"
        index = tmp_path / "index.xml"
        index.write_text(text)
        schema = str(SCHEMAS / "resource-lists.xsd")
        code, said = await run("xmllint", "--noout", "--schema", schema, str(index), cwd=tmp_path)
        assert code == 0, said
        query = "string(//*[local-name()='list'][@name='Chess <club>']/*[local-name()='entry']/*)"
        code, said = await run("xmllint", "--xpath", query, str(index), cwd=tmp_path)
        assert (code, said.strip()) == (0, "Bob & Co")

        # the same document goes back, and changes nothing
        put = ("--request", "PUT", "--header", LISTS, "--data-binary", f"@{index}")
        assert await curl("resource-lists/~/index", *put) == ("200", "")
        entry = (
            "resource-lists/~/index/~~/resource-lists/list%5b@name=%22Chess%20%3cclub%3e%22%5d/"
            f"entry%5b@uri=%22sip:{bob.address}%22%5d"
        )
        status, text = await curl(entry)
        assert status == "200"
        renamed = text.replace("Bob &amp; Co", "Robert")
        assert await curl(entry, "--request", "PUT", "--header", ELEMENT, "--data-binary", renamed) == (
            "200",
            "",
        )
        await desk.pushes.take("the new name", lambda push: 'name="Robert"' in str(push))
        assert await curl(entry, "--request", "DELETE") == ("200", "")
        await desk.pushes.take("bob is gone", lambda push: 'subscription="remove"' in str(push))
        assert (await curl(entry))[0] == "404"


async def test_conflicts_and_strangers(stage: Stage, tmp_path: Path) -> None:
    need("curl", "xmllint")
    alice, bob = await stage.friends("alice", "bob")
    curl = Curl(stage, alice, tmp_path)
    status, text = await curl(
        "resource-lists/~/index", "--request", "PUT", "--header", LISTS, "--data-binary", "<resource-lists>"
    )
    assert status == "409"
    error = tmp_path / "error.xml"
    error.write_text(text)
    code, said = await run("xmllint", "--xpath", "name(/*/*)", str(error), cwd=tmp_path)
    assert (code, said.strip()) == (0, "not-well-formed")
    assert (await curl(f"resource-lists/users/sip:{bob.address}/index"))[0] == "403"
    assert (await Curl(stage, Person(alice.address, "wrong"), tmp_path)("resource-lists/~/index"))[0] == "401"
    assert (await curl("resource-lists/~/index", "--request", "POST", "--data", "x"))[0] == "405"
    tag = ("--header", 'If-Match: "of-another-day"', "--request", "DELETE")
    assert (await curl("resource-lists/~/index", *tag))[0] == "412"
