"""Schemas of the documents, as the RFCs print them (`schemas/`), applied by libxml2 (RFC 4825 §8.2.5).

Foreign elements are let through where the schema lets them; of the namespaces a usage knows, all must fit.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lxml import etree

from sip.xcap.conflicts import Conflicting

_FOLDER = Path(__file__).parent / "schemas"
_MAX_PHRASE = 200


@cache
def _schema(name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(_FOLDER / f"{name}.xsd", etree.XMLParser(no_network=True)))


def validate(data: bytes, name: str) -> None:
    """Of a document that was read before, and so has no document type. Raises `Conflicting`
    schema-validation-error."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    schema = _schema(name)
    try:
        tree = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise Conflicting("not-well-formed", str(error)[:_MAX_PHRASE]) from None
    if not schema.validate(tree):
        first = schema.error_log[0]
        raise Conflicting("schema-validation-error", f"line {first.line}: {first.message}"[:_MAX_PHRASE])
