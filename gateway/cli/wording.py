"""Times and hops as humans read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.text import Text

TRACE_STYLES = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")


def ago(seconds: float) -> str:
    """`5 s`, `12 min`, `3 h`, `2 d`."""
    seconds = max(0.0, seconds)
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86400)} d"


def details(row: dict[str, Any], now: float, *leave_out: str) -> str:
    """`name=value` of what is told of a session, times as how long until or since."""
    parts = []
    for name, value in row.items():
        if name in leave_out or value in ("", None, [], {}):
            continue
        if name == "expires":
            parts.append(f"expires in {ago(value - now)}")
        elif name == "since":
            parts.append(f"for {ago(now - value)}")
        else:
            parts.append(f"{name}={value}")
    return " ".join(parts)


def clock(at: float) -> str:
    """Local time of day with milliseconds."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


def people(entry: dict[str, Any]) -> str:
    """`alice@x → bob@x`: from whom, for whom; or the one that is named."""
    named = [entry[name] for name in ("peer", "address") if entry.get(name)]
    return " → ".join(named)


def hop_line(entry: dict[str, Any]) -> Text:
    """One hop as one line: when, where, what, who, details, and the trace it belongs to."""
    style = TRACE_STYLES[sum(entry["trace"].encode()) % len(TRACE_STYLES)]
    line = Text(no_wrap=False)
    line.append(clock(entry["at"]) + "  ", style="dim")
    line.append(f"{entry['node']:<8} ")
    line.append(f"{entry['hop']:<16} ", style=style)
    line.append(people(entry))
    if entry.get("detail"):
        line.append(f"  {entry['detail']}", style="dim")
    if entry["trace"]:
        line.append(f"  {entry['trace']}", style=style)
    return line
