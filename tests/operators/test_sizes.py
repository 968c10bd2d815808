"""Sizing as operators: how much an entry opens, by every method, within every cap, or why nothing."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from through import entry, exit_, said, through

from ttflow.errors import FlowError
from ttflow.instrument import instrument
from ttflow.operators import size, sizing
from ttflow.operators.sizing import QUANTITY_TYPES
from ttflow.settings import Settings
from ttflow.testing import NINE
from ttflow.ticket import Reason, Status
from ttflow.view import View
from ttflow.words import evolve

D = Decimal
BOOK = View.of(equity=50_000, price={"ES1!": 5000, "ES": 5000, "AAPL": 100})


def es(book=BOOK, multiplier=1, ratio=None, **fields):
    """An entry of one ES at 5,000, which is worth 250,000."""
    usual = {"symbol": "ES1!", "price": 5000, "quantity": 1}
    ratio = None if ratio is None else D(ratio)
    return evolve(entry(**usual | fields), book=book, multiplier=D(str(multiplier)), ratio=ratio)


def aapl(**fields):
    """An entry of one share at 100."""
    return es(**{"symbol": "AAPL", "price": 100} | fields)


def out(piece, ticket):
    return through(piece, ticket)[0]


def sized(piece, ticket):
    """The quantity that comes out, or the reason for none."""
    after = out(piece, ticket)
    return after.quantity if after.status is Status.OPEN else after.reason


STOP = {"stop_loss": 4990}


def streamed(quoted_at=NINE, average=2.5):
    """The book beside a stream of prices that were last heard at a time."""
    known = {"equity": 50_000, "price": {"ES1!": 5000, "ES": 5000}}
    return View.of(**known, quoted_at={"ES1!": quoted_at}, average_range={"ES1!": str(average)})


STREAMED, STALE, STILL = streamed(), streamed(NINE - timedelta(hours=3)), streamed(average=0)


@pytest.mark.parametrize(
    ("rule", "ticket", "expected"),
    [
        (size(), es(quantity=3, multiplier=2), 6),
        (size("fixed", 2), es(quantity=99), 2),
        (size("fixed", 2), es(multiplier="0.5"), 1),
        (size("notional", 500_000), es(), 2),
        (size("notional", 499_999), es(), 1),
        (size("notional", 1_050), aapl(), D("10.5")),
        (size("percent_of_equity", 10), aapl(), 50),
        (size("percent_of_equity", 100), es(), Reason.SIZED_TO_ZERO),
        (size("risk_percent", 1), es(**STOP), 1),  # 500 at risk, 10 points of 50
        (size("risk_percent", "0.99"), es(**STOP), Reason.SIZED_TO_ZERO),
        (size("risk_percent", 2), es(**STOP), 2),
        (size("risk_percent", 2, cost=1), es(**STOP), 1),  # 1,000 at risk, 501 each
        (size("risk_percent", 1), es(**STOP, multiplier=3), 3),
        (size("risk_percent", 1), es(action="sell", stop_loss=5005), 2),
        (size("risk_percent", 1), es(stop_loss={"offset": 5}), 2),
        (size("risk_percent", 1), es(stop_loss={"percent": "0.1"}), 2),
        (size("risk_percent", 1), es(order_type="limit", limit_price=4995, **STOP), 2),
        (size("atr", 1), es(atr=5), 1),  # 500 at risk, two ranges of 5 points of 50
        (size("atr", 1, atr_multiple=1), es(ATR="5"), 2),
        (size("atr", 1, atr=10, atr_multiple="0.5"), es(), 2),
        (size("atr", 1, atr=1), es(atr=5), 1),
        (size("atr", 1, atr_minutes=15), es(STREAMED), 2),  # two ranges of 2.5 points of 50
        (size("atr", 1, atr_minutes=15, atr=10), es(STREAMED), 2),
        (size("atr", 1, atr_minutes=15), es(STREAMED, atr=5), 1),
        (size("atr", 1, atr_minutes=15, atr=5), es(), 1),
        (size("atr", 1, atr_minutes=15), es(), Reason.NO_ATR),
        (size("atr", 1, atr_minutes=15), es(STALE), Reason.NO_ATR),
        (size("atr", 1, atr_minutes=15), es(STILL), Reason.NO_ATR),
    ],
    ids=str,
)
def test_each_method_sizes_a_first_entry(rule, ticket, expected):
    assert sized(rule, ticket) == expected


def test_of_several_stops_the_farthest_counts():
    levels = [{"price": 4995, "quantity": 1}, {"price": 4990, "quantity": 1}]

    assert sized(size("risk_percent", 1), es(stop_loss=levels)) == 1


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [
        ({"trades": 50, "win_rate": 0.5, "payoff": 2.0}, 2),  # a quarter of 25 %, capped at 2 %: 1,000
        ({"trades": 50, "win_rate": 0.35, "payoff": 2.0}, 1),  # a quarter of 2.5 %: 312.50
        ({"trades": 50, "win_rate": 0.3, "payoff": 2.0}, Reason.SIZED_TO_ZERO),
        ({"trades": 49, "win_rate": 0.5, "payoff": 2.0}, Reason.TOO_FEW_TRADES),
        ({"trades": 50, "win_rate": 0.5}, Reason.TOO_FEW_TRADES),
        ({"trades": 50, "win_rate": None, "payoff": None}, Reason.TOO_FEW_TRADES),
        ({}, Reason.TOO_FEW_TRADES),
    ],
)
def test_kelly_needs_trades_and_an_edge(statistics, expected):
    ticket = evolve(es(stop_loss=4994 if statistics.get("win_rate") == 0.35 else 4990), statistics=statistics)

    assert sized(size("kelly"), ticket) == expected


@pytest.mark.parametrize("rule", [size("risk_percent", 1), size("kelly"), size(max_risk_pct=1)], ids=str)
def test_without_a_stop_nothing_is_guessed(rule):
    ticket = evolve(es(), statistics={"trades": 60, "win_rate": 0.5, "payoff": 2})

    assert sized(rule, ticket) == Reason.NO_STOP


@pytest.mark.parametrize("level", [5000, 5001])
def test_a_stop_on_the_wrong_side_sizes_nothing(level):
    assert sized(size("risk_percent", 1), es(stop_loss=level)) == Reason.WRONG_LEVEL


@pytest.mark.parametrize(
    ("rule", "book", "reason"),
    [
        (size("percent_of_equity", 1), View.of(), Reason.EQUITY_UNKNOWN),
        (size("percent_of_equity", 1), View.of(equity=0), Reason.EQUITY_UNKNOWN),
        (size("risk_percent", 1), View.of(equity=-5), Reason.EQUITY_UNKNOWN),
        (size("atr", 1), BOOK, Reason.NO_ATR),
        (size("notional", 1), View.of(currency="EUR"), Reason.NO_VALUE),
        (size(margin_pct=10), View.of(equity=1, positions={"NQ": 1}), Reason.NO_VALUE),
    ],
    ids=str,
)
def test_what_is_not_known_is_denied_with_its_reason(rule, book, reason):
    assert sized(rule, es(book, **STOP)) == reason


def test_without_any_price_there_is_no_value():
    assert sized(size("notional", 1), es(View.of(), price=None)) == Reason.NO_VALUE


def test_an_atr_that_is_no_number_is_said():
    after = out(size("atr", 1), es(atr="wide"))

    assert (after.reason, said(after)) == (Reason.NO_ATR, "The alert's atr must be a number, not 'wide'.")


def test_an_instrument_in_another_currency_is_sized_by_its_rate():
    book = View.of(equity=1_000_000, price={"USDJPY": 125})

    # 10,000 dollars; 200 yen, or 1.60 dollars, for each pound.
    assert sized(size("percent_of_equity", 1), es(book, symbol="GBPJPY", price=200)) == 6250


# What the alert says itself


@pytest.mark.parametrize(
    ("told", "quantity", "expected"),
    [
        ("contracts", 3, 3),
        ("fixed", 3, 3),
        ("strategy.fixed", 3, 3),
        ("cash", 1000, 10),
        ("strategy.cash", 1000, 10),
        ("dollar_amount", 1000, 10),
        ("Notional", 1000, 10),
        ("percent_of_equity", 10, 50),
        ("strategy.percent_of_equity", 10, 50),
        ("risk_percent", 1, 50),  # 500 at risk, 10 each
        ("", 3, 3),
        ("percent_of_position", 50, Reason.UNKNOWN_QUANTITY_TYPE),
        (7, 50, Reason.UNKNOWN_QUANTITY_TYPE),
    ],
)
@pytest.mark.parametrize("key", ["quantity_type", "quantityType"])
def test_an_alert_says_what_its_quantity_is(key, told, quantity, expected):
    assert sized(size(), aapl(quantity=quantity, stop_loss=90, **{key: told})) == expected


def test_the_alerts_own_word_goes_before_the_method_and_stays_within_the_caps():
    told = aapl(quantity=1000, quantity_type="cash")

    assert sized(size("fixed", 1), told) == 10
    assert sized(size("fixed", 1, max_quantity=4), told) == 4


def test_an_unknown_quantity_type_is_told_with_those_that_are_known():
    after = out(size(), es(quantity_type="lots"))

    assert said(after) == f"The alert's quantity_type is 'lots'; it may be {', '.join(QUANTITY_TYPES)}."


def test_an_amount_beside_a_told_position_is_the_alerts_own():
    """`asked` then comes from the position, in contracts: ten percent must not become one."""
    ticket = aapl(quantity=10, quantity_type="percent_of_equity", position_size=1)

    assert sized(size(), evolve(ticket, asked=D(1))) == 50


# While something is held


@pytest.mark.parametrize("rule", [size(), size("fixed", 99), size("risk_percent", 1)], ids=str)
def test_additions_keep_the_ratio_of_the_first_entry(rule):
    assert sized(rule, es(quantity=3, ratio=2, multiplier=7)) == 6


def test_additions_stay_within_the_caps():
    assert sized(size(max_quantity=5), es(quantity=3, ratio=2)) == 5


# Caps

HOLDING = {"equity": 50_000, "price": {"ES1!": 5000, "ES": 5000}}


@pytest.mark.parametrize(
    ("caps", "book", "expected"),
    [
        ({"max_quantity": 4}, HOLDING, 4),
        ({"max_quantity": 5}, HOLDING, 5),
        ({"max_quantity": {"ES": 3, "*": 1}}, HOLDING, 3),
        ({"max_quantity": {"NQ": 1}}, HOLDING, 5),
        ({"max_notional": 1_000_000}, HOLDING, 4),
        ({"max_notional": 999_999.99}, HOLDING, 3),
        ({"max_position": 6}, {**HOLDING, "positions": {"ES": 2}}, 4),
        ({"max_position": 6}, {**HOLDING, "positions": {"ES": 2}, "openings": {"ES": (1, 9)}}, 3),
        ({"max_position": 6}, {**HOLDING, "positions": {"ES": -2}}, 5),
        ({"max_position": 6}, {**HOLDING, "positions": {"ES": 6}}, Reason.SIZED_TO_ZERO),
        ({"max_risk_pct": 3}, HOLDING, 3),
        ({"max_risk_pct": "2.99"}, HOLDING, 2),
        ({"max_risk_pct": 3, "cost": "0.01"}, HOLDING, 2),
        ({"margin_pct": 5}, HOLDING, 4),  # 50,000 at 5 % carry 1,000,000
        ({"margin_pct": 5}, {**HOLDING, "positions": {"ES": -1}}, 3),
        ({"margin_pct": 5}, {**HOLDING, "openings": {"ES": (1, 0)}}, 3),
        ({"margin_pct": 100}, HOLDING, Reason.SIZED_TO_ZERO),
        ({"max_quantity": 4, "margin_pct": 6}, HOLDING, 3),
    ],
    ids=str,
)
def test_caps_make_an_order_smaller(caps, book, expected):
    assert sized(size(**caps), es(View.of(**book), quantity=5, **STOP)) == expected


def test_the_trail_tells_the_figures_and_the_cap():
    assert said(out(size("risk_percent", 2, max_quantity=1), es(**STOP))) == (
        "The size is 1: 2 % of 50000 at risk, 500 each at the stop, at most 1 by max_quantity."
    )
    assert said(out(size("percent_of_equity", 10), es(multiplier=2))) == (
        "10 % of 50000 at 250000 each, times 2 is less than one lot."
    )


# As the settings say

TABLES = Settings(
    groups={
        "main": {
            "broker": "simulator",
            "sizing": {"method": "fixed", "amount": 5, "max_quantity": 4},
        },
        "plain": {"broker": "simulator"},
    },
    strategies={
        "two": {"sizing": {"method": "fixed", "amount": 2}},
        "ten": {"sizing": {"method": "fixed", "amount": 10, "max_quantity": 9}},
    },
)
EVERYBODY = TABLES.model_copy(
    update={"strategies": Settings(strategies={"*": {"sizing": {"method": "fixed", "amount": 7}}}).strategies}
)


@pytest.mark.parametrize(
    ("settings", "group", "strategy", "expected"),
    [
        (TABLES, "main", "walker", 4),
        (TABLES, "main", "two", 2),
        (TABLES, "main", "ten", 4),
        (TABLES, "plain", "ten", 9),
        (TABLES, "plain", "walker", 1),
        (TABLES, "elsewhere", "walker", 1),
        (EVERYBODY, "plain", "walker", 7),
        (EVERYBODY, "main", "walker", 4),
    ],
)
def test_a_strategys_method_goes_before_its_groups_and_all_caps_hold(settings, group, strategy, expected):
    assert sized(sizing(settings), es(account_group=group, strategy=strategy)) == expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fixd",), "size: method"),
        (("fixed",), "the method fixed needs an amount"),
        (("alert", 5), "not used by the method alert"),
        (("risk_percent", 101), "too large"),
        (("kelly", 1), "too large"),
        (("fixed", -1), "size: amount"),
        (("fixed", float("nan")), "size: amount"),
    ],
)
def test_what_makes_no_sense_is_said_when_the_flow_is_built(arguments, told):
    with pytest.raises(FlowError, match=told):
        size(*arguments)


def test_a_cap_that_is_none_is_said_when_the_flow_is_built():
    with pytest.raises(FlowError, match="size: max_size"):
        size(max_size=5)


# Laws

RULES = [
    size(),
    size("fixed", 3),
    size("notional", 600_000),
    size("percent_of_equity", 50),
    size("risk_percent", 1, cost=2),
    size("atr", 1, atr=3),
    size("kelly"),
]
CAPS = {"max_quantity": 7, "max_notional": 900_000, "max_position": 9, "max_risk_pct": 2, "margin_pct": 4}
quantities = st.decimals(0, 10, places=2)


@settings(deadline=None)
@given(
    st.sampled_from(RULES),
    st.sampled_from(["ES1!", "AAPL"]),
    st.sampled_from(["buy", "sell"]),
    st.decimals("0.01", "1000", places=2),
    quantities.map(lambda held: held - 5),
    st.tuples(quantities, quantities),
    st.integers(-10, 200_000),
)
def test_a_size_is_whole_lots_within_every_cap(rule, symbol, action, asked, held, working, equity):
    price, name = (5000, "ES") if symbol == "ES1!" else (100, "AAPL")
    book = View.of(
        equity=equity, price={symbol: price, name: price}, positions={name: held}, openings={name: working}
    )
    capped = size(**CAPS)
    stop = price - 10 if action == "buy" else price + 10
    ticket = es(book, symbol=symbol, price=price, quantity=asked, action=action, stop_loss=stop)
    ticket = evolve(ticket, statistics={"trades": 50, "win_rate": 0.5, "payoff": 2})
    free = out(rule, ticket)
    after = out(capped, ticket)
    kind = instrument(symbol)

    for one in (free, after):
        assert one.status is Status.DENIED or (one.quantity > 0 and one.quantity % kind.lot == 0)
    if after.status is Status.OPEN:
        value, sign = price * kind.point_value, 1 if action == "buy" else -1
        assert after.quantity <= 7
        assert after.quantity * value <= 900_000
        assert after.quantity + held * sign + working[0 if sign > 0 else 1] <= 9
        assert after.quantity * 10 * kind.point_value <= equity * D("0.02")
        assert (book.gross + after.quantity * value) * D("0.04") <= equity


@settings(deadline=None)
@given(st.sampled_from([*RULES, size(**CAPS), sizing(TABLES)]), st.sampled_from([View.of(), BOOK]))
def test_an_exit_is_left_alone_whatever_the_book_says(rule, book):
    before = evolve(exit_(symbol="ES1!", price=5000), book=book, quantity=D(12))

    assert out(rule, before) is before
