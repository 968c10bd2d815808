"""View: what a ticket's operators may know of the book, and what follows from it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from ttflow.testing import NINE, ticket
from ttflow.view import NOTHING_KNOWN, Exposure, Opening, Quote, View, Working
from ttflow.words import ONE, ZERO, Side, encode, evolve


def test_a_bare_ticket_carries_a_view_that_knows_nothing():
    book = ticket().book

    assert book is NOTHING_KNOWN
    assert (book.equity, book.cash, book.day_profit, book.drawdown, book.room) == (None,) * 5
    assert (book.price("ES"), book.reference("ES"), book.quoted_at("ES")) == (None,) * 3
    assert (book.position("ES"), book.working("ES"), book.exposure) == (ZERO, Working(), Exposure())
    assert (book.orders_today, book.orders_since(60), book.losses_in_a_row) == (0, 0, 0)
    assert (book.state, book.group) == ("active", book)


def test_the_book_is_no_column_of_the_tickets_row():
    assert b"book" not in encode(evolve(ticket(), book=View.of(equity=5)))


def test_a_view_by_hand_knows_what_it_was_given():
    book = View.of(
        now=NINE,
        equity=50_000,
        peak_equity="51000.5",
        positions={"ES": 2},
        openings={"ES": (1, 0), "NQ": (0, "3")},
        price={"ES": 5000, "NQ": (20_000, NINE - timedelta(seconds=5))},
        state="reducing",
        orders_today=4,
    )

    assert (book.equity, book.drawdown) == (50_000, Decimal("-1000.5"))
    assert (book.position("ES"), book.working("ES"), book.working("NQ").sells) == (2, Working(ONE, ZERO), 3)
    assert book.price("ES") == Quote(Decimal(5000), NINE)
    assert book.price("NQ").at == NINE - timedelta(seconds=5)
    assert (book.state, book.orders_today, book.cash) == ("reducing", 4, None)


def test_a_name_that_no_view_has_is_refused():
    with pytest.raises(TypeError, match="a view has no equty; it may be given average_range, cash"):
        View.of(equty=5)


def test_a_drawdown_is_never_above_zero():
    assert View.of(equity=101, peak_equity=100).drawdown == 0


@pytest.mark.parametrize(
    ("currency", "prices", "rate"),
    [
        ("USD", {}, 1),
        ("USDT", {}, 1),
        ("EUR", {"EURUSD": "1.1"}, Decimal("1.1")),
        ("JPY", {"USDJPY": 125}, Decimal("0.008")),
        ("EUR", {}, None),
        ("EUR", {"EURUSD": 0}, None),
    ],
)
def test_a_currency_is_worth_what_its_pair_says(currency, prices, rate):
    assert View.of(price=prices).rate(currency) == rate


def test_a_value_is_price_times_point_value_times_rate():
    book = View.of(price={"ES1!": 5000})

    assert book.value("ES1!") == 250_000
    assert book.value("ES1!", Decimal(4000)) == 200_000
    assert book.value("NQ1!") is None
    assert View.of(currency="EUR", price={"ES1!": 5000, "EURUSD": "1.25"}).value("ES1!") == 200_000


def test_exposure_fills_working_orders_in_the_worst_way():
    book = View.of(
        price={"ES": 5000, "AAPL": 100},
        positions={"ES": 1, "AAPL": -30},
        openings={"ES": (1, 4), "AAPL": (10, 0)},
    )

    # ES 250,000 each: long 2 or short 3; AAPL 100 each: short 20 or 30.
    assert book.exposure == Exposure(Decimal(753_000), Decimal(498_000), Decimal(-753_000))
    assert (book.gross, book.net) == (753_000, 247_000)


def test_without_a_price_there_is_no_exposure():
    book = View.of(positions={"ES": 1})

    assert (book.exposure, book.gross, book.net) == (None, None, None)


def test_orders_are_counted_from_the_newest_back():
    made = [Opening(NINE + timedelta(seconds=n), "a", "ES", Side.BUY, ONE) for n in (0, 5, 10)]
    book = View.of(now=NINE + timedelta(seconds=10), last_orders=made)

    assert [book.orders_since(seconds) for seconds in (1, 5, 5.1, 10, 11)] == [1, 1, 2, 2, 3]
    assert book.orders_today == 3
