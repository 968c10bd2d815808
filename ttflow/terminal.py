"""What the terminal shows: tables, colours where there is a terminal, and outcomes in words.

Colours say nothing that the words don't. There are none where stdout is no terminal, or with NO_COLOR.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

COLOURS: Mapping[str, str] = {
    "filled": "green",
    "ordered": "cyan",
    "open": "cyan",
    "working": "cyan",
    "done": "bright_black",
    "repeat": "bright_black",
    "cancelled": "bright_black",
    "expired": "yellow",
    "denied": "yellow",
    "rejected": "red",
    "failed": "red",
    "unknown": "red",
    "refused": "red",
}
"""The colour of each status, and of what the webhook may answer."""


def console(*, stderr: bool = False) -> Console:
    """A rich console for stdout or stderr; elsewhere than on a terminal it is plain and wide."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    coloured = terminal and not os.environ.get("NO_COLOR")
    return Console(
        file=stream,
        force_terminal=terminal,
        color_system="auto" if coloured else None,
        width=None if terminal else 160,
        highlight=False,
        markup=False,
        emoji=False,
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table to stdout; the columns named in `right` are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell, style=_RICH.get(COLOURS.get(cell, ""), "")) for cell in row))
    console().print(made)


_RICH = {"green": "green", "cyan": "cyan", "bright_black": "bright_black", "yellow": "yellow", "red": "red"}


def status(word: str, width: int = 0) -> str:
    """A status in its colour, padded to `width`."""
    return click.style(word.ljust(width), fg=COLOURS.get(word))


def dim(text: str) -> str:
    """Text that stands back."""
    return click.style(text, fg="bright_black")


def bold(text: str) -> str:
    """Text that stands out."""
    return click.style(text, bold=True)


def entry(head: str, text: str, *, err: bool = False) -> None:
    """Print a line that begins with `head`; on a terminal a long text goes on beneath its own beginning."""
    stream = sys.stderr if err else sys.stdout
    width = len(click.unstyle(head))
    room = shutil.get_terminal_size().columns - width
    if stream.isatty() and room >= 20:
        lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
        text = ("\n" + " " * width).join(lines)
    click.echo(head + text, err=err)


def say(text: str = "") -> None:
    """Print a message, which is no data, to stderr."""
    click.echo(text, err=True)


def json_line(value: Any) -> None:
    """Print one JSON object on one line of stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def clean(text: str) -> str:
    """Text of a sender's as it may be shown: nothing in it moves the cursor or changes a colour."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def clock(written: str, *, date: bool = False) -> str:
    """The time of day of an ISO 8601 time, UTC, to the millisecond; with the date where it is asked for."""
    moment = datetime.fromisoformat(written)
    return moment.strftime("%Y-%m-%d " if date else "") + moment.strftime("%H:%M:%S.") + f"{moment:%f}"[:3]


def number(written: str | Decimal | None) -> str:
    """A number without idle zeros: `0.50` is `0.5`."""
    if written is None:
        return ""
    text = format(Decimal(written), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(amount: Decimal) -> str:
    """Money with its sign and two digits: `+1,234.50`."""
    return f"{amount:+,.2f}"


# Outcomes in words


def asked(alert: Row) -> str:
    """What an alert asked for, without its strategy: `sell 1 ETHUSDT.P`."""
    parts = (alert.get("action") or "?", number(alert.get("quantity")), alert.get("symbol") or "?")
    return clean(" ".join(part for part in parts if part))


def place(ticket: Row) -> str:
    """The account that a ticket is for: `GROUP/ACCOUNT`."""
    return clean("/".join(part for part in (ticket["account_group"], ticket["account"]) if part))


def notes(ticket: Row) -> list[tuple[str, str]]:
    """A ticket's trail as (step, sentence), whether from the API or from the journal."""
    return [
        (clean(note["step"]), clean(note["text"]))
        if isinstance(note, Mapping)
        else (clean(note[0]), clean(note[1]))
        for note in ticket.get("trail") or ()
    ]


def outcome(ticket: Row) -> str:
    """What became of a ticket, in a few words: its fills, its waiting order, or the reason."""
    if ticket.get("fills"):
        return "; ".join(_fills(ticket["fills"]))
    order = ticket.get("order")
    if ticket["status"] in ("ordered", "unknown") and order:
        return f"{order_kind(order)}, {order['status']}"
    trail = notes(ticket)
    reason = ticket.get("reason")
    told = trail[-1][1] if trail else ""
    if reason and not told.startswith(str(reason)):
        return f"{reason}: {told}" if told else str(reason)
    return told or str(ticket["status"])


def _fills(fills: Sequence[Row]) -> list[str]:
    """Fills summed up by side: `sold 2 at 1754.63`, at their mean price."""
    told = []
    for side, verb in (("buy", "bought"), ("sell", "sold")):
        own = [fill for fill in fills if fill["side"] == side]
        if own:
            quantity = sum((Decimal(fill["quantity"]) for fill in own), Decimal(0))
            value = sum((Decimal(fill["quantity"]) * Decimal(fill["price"]) for fill in own), Decimal(0))
            told.append(f"{verb} {number(quantity)} at {number(round(value / quantity, 8))}")
    return told


def order_text(order: Row) -> str:
    """An order in words: `buy 0.5 ETHUSDT.P, limit 1740.43, to open`."""
    return clean(f"{order['side']} {number(order['quantity'])} {order['symbol']}, {order_kind(order)}")


def order_kind(order: Row) -> str:
    """How an order waits for its price, and what for: `limit 1740.43, to open`."""
    prices = [number(order[name]) for name in ("stop_price", "limit_price") if order.get(name)]
    legs = {"open": "to open", "close": "to close", "take_profit": "take profit", "stop_loss": "stop loss"}
    kind = " ".join([str(order["type"]).replace("_", "-"), *prices])
    return f"{kind}, {legs.get(order['leg'], order['leg'])}"
