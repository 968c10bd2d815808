"""One alert's story: found by the beginning of its id, told in sentences with times, orders and fills."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from ttflow.cli.base import journal_of, settings_for
from ttflow.client import Client, client_for
from ttflow.errors import RequestError
from ttflow.journal import Reader
from ttflow.terminal import asked, bold, clean, clock, dim, entry, notes, number, order_text, place, status
from ttflow.ticket import OUTCOMES, Reason

Story = dict[str, Any]
SHOWN = 5
PREFIX = "alert_"


def find(alert_id: str, url: str | None, journal: Path | None, config: Path | None) -> Story:
    """The story of an alert; raises RequestError where there is none, or several that begin so."""
    if url is None:
        path = journal_of(journal, config)
        if path.exists():
            with Reader.open(path) as reader:
                return _from_journal(reader, alert_id)
    client = client_for(settings_for(journal=journal, config=config), url)
    return _from_desk(client, alert_id)


def _from_journal(reader: Reader, alert_id: str) -> Story:
    story = reader.alert(alert_id)
    if story is None:
        ids = (row["alert_id"] for row in reader.rows("alerts"))
        undecided = len(reader.undecided())
        story = reader.alert(_only(alert_id, ids, f"the journal {reader.path}", undecided))
        assert story is not None  # its id has just been read
    orders = list(reader.rows("orders", alert_id=story["alert"]["alert_id"]))
    for ticket in story["tickets"]:
        ticket["trail"] = [{"step": step, "text": text} for step, text in ticket["trail"] or ()]
        ticket["orders"] = [order for order in orders if place(order) == place(ticket)]
    return story


def _from_desk(client: Client, alert_id: str) -> Story:
    story: Story | None = client.get(f"/api/alerts/{alert_id}")
    if story is None:
        found = _only(alert_id, _pages(client), f"the desk at {client.base}", 0)
        story = client.story(found)
        assert story is not None  # it was in the list
    return story


def _pages(client: Client) -> Iterator[str]:
    before = None
    while True:
        page = client.get("/api/alerts", limit=1000, before=before) or {"alerts": [], "next": None}
        yield from (row["alert_id"] for row in page["alerts"])
        before = page["next"]
        if before is None:
            return


def _only(alert_id: str, ids: Iterable[str], where: str, undecided: int) -> str:
    """The one id that begins so, with or without `alert_`."""
    wanted = (alert_id, f"{PREFIX}{alert_id}")
    found = [one for one in ids if one.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if not found:
        waiting = f"; {undecided} kept inputs are not decided yet" if undecided else ""
        raise RequestError(f"There is no alert {alert_id} in {where}{waiting}.")
    listed = ", ".join(found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
    raise RequestError(f"{len(found)} alerts begin with {alert_id}: {listed}; give more of the id.")


def tell(story: Story) -> None:
    """Print the story to stdout."""
    alert = story["alert"]
    price = f" at {number(alert['price'])}" if alert["price"] else ""
    head = f"{bold(alert['alert_id'])}  {clean(alert['strategy'] or '?')}: {asked(alert)}{price}"
    click.echo(head)
    group = clean(alert["account_group"] or "no account group")
    click.echo(f"Received {clock(alert['received_at'], date=True)} UTC as input {alert['seq']}, for {group}.")
    for ticket in story["tickets"]:
        click.echo()
        _tell_ticket(ticket)


def _tell_ticket(ticket: Story) -> None:
    reason = ticket["reason"]
    why = f" ({clean(reason)})" if reason else ""
    click.echo(f"{bold(place(ticket))}: {status(ticket['status'])}{why}")
    trail = notes(ticket)
    width = max((len(step) for step, _ in trail), default=0)
    for step, text in trail:
        entry(f"  {dim(step.ljust(width))}  ", text)
    for order in ticket.get("orders") or ():
        _tell_order(order, ticket["fills"])
    click.echo(f"  → {_verdict(ticket)}")


def _tell_order(order: Story, fills: list[Story]) -> None:
    theirs = f", {order['broker']}'s {clean(order['broker_order_id'])}" if order["broker_order_id"] else ""
    click.echo(f"  {clock(order['submitted_at'])}  order {order['order_id']}{theirs}")
    click.echo(f"                {order_text(order)}: {status(order['status'])}")
    for fill in fills:
        if fill["order_id"] == order["order_id"]:
            paid = f", commission {number(fill['commission'])}" if float(fill["commission"]) else ""
            verb = "bought" if fill["side"] == "buy" else "sold"
            text = f"{verb} {number(fill['quantity'])} at {number(fill['price'])}{paid}, {fill['mode']}"
            click.echo(f"  {clock(fill['filled_at'])}  {text}")


def _verdict(ticket: Story) -> str:
    """The ending in one sentence."""
    reason = ticket["reason"]
    if reason in set(Reason):
        return Reason(reason).meaning
    if reason:
        return clean(str(reason))
    if ticket["status"] not in OUTCOMES:
        return "It is not over: its order waits, or its answer does."
    return {"filled": "Done as asked.", "done": "It needed no order."}.get(ticket["status"], "It has ended.")
