"""A desk at a prop firm: what opens, what is warned of, and what is closed before the floor is reached."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ttflow.firms import opt_in_sentence
from ttflow.order import OrderStatus
from ttflow.settings import Settings
from ttflow.testing import NINE, Walk
from ttflow.ticket import Reason, Status
from ttflow.words import encode

SECRET = ("a-webhook-secret",)
OUTSIDE = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both"}


def at_topstep(**group):
    """A paper group under Topstep's rules: 50,000 with a floor at 48,000 and 1,000 a day."""
    given = {"broker": "simulator", "firm": "topstep", "program": "combine", "size": "50K", **group}
    settings = {"secrets": SECRET, "groups": {"desk": given}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(settings), connected=("desk",))


def outside(**group):
    """The same at a broker outside, with what Topstep wants written."""
    return at_topstep(**OUTSIDE, automation_opt_in=opt_in_sentence("topstep"), **group)


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", symbol="ES1!", **fields)
    return ticket


def until(walk, moment):
    """Let the clock run to a time of that Monday, ticking where something is due."""
    wanted = datetime(2026, 3, 2, *moment, tzinfo=UTC)
    while (due := walk.desk.engine.due) and due <= wanted:
        walk.tick(after=(due - walk.clock.now).total_seconds())
    walk.tick(after=(wanted - walk.clock.now).total_seconds())


def notices(walk, kind="firm"):
    return [row.text for row in walk.rows("notices") if row.kind == kind]


class TestTheFloor:
    def test_an_account_begins_with_what_the_firms_begin_with(self):
        walk = at_topstep(cash=123)

        send(walk, action="buy", quantity=1, price=5000)

        (account,) = walk.rows("accounts")
        assert (account.cash, account.day_start) == (50_000, 50_000)

    def test_open_profit_counts_and_nothing_opens_near_the_daily_limit(self):
        walk = at_topstep()
        send(walk, action="buy", quantity=1, price=5000)

        walk.price("ES1!", "4983.75")  # 812.50 lost of 1,000
        ticket = send(walk, strategy="other", action="buy", quantity=1, price=None)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.TRADING_REDUCING)
        assert walk.position() == 1

    def test_a_tick_before_a_tenth_of_the_room_the_position_stays(self):
        walk = at_topstep()
        send(walk, action="buy", quantity=1, price=5000)

        walk.price("ES1!", "4982.25")  # 887.50 lost, 112.50 left: more than a tenth of 1,000

        assert walk.position() == 1

    def test_with_a_tenth_of_the_room_left_it_is_flattened_before_the_limit(self):
        walk = at_topstep()
        send(walk, action="buy", quantity=1, price=5000)

        walk.price("ES1!", 4982)  # 900 lost, 100 of 1,000 left

        assert walk.position() == 0
        assert walk.rows("accounts")[0].cash == 49_100
        assert any("left to the daily loss limit" in text for text in notices(walk))

    def test_what_must_be_closed_loses_its_resting_entries_first(self):
        walk = at_topstep()
        send(walk, action="buy", quantity=1, price=5000)
        send(
            walk, strategy="other", action="buy", quantity=1, order_type="limit", limit_price=4900, price=None
        )

        walk.price("ES1!", 4982)

        assert {order.status for order in walk.orders(strategy="other")} == {OrderStatus.CANCELLED}

    def test_warnings_come_once_each(self):
        walk = at_topstep()
        send(walk, action="buy", quantity=1, price=5000)

        for price in ("4990", "4989.75", "4989.5", "4985", "4984.75"):
            walk.price("ES1!", price)

        warnings = [text for text in notices(walk) if "% or less" in text]
        assert [text.split(": ")[2].split(" %")[0] for text in warnings] == ["50", "25"]

    def test_after_the_daily_loss_the_account_is_locked_until_the_next_session(self):
        walk = at_topstep()
        send(walk, action="buy", quantity=1, price=5000)
        walk.price("ES1!", 4975)  # a gap through the limit
        assert walk.position() == 0

        until(walk, (22, 59))  # 16:59 in Chicago
        assert send(walk, action="buy", quantity=1, price=4975).reason == Reason.TRADING_REDUCING
        until(walk, (23, 0))  # 17:00: the next day has begun

        assert send(walk, action="buy", quantity=1, price=4975).status is Status.FILLED

    def test_the_close_comes_120_s_before_the_flat_by_time(self):
        walk = at_topstep()
        send(walk, action="buy", quantity=1, price=5000)
        until(walk, (21, 7))
        assert walk.position() == 1

        until(walk, (21, 8))  # 15:08 in Chicago, flat by 15:10

        assert walk.position() == 0
        assert send(walk, action="buy", quantity=1, price=5000).reason == Reason.TRADING_REDUCING

    def test_an_accounts_first_order_is_withdrawn_then_too_though_nothing_was_ever_filled(self):
        walk = at_topstep()
        entry = send(walk, action="buy", quantity=1, price=5000, order_type="limit", limit_price=4990)

        until(walk, (21, 8, 0))

        (order,) = walk.orders()
        assert order.status is OrderStatus.CANCELLED
        assert walk.tickets(entry.seq)[0].reason == Reason.TRADING_REDUCING

    def test_an_exit_goes_out_whatever_the_firm_says(self):
        walk = outside()
        walk.snapshot({}, equity=50_000)
        send(walk, action="buy", quantity=1, price=5000)
        walk.filled(walk.orders()[-1], 5000)
        walk.tick(after=3600)  # the equity is not known surely any more

        ticket = send(walk, action="exit", quantity=None, price=5000)

        assert ticket.status is Status.ORDERED

    def test_a_restart_brings_the_standing_back(self):
        straight, broken = at_topstep(), at_topstep()
        for walk in (straight, broken):
            send(walk, action="buy", quantity=1, price=5000)
            walk.price("ES1!", 5010)
            walk.price("ES1!", 4995)
        broken.restart()
        for walk in (straight, broken):
            walk.price("ES1!", 4982)

        assert [encode(row) for row in broken.rows("firms")] == [
            encode(row) for row in straight.rows("firms")
        ]
        assert [encode(row) for row in broken.rows("fills")] == [
            encode(row) for row in straight.rows("fills")
        ]


class TestContracts:
    def test_five_minis_are_allowed_and_six_are_not(self):
        walk = at_topstep()
        assert send(walk, action="buy", quantity=5, price=5000).status is Status.FILLED

        ticket = send(walk, strategy="other", action="buy", quantity=1, price=5000)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.FIRM_CONTRACTS)

    def test_ten_micros_count_as_one_mini(self):
        walk = at_topstep()
        walk.alert(account_group="desk", symbol="MES1!", action="buy", quantity=50, price=5000)
        assert walk.position() == 50

        (ticket,) = walk.alert(account_group="desk", symbol="MES1!", action="buy", quantity=1, price=5000)

        assert ticket.reason == Reason.FIRM_CONTRACTS

    def test_working_orders_count(self):
        walk = at_topstep()
        send(walk, action="buy", quantity=4, order_type="limit", limit_price=4900, price=5000)

        ticket = send(walk, strategy="other", action="buy", quantity=2, price=5000)

        assert ticket.reason == Reason.FIRM_CONTRACTS


class TestOutside:
    def test_without_the_brokers_equity_the_account_only_reduces(self):
        walk = outside()

        ticket = send(walk, action="buy", quantity=1, price=5000)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.TRADING_REDUCING)
        assert "equity is not known" in ticket.trail[-1].text

    def test_with_it_the_order_leaves(self):
        walk = outside()
        walk.snapshot({}, equity=50_000)

        assert send(walk, action="buy", quantity=1, price=5000).status is Status.ORDERED

    def test_the_brokers_word_and_our_prices_since_make_the_equity(self):
        walk = outside()
        walk.snapshot({}, equity=50_000)
        send(walk, action="buy", quantity=1, price=5000)
        walk.filled(walk.orders()[-1], 5000)

        walk.price("ES1!", 4982)

        assert walk.sent[-1].order.leg == "close"
        assert walk.sent[-1].order.reason is None or walk.sent[-1].kind == "submit"

    def test_an_equity_told_before_any_price_was_known_is_not_counted_twice(self):
        walk = outside()
        walk.snapshot({}, equity=50_000)
        send(walk, action="buy", quantity=1, price=5000)
        walk.filled(walk.orders()[-1], 5000)
        walk.desk.engine.state.prices.clear()  # as after a journal that knew no price
        walk.snapshot({"ESH2026": 1}, equity=49_800)

        walk.price("ES1!", 4996)

        assert walk.desk.engine.worth("desk", "main").equity == 49_800

    def test_without_the_opt_in_the_alert_is_told_and_not_traded(self):
        walk = at_topstep(**OUTSIDE)
        walk.snapshot({}, equity=50_000)

        ticket = send(walk, action="buy", quantity=1, price=5000)

        assert (ticket.status, ticket.reason, walk.sent) == (Status.DENIED, Reason.ALERT_ONLY, [])
        assert opt_in_sentence("topstep") in ticket.trail[-1].text
        assert notices(walk, "alert_only") != []

    def test_on_paper_no_opt_in_is_needed(self):
        walk = at_topstep(**{**OUTSIDE, "strategies": ()})

        assert send(walk, action="buy", quantity=1, price=5000).status is Status.FILLED


NEWS = {"events": [{"at": NINE + timedelta(minutes=10), "title": "CPI"}], "before_s": 30, "after_s": 30}


def with_news(news=NEWS, flow=None, firms=None, **group):
    """A paper group at a firm, and a piece of news ten minutes after the walk begins."""
    given = {"broker": "simulator", "firm": "topstep", "program": "combine", "size": "50K", "sides": "both"}
    settings = {"groups": {"desk": {**given, **group}}, "limits": {"news": news}, "firms": firms or {}}
    return Walk(Settings.model_validate(settings | {"flow": {"expire_s": 0}}), flow)


class TestNewsAndTrades:
    def test_around_news_nothing_opens_for_as_long_as_the_firm_says(self):
        walk = with_news()
        outcomes = {}
        for seconds in (299, 300, 570, 630, 900, 901):
            walk.tick(after=seconds - (walk.clock.now - NINE).total_seconds() - 1)
            ticket = send(walk, strategy=f"s{seconds}", action="buy", quantity=1, price=5000)
            outcomes[seconds] = (ticket.status, ticket.reason)

        denied = (Status.DENIED, Reason.NEWS)
        passed = (Status.FILLED, None)
        assert outcomes == {299: passed, 300: denied, 570: denied, 630: denied, 900: denied, 901: passed}

    def test_the_firm_is_named_and_the_news_too(self):
        walk = with_news()

        (ticket,) = walk.alert(account_group="desk", symbol="ES1!", action="buy", price=5000, after=400)

        assert ticket.trail[-1].text == (
            "CPI at 2026-03-02 09:10 UTC, in 200 s; Topstep lets nothing open within 300 s of news."
        )

    def test_no_flow_of_the_users_own_gets_around_it(self):
        walk = with_news(flow=lambda alerts, desk: alerts)

        assert send(walk, action="buy", quantity=1, price=5000, after=400).reason == Reason.NEWS

    def test_an_exit_goes_out_during_news(self):
        walk = with_news()
        send(walk, action="buy", quantity=1, price=5000)

        assert send(walk, action="exit", quantity=None, price=5000, after=400).status is Status.FILLED

    def test_topsteps_rule_is_about_equity_index_minis_alone(self):
        walk = with_news()
        walk.tick(after=400)
        denied = set()
        for symbol in ("ES1!", "ESH2026", "NQ1!", "RTY1!", "YM1!", "MES1!", "CL1!", "GC1!"):
            (ticket,) = walk.alert(account_group="desk", symbol=symbol, action="buy", quantity=1, price=50)
            denied |= {symbol} if ticket.reason == Reason.NEWS else set()

        assert denied == {"ES1!", "ESH2026", "NQ1!", "RTY1!", "YM1!"}

    def test_a_firm_without_a_window_has_none(self):
        walk = with_news(firm="apex", program="legacy")

        assert send(walk, action="buy", quantity=1, price=5000, after=400).status is Status.FILLED

    def test_without_news_in_the_settings_a_window_is_around_nothing(self):
        walk = at_topstep()

        assert send(walk, action="buy", quantity=1, price=5000, after=400).status is Status.FILLED

    def test_after_as_many_orders_as_the_firm_allows_trades_a_day_nothing_opens_until_the_next(self):
        firms = {"tradeday": {"trades_a_day": 2}}
        walk = with_news(
            firm="tradeday", program="static", firms=firms, flow=lambda alerts, desk: alerts, news=None
        )
        for _ in range(2):
            assert send(walk, action="buy", quantity=1, price=5000).status is Status.FILLED
            assert send(walk, action="exit", quantity=None, price=5000).status is Status.FILLED

        ticket = send(walk, action="buy", quantity=1, price=5000)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.TOO_MANY_ORDERS)
        assert "TradeDay allows 2 trades a day" in ticket.trail[-1].text
        until(walk, (23, 0))  # 17:00 in Chicago: the firm's next day
        assert send(walk, action="buy", quantity=1, price=5000).status is Status.FILLED

    def test_a_day_that_begins_within_an_hour_counts_that_whole_hour(self):
        """Orders are counted by the hour: rather one too many than one too few."""
        firms = {"topstep": {"trades_a_day": 1, "session_start": "17:30", "flat_at": "15:10"}}
        walk = with_news(news=None, firms=firms)
        until(walk, (23, 40))  # 17:40 in Chicago
        assert send(walk, action="buy", quantity=1, price=5000).status is Status.FILLED

        assert send(walk, strategy="b", action="buy", quantity=1, price=5000).reason == Reason.TOO_MANY_ORDERS

    def test_a_zero_is_no_such_rule(self):
        firms = {"topstep": {"news_window_s": 0, "trades_a_day": 0}}
        walk = with_news(firms=firms)

        assert send(walk, action="buy", quantity=1, price=5000, after=400).status is Status.FILLED


class TestWhichContract:
    def desk(self, broker="tradovate", **group):
        given = {**OUTSIDE, "broker": broker, **group}
        settings = {"secrets": SECRET, "groups": {"desk": given}}
        return Walk(Settings.model_validate(settings), connected=("desk",))

    def test_a_continuous_symbol_is_traded_as_the_front_month(self):
        walk = self.desk()

        send(walk, action="buy", quantity=1, price=5000)

        assert walk.orders()[-1].symbol == "ESH2026"

    def test_an_unknown_symbol_at_a_futures_broker_is_denied_and_never_guessed(self):
        walk = self.desk()

        (ticket,) = walk.alert(account_group="desk", symbol="QQQQ1!", action="buy", quantity=1, price=5)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.UNKNOWN_SYMBOL)

    def test_letters_that_a_stock_and_a_future_share_are_denied_where_both_are_traded(self):
        walk = self.desk("tastytrade")

        (ticket,) = walk.alert(account_group="desk", symbol="ZM", action="buy", quantity=1, price=5)
        (named,) = walk.alert(account_group="desk", symbol="NASDAQ:ZM", action="buy", quantity=1, price=5)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.UNKNOWN_SYMBOL)
        assert named.status is Status.ORDERED

    def test_an_entrys_stop_goes_to_the_tick_that_is_never_touched_too_soon(self):
        walk = self.desk()

        for action, expected in (("buy", Decimal("5000.25")), ("sell", Decimal("5000"))):
            walk.alert(
                account_group="desk",
                symbol="ES1!",
                action=action,
                quantity=1,
                price=5000,
                order_type="stop",
                stop_price="5000.1",
                strategy="walker",
            )
            assert walk.orders()[-1].stop_price == expected
            walk.command("mode", strategy="walker", mode="live")
            for order in walk.orders():
                walk.report(order, "cancelled")

    def test_the_contract_held_is_the_one_that_is_added_to_and_closed_after_the_roll(self):
        walk = self.desk()
        send(walk, action="buy", quantity=1, price=5000)
        walk.filled(walk.orders()[-1], 5000)
        walk.tick(after=16 * 86_400)  # 18 March: the front month is June's

        send(walk, action="buy", quantity=1, price=5000)
        assert walk.orders()[-1].symbol == "ESH2026"

    def test_what_is_about_to_end_is_closed_at_the_close_before(self):
        walk = Walk(
            Settings.model_validate({"groups": {"desk": {"broker": "simulator"}}, "flow": {"expire_s": 0}})
        )
        walk.alert(account_group="desk", symbol="ESH2026", action="buy", quantity=1, price=5000)
        due = walk.desk.engine.due
        assert NINE < due < datetime(2026, 3, 20, tzinfo=UTC)  # the last trade is on that Friday

        walk.tick(after=(due - walk.clock.now).total_seconds())

        assert walk.position() == 0
        (ticket,) = walk.alert(account_group="desk", symbol="ESH2026", action="buy", quantity=1, price=5000)
        assert ticket.reason == Reason.CONTRACT_ENDS

    @pytest.mark.parametrize(("allowed", "status"), [(False, Status.DENIED), (True, Status.FILLED)])
    def test_an_option_is_sold_to_open_only_where_that_is_allowed(self, allowed, status):
        group = {"broker": "simulator", "short_options": allowed, "sides": "both"}
        walk = Walk(Settings.model_validate({"groups": {"desk": group}}))

        (ticket,) = walk.alert(
            account_group="desk", symbol="AAPL261218C250.0", action="sell", quantity=1, price=Decimal("3.5")
        )

        assert ticket.status is status
        assert ticket.reason == (None if allowed else Reason.SHORT_OPTION)
