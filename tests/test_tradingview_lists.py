"""TradingView's own lists of trades, sent as alerts through the webhook: the same trades come out."""

import asyncio
import csv
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from ttflow.desk import Desk
from ttflow.server import serve
from ttflow.settings import Settings, load

LISTS = sorted((Path(__file__).parent.parent / "data" / "tradingview").glob("*.csv"))


def rows(path):
    """The rows of an export, with its columns by the names that all generations share."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            yield {
                "number": row.get("Trade #") or row["Trade number"],
                "kind": row["Type"],
                "time": row["Date and time"],
                "price": row["Price USDT"],
                "size": row.get("Size (qty)") or row["Position size (qty)"],
                "signal": row["Signal"],
            }


def closed(path):
    """The trades that are over: (side, size, entry price, exit price)."""
    entries, exits = {}, {}
    for row in rows(path):
        (entries if row["kind"].startswith("Entry") else exits)[row["number"]] = row
    for number, entry in entries.items():
        if exits[number]["signal"] != "Open":
            side = entry["kind"].split()[1].lower()
            yield side, Decimal(entry["size"]), Decimal(entry["price"]), Decimal(exits[number]["price"])


def alerts(path):
    """The alerts of a list in the order of its times, exits before entries, with position fields."""
    held = Decimal(0)
    ordered = sorted(
        rows(path), key=lambda row: (row["time"], row["kind"].startswith("Entry"), int(row["number"]))
    )
    for row in ordered:
        entry, long = row["kind"].startswith("Entry"), row["kind"].endswith("long")
        if not entry and row["signal"] == "Open":
            continue
        side = "buy" if long == entry else "sell"
        held += Decimal(row["size"]) * (1 if side == "buy" else -1)
        yield {
            "id": f"{row['number']}-{row['kind']}",
            "symbol": "ETHUSDT",
            "action": side if entry else "exit",
            "quantity": row["size"],
            "price": row["price"],
            "position_size": str(held),
            "strategy": path.stem,
            "time": row["time"],
        }


async def posted(path, journal):
    """Post a list's alerts to a desk's webhook; returns the trades that came out."""
    given = {"TTFLOW_JOURNAL": str(journal), "TTFLOW_RATE_LIMIT": "0"}
    settings: Settings = load(environ=given, cwd=journal.parent)
    async with Desk(settings) as desk:
        server = await serve(desk, port=0)
        try:
            url = f"http://127.0.0.1:{server.port}/webhook/tradingview"
            for alert in alerts(path):
                await AsyncHTTPClient().fetch(url, method="POST", body=json.dumps(alert))
            await desk.decided(desk.journal.last_seq)
            return list(desk.reader.rows("trades"))
        finally:
            await server.close()


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_the_trades_that_come_out_are_tradingviews_own(path, tmp_path):
    trades = asyncio.run(posted(path, tmp_path / "ttflow.db"))

    ours = Counter(
        (row["side"], Decimal(row["quantity"]), Decimal(row["entry_price"]), Decimal(row["exit_price"]))
        for row in trades
    )
    assert len(list(closed(path))) > 4
    assert ours == Counter(closed(path))


def test_there_are_lists_to_compare_with():
    assert len(LISTS) == 4
