"""The SIP account of Pidgin and BitlBee (libpurple's `prpl-simple`), without either: the C library by ctypes.

Reads one JSON command a line, `["watch", address]`, `["message", address, text]`, `["show", "away"]`,
`["quit"]`, and writes one JSON object a line about what happens.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import sys
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_uint, c_void_p
from typing import Any

glib = ctypes.CDLL("libglib-2.0.so.0")
purple = ctypes.CDLL("libpurple.so.0", mode=ctypes.RTLD_GLOBAL)

_UI = b"tandem-tests"
_SOURCE = CFUNCTYPE(c_int, c_void_p)
_FD = CFUNCTYPE(c_int, c_int, c_int, c_void_p)
_INPUT = CFUNCTYPE(None, c_void_p, c_int, c_int)
_TIMEOUT_ADD = CFUNCTYPE(c_uint, c_uint, c_void_p, c_void_p)
_REMOVE = CFUNCTYPE(c_int, c_uint)
_INPUT_ADD = CFUNCTYPE(c_uint, c_int, c_int, _INPUT, c_void_p)
_INPUT_ERROR = CFUNCTYPE(c_int, c_int, POINTER(c_int))
_READABLE, _WRITABLE, _BROKEN = 1, 4, 8 | 16 | 32
"GIOCondition: IN; OUT; ERR, HUP, NVAL."
_AVAILABLE, _AWAY = 2, 5
"PurpleStatusPrimitive."

for function, result, arguments in (
    (glib.g_timeout_add, c_uint, (c_uint, c_void_p, c_void_p)),
    (glib.g_timeout_add_seconds, c_uint, (c_uint, c_void_p, c_void_p)),
    (glib.g_unix_fd_add, c_uint, (c_int, c_int, _FD, c_void_p)),
    (glib.g_source_remove, c_int, (c_uint,)),
    (glib.g_main_loop_new, c_void_p, (c_void_p, c_int)),
    (glib.g_main_loop_run, None, (c_void_p,)),
    (glib.g_main_loop_quit, None, (c_void_p,)),
    (purple.purple_core_init, c_int, (c_char_p,)),
    (purple.purple_util_set_user_dir, None, (c_char_p,)),
    (purple.purple_eventloop_set_ui_ops, None, (c_void_p,)),
    (purple.purple_find_prpl, c_void_p, (c_char_p,)),
    (purple.purple_plugins_add_search_path, None, (c_char_p,)),
    (purple.purple_account_new, c_void_p, (c_char_p, c_char_p)),
    (purple.purple_account_set_password, None, (c_void_p, c_char_p)),
    (purple.purple_account_set_string, None, (c_void_p, c_char_p, c_char_p)),
    (purple.purple_account_set_bool, None, (c_void_p, c_char_p, c_int)),
    (purple.purple_account_set_int, None, (c_void_p, c_char_p, c_int)),
    (purple.purple_account_set_enabled, None, (c_void_p, c_char_p, c_int)),
    (purple.purple_account_get_connection, c_void_p, (c_void_p,)),
    (purple.purple_account_add_buddy, None, (c_void_p, c_void_p)),
    (purple.purple_accounts_add, None, (c_void_p,)),
    (purple.purple_savedstatus_new, c_void_p, (c_char_p, c_int)),
    (purple.purple_savedstatus_activate, None, (c_void_p,)),
    (purple.purple_buddy_new, c_void_p, (c_void_p, c_char_p, c_char_p)),
    (purple.purple_buddy_get_name, c_char_p, (c_void_p,)),
    (purple.purple_buddy_get_presence, c_void_p, (c_void_p,)),
    (purple.purple_presence_is_online, c_int, (c_void_p,)),
    (purple.purple_presence_get_active_status, c_void_p, (c_void_p,)),
    (purple.purple_status_get_name, c_char_p, (c_void_p,)),
    (purple.purple_blist_new, c_void_p, ()),
    (purple.purple_set_blist, None, (c_void_p,)),
    (purple.purple_blist_get_handle, c_void_p, ()),
    (purple.purple_blist_add_buddy, None, (c_void_p,) * 4),
    (purple.purple_connections_get_handle, c_void_p, ()),
    (purple.purple_conversations_get_handle, c_void_p, ()),
    (purple.purple_signal_connect, ctypes.c_ulong, (c_void_p, c_char_p, c_void_p, c_void_p, c_void_p)),
    (purple.serv_send_im, c_int, (c_void_p, c_char_p, c_char_p, c_int)),
):  # fmt: skip
    function.restype = result
    function.argtypes = arguments

_kept: list[Any] = []
"Callbacks the library holds."


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class _Ops(ctypes.Structure):
    """PurpleEventLoopUiOps."""

    _fields_ = (
        ("timeout_add", c_void_p),
        ("timeout_remove", _REMOVE),
        ("input_add", _INPUT_ADD),
        ("input_remove", _REMOVE),
        ("input_get_error", c_void_p),
        ("timeout_add_seconds", c_void_p),
        ("reserved", c_void_p * 3),
    )


def watch_fd(fd: int, wanted: int, function: Any, data: Any) -> int:
    """libpurple's conditions are 1 for reading and 2 for writing."""

    def happened(fd: int, condition: int, _: Any) -> int:
        given = 1 if condition & (_READABLE | _BROKEN) else 0
        given |= 2 if condition & (_WRITABLE | _BROKEN) else 0
        function(data, fd, given & wanted)
        return 1

    callback = _FD(happened)
    _kept.append(callback)
    condition = (_READABLE if wanted & 1 else 0) | (_WRITABLE if wanted & 2 else 0) | _BROKEN
    return int(glib.g_unix_fd_add(fd, condition, callback, None))


def address_of(function: Any) -> int | None:
    return ctypes.cast(function, c_void_p).value


def connect(handle: int, signal: bytes, kind: Any, function: Callable[..., None]) -> None:
    callback = kind(function)
    _kept.append(callback)
    ours = ctypes.addressof(_ops)
    purple.purple_signal_connect(handle, signal, ours, ctypes.cast(callback, c_void_p), None)


def text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


_ops = _Ops(
    address_of(glib.g_timeout_add),
    _REMOVE(lambda handle: int(glib.g_source_remove(handle))),
    _INPUT_ADD(watch_fd),
    _REMOVE(lambda handle: int(glib.g_source_remove(handle))),
    None,
    address_of(glib.g_timeout_add_seconds),
)


class Client:
    def __init__(self, address: str, password: str, port: int, transport: str, folder: str) -> None:
        purple.purple_util_set_user_dir(folder.encode())
        purple.purple_eventloop_set_ui_ops(ctypes.addressof(_ops))
        for plugins in glob.glob("/usr/lib/*/purple-2"):
            purple.purple_plugins_add_search_path(plugins.encode())
        assert purple.purple_core_init(_UI), "libpurple does not start"
        assert purple.purple_find_prpl(b"prpl-simple"), "libpurple has no SIMPLE"
        purple.purple_set_blist(purple.purple_blist_new())
        two = CFUNCTYPE(None, c_void_p, c_void_p)
        four = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_void_p)
        buddies = purple.purple_blist_get_handle()
        connect(buddies, b"buddy-signed-on", two, lambda buddy, _: self.seen(buddy))
        connect(buddies, b"buddy-signed-off", two, lambda buddy, _: self.seen(buddy))
        connect(buddies, b"buddy-status-changed", four, lambda buddy, *_: self.seen(buddy))
        connections = purple.purple_connections_get_handle()
        connect(connections, b"signed-on", two, lambda *_: tell(event="registered"))
        connect(
            connections,
            b"connection-error",
            CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_void_p),
            lambda _, number, why, __: tell(event="error", number=number, why=text(why)),
        )
        connect(
            purple.purple_conversations_get_handle(),
            b"received-im-msg",
            CFUNCTYPE(None, c_void_p, c_char_p, c_char_p, c_void_p, c_int, c_void_p),
            lambda _, sender, body, *__: tell(event="message", sender=text(sender), body=text(body)),
        )
        user = address.partition("@")[0]
        self.account = purple.purple_account_new(address.encode(), b"prpl-simple")
        purple.purple_account_set_password(self.account, password.encode())
        for name, value in (("authuser", user), ("proxy", "127.0.0.1")):
            purple.purple_account_set_string(self.account, name.encode(), value.encode())
        for name, flag in (("useproxy", True), ("udp", transport == "udp"), ("dopublish", True)):
            purple.purple_account_set_bool(self.account, name.encode(), flag)
        purple.purple_account_set_int(self.account, b"port", port)
        purple.purple_accounts_add(self.account)
        self.show(_AVAILABLE)
        purple.purple_account_set_enabled(self.account, _UI, True)

    def show(self, primitive: int) -> None:
        purple.purple_savedstatus_activate(purple.purple_savedstatus_new(None, primitive))

    def seen(self, buddy: int) -> None:
        presence = purple.purple_buddy_get_presence(buddy)
        status = purple.purple_presence_get_active_status(presence)
        tell(
            event="buddy",
            uri=text(purple.purple_buddy_get_name(buddy)),
            online=bool(purple.purple_presence_is_online(presence)),
            status=text(purple.purple_status_get_name(status)),
        )

    def obey(self, command: list[str]) -> None:
        match command:
            case ["watch", address]:
                buddy = purple.purple_buddy_new(self.account, f"sip:{address}".encode(), None)
                purple.purple_blist_add_buddy(buddy, None, None, None)
                purple.purple_account_add_buddy(self.account, buddy)
            case ["message", address, words]:
                connection = purple.purple_account_get_connection(self.account)
                purple.serv_send_im(connection, f"sip:{address}".encode(), words.encode(), 0)
            case ["show", _]:
                self.show(_AWAY)
            case ["quit"]:
                purple.purple_account_set_enabled(self.account, _UI, False)


def main(address: str, password: str, port: str, transport: str, folder: str) -> None:
    loop = glib.g_main_loop_new(None, False)
    client = Client(address, password, int(port), transport, folder)
    waiting = b""

    def commanded(*_: Any) -> int:
        nonlocal waiting
        data = os.read(0, 65536)
        *lines, waiting = (waiting + data).split(b"\n")
        for line in lines:
            client.obey(json.loads(line))
        if not data:
            glib.g_main_loop_quit(loop)
        return 1

    callback = _FD(commanded)
    glib.g_unix_fd_add(0, _READABLE | _BROKEN, callback, None)
    tell(event="ready")
    glib.g_main_loop_run(loop)


if __name__ == "__main__":
    main(*sys.argv[1:])
