"""Follow a running desk's stream: one line for each thing decided, again and again without a gap."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ttflow.client import client_for, stream, token_of
from ttflow.errors import RequestError
from ttflow.settings import Settings
from ttflow.terminal import asked, clean, clock, dim, number, outcome, place, say, status

PAUSE_S = 1.0
_SAID = {"mode": "modes", "halt": "halts", "resume": "halts"}  # notices that say what a line above says
_TIMES = ("received_at", "filled_at", "at", "updated_at")

Row = Mapping[str, Any]


def follow(settings: Settings, url: str | None, since: int | None, as_json: bool) -> None:
    """Print what the desk decides until Ctrl-C; raises RequestError where none answers at first."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_follow(settings, url, since, as_json))


async def _follow(settings: Settings, url: str | None, since: int | None, as_json: bool) -> None:
    seen, met, lost, last = since, False, False, None
    while True:
        # A desk that was started again may be elsewhere, with another token.
        client = client_for(settings, url, last)
        try:
            if seen is None:  # from here on there is no gap, whatever happens before the first message
                seen = (await asyncio.to_thread(client.get, "/healthz"))["last_seq"]
            async with contextlib.aclosing(stream(client.base, token_of(settings), seen)) as messages:
                async for message in messages:
                    if message:
                        seen = _print(message, as_json)
                        continue
                    if lost or not met:
                        say(f"Connected to {client.base}.")
                    met, lost, last = True, False, client.base
        except RequestError as error:
            if not met:
                raise
            reason = str(error)
        else:
            reason = "the desk closed the stream"
        if not lost:
            say(f"Lost the desk ({reason.rstrip('.')}); waiting for it. Ctrl-C ends this.")
        lost = True
        await asyncio.sleep(PAUSE_S)


def _print(message: str, as_json: bool) -> int:
    """Print one message of the stream and return its seq."""
    told = json.loads(message)
    seq: int = told["seq"]
    if as_json:
        click.echo(message)
    elif "thinned" in told:
        say(f"{told['thinned']} inputs were left out: this terminal is too slow; --since shows them.")
    else:
        for line in lines(seq, told["changes"]):
            click.echo(line)
    return seq


def lines(seq: int, changes: list[Row]) -> Iterator[str]:
    """What one input changed, as lines: tickets with their outcome, modes, halts and notices."""
    rows: dict[str, list[Row]] = {}
    for change in changes:
        rows.setdefault(change["table"], []).append(change["row"])
    head = f"{dim(_time(changes))} {seq:>6}  "
    alerts = {row["alert_id"]: row for row in rows.get("alerts", ())}
    for ticket in rows.get("tickets", ()):
        yield head + _ticket(ticket, alerts.get(ticket["alert_id"]), rows)
    told = {ticket["alert_id"] for ticket in rows.get("tickets", ())}
    for fill in rows.get("fills", ()):
        if fill["alert_id"] not in told or fill["alert_id"] is None:
            yield head + _fill(fill)
    for change in rows.get("modes", ()):
        yield f"{head}{clean(change['strategy'])} is {change['mode']} now: {clean(change['reason'] or '')}"
    for halt in rows.get("halts", ()):
        scope = "everywhere" if halt["scope"] == "*" else f"in {clean(halt['scope'])}"
        word = "halted" if halt["state"] == "halted" else "resumed"
        yield f"{head}opening is {word} {scope}: {clean(halt['reason'])}"
    for notice in rows.get("notices", ()):
        if _SAID.get(notice["kind"]) not in rows:
            yield f"{head}{notice['severity']}: {clean(notice['text'])}"


def _time(changes: list[Row]) -> str:
    found = [change["row"][name] for change in changes for name in _TIMES if change["row"].get(name)]
    return clock(max(found)) if found else " " * 12


def _ticket(ticket: Row, alert: Row | None, rows: Mapping[str, list[Row]]) -> str:
    orders = {row["order_id"]: row for row in rows.get("orders", ())}
    fills = [row for row in rows.get("fills", ()) if row["alert_id"] == ticket["alert_id"]]
    fills = [row for row in fills if place(row) == place(ticket)]
    whole = {**ticket, "order": orders.get(ticket["order_id"]), "fills": fills}
    what = asked(alert) if alert else clean(f"{ticket['symbol']} of input {ticket['seq']}")
    who = f"{clean(ticket['strategy']):<12} {what:<24} {place(ticket)}"
    return f"{who}  {status(ticket['status'])}  {outcome(whole)}"


def _fill(fill: Row) -> str:
    verb = "bought" if fill["side"] == "buy" else "sold"
    text = f"{verb} {number(fill['quantity'])} {fill['symbol']} at {number(fill['price'])}"
    return f"{clean(fill['strategy']):<12} {place(fill)}  {status('filled')}  {clean(text)}"
