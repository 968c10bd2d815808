"""The demo: a real desk on a temporary journal, sample alerts over real HTTP, and what became of each.

It reads no settings, no environment and no file but its own sample, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from ttflow import sample, server
from ttflow.client import Answer, Client
from ttflow.desk import Desk
from ttflow.errors import AlertError, RequestError
from ttflow.logs import set_up
from ttflow.settings import RateLimits, Settings
from ttflow.strict_json import read as read_json
from ttflow.terminal import (
    COLOURS,
    asked,
    bold,
    clean,
    dim,
    money,
    outcome,
    status,
    table,
)
from ttflow.ticket import OUTCOMES

FIRST_PORT, PORTS = 8000, 100
PAUSE_S = 0.15
"""Between two alerts, where a person watches."""


@dataclass
class Tally:
    """What the demo posted: how it was answered, each kept alert's number, and those whose order rests."""

    answers: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, int] = field(default_factory=dict)
    resting: set[str] = field(default_factory=set)

    @property
    def sent(self) -> int:
        """How many alerts were posted."""
        return self.answers.total()


async def run(*, once: bool, port: int | None = None) -> bool:
    """Run the demo; returns whether every alert has its outcome. Unless `once`, serves until Ctrl-C."""
    from ttflow.cli.serving import stop_signal

    stopped = stop_signal()
    with _scratch() as folder:
        secret = secrets.token_urlsafe(24)
        settings = Settings(
            journal=folder / "demo.db",
            log_dir=folder,
            secrets=(SecretStr(secret),),
            api_token=SecretStr(secrets.token_urlsafe(24)),
            rate_limit=RateLimits(per_address=None, per_secret=None, failures=None),
        )
        with set_up(settings, quiet=True):
            async with Desk(settings) as desk:
                serving = await _serve(desk, port)
                try:
                    return await _show(desk, serving, secret, once, stopped)
                finally:
                    await serving.close()


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ttflow-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(desk: Desk, port: int | None) -> server.Server:
    """Serve on the port that was asked for, else on the first free one from 8000."""
    if port is not None:
        return await server.serve(desk, port=port)
    for free in range(FIRST_PORT, FIRST_PORT + PORTS):
        with contextlib.suppress(RequestError):
            return await server.serve(desk, port=free)
    return await server.serve(desk, port=0)


async def _show(
    desk: Desk, serving: server.Server, secret: str, once: bool, stopped: asyncio.Future[None]
) -> bool:
    click.echo(bold("A desk on paper, with a journal and a secret of its own."))
    click.echo(f"Dashboard: {serving.sign_in_url}\n")
    client = Client(serving.address)
    paced = not once and sys.stdout.isatty()
    posting = asyncio.ensure_future(_post_all(client, secret, paced))
    first: set[asyncio.Future[Any]] = {posting, stopped}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if not posting.done():
        posting.cancel()
        await asyncio.wait({posting})
        click.echo("\nStopped before the sample was through.", err=True)
        return True
    tally = posting.result()
    adds_up = _summary(desk, tally)
    if not once:
        _invite(serving, tally)
        await stopped
    return adds_up


async def _post_all(client: Client, secret: str, paced: bool) -> Tally:
    tally = Tally()
    click.echo(dim(_line(" no", "strategy", "asked for", "outcome".ljust(9), "what became of it")))
    for at, body in enumerate(sample.stream(lambda: datetime.now(UTC)), start=1):
        answer = await asyncio.to_thread(client.alert, body, secret)
        await _tell(client, tally, at, body, answer)
        await _look_again(client, tally, at)
        if paced:
            await asyncio.sleep(PAUSE_S)
    return tally


async def _tell(client: Client, tally: Tally, at: int, body: bytes, answer: Answer) -> None:
    """Print one alert's line."""
    alert = _fields(body)
    head = f"{at:>3}", clean(str(alert.get("strategy", "?"))), asked(alert)
    if not answer.kept:
        tally.answers["refused"] += 1
        code = f"answered {answer.status}"
        click.echo(_line(*head, status("refused", 9), f"{code}: {answer.problem}", code))
        return
    alert_id = answer.body["alert_id"]
    if answer.body.get("duplicate"):
        tally.answers["repeats"] += 1
        text = f"of {tally.numbers.get(alert_id, '?')}; nothing is ordered twice"
        click.echo(_line(*head, status("repeat", 9), text))
        return
    tally.answers["kept"] += 1
    tally.numbers[alert_id] = at
    story = await asyncio.to_thread(client.story, alert_id, 5.0)
    for ticket in story["tickets"] if story else ():
        click.echo(_line(*head, status(ticket["status"], 9), outcome(ticket), str(ticket["reason"] or "")))
        if ticket["status"] not in OUTCOMES:
            tally.resting.add(alert_id)


async def _look_again(client: Client, tally: Tally, now: int) -> None:
    """Tell of the orders that rested and have ended since."""
    for alert_id in [alert_id for alert_id in tally.resting if tally.numbers[alert_id] < now]:
        story = await asyncio.to_thread(client.story, alert_id)
        for ticket in story["tickets"] if story else ():
            if story and ticket["status"] in OUTCOMES:
                tally.resting.discard(alert_id)
                at = f"{tally.numbers[alert_id]:>3}"
                head = at, clean(ticket["strategy"]), f"↳ {asked(story['alert'])}"
                click.echo(_line(*head, status(ticket["status"], 9), outcome(ticket), ticket["reason"] or ""))


def _fields(body: bytes) -> dict[str, Any]:
    with contextlib.suppress(AlertError, ValueError):
        value = read_json(body.decode()).value
        return value if isinstance(value, dict) else {}
    return {}


def _line(number: str, strategy: str, what: str, shown: str, text: str, short: str = "") -> str:
    """One row; on a terminal, what doesn't fit goes beneath it, and `short` stands in its place."""
    head = f"{number}  {strategy:<9} {what:<22} {shown} "
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or len(click.unstyle(head)) + len(text) <= width:
        return head + text
    told = text.removeprefix(f"{short}: ")
    beneath = textwrap.wrap(told, max(width - 6, 20), initial_indent=" " * 5, subsequent_indent=" " * 5)
    return "\n".join([head + short, *map(dim, beneath)])


def _summary(desk: Desk, tally: Tally) -> bool:
    """Print what it came to; returns whether every kept alert has its outcome."""
    tickets = list(desk.reader.rows("tickets"))
    ended = Counter(ticket["status"] for ticket in tickets)
    click.echo()
    answers = tally.answers
    click.echo(
        f"{bold('Alerts')}    {tally.sent} sent: {answers['kept']} kept, {answers['repeats']} repeat, "
        f"{answers['refused']} refused"
    )
    told = ", ".join(
        f"{count} {click.style(name, fg=COLOURS.get(name))}" for name, count in ended.most_common()
    )
    click.echo(f"{bold('Outcomes')}  {told}")
    click.echo()
    _results(desk)
    click.echo()
    kept = {row["alert_id"] for row in desk.reader.rows("alerts")}
    decided = {ticket["alert_id"] for ticket in tickets}
    waiting = [ticket for ticket in tickets if ticket["status"] not in OUTCOMES]
    adds_up = len(kept) >= answers["kept"] and kept == decided and not waiting and not desk.undecided
    verdict = click.style("yes", fg="green") if adds_up else click.style("NO", fg="red")
    click.echo(f"alerts in = outcomes out: {verdict} ({len(kept)} kept, {len(decided)} decided)")
    return adds_up


def _results(desk: Desk) -> None:
    """Print the round trips of each strategy."""
    trades: dict[str, list[Decimal]] = {}
    for trade in desk.reader.rows("trades"):
        trades.setdefault(trade["strategy"], []).append(Decimal(trade["net_pnl"]))
    rows = [
        (name, str(len(nets)), str(sum(net > 0 for net in nets)), money(sum(nets, Decimal(0))))
        for name, nets in sorted(trades.items())
    ]
    every = [net for nets in trades.values() for net in nets]
    won = str(sum(net > 0 for net in every))
    rows.append(("all", str(len(every)), won, money(sum(every, Decimal(0)))))
    table(("strategy", "trades", "won", "net USD"), rows, right=("trades", "won", "net USD"))


def _invite(serving: server.Server, tally: Tally) -> None:
    """Say what to do next."""
    click.echo(f"\nThe desk serves at {serving.address} until Ctrl-C. Look at its dashboard:")
    click.echo(f"  {serving.sign_in_url}")
    click.echo("or, in another terminal:")
    click.echo(f"  ttflow explain {list(tally.numbers)[-1]} --url {serving.address}")
    click.echo(f"  ttflow tail --since 0 --url {serving.address}")
