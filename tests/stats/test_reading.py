"""Fills from files, frames and lists: read exactly, put in order, refused with the row's number."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from made_fills import fill, fills

from ttflow.errors import RequestError
from ttflow.stats.reading import read

HEAD = "strategy,symbol,side,quantity,price,commission,filled_at"
ROWS = (
    "trend,AAPL,buy,0.1,191.50,0.35,2026-03-02T15:00:00Z",
    "trend,AAPL,sell,0.1,195.25,0.35,2026-03-02T16:00:00Z",
)


@pytest.fixture
def written(tmp_path):
    """Write lines to a file; returns its path."""

    def write(*lines, name="fills.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def test_a_csv_is_read_exactly(written):
    one, _ = read(written(HEAD, *ROWS))

    assert (one.strategy, one.symbol, one.side, one.mode) == ("trend", "AAPL", "buy", "")
    assert (one.quantity, one.price, one.commission) == (Decimal("0.1"), Decimal("191.50"), Decimal("0.35"))
    assert one.filled_at == datetime(2026, 3, 2, 15, tzinfo=UTC)
    assert one.point_value is None


def test_columns_may_come_in_any_order_and_case_with_others_between(written):
    path = written(
        "note, PRICE,Side,quantity,filled_at,Commission,symbol,strategy", "x,5,SELL,1,2026-03-02,,ES,s"
    )

    assert [(one.price, one.side, one.commission, one.symbol) for one in read(path)] == [(5, "sell", 0, "ES")]


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    path = tmp_path / "fills.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEAD}\r\n\r\n{ROWS[0]}\r\n\r\n".encode())

    assert len(read(path)) == 1


def test_json_lines_keep_every_digit(written):
    line = ROWS[0].split(",")
    row = dict(zip(HEAD.split(","), line, strict=True)) | {"point_value": 50}
    text = json.dumps(row).replace('"191.50"', "191.123456789012345678").replace('"0.1"', "0.1")

    (one,) = read(written("", text, name="fills.jsonl"))

    assert (one.price, one.quantity) == (Decimal("191.123456789012345678"), Decimal("0.1"))
    assert one.point_value == 50


def test_a_frame_means_the_shortest_decimal_of_each_float():
    frame = pd.DataFrame([row.split(",") for row in ROWS], columns=HEAD.split(","))
    frame = frame.assign(
        quantity=[0.1, 0.1], price=[191.5, 195.25], filled_at=pd.to_datetime(frame["filled_at"])
    )

    assert [one.quantity for one in read(frame)] == [Decimal("0.1")] * 2
    assert read(frame)[0].filled_at == datetime(2026, 3, 2, 15, tzinfo=UTC)


def test_fills_are_read_as_they_are():
    made = fills((1, 10), (-1, 12))
    first = read(made)[0]

    assert (first.fill_id, first.price, first.mode, first.account) == ("f0", 10, "paper", "a")


def cells(**given):
    """A fill as a mapping."""
    return dict(zip(HEAD.split(","), ROWS[0].split(","), strict=True)) | given


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("price", np.float64(1.75), Decimal("1.75")),
        ("price", np.int64(7), Decimal(7)),
        ("price", np.float32(0.5), Decimal("0.5")),
        ("seq", np.int64(4), 4),
        ("filled_at", np.datetime64("2026-03-02T15:00"), datetime(2026, 3, 2, 15, tzinfo=UTC)),
        ("filled_at", pd.Timestamp("2026-03-02T15:00", tz="Asia/Tokyo"), datetime(2026, 3, 2, 6, tzinfo=UTC)),
        ("commission", pd.NA, Decimal(0)),
        ("mode", pd.NA, ""),
    ],
)
def test_what_numpy_and_pandas_hold_is_read_as_pythons_own(name, value, meant):
    frame = pd.DataFrame([cells()]).astype("object")
    frame.loc[0, name] = pd.Series([value], dtype="object")[0]
    frame[name] = pd.Series([value], dtype="object")

    assert [getattr(one, name) for one in (*read([cells(**{name: value})]), *read(frame))] == [meant, meant]


def test_a_number_that_was_refused_once_is_read_where_it_is_good():
    """Numbers that were read are remembered, and `np.float64(8.125) == 8.125`."""
    for price in (np.float64(8.125), 8.125, "8.125"):
        assert read([cells(price=price)])[0].price == Decimal("8.125")


@pytest.mark.parametrize("name", ["price", "filled_at", "side"])
@pytest.mark.parametrize("nothing", [pd.NA, pd.NaT, None, float("nan")])
def test_nothing_is_no_value(name, nothing):
    with pytest.raises(RequestError, match=f"row 1: {name} is (missing|nan)"):
        read([cells(**{name: nothing})])


def test_what_was_read_is_not_read_again():
    rows = read(fills((1, 10), (-1, 12)))

    assert read(rows) is rows


def test_the_journals_order_counts_more_than_the_time():
    made = [fill("buy", 1, 10, 5, seq=1), fill("sell", 1, 11, 4, seq=2)]

    assert [one.seq for one in read(made[::-1])] == [1, 2]


def test_without_a_seq_fills_are_in_the_order_of_their_times(written):
    late = ROWS[0].replace("15:00", "17:00")

    assert [one.filled_at.hour for one in read(written(HEAD, late, ROWS[1]))] == [16, 17]


def test_fills_at_one_time_stay_in_the_order_of_the_file(written):
    at_once = [row.replace("16:00", "15:00") for row in ROWS]

    assert [one.side for one in read(written(HEAD, *at_once))] == ["buy", "sell"]


def test_a_file_that_begins_with_the_newest_is_read_from_its_end(written):
    newest = ROWS[1].replace("16:00", "17:00").replace("sell", "buy")
    last = ROWS[0].replace("buy", "sell")

    assert [one.side for one in read(written(HEAD, newest, last, ROWS[0]))] == ["buy", "sell", "buy"]


@pytest.mark.parametrize(
    ("written_as", "hour"),
    [
        ("2026-03-02T15:00:00", 15),
        ("2026-03-02 10:00:00-05:00", 15),
        ("2026-03-02", 0),
        ("1772463600", 15),
        ("1772463600000", 15),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(written, written_as, hour):
    (one,) = read(written(HEAD, ROWS[0].replace("2026-03-02T15:00:00Z", written_as)))

    assert one.filled_at == datetime(2026, 3, 2, hour, tzinfo=UTC)


@pytest.mark.parametrize("nothing", [[], pd.DataFrame(columns=HEAD.split(","))])
def test_nothing_gives_nothing(nothing):
    assert read(nothing) == []


def test_an_empty_file_gives_nothing(written):
    assert read(written("")) == read(written(HEAD)) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("sell", "hold", r"row 2: side is 'hold'; write buy or sell\."),
        ("0.1,195", "0,195", r"row 2: quantity is '0'; it must be above zero\."),
        ("0.1,195", "-1,195", r"row 2: quantity is '-1'; it must be above zero\."),
        ("195.25", "dear", r"row 2: price is 'dear'; it must be a number\."),
        ("195.25", "NaN", r"row 2: price is 'NaN'; it must be a number\."),
        ("195.25", "", r"row 2: price is missing; it must be a number\."),
        ("195.25,0.35", "195.25,inf", r"row 2: commission is 'inf'; it must be a number\."),
        ("195.25", "1e18", r"row 2: price is '1e18'; it must be a number below 10\^18\."),
        ("195.25", "1" * 80, r"row 2: price is '1{50,}\.\.\.; it must be a number below 10\^18\."),
        ("2026-03-02T16:00:00Z", "9999-12-31T23:00:00-10:00", r"row 2: filled_at is '9999-.+'; write a time"),
        ("sell", "s" * 200_000, r"fills\.csv can't be read as CSV: field larger than field limit"),
        ("2026-03-02T16:00:00Z", "today", r"row 2: filled_at is 'today'; write a time such as 2026-"),
        ("trend,AAPL,sell", ",AAPL,sell", r"row 2: strategy is empty; every fill needs one\."),
        ("trend,AAPL,sell", "trend, ,sell", r"row 2: symbol is empty"),
        ("sell,0.1", "sell,0.1,7", r"row 2: it has 8 cells, but the head line 7\."),
        (",price", ",cost", r"fills\.csv has no column price; fills need strategy, symbol"),
    ],
)
def test_a_bad_row_is_refused_with_its_number(written, old, new, told):
    with pytest.raises(RequestError, match=told):
        read(
            written(*"\n".join((HEAD, *ROWS)).replace(old, new, 1).split("\n"))
            if old != "0.1,195"
            else written(HEAD, ROWS[0], ROWS[1].replace(old, new))
        )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"strategy": ', r"row 2: it is no JSON"),
        ("[1]", r"row 2: it is no JSON object"),
        (
            '{"strategy": "s", "symbol": "A", "side": "buy", "quantity": true}',
            r"row 2: quantity is True; it must",
        ),
        ('{"strategy": 7}', r"row 2: strategy is 7; it must be text"),
        ('{"strategy": ' + "[" * 100_000, r"row 2: it is no JSON"),
        ('{"strategy": "\\ud800"}', r"row 2: strategy is '\\ud800'; it holds half a character"),
        (
            json.dumps(dict(zip(HEAD.split(","), ROWS[0].split(","), strict=True)) | {"seq": "x"}),
            r"row 2: seq is 'x'; it must be a whole number",
        ),
        (
            json.dumps(dict(zip(HEAD.split(","), ROWS[0].split(","), strict=True)) | {"seq": 1.5}),
            r"row 2: seq is 1.5; it must be a whole number",
        ),
    ],
)
def test_a_bad_line_of_json_is_refused_with_its_number(written, line, told):
    good = json.dumps(dict(zip(HEAD.split(","), ROWS[0].split(","), strict=True)))

    with pytest.raises(RequestError, match=told):
        read(written(good, line, name="fills.jsonl"))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"can't be read: No such file"):
        read(tmp_path / "nothing.csv")
    (tmp_path / "bytes.csv").write_bytes(b"strategy\xff\xfe")
    with pytest.raises(RequestError, match="is not UTF-8 text"):
        read(tmp_path / "bytes.csv")


def test_a_missing_cell_of_a_frame_is_refused_with_its_number():
    frame = pd.DataFrame([row.split(",") for row in ROWS], columns=HEAD.split(",")).astype({"price": float})
    frame.loc[1, "price"] = float("nan")

    with pytest.raises(RequestError, match="the frame, row 2: price is missing"):
        read(frame)
