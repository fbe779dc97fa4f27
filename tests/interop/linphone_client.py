"""liblinphone, as in Linphone, by ctypes: its console cannot share files, the library can.

Reads one JSON command a line, `["share", address, file]`, `["quit"]`, and writes one JSON object a line about
what happens. Files it is sent are fetched into its folder.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import select
import sys
from ctypes import CFUNCTYPE, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any

linphone = ctypes.CDLL(sorted(glob.glob("/usr/lib/*/liblinphone.so.[0-9]*"))[-1])

_RECEIVED = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
_REGISTERED = 2
"LinphoneRegistrationOk."
_STATES = {
    2: "delivered",
    3: "not delivered",
    4: "transfer failed",
    5: "transferred",
    6: "delivered",
    7: "displayed",
}
"LinphoneChatMessageState."

for function, result, arguments in (
    ("linphone_factory_get", c_void_p, ()),
    ("linphone_factory_create_core_3", c_void_p, (c_void_p, c_char_p, c_char_p, c_void_p)),
    ("linphone_factory_create_core_cbs", c_void_p, (c_void_p,)),
    ("linphone_core_cbs_set_message_received", None, (c_void_p, c_void_p)),
    ("linphone_core_add_callbacks", None, (c_void_p, c_void_p)),
    ("linphone_core_start", c_int, (c_void_p,)),
    ("linphone_core_stop", None, (c_void_p,)),
    ("linphone_core_iterate", None, (c_void_p,)),
    ("linphone_core_get_default_account", c_void_p, (c_void_p,)),
    ("linphone_account_get_state", c_int, (c_void_p,)),
    ("linphone_core_set_file_transfer_server", None, (c_void_p, c_char_p)),
    ("linphone_core_get_chat_room_from_uri", c_void_p, (c_void_p, c_char_p)),
    ("linphone_core_create_content", c_void_p, (c_void_p,)),
    ("linphone_content_set_type", None, (c_void_p, c_char_p)),
    ("linphone_content_set_subtype", None, (c_void_p, c_char_p)),
    ("linphone_content_set_name", None, (c_void_p, c_char_p)),
    ("linphone_content_get_name", c_char_p, (c_void_p,)),
    ("linphone_content_get_file_size", c_size_t, (c_void_p,)),
    ("linphone_content_set_file_path", None, (c_void_p, c_char_p)),
    ("linphone_chat_room_create_empty_message", c_void_p, (c_void_p,)),
    ("linphone_chat_message_add_file_content", None, (c_void_p, c_void_p)),
    ("linphone_chat_message_send", None, (c_void_p,)),
    ("linphone_chat_message_ref", c_void_p, (c_void_p,)),
    ("linphone_chat_message_get_state", c_int, (c_void_p,)),
    ("linphone_chat_message_get_text", c_char_p, (c_void_p,)),
    ("linphone_chat_message_get_file_transfer_information", c_void_p, (c_void_p,)),
    ("linphone_chat_message_download_content", c_int, (c_void_p, c_void_p)),
):
    getattr(linphone, function).restype = result
    getattr(linphone, function).argtypes = arguments


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Client:
    def __init__(self, folder: Path, upload: str) -> None:
        factory = linphone.linphone_factory_get()
        config = str(folder / "linphonerc").encode()
        self.folder = folder
        self.core = linphone.linphone_factory_create_core_3(factory, config, None, None)
        self.received = _RECEIVED(self._received)
        callbacks = linphone.linphone_factory_create_core_cbs(factory)
        linphone.linphone_core_cbs_set_message_received(callbacks, ctypes.cast(self.received, c_void_p).value)
        linphone.linphone_core_add_callbacks(self.core, callbacks)
        linphone.linphone_core_set_file_transfer_server(self.core, upload.encode())
        linphone.linphone_core_start(self.core)
        self.messages: list[tuple[str, int]] = []
        "What they are, and where they are in the library."
        self.told: set[tuple[int, str]] = set()
        self.registered = False

    def turn(self) -> None:
        """What the library does whenever it is asked to."""
        linphone.linphone_core_iterate(self.core)
        account = linphone.linphone_core_get_default_account(self.core)
        if not self.registered and linphone.linphone_account_get_state(account) == _REGISTERED:
            self.registered = True
            tell(event="registered")
        for what, message in self.messages:
            state = _STATES.get(linphone.linphone_chat_message_get_state(message), "")
            if state and (message, state) not in self.told:
                self.told.add((message, state))
                tell(event=state, what=what)

    def _received(self, core: int, room: int, message: int) -> None:
        content = linphone.linphone_chat_message_get_file_transfer_information(message)
        if not content:
            tell(event="message", body=(linphone.linphone_chat_message_get_text(message) or b"").decode())
            return
        name = (linphone.linphone_content_get_name(content) or b"").decode()
        tell(event="file", name=name, size=linphone.linphone_content_get_file_size(content))
        self.messages.append(("fetched", linphone.linphone_chat_message_ref(message)))
        linphone.linphone_content_set_file_path(content, str(self.folder / "fetched").encode())
        linphone.linphone_chat_message_download_content(message, content)

    def share(self, address: str, file: str) -> None:
        room = linphone.linphone_core_get_chat_room_from_uri(self.core, f"sip:{address}".encode())
        content = linphone.linphone_core_create_content(self.core)
        linphone.linphone_content_set_type(content, b"image")
        linphone.linphone_content_set_subtype(content, b"png")
        linphone.linphone_content_set_name(content, os.path.basename(file).encode())
        linphone.linphone_content_set_file_path(content, file.encode())
        message = linphone.linphone_chat_room_create_empty_message(room)
        linphone.linphone_chat_message_add_file_content(message, content)
        self.messages.append(("shared", linphone.linphone_chat_message_ref(message)))
        linphone.linphone_chat_message_send(message)


def main(folder: str, upload: str) -> None:
    os.environ["HOME"] = folder
    client = Client(Path(folder), upload)
    tell(event="ready")
    waiting = b""
    while True:
        client.turn()
        if not select.select([0], [], [], 0.02)[0]:
            continue
        data = os.read(0, 65536)
        *lines, waiting = (waiting + data).split(b"\n")
        for command, *words in map(json.loads, lines):
            if command == "share":
                client.share(*words)
        if not data:
            break
    linphone.linphone_core_stop(client.core)


if __name__ == "__main__":
    main(*sys.argv[1:])
