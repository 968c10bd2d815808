"""Modes by evidence: a strategy that loses goes to paper, and comes back when it earns there."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ttflow.order import Leg, Trade
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status
from ttflow.tradingview import written
from ttflow.words import encode

SECRET = ("a-webhook-secret",)
DAY = 86_400
LOSES, EARNS = (95, 97, 94, 101), (105, 103, 106, 99)


def live(strategy=None, accounts=1, **group):
    """A walk with one live group at a connected broker, where `walker` may trade live at once."""
    names = [{"name": f"a{number}"} for number in range(1, accounts + 1)]
    given = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both", **group}
    told = {
        "secrets": SECRET,
        "groups": {"desk": {**given, "accounts": names}},
        "strategies": {"walker": strategy or {}},
    }
    return Walk(Settings.model_validate(told), connected=("desk",))


def outside(walk, price):
    """The broker does what it was told: it withdraws, takes protection, and fills the rest."""
    state = walk.desk.engine.state
    while busy := [one for one in state.orders.values() if one.broker == "scripted" and _waits(one)]:
        order = busy[0]
        if order.cancelling:
            walk.report(order, "cancelled", call="cancel", after=0)
        elif order.leg in (Leg.OPEN, Leg.CLOSE):
            walk.filled(order, price, after=0)
        else:
            walk.report(order, "accepted", call="submit", after=0)


def _waits(order):
    return order.cancelling or order.status == "submitting"


def episode(walk, out, entry=100, **fields):
    """One signal, in and out, wherever it trades."""
    tickets = walk.alert(account_group="desk", action="buy", quantity=1, price=entry, after=60, **fields)
    outside(walk, entry)
    walk.alert(account_group="desk", action="exit", quantity=None, price=out, after=60)
    outside(walk, out)
    return tickets


def run(walk, outs, times=20):
    for number in range(times):
        episode(walk, outs[number % len(outs)])


def standing(walk):
    return walk.desk.engine.judged_now("walker")


class TestGoingToPaper:
    def test_a_strategy_that_loses_goes_to_paper_and_the_reason_is_a_sentence_with_figures(self):
        walk = live()

        run(walk, LOSES)

        (change,) = walk.rows("modes")
        assert (change.strategy, change.mode) == ("walker", "paper")
        assert change.reason.startswith("last 20 trades: profit factor 0.")
        assert "sure it loses; limit 90 %" in change.reason
        assert [notice.kind for notice in walk.rows("notices")] == ["mode"]

    def test_nineteen_losses_are_too_few(self):
        walk = live()

        run(walk, LOSES, times=19)

        assert walk.rows("modes") == []
        assert standing(walk).verdict.progress.n == 19

    def test_a_strategy_that_earns_stays_live(self):
        walk = live()

        run(walk, EARNS, times=40)

        assert (walk.rows("modes"), standing(walk).in_force) == ([], "live")

    def test_its_next_entry_goes_to_the_shadow_book(self):
        walk = live()
        run(walk, LOSES)

        (ticket,) = episode(walk, 101)

        assert ticket.account == "a1~paper"
        assert walk.fills[-1].mode == "paper"

    def test_three_accounts_that_copy_one_strategy_are_one_sample(self):
        walk = live(accounts=3)

        run(walk, LOSES, times=10)

        assert len(walk.rows("episodes")) == 30
        assert standing(walk).verdict.progress.n == 10
        assert walk.rows("modes") == []

    def test_a_larger_size_makes_no_stronger_evidence(self):
        small, large = live(), live()
        for number in range(19):
            episode(small, LOSES[number % 4])
            large.alert(account_group="desk", action="buy", quantity=10 if number % 3 else 1, price=100)
            outside(large, 100)
            large.alert(account_group="desk", action="exit", quantity=None, price=LOSES[number % 4])
            outside(large, LOSES[number % 4])

        assert standing(large).verdict.progress.probability == pytest.approx(
            standing(small).verdict.progress.probability
        )

    def test_results_count_in_units_of_the_risk_where_a_stop_was_known(self):
        walk = live()

        for number in range(20):
            episode(walk, LOSES[number % 4], stop_loss={"price": 90})

        assert walk.rows("episodes")[0].risk == 10
        assert " R a trade" in walk.rows("modes")[0].reason

    def test_a_position_stays_where_it_is_until_it_is_closed(self):
        walk = live(accounts=2)
        run(walk, LOSES, times=19)
        walk.alert(account_group="desk", action="buy", quantity=1, price=100)
        outside(walk, 100)
        walk.alert(account_group="desk", action="exit", quantity=None, price=94)
        first, second = (order for order in walk.orders(leg=Leg.CLOSE) if not order.ended)
        walk.filled(first, 94)
        assert [change.mode for change in walk.rows("modes")] == ["paper"]

        one, two = walk.alert(account_group="desk", action="buy", quantity=1, price=94)

        assert one.account == "a1~paper"
        assert (two.account, two.status) == ("a2", Status.OPEN)
        walk.filled(second, 94)
        assert {t.account for t in walk.tickets(two.seq)} == {"a1~paper", "a2", "a2~paper"}


class TestComingBack:
    def demoted(self, **strategy):
        walk = live(strategy)
        run(walk, LOSES)
        return walk

    def test_it_comes_back_when_it_earns_on_paper(self):
        walk = self.demoted()
        walk.tick(after=DAY)

        run(walk, EARNS)

        assert [change.mode for change in walk.rows("modes")] == ["paper", "live"]
        assert "sure" in walk.rows("modes")[1].reason
        assert episode(walk, 101)[0].account == "a1"

    def test_not_before_it_has_dwelt_on_paper_for_a_day(self):
        walk = self.demoted()

        run(walk, EARNS)
        assert len(walk.rows("modes")) == 1
        walk.tick(after=DAY)
        episode(walk, 105)

        assert [change.mode for change in walk.rows("modes")] == ["paper", "live"]

    def test_not_while_it_loses_there_too(self):
        walk = self.demoted()
        walk.tick(after=DAY)

        run(walk, LOSES, times=60)

        assert len(walk.rows("modes")) == 1

    def test_a_person_may_want_to_be_asked(self):
        walk = self.demoted(promote="ask")
        walk.tick(after=DAY)

        run(walk, EARNS, times=30)

        assert len(walk.rows("modes")) == 1
        assert [notice.kind for notice in walk.rows("notices")] == ["mode", "promotion"]

    def test_what_it_earned_before_the_change_is_no_evidence_after_it(self):
        walk = self.demoted()
        walk.tick(after=DAY)
        run(walk, EARNS)
        walk.tick(after=DAY)

        run(walk, LOSES, times=19)
        assert len(walk.rows("modes")) == 2
        episode(walk, 95)

        assert [change.mode for change in walk.rows("modes")] == ["paper", "live", "paper"]

    def test_a_strategy_never_seen_starts_on_paper_and_earns_its_way(self):
        walk = live(strategies=())

        run(walk, EARNS)

        assert [change.mode for change in walk.rows("modes")] == ["live"]


class TestHonestPaper:
    def shadow(self, **group):
        return live(strategies=(), **group)

    def test_resting_orders_count_only_where_prices_came_all_the_while(self):
        walk = self.shadow()

        episode(walk, 105, stop_loss={"price": 90})

        assert [row.honest for row in walk.rows("episodes")] == [False]
        assert standing(walk).verdict.progress.n == 0

    def test_with_a_price_stream_they_count(self):
        walk = self.shadow()
        walk.price("AAPL", 100)

        episode(walk, 105, stop_loss={"price": 90})

        assert [row.honest for row in walk.rows("episodes")] == [True]

    def test_a_stream_that_paused_for_too_long_is_none(self):
        walk = self.shadow()
        walk.price("AAPL", 100)
        walk.alert(account_group="desk", action="buy", quantity=1, price=100, stop_loss={"price": 90})
        walk.price("AAPL", 101, after=timedelta(hours=3).total_seconds())

        walk.alert(account_group="desk", action="exit", quantity=None, price=105)

        assert [row.honest for row in walk.rows("episodes")] == [False]

    def test_a_brokers_sandbox_counts_never_and_its_fills_are_paper(self):
        walk = live(environment="demo")

        run(walk, LOSES, times=30)

        assert {fill.mode for fill in walk.fills} == {"paper"}
        assert (walk.rows("modes"), standing(walk).verdict.progress.n) == ([], 0)

    def test_a_paper_group_of_the_simulator_promotes_nobody(self):
        walk = live(strategies=())
        groups = {"desk": {"broker": "simulator"}, "real": {"broker": "scripted", "live": True}}
        told = {"secrets": SECRET, "groups": groups}
        walk = Walk(Settings.model_validate(told), connected=("real",))

        run(walk, EARNS, times=30)

        assert walk.rows("modes") == []


class TestPeopleAndMoney:
    @pytest.mark.parametrize("pin", ["live", "paper", "halted"])
    def test_what_a_person_pinned_stays(self, pin):
        walk = live()
        walk.alert(account_group="desk", action="buy", quantity=1, price=100)
        outside(walk, 100)
        walk.alert(account_group="desk", action="exit", quantity=None, price=100)
        outside(walk, 100)
        walk.command("mode", strategy="walker", mode=pin)

        run(walk, LOSES, times=30)

        assert [change.mode for change in walk.rows("modes")] == [pin]

    def test_settings_may_pin_it_too(self):
        walk = live({"mode": "live"})

        run(walk, LOSES, times=30)

        assert (walk.rows("modes"), standing(walk).in_force) == ([], "live")

    def test_auto_leaves_the_mode_in_force_to_the_rule(self):
        walk = live(strategies=())
        episode(walk, 100)
        walk.command("mode", strategy="walker", mode="live")
        walk.command("mode", strategy="walker", mode="auto")
        assert standing(walk).in_force == "live"

        walk.tick(after=DAY)
        run(walk, LOSES)

        assert [change.mode for change in walk.rows("modes")] == ["live", "auto", "paper"]

    @pytest.mark.parametrize(
        ("stop", "told"),
        [
            ({"max_loss_day": 10}, "the limit is 10 a day"),
            ({"max_drawdown": 10}, "below its best; the limit is 10"),
        ],
    )
    def test_a_money_stop_acts_at_once_and_a_person_must_release_it(self, stop, told):
        walk = live(stop)
        run(walk, [95], times=2)
        (change,) = walk.rows("modes")
        assert told in change.reason
        walk.tick(after=DAY)

        run(walk, EARNS, times=40)
        assert len(walk.rows("modes")) == 1
        walk.command("mode", strategy="walker", mode="auto")
        walk.tick(after=DAY)
        run(walk, EARNS)

        assert [row.mode for row in walk.rows("modes")] == ["paper", "auto", "live"]

    def test_a_loss_of_9_99_is_inside_a_stop_of_10(self):
        walk = live({"max_loss_day": 10})

        episode(walk, Decimal("90.01"))

        assert walk.rows("modes") == []

    def test_a_day_of_losses_ends_at_midnight(self):
        walk = live({"max_loss_day": 10})
        episode(walk, 95)
        walk.tick(after=DAY)

        episode(walk, 95)

        assert walk.rows("modes") == []

    def test_opening_orders_are_withdrawn_where_they_may_not_open_any_more(self):
        walk = live({"max_loss_day": 5}, accounts=2)
        walk.alert(account_group="desk", action="buy", quantity=1, price=100)
        outside(walk, 100)
        walk.alert(account_group="desk", action="exit", quantity=None, price=94)
        walk.alert(
            account_group="desk", symbol="MSFT", action="buy", quantity=1, order_type="limit", limit_price=90
        )
        for order in walk.orders(symbol="MSFT"):
            walk.report(order, "accepted")

        for order in walk.orders(symbol="AAPL", leg=Leg.CLOSE):
            walk.filled(order, 94)

        assert [effect.kind for effect in walk.sent[-2:]] == ["cancel", "cancel"]

    def test_two_that_lose_today_are_one_change(self):
        walk = live({"max_loss_day": 5}, accounts=2)

        episode(walk, 94)

        assert len(walk.rows("modes")) == 1
        assert walk.alert(account_group="desk", quantity=1)[0].reason != Reason.STRATEGY_HALTED


def test_a_restart_in_the_middle_changes_nothing():
    straight, broken = live(), live()
    for number in range(45):
        for walk in (straight, broken):
            episode(walk, LOSES[number % 4] if number < 20 else EARNS[number % 4])
            if number == 25:
                walk.tick(after=DAY)
        broken.restart()

    assert [encode(row) for row in broken.rows("modes")] == [encode(row) for row in straight.rows("modes")]
    assert len(straight.rows("modes")) == 2
    assert broken.desk.engine.state.records == straight.desk.engine.state.records


def test_a_snapshot_of_the_state_brings_the_records_back():
    walk = live()
    run(walk, LOSES, times=5)
    state = walk.desk.engine.state
    written = [{"table": change.table, "row": json.loads(encode(change.row))} for change in state.snapshot()]

    fresh = live().desk.engine.state
    fresh.fold(written, lambda seq: {})

    assert fresh.records == state.records


class TestAgainstTheBacktest:
    """`rule = "baseline"`: an imported backtest that makes 1 % a trade, and live results that fall short."""

    def imported(self, count=120, **strategy):
        walk = live({"rule": "baseline", **strategy})
        start = datetime(2024, 1, 2, 15, tzinfo=UTC)
        trades = [
            backtested(start + timedelta(hours=place), 3 - place % 2 * 4, place) for place in range(count)
        ]
        for first in range(0, count, 50):
            told = [written(trade) for trade in trades[first : first + 50]]
            walk.command("import", strategy="walker", source="a list", trades=told)
        return walk

    def test_what_falls_short_of_it_goes_to_paper_and_the_reason_has_the_figures_of_both(self):
        walk = self.imported()

        run(walk, LOSES, times=12)

        (change,) = walk.rows("modes")
        assert change.mode == "paper"
        assert "a backtest of 120 trades that made 1.00 % each" in change.reason

    def test_what_goes_on_as_in_it_stays(self):
        walk = self.imported()

        run(walk, (103, 99), times=40)

        assert walk.rows("modes") == []
        assert standing(walk).verdict.progress.cusum < 1

    def test_without_enough_of_it_the_confidence_rule_judges_and_says_so(self):
        walk = self.imported(99)

        run(walk, LOSES, times=20)

        (change,) = walk.rows("modes")
        assert change.reason.endswith("by confidence, for its backtest has 99 of 100 trades")

    def test_it_comes_back_by_the_confidence_rule(self):
        walk = self.imported()
        run(walk, LOSES, times=12)
        walk.tick(after=DAY)

        run(walk, EARNS, times=20)

        assert [change.mode for change in walk.rows("modes")] == ["paper", "live"]
        assert "sure it earns" in walk.rows("modes")[1].reason

    def test_after_a_change_the_evidence_begins_anew(self):
        walk = self.imported()
        run(walk, LOSES, times=3)
        assert standing(walk).verdict.progress.cusum > 5

        walk.command("mode", strategy="walker", mode="live")

        assert standing(walk).verdict.progress.cusum is None

    def test_a_restart_in_the_middle_changes_nothing(self):
        straight, broken = self.imported(), self.imported()
        for number in range(14):
            for walk in (straight, broken):
                episode(walk, LOSES[number % 4])
            broken.restart()

        assert [encode(row) for row in broken.rows("modes")] == [
            encode(row) for row in straight.rows("modes")
        ]
        assert len(straight.rows("modes")) == 1
        assert broken.desk.engine.state.records == straight.desk.engine.state.records


def backtested(at, net, number):
    """A trade of a backtest, an hour long, from 100: its net result is a percentage."""
    return Trade(
        seq=0,
        trade_id=f"t{number}",
        strategy="walker",
        account_group="backtest",
        account="tradingview",
        symbol="AAPL",
        side="long",
        quantity=Decimal(1),
        entry_at=at,
        exit_at=at + timedelta(hours=1),
        entry_price=Decimal(100),
        exit_price=Decimal(100 + net),
        gross_pnl=Decimal(net),
        commission=Decimal(0),
        net_pnl=Decimal(net),
        mode="backtest",
    )


def test_what_the_rule_left_live_is_sent_to_paper_where_no_group_is_live_any_more():
    walk = live()
    for mode in ("live", "auto"):
        walk.command("mode", strategy="walker", mode=mode)
    run(walk, LOSES, times=12)
    known = walk.desk.engine.state.strategies["walker"]
    assert (known.mode, known.pinned) == ("live", False)

    walk.settings = live({"least": 10, "dwell_h": 0, "max_changes_per_day": 9}, live=False).settings
    walk.start()
    walk.snapshot({}, account="a1")
    episode(walk, 95)

    assert walk.desk.engine.state.strategies["walker"].mode == "paper"
