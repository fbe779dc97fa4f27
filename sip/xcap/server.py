"""An XCAP server's answers (RFC 4825 §8). Who asks is proven before.

Everybody reads and writes their own tree and nobody else's; whether another user exists is not told. Of the
global tree there are the capabilities.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial

from presence.address import Address
from sip.xcap import conflicts, manipulation
from sip.xcap.conflicts import Conflicting, XcapError, no_parent
from sip.xcap.document import Document, parse_document
from sip.xcap.library import Library, etag
from sip.xcap.schema import validate
from sip.xcap.selector import Selector, parse_selector
from sip.xcap.usages import Change, Place

METHODS = ("GET", "HEAD", "PUT", "DELETE")
_SEPARATOR = re.compile(r"/(?:~|%7[Ee]){2}(?:/|$)")
_TAG = re.compile(r'(W/)?"([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An HTTP request, as far as it matters."""

    method: str
    path: str
    "Below the XCAP root, percent-encoded as it came."
    query: str = ""
    content_type: str = ""
    if_match: str | None = None
    if_none_match: str | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    body: bytes = b""
    content_type: str = ""
    etag: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=())


class XcapServer:
    def __init__(self, library: Library) -> None:
        self._library = library

    def place(self, question: Question) -> Place:
        """The document a request is about. Raises `XcapError` 404."""
        return self._library.place(_SEPARATOR.split(question.path, maxsplit=1)[0])

    async def answer(self, user: Address | None, question: Question) -> Reply:
        """`user`: who asks; None where nobody needs to say. Raises `Unavailable`."""
        try:
            return await self._answer(user, question)
        except Conflicting as error:
            return Reply(status=409, body=error.body, content_type=conflicts.CONTENT_TYPE)
        except XcapError as error:
            return Reply(
                status=error.status,
                body=f"{error.reason}\n".encode(),
                content_type="text/plain; charset=utf-8",
                headers=error.headers,
            )

    async def _answer(self, user: Address | None, question: Question) -> Reply:
        if question.method not in METHODS:
            # RFC 4825 §8.1
            raise XcapError(405, "Method Not Allowed", (("Allow", ", ".join(METHODS)),))
        place = self.place(question)
        if place.owner is not None and place.owner != user:
            raise XcapError(403, "Not Your Documents")
        selector = self._selector(place, question)
        reading = question.method in ("GET", "HEAD")
        if place.owner is None and (not reading or place.usage.auid != "xcap-caps"):
            raise XcapError(403, "Not For Users")
        document = await self._library.show(place) if _may_be(place) else None
        if reading:
            if document is None:
                raise XcapError(404, "No Such Document")
            fetched = partial(_fetched, place, document, selector, question)
            return await self._library.work(len(document.data), fetched)
        _meets_conditions(document, question)
        if question.method == "PUT":
            return await self._put(place, document, selector, question)
        return await self._delete(place, document, selector, question)

    def _selector(self, place: Place, question: Question) -> Selector | None:
        _, *node = _SEPARATOR.split(question.path, maxsplit=1)
        return parse_selector(node[0], question.query, place.usage.namespace) if node else None

    async def _put(
        self, place: Place, document: Document | None, selector: Selector | None, question: Question
    ) -> Reply:
        if selector is None:
            _expect(question, place.usage.content_type)
            if not _may_be(place):
                raise no_parent("")
            after = await self._library.work(len(question.body), partial(parse_document, question.body))
            created = document is None
        else:
            if not selector.bindings:
                _expect(
                    question,
                    manipulation.ELEMENT if selector.attribute is None else manipulation.ATTRIBUTE,
                )
            if document is None:
                raise no_parent("")
            size = len(document.data) + len(question.body)
            put = partial(manipulation.put, document, selector, question.body)
            after, created = await self._library.work(size, put)
        place.usage.refuse_name(place.name)
        await self._change(place, document, after, selector, question)
        left = await self._library.show(place)
        headers: tuple[tuple[str, str], ...] = ()
        if created:
            headers = (("Location", f"{self._library.root}/{question.path.lstrip('/')}"),)
        return Reply(status=201 if created else 200, etag=etag(left) if left else "", headers=headers)

    async def _delete(
        self, place: Place, document: Document | None, selector: Selector | None, question: Question
    ) -> Reply:
        if document is None:
            raise XcapError(404, "No Such Document")
        after = None
        if selector is not None:
            left_over = partial(manipulation.delete, document, selector)
            after = await self._library.work(len(document.data), left_over)
        await self._change(place, document, after, selector, question)
        left = await self._library.show(place) if selector is not None else None
        return Reply(status=200, etag=etag(left) if left else "")

    async def _change(
        self,
        place: Place,
        before: Document | None,
        after: Document | None,
        selector: Selector | None,
        question: Question,
    ) -> None:
        if after is not None:
            if place.usage.schema:
                fits = partial(validate, after.data, place.usage.schema)
                await self._library.work(len(after.data), fits)
            await place.usage.check(self._library, place, after)
        change = Change(
            before=before, after=after, whole=selector is None, aware=question.if_match is not None
        )
        try:
            await place.usage.apply(self._library, place, change)
        finally:
            await self._library.service.kept_changed(place.user)


def _may_be(place: Place) -> bool:
    """No folders: there is no way to make one (RFC 4825 §6.2)."""
    return bool(place.name) and "/" not in place.name and len(place.name) <= 255


def _fetched(place: Place, document: Document, selector: Selector | None, question: Question) -> Reply:
    tag = etag(document)
    body, kind = document.data, place.usage.content_type
    if selector is not None:
        body, kind = manipulation.fetch(document, selector)
    if question.if_match is not None and not _matches(question.if_match, tag):
        raise XcapError(412, "Precondition Failed")
    if question.if_none_match is not None and _matches(question.if_none_match, tag, weak=True):
        return Reply(status=304, etag=tag)
    return Reply(status=200, body=body, content_type=kind, etag=tag)


def _meets_conditions(document: Document | None, question: Question) -> None:
    """RFC 4825 §8.2.6: the entity-tag is the document's. Raises `XcapError` 412."""
    tag = etag(document) if document is not None else None
    if question.if_match is not None and (tag is None or not _matches(question.if_match, tag)):
        raise XcapError(412, "Precondition Failed")
    if question.if_none_match is not None and tag is not None and _matches(question.if_none_match, tag):
        raise XcapError(412, "Precondition Failed")


def _matches(field_value: str, tag: str, *, weak: bool = False) -> bool:
    """RFC 9110 §8.8.3.2, §13.1."""
    if field_value.strip() == "*":
        return True
    found = _TAG.findall(field_value)
    if not found:
        # Some clients leave the quotes out.
        return field_value.strip() == tag
    return any(opaque == tag and (weak or not mark) for mark, opaque in found)


def _expect(question: Question, content_type: str) -> None:
    """Raises `XcapError` 415."""
    if question.content_type.partition(";")[0].strip().lower() != content_type:
        raise XcapError(415, f"{content_type} Is Wanted", (("Accept", content_type),))
