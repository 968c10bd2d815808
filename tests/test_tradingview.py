"""TradingView's exports: the list of trades in every header that it has had, and the log of alerts."""

from __future__ import annotations

import csv
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import visit

from ttflow.errors import RequestError
from ttflow.tradingview import MOST_IMPORTED, imported, read_alert_log, read_trades, written

LISTS = sorted((Path(__file__).parents[1] / "data" / "tradingview").glob("*.csv"))

HEADERS = {
    "2021": "Trade #,Type,Signal,Date/Time,Price,Contracts,Profit $,Profit %,Cum. Profit $,Cum. Profit %,"
    "Run-up $,Run-up %,Drawdown $,Drawdown %",
    "2023": "Trade #,Type,Signal,Date/Time,Price USD,Contracts,Profit USD,Profit %,Cumulative profit USD,"
    "Cumulative profit %,Run-up USD,Run-up %,Drawdown USD,Drawdown %",
    "2025a": "Trade #,Type,Date/Time,Signal,Price USD,Position size (qty),Position size (value),Net P&L USD,"
    "Net P&L %,Run-up USD,Run-up %,Drawdown USD,Drawdown %,Cumulative P&L USD,Cumulative P&L %",
    "2025b": "Trade #,Type,Date and time,Signal,Price USDT,Position size (qty),Position size (value),"
    "Net P&L USD,Net P&L %,Favorable excursion USD,Favorable excursion %,Adverse excursion USD,"
    "Adverse excursion %,Cumulative P&L USD,Cumulative P&L %",
    "2025c": "Trade #,Type,Date and time,Signal,Price USDT,Size (qty),Size (value),Net P&L USD,Net P&L %,"
    "Favorable excursion USD,Favorable excursion %,Adverse excursion USD,Adverse excursion %,"
    "Cumulative P&L USD,Cumulative P&L %",
    "2026a": "Trade number,Type,Date and time,Signal,Price USDT,Size (qty),Size (value),Net PnL USD,"
    "Net PnL %,Favorable excursion USD,Favorable excursion %,Adverse excursion USD,Adverse excursion %,"
    "Cumulative PnL USD,Cumulative PnL %",
    "2026b": "Trade number,Type,Date and time,Signal,Price USD,Size (qty),Size (value),Net PnL USD,Return %,"
    "Commission USD,Favorable excursion USD,Favorable excursion %,Adverse excursion USD,"
    "Adverse excursion %,Cumulative PnL USD,Cumulative PnL %,Duration (bars)",
}
"""Every header since 2021, word for word."""

NAMES = {
    "number": ("Trade #", "Trade number"),
    "type": ("Type",),
    "signal": ("Signal",),
    "time": ("Date/Time", "Date and time"),
    "price": ("Price", "Price USD", "Price USDT"),
    "size": ("Contracts", "Position size (qty)", "Size (qty)"),
    "net": ("Profit $", "Profit USD", "Net P&L USD", "Net PnL USD"),
    "commission": ("Commission USD",),
}

# number, side, size, entry at, entry price, exit at, exit price, net result, signal of the exit
TRADES = [
    (1, "long", "2", "2026-01-05 09:30", "100.5", "2026-01-05 11:00", "103.25", "4.10", "TP"),
    (2, "short", "1", "2026-01-06 09:30", "104", "2026-01-06 10:15", "105.5", "-2.90", "SL"),
    (3, "long", "1", "2026-01-07 09:30", "101", "2026-01-07 09:45", "101.7", "0", "flat"),
    (4, "long", "3", "2026-01-08 09:30", "102", "2026-01-09 22:00", "110", "22.6", "Open"),
]


def cells_of(trade):
    """The exit's and the entry's cells of a trade, the exit first, as TradingView writes them."""
    number, side, size, came_at, came, left_at, left, net, signal = trade
    common = {"number": number, "size": size, "net": net, "commission": "1.40"}
    exit_ = {"type": f"Exit {side}", "time": left_at, "price": left, "signal": signal}
    entry = {"type": f"Entry {side}", "time": came_at, "price": came, "signal": "go"}
    return [{**common, **exit_}, {**common, **entry}]


def export(header=HEADERS["2026a"], trades=TRADES, *, bom=True, change=lambda rows: rows):
    """Write a list of trades under a header; what isn't ours to know is `9`, in percent too."""
    columns = header.split(",")
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    ours = {name: key for key, names in NAMES.items() for name in names}
    for cells in change([row for trade in trades for row in cells_of(trade)]):
        writer.writerow([cells.get(ours.get(name), "9") for name in columns])
    return ("\ufeff" if bom else "") + out.getvalue()


def read(text, **given):
    return read_trades(text, strategy="trend", **given)


# Every generation


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_every_generation_of_the_header_gives_the_same_trades(header):
    trades, still_open = read(export(header))

    assert still_open == 1
    assert [(t.side, str(t.quantity), str(t.entry_price), str(t.exit_price)) for t in trades] == [
        ("long", "2", "100.5", "103.25"),
        ("short", "1", "104", "105.5"),
        ("long", "1", "101", "101.7"),
    ]
    assert [t.net_pnl for t in trades] == [Decimal("4.10"), Decimal("-2.90"), 0]
    assert trades[0].entry_at == datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
    assert [t.trade_id for t in trades] == [t.trade_id for t in read(export())[0]]
    assert {(t.strategy, t.mode, t.account_group, t.account) for t in trades} == {
        ("trend", "backtest", "backtest", "tradingview")
    }


def test_the_commission_of_the_newest_generation_is_part_of_the_gross_result():
    trades, _ = read(export(HEADERS["2026b"]))

    assert [t.commission for t in trades] == [Decimal("1.4")] * 3
    assert [t.gross_pnl for t in trades] == [Decimal("5.5"), Decimal("-1.5"), Decimal("1.4")]
    assert all(t.gross_pnl == t.net_pnl and not t.commission for t in read(export())[0])


def test_columns_may_stand_in_any_order():
    columns = HEADERS["2026b"].split(",")
    shuffled = random.Random(3).sample(columns, len(columns))

    assert shuffled != columns
    assert read(export(",".join(shuffled))) == read(export(HEADERS["2026b"]))


# Every order, and every way to write a number


@given(st.permutations(range(8)))
def test_rows_may_come_in_any_order(order):
    assert read(export(change=lambda rows: [rows[place] for place in order])) == read(export())


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n", HEADERS["2021"], f"\ufeff{HEADERS['2026b']}\n"])
def test_a_file_without_trades_is_no_error(text):
    assert read(text) == ([], 0)


def test_windows_line_ends_and_a_missing_mark_change_nothing():
    assert read(export(bom=False).replace("\n", "\r\n")) == read(export())


def test_the_result_may_stand_on_the_exit_alone():
    """Older files leave the entry's row empty."""

    def old(rows):
        return [{**row, "net": "", "commission": ""} if row["type"][:2] == "En" else row for row in rows]

    assert read(export(HEADERS["2026b"], change=old)) == read(export(HEADERS["2026b"]))


@pytest.mark.parametrize(
    ("shown", "value"),
    [
        ("1234.5", "1234.5"),
        ("1,234.50", "1234.5"),
        ("\u22121,234.50", "-1234.5"),
        ("-1\u202f234.5", "-1234.5"),
        ("1\u00a0234\u00a0567", "1234567"),
        ("1'234.5", "1234.5"),
        ("+12", "12"),
        (".5", "0.5"),
        ("1e-7", "0.0000001"),
    ],
)
def test_numbers_may_be_written_as_spreadsheets_show_them(shown, value):
    trades, _ = read(export(trades=[(1, "long", "1", *TRADES[0][3:7], shown, "x")]))

    assert trades[0].net_pnl == Decimal(value)


@pytest.mark.parametrize("kind", ["Exit Short", "exit short", " EXIT  SHORT "])
def test_types_may_be_written_in_any_case(kind):
    text = export(
        change=lambda rows: [{**row, "type": kind} if row["type"] == "Exit short" else row for row in rows]
    )

    assert read(text) == read(export())


# Open trades, times


def test_an_exit_that_is_called_open_has_not_happened():
    assert read(export(trades=TRADES[3:])) == ([], 1)


def test_a_trade_without_an_exit_is_open():
    assert read(export(change=lambda rows: rows[:6] + rows[7:]))[1] == 1


def test_a_signal_of_the_strategy_s_own_that_begins_with_open_is_an_exit():
    trades, still_open = read(export(trades=[(*TRADES[0][:8], "Open range done")]))

    assert (len(trades), still_open) == (1, 0)


@pytest.mark.parametrize(
    ("tz", "hour"),
    [("UTC", 9), ("America/New_York", 14), ("Asia/Tokyo", 0), ("Europe/Berlin", 8)],
)
def test_times_are_those_of_the_chart_s_zone(tz, hour):
    trades, _ = read(export(), tz=tz)

    assert trades[0].entry_at == datetime(2026, 1, 5, hour, 30, tzinfo=UTC)


def test_summer_time_counts_as_it_was_on_that_day():
    trade = (1, "long", "1", "2026-07-01 09:30", "1", "2026-07-01 10:00", "2", "1", "x")

    trades, _ = read(export(trades=[trade]), tz="America/New_York")

    assert trades[0].entry_at == datetime(2026, 7, 1, 13, 30, tzinfo=UTC)


def test_a_trade_over_the_hour_that_comes_twice_ends_after_it_began():
    trade = (1, "long", "1", "2026-11-01 01:45", "1", "2026-11-01 01:15", "2", "1", "x")

    trades, _ = read(export(trades=[trade]), tz="America/New_York")

    assert trades[0].exit_at - trades[0].entry_at == timedelta(minutes=30)


def test_a_date_alone_is_its_midnight():
    trades, _ = read(
        export(trades=[(1, "long", "1", "2026-01-05", "1", "2026-01-06", "2", "1", "x")]), tz="Asia/Tokyo"
    )

    assert trades[0].exit_at == datetime(2026, 1, 5, 15, tzinfo=UTC)


# Ids


def test_equal_trades_are_two_and_keep_their_ids():
    twice = [TRADES[0], (9, *TRADES[0][1:]), TRADES[1]]

    trades, _ = read(export(trades=twice))

    assert len({t.trade_id for t in trades}) == 3
    assert {t.trade_id for t in read(export(trades=TRADES[:2]))[0]} < {t.trade_id for t in trades}


def test_a_longer_export_of_the_same_strategy_keeps_the_ids_that_were_there():
    """TradingView counts anew when its window moves."""
    earlier = {t.trade_id for t in read(export(trades=TRADES[:2]))[0]}
    later = [(9 + place, *trade[1:]) for place, trade in enumerate(TRADES[1:])]

    assert read(export(trades=later))[0][0].trade_id in earlier
    assert len({t.trade_id for t in read(export(trades=later))[0]} | earlier) == 3


def test_another_strategy_s_trades_have_other_ids():
    other, _ = read_trades(export(), strategy="other")

    assert {t.trade_id for t in other}.isdisjoint({t.trade_id for t in read(export())[0]})


def test_a_trade_comes_back_from_what_a_journal_has_of_it():
    for trade in read(export(HEADERS["2026b"]), symbol="BINANCE:ETHUSDT")[0]:
        assert imported(written(trade), "trend", 0) == trade


# What is no list


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "symbol,side\nES,buy\n",
            "its header (symbol, side) has no column Trade #, Type, Signal, Date and time",
        ),
        ("Trade #,Type\n1,2\n", "Wanted, in any order and with or without a currency: Trade #, Type, Signal"),
        ("\u4ea4\u6613 #,\u985e\u578b,\u8a0a\u865f\n1,2,3\n", "Set TradingView's language to English"),
        (export().replace(",", ";"), "is parted by ;, not by commas. Give the file as it was downloaded"),
        (export().replace(",", "\t"), "is parted by tabs, not by commas"),
        (export().replace("Exit short", "Sortie"), "Line 4: type 'Sortie' is no Entry long"),
        (export().replace("-2.90", "-2,90"), "Line 4 has 16 cells, not the 15 of the header"),
        (export().replace("-2.90", '"-2,90"'), "Line 4: net '-2,90' has a comma that parts no thousands"),
        (export().replace("-2.90", "n/a"), "Line 4: net 'n/a' is n/a; a number must be finite"),
        (export().replace("-2.90", "\u2014"), "Line 4: net '\u2014' is no result of a closed trade"),
        (export().replace("105.5", ""), "Line 4: price '' is no number"),
        (export().replace("2026-01-06 10:15", "0001-01-01 00:00+14:00"), "is no date such as"),
        (export().replace(",2,", ",0,"), "quantity '0' is not above zero"),
        (export().replace(",2,", ",-2,"), "quantity '-2' is not above zero"),
        (export().replace("2026-01-06 10:15", "01/06/2026"), "Line 4: time '01/06/2026' is no date such as"),
        (export().replace("2026-01-06 10:15", "2026-01-06 09:15"), "is before the trade's entry"),
        (export() + export(bom=False).partition("\n")[2], "has a second row of that type"),
        (export(change=lambda rows: [rows[0], *rows[2:]]), "Line 2: number '1' has an exit and no entry"),
        (export().replace("Exit short", "Exit long"), "ends a short trade"),
        (export() + "5,Exit long\n", "Line 10 has 2 cells, not the 15 of the header"),
        (export().replace("TP", "\0" * 200_000), "comma-separated values"),
    ],
)
def test_what_can_t_be_read_is_refused_with_its_line(text, told):
    with pytest.raises(RequestError) as refused:
        read(text)

    assert told in str(refused.value)


def test_an_unknown_time_zone_is_refused():
    with pytest.raises(RequestError, match="no time zone 'Mars'"):
        read(export(), tz="Mars")


# TradingView's own lists


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_real_lists_give_tradingviews_own_count_and_net_profit(path):
    trades, still_open = read(path.read_text(encoding="utf-8"))
    told = own_figures(path)

    assert (len(trades), still_open) == (told["closed"], told["open"])
    net = sum(trade.net_pnl for trade in trades)
    assert abs(net - told["net"]) <= Decimal("0.02")  # each result is rounded to a cent, and so is their sum
    moved = sum(abs(trade.net_pnl) for trade in trades)
    assert float(net) == pytest.approx(priced(trades), abs=float(moved) * 0.002)


def own_figures(path):
    """What TradingView itself says: the last number, and the cumulative result of the last closed trade."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Type"].startswith("Exit")]
    number = next(name for name in rows[0] if name.startswith("Trade"))
    cumulative = next(name for name in rows[0] if name.startswith("Cumulative") and name.endswith("USD"))
    closed = [row for row in rows if row["Signal"] != "Open"]
    last = max(closed, key=lambda row: int(row[number]))
    return {"closed": len(closed), "open": len(rows) - len(closed), "net": Decimal(last[cumulative])}


def priced(trades):
    """The net result by the prices, which are in USDT where TradingView's results are in dollars."""
    return float(
        sum((t.exit_price - t.entry_price) * t.quantity * (1 if t.side == "long" else -1) for t in trades)
    )


# Over the API


def test_trades_come_in_over_the_api_once(tmp_path):
    trades = [written(trade) for trade in read(export())[0]]

    async def work(visitor):
        sent = {"source": "trend.csv", "trades": trades}
        path = "/api/strategies/trend%2F1/import"
        replies = [await visitor.ask(path, sent, token=True) for _ in range(2)]
        assert [reply.json for reply in replies] == [
            {"status": "ok", "imported": 3},
            {"status": "ok", "imported": 0},
        ]
        found = (await visitor.ask("/api/trades")).json["trades"]
        assert {(row["strategy"], row["mode"], row["account"]) for row in found} == {
            ("trend/1", "backtest", "tradingview")
        }
        assert (await visitor.ask(path, sent)).status == 401

    visit(tmp_path, work)


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"source": "a", "trades": {}},
        {"source": "a", "trades": [1]},
        {"source": "a", "trades": [{}]},
        {"source": "a", "trades": [{"net_pnl": "1"}]},
        {"source": "", "trades": "all"},
        {"source": "a", "trades": [{}] * (MOST_IMPORTED + 1)},
        {"source": "two\nlines", "trades": [written(read(export())[0][0])]},
        {"source": "a", "trades": [{**written(read(export())[0][0]), "net_pnl": "NaN"}]},
    ],
)
def test_the_api_takes_nothing_that_is_no_trade(tmp_path, sent):
    async def work(visitor):
        reply = await visitor.ask("/api/strategies/trend/import", sent, token=True)
        assert (reply.status, reply.json["error"]) == (400, "invalid_request")
        assert visitor.desk.engine.state.strategies == {}

    visit(tmp_path, work)


@given(count=st.integers(0, 40), seed=st.integers(0, 2**32))
def test_the_net_of_any_list_is_kept_to_the_cent_whatever_the_order_of_its_rows(count, seed):
    chance = random.Random(seed)
    made = [
        (n, chance.choice(["long", "short"]), "1", "2026-01-05 09:30", "1", "2026-01-05 10:00", "2",
         f"{chance.randint(-10**6, 10**6) / 100}", "x")
        for n in range(count)
    ]  # fmt: skip
    order = chance.sample(range(2 * count), 2 * count)

    trades, still_open = read(export(trades=made, change=lambda rows: [rows[place] for place in order]))

    assert (len(trades), still_open) == (count, 0)
    assert sum(trade.net_pnl for trade in trades) == sum(Decimal(trade[7]) for trade in made)
    assert len({trade.trade_id for trade in trades}) == count


# The log of alerts

LOG = """\ufeffAlert ID,Ticker,Name,Description,Time,Webhook status
102,"BINANCE:ETHUSDT, 15",trend,"{""symbol"": ""ETHUSDT"",
""action"": ""exit""}",2026-09-02T10:15:01Z,Webhook successfully delivered
101,"BINANCE:ETHUSDT, 15",trend,"{""symbol"": ""ETHUSDT"", ""action"": ""buy""}",2026-09-01T10:15:00.250Z,
"""


def test_the_log_is_read_oldest_first_with_its_messages_whole():
    first, second = read_alert_log(LOG)

    assert (first.alert_id, first.ticker, first.name) == ("101", "BINANCE:ETHUSDT, 15", "trend")
    assert first.at == datetime(2026, 9, 1, 10, 15, 0, 250_000, tzinfo=UTC)
    assert second.message == '{"symbol": "ETHUSDT",\n"action": "exit"}'
    assert [one.status for one in (first, second)] == ["", "Webhook successfully delivered"]


def test_the_log_of_2021_has_no_status():
    text = "Alert ID,Ticker,Name,Description,Time\n7,CME_MINI:MNQ1!,n,buy,2021-05-20T02:44:05.000Z\n"

    (only,) = read_alert_log(text)

    assert (only.status, only.message, only.at.year) == (None, "buy", 2021)


def test_alerts_of_one_second_keep_the_order_in_which_they_fired():
    """The newest comes first in the file."""
    text = "Alert ID,Ticker,Name,Description,Time\n" + "".join(
        f"{n},T,n,m{n},2026-09-01T10:00:00Z\n" for n in (3, 2, 1)
    )

    assert [one.alert_id for one in read_alert_log(text)] == ["1", "2", "3"]


def test_a_list_of_trades_is_no_log_of_alerts():
    with pytest.raises(RequestError, match="no log of alerts of TradingView's in English"):
        read_alert_log(export())
    assert read_alert_log("") == []
