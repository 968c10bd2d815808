"""Replay a journal or a file of alerts, and tell what came of it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import click

from ttflow.cli.flows import load_flow
from ttflow.rerun import Replayed, verify
from ttflow.rerun import replay as run_again
from ttflow.terminal import json_line, money, say, table
from ttflow.words import plain, tidy


def run(
    source: Path,
    flow: str | None,
    out: Path | None,
    verifies: bool,
    as_json: bool,
    *,
    strategy: str = "",
    symbol: str = "",
    tz: str = "UTC",
) -> None:
    """Replay, or verify, and print the result; exits with 1 where a decision differs.

    `strategy`, `symbol` and `tz` are what TradingView's list of trades doesn't say.
    """
    function = load_flow(flow)
    if not verifies:
        replayed = run_again(source, function, out=out, strategy=strategy, symbol=symbol, tz=tz)
        _print(replayed, out, as_json)
        return
    difference = verify(source, function, progress=None)
    if as_json:
        json_line({"same": difference is None, **(difference._asdict() if difference else {})})
    else:
        click.echo(str(difference) if difference else "Every recorded decision comes out the same.")
    if difference:
        raise click.exceptions.Exit(1)


def _print(replayed: Replayed, out: Path | None, as_json: bool) -> None:
    tickets, trades = replayed.table("tickets"), replayed.table("trades")
    ended = Counter(str(ticket.status) for ticket in tickets)
    results: dict[tuple[str, str], list[Decimal]] = {}
    for trade in trades:
        results.setdefault((trade.strategy, trade.mode), []).append(trade.net_pnl)
    for refused in replayed.refused:
        say(f"Not an alert: {refused}")
    if as_json:
        fills = len(replayed.table("fills"))
        told = {"inputs": replayed.inputs, "refused": len(replayed.refused), "tickets": dict(ended)}
        how = {"simulated": replayed.simulated, "parted": replayed.parted}
        nets = [
            {"strategy": name, "mode": mode, "trades": len(net), "net_pnl": plain(tidy(sum(net, Decimal(0))))}
            for (name, mode), net in sorted(results.items())
        ]
        json_line({**told, **how, "fills": fills, "trades": len(trades), "strategies": nets})
        return
    counts = ", ".join(f"{count} {name}" for name, count in ended.most_common()) or "none"
    click.echo(f"{replayed.inputs} inputs, {replayed.how}. Tickets: {counts}.")
    rows = [
        (name, mode, str(len(net)), money(sum(net, Decimal(0))))
        for (name, mode), net in sorted(results.items())
    ]
    if rows:
        table(("strategy", "mode", "trades", "net"), rows, right=("trades", "net"))
    if out:
        click.echo(f"The new journal is {out}.")
