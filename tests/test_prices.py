"""Prices from outside: conflated, fed from a file, refused where they are none."""

import asyncio
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow.desk import Desk
from ttflow.errors import RequestError
from ttflow.prices import Conflation, conflated, parse_price, read_csv
from ttflow.settings import Settings

numbers = st.decimals(-1000, 1000, places=2)


@given(st.lists(numbers, min_size=1))
def test_the_lowest_the_highest_and_the_last_are_kept_in_their_order(prices):
    kept = conflated(prices)

    assert (min(kept), max(kept), kept[-1]) == (min(prices), max(prices), prices[-1])
    assert len(kept) <= 3
    places = iter(prices)
    assert all(price in places for price in kept)


@given(st.lists(numbers, min_size=1))
def test_conflating_bit_by_bit_loses_no_extreme(prices):
    kept = []
    for price in prices:
        kept = conflated([*kept, price])

    assert (min(kept), max(kept), kept[-1]) == (min(prices), max(prices), prices[-1])


@pytest.mark.parametrize("text", ["", "dear", "NaN", "Infinity", "1e12", None])
def test_what_is_no_price_is_refused(text):
    with pytest.raises(RequestError, match="is no price"):
        parse_price(text)


def test_prices_of_one_moment_become_one_input_and_those_after_the_pause_another():
    kept = []

    async def keep(prices):
        kept.append(prices)
        return len(kept)

    async def main():
        conflation = Conflation(keep, pause_s=0.02)
        assert await conflation.put({"A": Decimal(1)}) == 1
        for price in (5, 3, 9, 4):
            task = conflation.put({"A": Decimal(price), "B": Decimal(price)})
        assert await task == 2
        await conflation.stop()

    asyncio.run(main())

    assert kept == [{"A": ["1"]}, {"A": ["3", "9", "4"], "B": ["3", "9", "4"]}]


def test_a_file_of_prices_moves_stops_as_they_came(tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text(
        "symbol,price,at\nAAPL,101,2026-03-02T09:00:00Z\nAAPL,89.5,\nAAPL,120,\n", encoding="utf-8"
    )
    seen = []

    async def main():
        async with Desk(Settings(journal=tmp_path / "ttflow.db")) as desk:
            desk.prices.each(lambda row: seen.append(row.price))
            await desk.send(
                {"symbol": "AAPL", "action": "buy", "quantity": 1, "price": 100, "stop_loss": {"price": 90}}
            )
            count = await desk.feed(file)
            return count, [row["price"] for row in desk.reader.rows("fills")]

    assert asyncio.run(main()) == (3, ["100", "89.5"])
    assert seen == [100, 101, Decimal("89.5"), 120]


@pytest.mark.parametrize(
    ("text", "told"),
    [("symbol,cost\nA,1\n", "needs symbol and price"), ("symbol,price\nA,1\nB,x\n", "line 3"), ("", None)],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, text, told):
    file = tmp_path / "prices.csv"
    file.write_text(text, encoding="utf-8")

    if told is None:
        assert list(read_csv(file)) == []
    else:
        with pytest.raises(RequestError, match=told):
            list(read_csv(file))
