"""Rooms: conversations that people enter and leave (RFC 7702, XEP-0045), free of both protocols.

`model` has a room's state, `privileges` who may do what, `decisions` and `administration` what an action
changes and who hears of it; `service` does it on the bus. A door shows events to those it holds in the room,
and turns what they ask for into actions.
"""
