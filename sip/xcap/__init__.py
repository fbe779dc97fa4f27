"""XCAP: a phone's buddy lists and rules over HTTP (RFC 4825).

There is one roster and one table of who may see whom (`presence.subscriptions`, `presence.blocking`). The
documents here are views of them: reading one is reading the roster, writing one changes it. What a document
says beyond that, its order, its comments, its foreign elements, is kept as it was written, and the truth is
laid over it.

`selector` reads node selectors, `document` is XML text and where its elements stand in it, `manipulation`
places, fetches and removes nodes, `usages/` knows the kinds of documents, `library` is whose documents there
are, `server` answers requests.
"""
