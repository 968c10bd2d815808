"""Commands for what TradingView exports: `import` its list of trades, `reconcile` its log of alerts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ttflow.cli.base import (
    config_option,
    journal_option,
    json_option,
    read_input,
    settings_for,
    url_option,
    zone_option,
)

if TYPE_CHECKING:
    from ttflow.order import Trade
    from ttflow.settings import Settings


def _named(context: click.Context, option: click.Parameter, value: str) -> str:
    """Refuse a blank name here: no address of the running desk's API could hold it."""
    if not value.strip():
        raise click.BadParameter("a strategy has a name; give the one that its alerts carry.")
    return value


@click.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--strategy", required=True, callback=_named, metavar="NAME",
              help="The strategy whose trades they are.")  # fmt: skip
@zone_option("The chart's time zone.")
@click.option("--symbol", default="", metavar="SYMBOL", help="What was traded; the file doesn't say it.")
@url_option
@journal_option
@config_option
@json_option
def import_(
    file: str,
    strategy: str,
    tz: str,
    symbol: str,
    url: str | None,
    journal: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Read TradingView's list of trades into a strategy's history.

    FILE is what the Strategy Tester exports as "List of trades", of any year, with TradingView in English.
    The trades get the mode backtest, with the file's own net results; open ones are left out. Importing a
    file again, or a later export of the same strategy, adds only what is new.

    \b
    Examples:
      ttflow import trend.csv --strategy trend --tz America/New_York
      ttflow stats --strategy trend
    """
    from ttflow.terminal import json_line
    from ttflow.tradingview import read_trades
    from ttflow.words import ZERO, plain

    trades, still_open = read_trades(_text(file), strategy=strategy, tz=tz, symbol=symbol)
    settings = settings_for(journal=journal, config=config)
    source = "stdin" if file == "-" else _shown(Path(file).name)
    added = _import(settings, url, strategy, trades, source) if trades else 0
    known, net = len(trades) - added, plain(sum((trade.net_pnl for trade in trades), ZERO))
    if as_json:
        told = {"imported": added, "known": known, "open": still_open, "net_profit": net}
        json_line({"status": "ok", "strategy": strategy, **told})
        return
    click.echo(
        f"{source}: {_count(len(trades), 'closed trade')}, net {net}; {added} imported into {strategy}, "
        f"{known} there already, {still_open} still open."
    )


def _import(settings: Settings, url: str | None, strategy: str, trades: list[Trade], source: str) -> int:
    """Have the running desk take them, else take the journal's lock; returns how many were new."""
    import asyncio
    from urllib.parse import quote

    from ttflow.cli.alone import carry_out
    from ttflow.cli.operating import check_whose
    from ttflow.client import client_for, running
    from ttflow.terminal import say
    from ttflow.tradingview import MOST_IMPORTED, written

    found = running(settings.journal)
    if url is None and found is None:
        fresh = _not_there(settings.journal, trades)
        if fresh:
            return asyncio.run(carry_out(settings, lambda desk: desk.import_trades(strategy, fresh, source)))
        say(f"No desk runs with {settings.journal}; there is nothing to change in the journal.")
        return 0
    client, added = client_for(settings, url), 0
    if url is None and found is not None and found.url is None:
        check_whose(client, settings.journal, found.pid)
    for start in range(0, len(trades), MOST_IMPORTED):
        told = [written(trade) for trade in trades[start : start + MOST_IMPORTED]]
        path = f"/api/strategies/{quote(strategy, safe='')}/import"
        added += client.post(path, {"source": source, "trades": told})["imported"]
    return added


def _not_there(journal: Path, trades: list[Trade]) -> list[Trade]:
    """Those that a journal doesn't have, so that a desk need not start for nothing; a start is kept too."""
    from ttflow.journal import Reader

    if not journal.exists():
        return trades
    with Reader.open(journal) as reader:
        there = {row["trade_id"] for row in reader.rows("trades", mode="backtest")}
    return [trade for trade in trades if trade.trade_id not in there]


@click.command()
@click.argument("file", metavar="ALERTLOG|-")
@click.option("--late", type=click.FloatRange(0), default=10.0, show_default=True, metavar="SECONDS",
              help="An alert that took longer is late.")  # fmt: skip
@journal_option
@config_option
@json_option
def reconcile(file: str, late: float, journal: Path | None, config: Path | None, as_json: bool) -> None:
    """Compare TradingView's log of alerts with the journal.

    ALERTLOG is what TradingView exports as TradingView_Alerts_Log_….csv. Shows the alerts that fired and
    were missed, came late, came again or were taken for a repeat, and those that were refused by a rule of
    yours or by the broker. With --json every alert of the log is one object. Exit code 1 when one was missed.

    \b
    Examples:
      ttflow reconcile TradingView_Alerts_Log_2026-09-30.csv
      ttflow reconcile log.csv --json | jq 'select(.outcome == "missed")'
    """
    from ttflow.cli import reconciling

    settings = settings_for(journal=journal, config=config)
    if reconciling.run(_text(file), settings, late, as_json):
        raise click.exceptions.Exit(1)


def _text(file: str) -> str:
    """A file's text, or stdin's for `-`."""
    from ttflow.errors import RequestError

    try:
        return read_input(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(f"{file} is no UTF-8 text; give the file as TradingView exports it.") from None


def _shown(name: str) -> str:
    """A file's name, fit for one line of a journal."""
    return "".join(char for char in name if char.isprintable()).strip()[:200] or "a file"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


COMMANDS: tuple[Any, ...] = (import_, reconcile)
