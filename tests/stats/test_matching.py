"""Matching: round trips by three methods, and the laws that hold for all of them."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_fills import fill, fills, walks

from ttflow.book.ledger import Ledger
from ttflow.errors import RequestError
from ttflow.instrument import instrument, root
from ttflow.order import Leg, Order, OrderStatus
from ttflow.stats.matching import METHODS, Matcher
from ttflow.words import OrderType

each_method = pytest.mark.parametrize("method", METHODS)


def matched(made, method="fifo"):
    """All trades and all episodes of fills, and the matcher after them."""
    matcher = Matcher(method)
    closed = [matcher.add(one) for one in made]
    return [t for c in closed for t in c.trades], [c.episode for c in closed if c.episode], matcher


def legs(trades):
    return [(t.side, t.quantity, t.entry_price, t.exit_price, t.gross_pnl) for t in trades]


def test_the_first_in_is_the_first_out():
    trades, _, _ = matched(fills((1, 10), (1, 12), (-1, 15)))

    assert legs(trades) == [("long", 1, 10, 15, 5)]


def test_the_last_in_is_the_first_out():
    trades, _, _ = matched(fills((1, 10), (1, 12), (-1, 15)), "lifo")

    assert legs(trades) == [("long", 1, 12, 15, 3)]


def test_the_average_of_all_that_is_held_is_closed():
    trades, _, matcher = matched(fills((1, 10), (3, 14), (-2, 15), (1, 16)), "average")

    assert legs(trades) == [("long", 2, 13, 15, 4)]
    (held,) = matcher.held()
    assert (held.quantity, held.price) == (3, 14)


def test_a_fill_closes_as_many_entries_as_it_reaches():
    trades, episodes, _ = matched(fills((1, 10), (2, 12), (-3, 15)))

    assert legs(trades) == [("long", 1, 10, 15, 5), ("long", 2, 12, 15, 6)]
    assert [t.trade_id for t in trades] == ["f2.0", "f2.1"]
    assert [(e.quantity, e.trades, e.gross_pnl) for e in episodes] == [(3, 2, 11)]


def test_a_way_out_in_parts_is_several_trades_and_one_episode():
    trades, (episode,), _ = matched(fills((3, 10), (-1, 11), (-1, 12), (-1, 13)))

    assert [t.gross_pnl for t in trades] == [1, 2, 3]
    assert (episode.entry_price, episode.exit_price, episode.quantity) == (10, 12, 3)
    assert (episode.entry_at, episode.exit_at) == (trades[0].entry_at, trades[-1].exit_at)


def test_what_crosses_zero_closes_and_opens_and_pays_for_each_its_part():
    over = [*fills((2, 10), commission=1), fill("sell", 5, 12, 1, commission=5), fill("buy", 3, 11, 2)]
    trades, episodes, _ = matched(over)

    assert legs(trades) == [("long", 2, 10, 12, 4), ("short", 3, 12, 11, 3)]
    assert [t.commission for t in trades] == [3, 3]
    assert [(e.side, e.net_pnl) for e in episodes] == [("long", 1), ("short", 0)]


def test_an_uneven_commission_is_shared_without_a_remainder():
    trades, _, _ = matched([*fills((3, 10), commission=1), *(fill("sell", 1, 10, h) for h in (1, 2, 3))])

    assert [round(t.commission, 11) for t in trades] == [Decimal("0.33333333333")] * 3
    assert sum(t.commission for t in trades) == 1


def test_a_scratch_trade_is_exactly_even():
    trades, _, _ = matched(
        [fill("buy", "0.3", "0.1", commission="0.001"), fill("sell", "0.3", "0.11", 1, commission="0.002")]
    )

    assert trades[0].net_pnl == 0


def test_money_per_point_is_the_instruments():
    trades, _, _ = matched(fills((1, 5000), (-1, 5001), symbol="ES1!"))

    assert trades[0].gross_pnl == 50


def test_a_point_value_may_be_given():
    matcher = Matcher()
    matcher.add(fill("buy", 1, 100), Decimal(20))
    (trade,), _ = matcher.add(fill("sell", 1, 101, 1), Decimal(20))

    assert trade.gross_pnl == 20


def test_two_point_values_in_one_ledger_are_refused():
    matcher = Matcher()
    matcher.add(fill("buy", 1, 100), Decimal(20))

    with pytest.raises(RequestError, match="point value of AAPL is 5, but that of what is held 20"):
        matcher.add(fill("sell", 1, 101, 1), Decimal(5))


@pytest.mark.parametrize("field", ["strategy", "account_group", "account", "symbol"])
def test_ledgers_do_not_close_each_other(field):
    trades, _, matcher = matched([fill("buy", 1, 10), fill("sell", 1, 12, 1, **{field: "other"})])

    assert trades == []
    assert len(list(matcher.held())) == 2


def test_a_contract_and_its_root_are_one_ledger():
    trades, _, _ = matched(
        [fill("buy", 1, 10, symbol="CME_MINI:ES1!"), fill("sell", 1, 12, 1, symbol="ES1!")]
    )

    assert legs(trades) == [("long", 1, 10, 12, 100)]


def test_an_unknown_method_is_refused():
    with pytest.raises(RequestError, match="'hifo'; take fifo, lifo, average"):
        Matcher("hifo")


# Laws


@each_method
@given(made=walks())
def test_results_and_what_is_open_are_the_cash_flow(method, made):
    """What was paid and received, with the open lots at their cost, is what was earned: to the last digit."""
    trades, _, matcher = matched(made, method)
    point = {one.symbol: instrument(one.symbol).point_value for one in made}

    flow = sum(-one.signed * one.price * point[one.symbol] for one in made)
    value = sum(
        lot.quantity * lot.price * lot.point_value * (1 if lot.side == "long" else -1)
        for lot in matcher.held()
    )
    assert flow + value == pytest.approx(sum(t.gross_pnl for t in trades), abs=Decimal("1e-8"))
    if method != "average":
        assert flow + value == sum(t.gross_pnl for t in trades)


@each_method
@given(made=walks())
def test_every_cent_of_commission_is_in_one_place(method, made):
    trades, _, matcher = matched(made, method)

    held = sum(lot.commission for lot in matcher.held())
    assert sum(t.commission for t in trades) + held == sum(one.commission for one in made)


@each_method
@given(made=walks())
def test_the_position_is_the_sum_of_the_fills(method, made):
    _, _, matcher = matched(made, method)

    for symbol in {one.symbol for one in made}:
        position = sum(one.signed for one in made if one.symbol == symbol)
        key = ("walker", "g", "a", root(symbol))
        assert matcher.position(key) == position
        assert sum(lot.quantity for lot in matcher.held() if lot.key == key) == abs(position)


@given(made=walks(flat=True))
def test_when_flat_all_methods_earn_the_same(made):
    results = []
    for method in METHODS:
        trades, episodes, matcher = matched(made, method)
        assert not list(matcher.held())
        results.append((sum(t.net_pnl for t in trades), [(e.gross_pnl, e.commission) for e in episodes]))

    assert results[0] == results[1] == results[2]


@each_method
@given(made=walks())
def test_an_episode_is_the_sum_of_its_trades(method, made):
    matcher, open_ = Matcher(method), {}
    for one in made:
        trades, episode = matcher.add(one)
        parts = open_.setdefault(one.symbol, [])
        parts += trades
        if episode:
            assert episode.trades == len(parts)
            assert episode.quantity == sum(t.quantity for t in parts)
            assert (episode.gross_pnl, episode.net_pnl) == (
                sum(t.gross_pnl for t in parts),
                sum(t.net_pnl for t in parts),
            )
            assert {t.side for t in parts} == {episode.side}
            open_[one.symbol] = []


@each_method
@given(st.permutations([1, 2, 3, 4]), st.sampled_from([(-10,), (-3, -7), (-4, -4, -2), (-12, 2)]))
def test_the_order_of_partial_fills_at_one_price_changes_nothing(method, parts, exits):
    def outcome(parts):
        ways = [(part, 100) for part in parts] + [(part, 104) for part in exits]
        trades, episodes, _ = matched(fills(*ways, commission=0), method)
        return sum(t.net_pnl for t in trades), sum(t.quantity for t in trades), [e.net_pnl for e in episodes]

    assert outcome(parts) == outcome(sorted(parts))


@each_method
@given(made=walks())
def test_trades_are_closed_in_the_order_of_time_after_they_were_opened(method, made):
    trades, _, _ = matched(made, method)

    assert all(one.exit_at <= other.exit_at for one, other in pairwise(trades))
    assert all(t.entry_at <= t.exit_at and t.quantity > 0 for t in trades)


def order_of(one):
    """An order of which a fill is the whole."""
    return Order(
        seq=one.seq, order_id=one.order_id, alert_id=None, strategy=one.strategy, account=one.account,
        account_group=one.account_group, broker="simulator", leg=Leg.OPEN, attempt=1, symbol=one.symbol,
        side=one.side,
        quantity=one.quantity, type=OrderType.MARKET, limit_price=None, stop_price=None,
        status=OrderStatus.WORKING, submitted_at=one.filled_at, theirs=one.signed,
    )  # fmt: skip


@settings(max_examples=200)
@given(made=walks(one_symbol=True))
def test_the_engines_ledger_finds_the_same_trades(made):
    ledger = Ledger(strategy="walker", account_group="g", account="a", root="AAPL")
    theirs = []
    for one in made:
        ledger, trades = ledger.filled(one, order_of(one))
        theirs += trades
    ours, _, matcher = matched(made)

    assert [(t.trade_id, t.entry_at, t.exit_at, *legs([t])) for t in ours] == [
        (t.trade_id, t.entry_at, t.exit_at, *legs([t])) for t in theirs
    ]
    assert [t.commission for t in ours] == pytest.approx([t.commission for t in theirs], abs=Decimal("1e-9"))
    assert matcher.position(ledger.key) == ledger.position
