"""Saying 'ready' to whoever started this process: the supervisor (a pipe) or systemd (`sd_notify(3)`)."""

from __future__ import annotations

import ctypes
import os
import signal
import socket

READY_FD = "TANDEM_READY_FD"
SUPERVISOR_PID = "TANDEM_SUPERVISOR_PID"
PR_SET_PDEATHSIG = 1


def notify(state: str) -> None:
    """Tell systemd, e.g. `READY=1`, `STOPPING=1`; nothing happens where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        try:
            notifier.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return  # systemd is not listening; that must not stop a server


def ready() -> None:
    """This process serves now."""
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        os.write(int(descriptor), b"ready\n")
        os.close(int(descriptor))
    notify("READY=1")


def die_with_supervisor() -> bool:
    """Ask the kernel for a SIGTERM when the supervisor goes, however it goes. False without a supervisor."""
    parent = os.environ.get(SUPERVISOR_PID, "")
    if not parent:
        return False
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it was gone before the request took effect
        os.kill(os.getpid(), signal.SIGTERM)
    return True
