"""What clients are capable of (XEP-0390, XEP-0115): hashes, who is believed, the server's own."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from tests.xmpp.scene import Client, Scene
from tests.xmpp.test_pep import TUNE, events, publish, tune
from xmpp.capabilities import CACHED, MAX_FEATURES, features_of
from xmpp.element import CLIENT_NS, LANG, E, Element
from xmpp.extensions import xep_0115_caps as caps1
from xmpp.extensions import xep_0390_caps2 as caps2
from xmpp.extensions.xep_0030_disco import INFO_NS
from xmpp.forms import FORM_TYPE, write_form
from xmpp.forms import NS as FORM

SIMPLE = """
http://jabber.org/protocol/si
http://jabber.org/protocol/bytestreams
http://jabber.org/protocol/chatstates
http://jabber.org/protocol/disco#info
http://jabber.org/protocol/disco#items
urn:xmpp:ping
jabber:iq:time
jabber:iq:privacy
jabber:iq:version
http://jabber.org/protocol/rosterx
urn:xmpp:time
jabber:x:oob
http://jabber.org/protocol/ibb
http://jabber.org/protocol/si/profile/file-transfer
urn:xmpp:receipts
jabber:iq:roster
jabber:iq:last
"""
"XEP-0390 §4.5.1."
COMPLEX = """
games:board
http://jabber.org/protocol/activity
http://jabber.org/protocol/activity+notify
http://jabber.org/protocol/bytestreams
http://jabber.org/protocol/chatstates
http://jabber.org/protocol/commands
http://jabber.org/protocol/disco#info
http://jabber.org/protocol/disco#items
http://jabber.org/protocol/evil
http://jabber.org/protocol/feature-neg
http://jabber.org/protocol/geoloc
http://jabber.org/protocol/geoloc+notify
http://jabber.org/protocol/ibb
http://jabber.org/protocol/iqibb
http://jabber.org/protocol/mood
http://jabber.org/protocol/mood+notify
http://jabber.org/protocol/rosterx
http://jabber.org/protocol/si
http://jabber.org/protocol/si/profile/file-transfer
http://jabber.org/protocol/tune
http://www.facebook.com/xmpp/messages
http://www.xmpp.org/extensions/xep-0084.html#ns-metadata+notify
jabber:iq:avatar
jabber:iq:browse
jabber:iq:dtcp
jabber:iq:filexfer
jabber:iq:ibb
jabber:iq:inband
jabber:iq:jidlink
jabber:iq:last
jabber:iq:oob
jabber:iq:privacy
jabber:iq:roster
jabber:iq:time
jabber:iq:version
jabber:x:data
jabber:x:event
jabber:x:oob
urn:xmpp:avatar:metadata+notify
urn:xmpp:ping
urn:xmpp:receipts
urn:xmpp:time
"""
"XEP-0390 §4.5.2."
NOTIFY = f"{TUNE}+notify"


def info(*features: str, **identity: str) -> Element:
    """A disco#info result."""
    query = E("query", INFO_NS)
    if identity:
        query.append(E("identity", INFO_NS, {name.replace("lang", LANG): v for name, v in identity.items()}))
    query.children.extend(E("feature", INFO_NS, {"var": var}) for var in features)
    return query


def caps_1(ver: str, hash: str = "sha-1", node: str = "urn:client") -> Element:
    return E("c", caps1.NS, {"hash": hash, "node": node, "ver": ver})


def caps_2(*hashes: tuple[str, str]) -> Element:
    made = (E("hash", caps2.HASHES_NS, {"algo": algorithm}, value) for algorithm, value in hashes)
    return E("c", caps2.NS, {}, *made)


def both(result: Element) -> list[Element]:
    """What a client says with its presence that has it all."""
    hashes = [(name, caps2.verification(result, name)) for name in ("sha3-256", "sha-256")]
    return [caps_1(caps1.verification(result, "sha-1")), caps_2(*hashes)]


def questions(client: Client) -> list[Element]:
    """What the client was asked, once."""
    return [iq for iq in client.heard("iq") if iq.get("type") == "get"]


async def answer(client: Client, asked: Element, result: Element, **attrs: str) -> None:
    told = {"type": "result", "id": asked.get("id"), "to": asked.get("from")} | attrs
    await client.say(E("iq", CLIENT_NS, told, result))


async def asked_once(client: Client, result: Element, *claims: Element) -> str:
    """The client comes, is asked and answers; the node it was asked for."""
    await client.here(*claims)
    (asked,) = questions(client)
    await answer(client, asked, result)
    assert questions(client) == []
    return asked.elements[0].get("node")


# --- XEP-0115's hash -----------------------------------------------------------------------------------


def test_the_old_hash_is_that_of_the_specifications_example() -> None:
    """XEP-0115 §5.2."""
    features = (
        "http://jabber.org/protocol/caps", "http://jabber.org/protocol/disco#info",
        "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/muc",
    )  # fmt: skip
    query = E("query", INFO_NS)
    query.append(E("identity", INFO_NS, {"category": "client", "name": "Exodus 0.9.1", "type": "pc"}))
    query.children.extend(E("feature", INFO_NS, {"var": var}) for var in features)
    assert caps1.verification(query, "sha-1") == "QgayPKawpkPSDYmwT/WM94uAlu0="
    assert caps1.verification(query, "md2") == ""


def test_forms_count_into_the_old_hash() -> None:
    """As §5.3's example, shortened."""
    query = info("urn:xmpp:time")
    made = E("x", FORM, {"type": "result"})
    for name, values in (
        ("os", ["Mac"]),
        (FORM_TYPE, ["urn:xmpp:dataforms:softwareinfo"]),
        ("ip", ["6", "4"]),
    ):
        made.append(E("field", FORM, {"var": name}, *(E("value", FORM, {}, v) for v in values)))
    query.append(made)
    text = b"urn:xmpp:time<urn:xmpp:dataforms:softwareinfo<ip<4<6<os<Mac<"
    assert caps1.verification(query, "sha-256") == b64encode(hashlib.sha256(text).digest()).decode()


@pytest.mark.parametrize(
    ("identity", "features"),
    [
        ({"category": "client", "type": "pc"}, ["urn:x<urn:y"]),
        ({"category": "client", "type": "pc<urn:x"}, ["urn:y"]),
        ({"category": "client", "type": ""}, ["urn:x", "urn:y"]),
        ({"category": "client/pc", "type": "x"}, []),
    ],
)
def test_what_could_be_anothers_makes_no_hash(identity: dict[str, str], features: list[str]) -> None:
    """XEP-0115 §9.2."""
    assert caps1.verification(info(*features, **identity), "sha-1") == ""


@pytest.mark.parametrize(
    "forged",
    [
        info("a").append(write_form("result", NOTIFY, {})),
        info("a").append(write_form("result", "b", {NOTIFY: [""]})),
        info(category="client", type="pc").append(write_form("result", "a", {"b": [NOTIFY]})),
    ],
)
def test_a_form_that_could_be_features_makes_no_hash(forged: Element) -> None:
    """XEP-0115 §9.2: its text is that of a client with those features and no form."""
    assert caps1.verification(forged, "sha-1") == ""


# --- XEP-0390's hash -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "sha256", "sha3"),
    [
        (
            info(*SIMPLE.split(), category="client", name="BombusMod", type="mobile"),
            "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=",
            "79mdYAfU9rEdTOcWDO7UEAt6E56SUzk/g6TnqUeuD9Q=",
        ),
        (
            info(*COMPLEX.split(), category="client", name="Tkabber", type="pc", lang="en")
            .append(
                E("identity", INFO_NS, {"category": "client", "name": "Ткаббер", "type": "pc", LANG: "ru"})
            )
            .append(
                write_form(
                    "result",
                    "urn:xmpp:dataforms:softwareinfo",
                    {
                        "software": ["Tkabber"],
                        "software_version": ["0.11.1-svn-20111216-mod (Tcl/Tk 8.6b2)"],
                        "os": ["Windows"],
                        "os_version": ["XP"],
                    },
                )
            ),
            "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=",
            "XpUJzLAc93258sMECZ3FJpebkzuyNXDzRNwQog8eycg=",
        ),
    ],
    ids=["simple", "complex"],
)
def test_the_hashes_are_those_of_the_specifications_examples(result: Element, sha256: str, sha3: str) -> None:
    """XEP-0390 §4.5."""
    assert caps2.verification(result, "sha-256") == sha256
    assert caps2.verification(result, "sha3-256") == sha3


def test_the_order_of_things_does_not_matter_and_their_places_do() -> None:
    """XEP-0390 §4.1."""
    one = info("a", "b").append(write_form("result", "urn:f", {"x": ["1", "2"], "y": []}))
    other = info("b", "a").append(write_form("result", "urn:f", {"y": [], "x": ["2", "1"]}))
    assert caps2.hash_input(one) == caps2.hash_input(other)
    assert caps2.hash_input(info("a", "b")) != caps2.hash_input(info("ab"))
    moved = info("a", "b").append(write_form("result", "urn:f", {"x": ["1"], "y": ["2"]}))
    assert caps2.hash_input(one) != caps2.hash_input(moved)


def test_a_language_is_inherited() -> None:
    """XEP-0390 §4.1."""
    plain, german = info(category="client", name="C"), info(category="client", name="C", lang="de")
    assert caps2.hash_input(plain, "de") == caps2.hash_input(german, "en") != caps2.hash_input(plain)


@pytest.mark.parametrize(
    "result",
    [
        info("a").append(E("more", "urn:x")),
        info("a").append(E("feature", "urn:x", {"var": "a"})),
        info("a").append(write_form("result", "urn:f", {}).append(E("reported", FORM))),
        info("a").append(write_form("result", "urn:f", {}).append(E("item", FORM))),
        info("a").append(E("x", FORM, {"type": "result"})),
        info("a").append(
            E(
                "x",
                FORM,
                {"type": "result"},
                E("field", FORM, {"var": FORM_TYPE}, E("value", FORM, {}, "urn:f")),
            )
        ),
        info("a").append(
            write_form("result", "urn:f", {}).append(
                E("field", FORM, {"var": FORM_TYPE, "type": "hidden"}, E("value", FORM, {}, "urn:g"))
            )
        ),
    ],
)
def test_what_else_is_in_a_result_has_no_hash(result: Element) -> None:
    """XEP-0390 §4.1, XEP-0068 §3.4."""
    with pytest.raises(ValueError, match="has no"):
        caps2.hash_input(result)
    assert caps2.verification(result, "sha-256") == ""


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "sha256", "shake_128", ""])
def test_weak_and_unknown_algorithms_make_no_hash(algorithm: str) -> None:
    assert caps2.verification(info("a"), algorithm) == ""


# --- whom a hash is believed for -----------------------------------------------------------------------


async def test_one_question_is_enough_for_a_client_with_both_and_for_all_like_it(xmpp: Scene) -> None:
    """XEP-0390 §5.5, §6.2.1."""
    await xmpp.people("alice", "bob")
    result = info(NOTIFY)
    alice, bob = await xmpp.connect("alice"), await xmpp.connect("bob")
    node = await asked_once(alice, result, *both(result))
    assert node == f"urn:xmpp:caps#sha-256.{caps2.verification(result, 'sha-256')}"
    await bob.here(*reversed(both(result)))
    assert questions(bob) == []
    for client in (alice, bob):
        assert features_of(client.session) == {NOTIFY}
        await publish(client, tune("One"))
        assert [title for _, _, title in events(client)] == ["One"]


async def test_what_was_learned_by_the_old_hash_is_not_believed_for_the_new_one(xmpp: Scene) -> None:
    """XEP-0390 §7.2."""
    await xmpp.people("alice", "bob")
    old, new = both(info(NOTIFY))
    alice, bob = await xmpp.connect("alice"), await xmpp.connect("bob")
    await asked_once(alice, info(NOTIFY), old)
    assert (await asked_once(bob, info(NOTIFY), old, new)).startswith("urn:xmpp:caps#sha-256.")
    third = await xmpp.connect("bob", "third")
    await third.here(old)
    assert questions(third) == []
    assert features_of(third.session) == {NOTIFY}


@pytest.mark.parametrize(
    ("claim", "node"),
    [
        (caps_1("false"), "urn:client#false"),
        (caps_1("", ""), "urn:client#"),
        (caps_1("0.9.1", ""), "urn:client#0.9.1"),
        (caps_2(("sha-256", caps2.verification(info("else"), "sha-256"))), None),
        (caps_2(("sha-256", "x")), "urn:xmpp:caps#sha-256.x"),
        (caps_2(("sha-256", "x" * 9000)), ""),
        (caps_2(("sha-1", caps1.verification(info(NOTIFY), "sha-1"))), ""),
        (caps_2(("", "")), ""),
        (caps_2(("x" * 9000, "")), ""),
        (caps_2(*((f"urn:{n}", "x") for n in range(500))), ""),
    ],
    ids=range(10),
)
async def test_an_unproven_hash_is_believed_for_nobody_else(
    xmpp: Scene, claim: Element, node: str | None
) -> None:
    await xmpp.people("alice", "bob")
    alice, eve = await xmpp.connect("alice"), await xmpp.connect("bob", "liar")
    for client, wanted in ((eve, frozenset[str]()), (alice, {NOTIFY})):
        asked = await asked_once(client, info(*wanted), claim)
        assert node is None or asked == node
        assert features_of(client.session) == wanted
        await client.here(claim)
        assert questions(client) == []  # the same client once


async def test_a_node_of_any_length_is_asked_for_and_a_long_one_is_not_remembered(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    claim = caps_1(caps1.verification(info(NOTIFY), "sha-1"), node="n" * 9000)
    for user in ("alice", "bob"):
        client = await xmpp.connect(user)
        assert (await asked_once(client, info(NOTIFY), claim)).startswith("n" * 9000)
        assert features_of(client.session) == {NOTIFY}


async def test_an_algorithm_we_know_is_looked_at_among_others(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    result = info(NOTIFY)
    claim = caps_2(("new.1", "x"), ("sha-1", "x"), ("sha3-256", caps2.verification(result, "sha3-256")))
    alice, bob = await xmpp.connect("alice"), await xmpp.connect("bob")
    assert (await asked_once(alice, result, claim)).startswith("urn:xmpp:caps#sha3-256.")
    await bob.here(claim)
    assert questions(bob) == []


@pytest.mark.parametrize("hashed_as", ["", "de"])
async def test_the_language_of_an_answer_counts_or_was_forgotten(xmpp: Scene, hashed_as: str) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.connect("alice"), await xmpp.connect("bob")
    result = info(NOTIFY, category="client", name="C")
    claim = caps_2(("sha-256", caps2.verification(result, "sha-256", hashed_as)))
    await alice.here(claim)
    (asked,) = questions(alice)
    await answer(alice, asked, result, **{LANG: "de"})
    await bob.here(claim)
    assert questions(bob) == []


async def test_an_empty_set_of_hashes_leaves_the_old_one(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    assert await asked_once(alice, info(NOTIFY), caps_2(), caps_1("x")) == "urn:client#x"


async def test_a_presence_without_capabilities_changes_nothing_until_the_client_goes(xmpp: Scene) -> None:
    """XEP-0390 §6.2."""
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    await asked_once(alice, info(NOTIFY), *both(info(NOTIFY)))
    await alice.here(E("show", CLIENT_NS, {}, "away"))
    assert features_of(alice.session) == {NOTIFY}
    await alice.here(type="unavailable")
    await alice.here()
    assert features_of(alice.session) == frozenset()
    assert questions(alice) == []


async def test_a_client_that_changes_is_asked_anew_and_late_answers_are_nothing(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    await alice.here(*both(info(NOTIFY)))
    (late,) = questions(alice)
    await asked_once(alice, info("urn:b+notify"), *both(info("urn:b+notify")))
    await answer(alice, late, info(NOTIFY))
    assert features_of(alice.session) == {"urn:b+notify"}


async def test_a_client_that_does_not_answer_is_told_nothing(xmpp: Scene) -> None:
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    await alice.here(*both(info(NOTIFY)))
    (asked,) = questions(alice)
    await alice.say(E("iq", CLIENT_NS, {"type": "error", "id": asked.get("id"), "to": asked.get("from")}))
    await publish(alice, tune("One"))
    assert events(alice) == []


async def test_of_many_features_some_are_remembered_and_of_many_hashes_the_latest(xmpp: Scene) -> None:
    await xmpp.people("alice", "bob")
    alice, bob = await xmpp.connect("alice"), await xmpp.connect("bob")
    many = info(*(f"urn:{n}+notify" for n in range(3 * MAX_FEATURES)), f"{'x' * 9000}+notify")
    await asked_once(alice, many, *both(many))
    assert len(features_of(alice.session)) == MAX_FEATURES
    for n in range(CACHED):
        await asked_once(alice, info(f"urn:{n}"), *both(info(f"urn:{n}")))
    await bob.here(*both(info("urn:0")))
    assert questions(bob) == []
    await asked_once(bob, many, *both(many))


# --- the server's own ----------------------------------------------------------------------------------


async def test_the_server_announces_itself_both_ways_and_is_found_at_each_node(xmpp: Scene) -> None:
    """XEP-0390 §5.2, §5.5, §6.1; XEP-0115 §6.3. Its hashes hold in whatever language they are read."""
    await xmpp.people("alice")
    alice = await xmpp.connect("alice")
    router = await xmpp.node("xmpp-1")
    old, new = (feature for feature in router.features() if feature.name == "c")
    assert old.get("ver")
    nodes = {f"{old.get('node')}#{old.get('ver')}"}
    for each in new.findall("hash", caps2.HASHES_NS):
        nodes.add(f"urn:xmpp:caps#{each.get('algo')}.{each.text}")
    plain = (await alice.ask("get", E("query", INFO_NS), to="example.org")).elements[0]
    assert "urn:xmpp:caps" in [feature.get("var") for feature in plain.findall("feature")]
    for node in nodes:
        told = (await alice.ask("get", E("query", INFO_NS, {"node": node}), to="example.org")).elements[0]
        assert told.attrs.pop("node") == node
        assert told == plain
    for lang in ("", "en", "de"):
        hashes = [(name, caps2.verification(plain, name, lang)) for name in ("sha-256", "sha3-256")]
        assert [(h.get("algo"), h.text) for h in new.elements] == hashes
    for none in ("urn:xmpp:caps#sha-256.", "urn:xmpp:caps#", f"{max(nodes)}x"):
        refused = await alice.ask("get", E("query", INFO_NS, {"node": none}), to="example.org")
        assert refused.get("type") == "error"
