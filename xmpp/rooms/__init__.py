"""Rooms as XMPP clients know them (XEP-0045): stanzas become actions of `presence.rooms`, its events stanzas.

`desk` takes what clients send, `requests` their IQs; `showing` tells those who are there what happens, with
what `stanzas` writes.
"""
