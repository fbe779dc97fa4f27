"""What a MESSAGE may carry: each format by itself."""

from __future__ import annotations

import pytest

from presence.files import SharedFile
from presence.messages import ChatState, Report
from sip.bodies import Content, Heard, accept, understand
from sip.bodies.cpim import write_cpim
from sip.bodies.file import CONTENT_TYPE as FILE
from sip.bodies.file import write_file
from sip.bodies.html import words_of
from sip.bodies.imdn import write_imdn
from sip.bodies.iscomposing import write_is_composing
from sip.errors import ProtocolError


def heard(media: str, data: bytes | str, charset: str = "utf-8") -> Heard:
    return understand(Content(media, charset, data.encode() if isinstance(data, str) else data))


def refused(media: str, data: bytes | str) -> int:
    with pytest.raises(ProtocolError) as error:
        heard(media, data)
    return error.value.status


def test_every_format_is_in_accept_and_plain_text_first() -> None:
    assert accept().split(", ") == [
        "text/plain",
        "application/im-iscomposing+xml",
        "application/vnd.gsma.rcs-ft-http+xml",
        "application/xhtml+xml",
        "message/cpim",
        "message/imdn+xml",
        "text/html",
    ]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>hello <b>you</b></p>", "hello you"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("1 &lt; 2 &amp;&#x1F389;", "1 < 2 &🎉"),
        ("<script>alert(1)</script>hi<style>x{}</style>", "hi"),
        ("<img src=x onerror=alert(1)>hi", "hi"),
        ("<b>unclosed <i>markup", "unclosed markup"),
        ("two\n   lines", "two lines"),
        ("&lt;script&gt;", "<script>"),
    ],
)
def test_of_html_only_the_words_are_kept(html: str, text: str) -> None:
    assert words_of(html) == text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (ChatState.COMPOSING, ChatState.COMPOSING),
        (ChatState.PAUSED, ChatState.ACTIVE),
        (ChatState.GONE, ChatState.ACTIVE),
    ],
)
def test_typing_is_active_and_everything_else_idle(written: ChatState, meant: ChatState) -> None:
    assert heard("application/im-iscomposing+xml", write_is_composing(written)) == Heard(chat_state=meant)


@pytest.mark.parametrize("media", ["application/im-iscomposing+xml", "message/imdn+xml"])
@pytest.mark.parametrize("data", ["", "<x/>", "<!DOCTYPE x><x/>", "not xml"])
def test_broken_notices_are_400(media: str, data: str) -> None:
    assert refused(media, data) == 400


@pytest.mark.parametrize("report", list(Report))
def test_reports_are_read_as_they_are_written(report: Report) -> None:
    data = write_imdn(report, "m<1>", "2026-01-01T00:00:00Z", "sip:a@example.org")
    assert heard("message/imdn+xml", data) == Heard(report=report, about="m<1>")


def test_processing_notices_say_nothing() -> None:
    ns = "urn:ietf:params:xml:ns:imdn"
    data = f"<imdn xmlns='{ns}'><message-id>1</message-id><processing-notification/></imdn>"
    assert heard("message/imdn+xml", data) == Heard()


def envelope(data: bytes, media: str = "text/plain", **fields: object) -> bytes:
    return write_cpim(
        sender="sip:a@example.org",
        recipient="sip:b@example.org",
        sent="2026-01-01T00:00:00Z",
        media=media,
        data=data,
        **fields,  # type: ignore[arg-type]
    )


def test_an_envelope_is_opened_and_its_wishes_are_heard() -> None:
    wants = (Report.DELIVERED, Report.FAILED, Report.DISPLAYED)
    data = envelope("héllo\r\n\r\nyou".encode(), message_id="m1", wants=wants)
    assert heard("message/cpim", data) == Heard(
        text="héllo\n\nyou", id="m1", wants=wants, sent="2026-01-01T00:00:00Z"
    )


def test_another_prefix_and_bare_line_feeds_are_understood() -> None:
    data = (
        "From: <sip:a@x>\nNS: My <urn:ietf:params:imdn>\nMy.Message-ID: 7\n"
        "My.Disposition-Notification: display\n\nContent-Type: text/plain; charset=utf-8\n\nhi"
    )
    assert heard("message/cpim", data) == Heard(text="hi", id="7", wants=(Report.DISPLAYED,))


def test_nobody_is_told_what_became_of_a_report() -> None:
    report = write_imdn(Report.DELIVERED, "m0", "2026-01-01T00:00:00Z", "sip:a@example.org")
    data = envelope(report, "message/imdn+xml", message_id="m1", wants=(Report.DELIVERED,))
    opened = heard("message/cpim", data)
    assert (opened.report, opened.about, opened.wants) == (Report.DELIVERED, "m0", ())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"From: <sip:a@x>\r\n\r\nhi", 400),
        (b"A: b\r\n" * 100 + b"\r\nContent-Type: text/plain\r\n\r\nhi", 400),
        (b"A: b\r\n\r\nContent-Type: nonsense\r\n\r\nhi", 400),
        (b"A: b\r\n\r\nContent-Type: image/png\r\n\r\nhi", 415),
        (b"A: b\r\n\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=", 415),
        (
            b"A: b\r\n\r\nContent-Type: message/cpim\r\n\r\nA: b\r\n\r\nContent-Type: text/plain\r\n\r\nhi",
            415,
        ),
    ],
)
def test_broken_envelopes_are_refused(data: bytes, status: int) -> None:
    assert refused("message/cpim", data) == status


LINPHONE = """<?xml version="1.0" encoding="UTF-8"?><file xmlns="urn:gsma:params:xml:ns:rcs:rcs:fthttp">
<file-info type="thumbnail"><file-size>77</file-size><content-type>image/png</content-type>
<data url = "https://files.example.org/small.png" until = "2030-01-01T00:00:00Z"/></file-info>
<file-info type="file">
<file-size>1234</file-size>
<file-name>cat &amp; dog.jpg</file-name>
<content-type>image/jpeg</content-type>
<data url = "%s" until = "2030-01-01T00:00:00Z"/>
</file-info>
</file>"""


def test_of_a_file_link_name_size_and_type_are_heard_and_the_thumbnail_is_not() -> None:
    url = "https://files.example.org/a/cat.jpg"
    expected = SharedFile(url, "cat & dog.jpg", 1234, "image/jpeg")
    assert heard(FILE, LINPHONE % url) == Heard(text=url, file=expected)


def test_what_is_written_of_a_file_is_read_alike() -> None:
    file = SharedFile("https://example.org/a?b=1&c=2", "a <b>.pdf", 5, "application/pdf")
    assert heard(FILE, write_file(file, "2030-01-01T00:00:00Z")).file == file


def test_of_a_bare_link_a_phone_is_told_the_name_and_type_it_ends_in_and_no_size() -> None:
    document = write_file(SharedFile("https://example.org/x/my%20cat.png"))
    file = heard(FILE, document).file
    assert file is not None
    assert (file.name, file.media, file.size) == ("my cat.png", "image/png", 0)
    assert b"file-size" not in document


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https://a b/",
        "//x/y",
        "https://example.org/" + "a" * 2048,
        "http://user:secret@example.org/a",
        "https://example.org:x/",
    ],
)
def test_a_file_that_is_nowhere_on_the_web_is_400(url: str) -> None:
    assert refused(FILE, LINPHONE % url) == 400


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ("<file xmlns='urn:gsma:params:xml:ns:rcs:rcs:fthttp'/>", 400),
        ("<file/>", 400),
        ("nonsense", 400),
        ("<!DOCTYPE file [<!ENTITY a 'b'>]>" + LINPHONE, 400),
        (LINPHONE + " " * 65_536, 413),
    ],
)
def test_what_describes_no_file_is_refused(document: str, status: int) -> None:
    assert refused(FILE, document) == status


def test_a_file_in_an_envelope_is_one() -> None:
    file = SharedFile("https://example.org/a.png", "a.png", 5, "image/png")
    envelope = write_cpim(
        sender="sip:a@b",
        recipient="sip:c@d",
        sent="2030-01-01T00:00:00Z",
        media=FILE,
        data=write_file(file),
        message_id="m1",
        wants=(Report.DELIVERED,),
    )
    opened = heard("message/cpim", envelope)
    assert (opened.file, opened.wants, opened.id) == (file, (Report.DELIVERED,), "m1")
