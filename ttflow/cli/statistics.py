"""The command `stats`: what strategies are worth, from the journal or from a file of fills."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ttflow.cli.base import config_option, journal_of, journal_option, json_option
from ttflow.stats.meanings import MEANINGS

if TYPE_CHECKING:
    import pandas as pd

    from ttflow.order import Trade
    from ttflow.stats import Record
    from ttflow.stats.curves import Calendar
    from ttflow.stats.figures import Figures
    from ttflow.stats.matching import Method

    Found = tuple[list[Any], list[Trade]]
    Part = tuple[str, str]

OVERVIEW = (
    "trades",
    "net_profit",
    "profit_factor",
    "win_rate",
    "avg_trade",
    "max_drawdown",
    "sharpe",
    "prob_profitable",
)
"""The figures that are shown of several strategies at once."""

MODES = ("live", "paper", "backtest", "")
TIMES = ("entry_at", "exit_at")
NUMBERS = ("quantity", "entry_price", "exit_price", "gross_pnl", "commission", "net_pnl")


@click.command()
@click.option("--strategy", metavar="NAME", help="Only this strategy; its table is longer.")
@click.option(
    "--fills",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Fills as CSV or JSON lines, instead of the journal's.",
)
@click.option(
    "--capital",
    type=click.FloatRange(min=0, min_open=True),
    default=100_000,
    show_default="100000",
    metavar="N",
    help="What the equity of each strategy starts with.",
)
@click.option(
    "--method",
    type=click.Choice(["fifo", "lifo", "average"]),
    default="fifo",
    show_default=True,
    help="Which entry a fill closes.",
)
@click.option("--trades", "shows_trades", is_flag=True, help="Print the round trips instead.")
@click.option(
    "--calendar",
    type=click.Choice(["days", "weekdays"]),
    default="days",
    show_default=True,
    help="Every day, 365 a year, or Monday to Friday, 252.",
)
@journal_option
@config_option
@json_option
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page with figures and drawings instead; it loads nothing.",
)
def stats(
    strategy: str | None,
    fills: Path | None,
    capital: float,
    method: Any,
    shows_trades: bool,
    calendar: Any,
    journal: Path | None,
    config: Path | None,
    as_json: bool,
    html: Path | None,
) -> None:
    """Tell what each strategy is worth, in each mode.

    From the journal's fills, while a desk runs or not, with TradingView's own results where they were
    imported; or from a file with the columns strategy, symbol, side, quantity, price, commission, filled_at
    and perhaps point_value, account_group, account, mode. Money is in the account's currency, net of
    commission.

    \b
    Examples:
      ttflow stats
      ttflow stats --strategy trend --capital 25000
      ttflow stats --fills fills.csv --json | jq .profit_factor
      ttflow stats --method lifo --trades --json
      ttflow stats --html record.html
    """
    if html and (shows_trades or as_json):
        raise click.UsageError("--html writes a page and prints nothing; leave --json and --trades out.")
    rows, imported = _from_file(fills, strategy) if fills else _from_journal(journal, config, strategy)
    if html:
        record = _record(rows, imported, method)
        modes = None if fills else _modes(journal, config, strategy)
        _write_page(html, record, modes, capital, calendar)
    elif shows_trades:
        _print_trades(rows, imported, method, as_json)
    else:
        _print_figures(rows, imported, method, capital, calendar, as_json)


def _from_file(fills: Path, strategy: str | None) -> Found:
    from ttflow import stats

    rows = stats.read(fills)
    _check_known(strategy, {row.strategy for row in rows})
    return [row for row in rows if strategy in (None, row.strategy)], []


def _from_journal(journal: Path | None, config: Path | None, strategy: str | None) -> Found:
    """The journal's fills, and the trades in it that were never ours: TradingView's own results."""
    from ttflow.journal import Reader
    from ttflow.order import Trade
    from ttflow.words import decode

    only: dict[str, Any] = {"strategy": strategy} if strategy else {}
    with Reader.open(journal_of(journal, config)) as reader:
        _check_known(strategy, {row["strategy"] for row in reader.rows("strategies")})
        imported = [decode(Trade, row) for row in reader.rows("trades", mode="backtest", **only)]
        return list(reader.rows("fills", **only)), imported


def _check_known(strategy: str | None, known: set[str]) -> None:
    if strategy is None or strategy in known:
        return
    from ttflow.errors import RequestError

    named = f"there are {', '.join(sorted(known))}" if known else "there is none"
    raise RequestError(f"There is no strategy {strategy}; {named}.")


def _record(rows: list[Any], imported: list[Trade], method: Method) -> Record:
    from ttflow import stats

    return stats.record(rows, method) + stats.of_trades(imported)


# Printing


def _write_page(
    html: Path, record: Record, modes: pd.DataFrame | None, capital: float, calendar: Calendar
) -> None:
    from ttflow import stats
    from ttflow.terminal import say

    made = stats.report(record, capital=capital, calendar=calendar, modes=modes)
    say(f"The page is in {made.write(html)}.")


def _modes(journal: Path | None, config: Path | None, strategy: str | None) -> pd.DataFrame:
    """The changes of mode in the journal."""
    from ttflow.journal import Reader

    only: dict[str, Any] = {"strategy": strategy} if strategy else {}
    with Reader.open(journal_of(journal, config)) as reader:
        return reader.frame("modes", **only)


def _print_figures(
    rows: list[Any], imported: list[Trade], method: Method, capital: float, calendar: Calendar, as_json: bool
) -> None:
    from ttflow import stats
    from ttflow.terminal import json_line

    record = _record(rows, imported, method)
    parts = sorted(((name, mode) for name, mode in record.parts("strategy", "mode")), key=_place)
    if len(parts) == 1 and not as_json:
        sides = stats.sides(record, capital=capital, calendar=calendar)
        _print_one(
            parts[0], {str(name): dict(zip(MEANINGS, column, strict=True)) for name, column in sides.items()}
        )
        return
    found = {
        (name, mode): stats.summary(
            record.where(strategy=name, mode=mode), capital=capital, calendar=calendar
        )
        for name, mode in parts
    }
    if not as_json:
        _print_several(found)
        return
    for (name, mode), figures in found.items():
        json_line({"strategy": name, "mode": mode or None, **figures})


def _place(part: Part) -> tuple[str, int, str]:
    """Sort by strategy, then live, paper, backtest."""
    name, mode = part
    return name, MODES.index(mode) if mode in MODES else len(MODES), mode


def _print_one(part: Part, sides: Mapping[str, Figures]) -> None:
    """The figures of a strategy in one mode, one a line: of all its trades, the long and the short ones."""
    from ttflow.terminal import bold, clean, table

    click.echo(bold(clean(", ".join(filter(None, part)))))
    rows = [
        (meaning.label, *(meaning.written(figures[key]) for figures in sides.values()))
        for key, meaning in MEANINGS.items()
    ]
    table(("", *sides), rows, right=tuple(sides))


def _print_several(found: Mapping[Part, Figures]) -> None:
    """Strategies by their main figures, one a line."""
    from ttflow.terminal import clean, say, table

    if not found:
        say("There are no fills.")
        return
    heads = [MEANINGS[key].label for key in OVERVIEW]
    rows = [
        (*map(clean, part), *(MEANINGS[key].written(figures[key]) for key in OVERVIEW))
        for part, figures in found.items()
    ]
    table(("strategy", "mode", *heads), rows, right=heads)


def _print_trades(rows: list[Any], imported: list[Trade], method: Method, as_json: bool) -> None:
    from ttflow import stats
    from ttflow.terminal import clean, json_line, say, table

    trades = [_row(trade) for trade in (*stats.matched(rows, method), *imported)]
    if as_json:
        for trade in trades:
            json_line(trade)
    elif trades:
        cells = ([clean(_short(*one)) for one in trade.items()] for trade in trades)
        table(tuple(trades[0]), cells, right=NUMBERS)
    else:
        say("There are no trades.")


def _row(trade: Trade) -> dict[str, str | None]:
    """A round trip as it is written: numbers exact, times ISO 8601 UTC, null for a text that fills lack."""
    from ttflow.stats.frames import TRADES

    return {name: _exact(getattr(trade, name)) for name in TRADES}


def _exact(value: Any) -> str | None:
    from ttflow.words import plain, tidy

    if isinstance(value, Decimal):
        return plain(tidy(value))
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value or None


def _short(name: str, cell: str | None) -> str:
    """A cell of a table: times, which are UTC, without their zone; nothing for null."""
    return (cell or "").replace("T", " ").removesuffix("Z") if name in TIMES else cell or ""


COMMANDS: tuple[Any, ...] = (stats,)
