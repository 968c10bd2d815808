"""Commands that only look: `tail`, `explain`, `export` and `replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ttflow.cli.base import (
    config_option,
    flow_option,
    journal_of,
    journal_option,
    json_option,
    settings_for,
    url_option,
    zone_option,
)

TABLES = ("alerts", "tickets", "orders", "fills", "trades", "modes", "notices")
FURTHER = ("inputs", "decisions", "strategies", "ledgers", "accounts", "prices", "halts")


@click.command()
@click.argument("alert_id")
@url_option
@journal_option
@config_option
@json_option
def explain(alert_id: str, url: str | None, journal: Path | None, config: Path | None, as_json: bool) -> None:
    """Tell what became of an alert and why, step by step.

    The beginning of an id is enough. It is read from the journal, which is up to date while a desk runs;
    with --url, or where there is no journal, the running desk is asked.

    \b
    Examples:
      ttflow explain alert_2e52d5b1fd13
      ttflow explain 2e52 --json
    """
    from ttflow.cli import stories
    from ttflow.terminal import json_line

    story = stories.find(alert_id, url, journal, config)
    if as_json:
        json_line(story)
    else:
        stories.tell(story)


@click.command()
@click.argument("table", metavar="TABLE", type=click.Choice([*TABLES, *FURTHER]))
@click.option("--format", "form", type=click.Choice(["jsonl", "csv", "parquet"]), default="jsonl")
@click.option("--json", "form", flag_value="jsonl", help="The same as --format jsonl.")
@click.option("--since", type=click.IntRange(0), metavar="SEQ", help="Only rows of later inputs.")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="At most so many rows, the first ones.")
@journal_option
@config_option
def export(
    table: str,
    form: str,
    since: int | None,
    limit: int | None,
    journal: Path | None,
    config: Path | None,
) -> None:
    """Write a table of the journal to stdout.

    Rows come in the order written; a desk may run meanwhile. TABLE is alerts, tickets, orders, fills, trades,
    modes or notices. Numbers are exact decimal strings in jsonl and csv, floats in parquet; times are ISO
    8601 UTC.

    \b
    Examples:
      ttflow export trades --format csv > trades.csv
      ttflow export fills | jq .price
      ttflow export tickets --format parquet > tickets.parquet
    """
    from ttflow.cli import exports
    from ttflow.journal import Reader

    if form == "parquet" and sys.stdout.isatty():
        raise click.UsageError("parquet is no text; write it to a file: … --format parquet > FILE")
    with Reader.open(journal_of(journal, config)) as reader:
        exports.WRITERS[form](reader, table, {"since": since, "limit": limit})


@click.command()
@url_option
@click.option(
    "--since", type=click.IntRange(0), metavar="SEQ", help="Start after this input; 0 is the first."
)
@journal_option
@config_option
@json_option
def tail(
    url: str | None, since: int | None, journal: Path | None, config: Path | None, as_json: bool
) -> None:
    """Watch what a running desk decides.

    Prints one line for each thing decided, until Ctrl-C. A desk that is started again is followed from where
    it stopped, without a gap.

    \b
    Examples:
      ttflow tail
      ttflow tail --since 0 --json | jq .seq
    """
    from ttflow.cli import tailing

    tailing.follow(settings_for(journal=journal, config=config), url, since, as_json)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@flow_option
@click.option("--journal", "out", type=click.Path(path_type=Path), metavar="OUT", help="Write a new journal.")
@click.option(
    "--verify", "verifies", is_flag=True, help="Only see whether the recorded decisions come again."
)
@click.option("--strategy", default="", metavar="NAME", help="Whose trades a list of trades has.")
@click.option("--symbol", default="", metavar="SYMBOL", help="What they traded; the list doesn't say it.")
@zone_option("The time zone of their chart.")
@json_option
def replay(
    source: Path,
    flow: str | None,
    out: Path | None,
    verifies: bool,
    strategy: str,
    symbol: str,
    tz: str,
    as_json: bool,
) -> None:
    """Run recorded inputs through a flow again.

    They come in their own time, as fast as they can be decided. SOURCE is a journal, a file with one alert a
    line, or TradingView's list of trades. A flow that sends other orders than were sent has every account
    simulated. --verify names the first input whose decision differs from the recorded one, and exits with 1.

    \b
    Examples:
      ttflow replay ttflow.db --verify
      ttflow replay ttflow.db --flow mydesk:flow --journal tried.db
      ttflow replay trend.csv --symbol ETHUSDT.P --tz America/New_York
    """
    from ttflow.cli import replays

    if verifies and out:
        raise click.UsageError("--verify writes no journal; leave --journal out.")
    replays.run(source, flow, out, verifies, as_json, strategy=strategy, symbol=symbol, tz=tz)


COMMANDS: tuple[Any, ...] = (tail, explain, export, replay)
