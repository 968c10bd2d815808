"""Limits that count what they say: the loss from where the day began, and flat by the time that is set."""

from datetime import UTC, datetime

import pytest

from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status

SECRET = ("a-webhook-secret",)
NOON = {"flat_by": {"at": "12:00", "until": "18:00", "tz": "UTC"}}
NIGHT = {"flat_by": {"at": "23:00", "until": "01:00", "tz": "UTC"}}


def desk(**group):
    told = {"groups": {"desk": {"broker": "simulator", "cash": 10_000, **group}}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told))


def live(**group):
    given = {"broker": "scripted", "live": True, "strategies": ("walker", "other"), "sides": "both", **group}
    told = {"secrets": SECRET, "groups": {"desk": given}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",))


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def until(walk, *moment):
    """Let the clock run to a time of that Monday (or the day after), ticking where something is due."""
    wanted = datetime(2026, 3, *moment, tzinfo=UTC)
    while (due := walk.desk.engine.due) and due <= wanted:
        walk.tick(after=max(0, (due - walk.clock.now).total_seconds()))
    walk.tick(after=(wanted - walk.clock.now).total_seconds())


class TestTheDaysLoss:
    """The first that a day brings is its own: it does not make the worth that the day begins with."""

    @pytest.mark.parametrize("first", ["exit", "price"])
    def test_what_the_first_price_of_a_day_loses_counts(self, first):
        walk = desk(limits={"day_loss": 60})
        send(walk, action="buy", quantity=10, price=100)
        until(walk, 3, 9, 0)

        if first == "exit":
            send(walk, action="exit", quantity=None, price=90)
        else:
            walk.price(price=90)
        ticket = send(walk, strategy="other", action="buy", quantity=1, price=90)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.DAY_LOSS)

    def test_what_yesterday_lost_does_not(self):
        walk = desk(limits={"day_loss": 60})
        send(walk, action="buy", quantity=10, price=100)
        walk.price(price=90)
        assert send(walk, strategy="other", action="buy", quantity=1, price=90).reason == Reason.DAY_LOSS

        until(walk, 3, 0, 0)

        assert send(walk, strategy="other", action="buy", quantity=1, price=90).status is Status.FILLED

    def test_a_moment_before_midnight_it_still_does(self):
        walk = desk(limits={"day_loss": 60})
        send(walk, action="buy", quantity=10, price=100)
        walk.price(price=90)
        until(walk, 2, 23, 59, 58)

        assert send(walk, strategy="other", action="buy", quantity=1, price=90).reason == Reason.DAY_LOSS

    def test_a_restart_changes_nothing(self):
        walk = desk(limits={"day_loss": 60})
        send(walk, action="buy", quantity=10, price=100)
        until(walk, 3, 9, 0)
        walk.restart()
        walk.start()
        walk.price(price=90)
        walk.restart()

        assert send(walk, strategy="other", action="buy", quantity=1, price=90).reason == Reason.DAY_LOSS

    def test_at_a_broker_the_first_word_of_a_day_counts_too(self):
        walk = live(limits={"day_loss": 60})
        walk.snapshot({}, equity=10_000)
        send(walk, action="buy", quantity=10)
        walk.filled(walk.orders()[-1], 100)
        walk.snapshot({"AAPL": 10}, equity=10_000)
        until(walk, 3, 9, 0)

        walk.snapshot({"AAPL": 10}, equity=9_900)
        ticket = send(walk, strategy="other", action="buy", quantity=1, price=None)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.DAY_LOSS)


class TestFlatBy:
    def test_a_time_that_is_set_at_run_time_holds_for_what_is_held_already(self):
        walk = desk()
        send(walk, action="buy", quantity=1)

        walk.command("limits", scope="desk", limits=NOON)
        until(walk, 2, 11, 58)

        assert walk.position() == 0

    def test_and_one_that_is_lifted_does_not(self):
        walk = desk(limits=NOON)
        send(walk, action="buy", quantity=1)

        walk.command("limits", scope="desk", limits={})
        until(walk, 2, 17, 0)

        assert walk.position() == 1

    def test_one_that_comes_with_a_start_holds_for_what_is_held_already(self):
        walk = desk()
        send(walk, action="buy", quantity=1)

        walk.settings = desk(limits=NOON).settings
        walk.restart()
        walk.start()
        until(walk, 2, 11, 58)

        assert walk.position() == 0

    @pytest.mark.parametrize(("rule", "day", "hour"), [(NOON, 2, 11), (NIGHT, 2, 22)])
    def test_an_entry_that_rests_is_withdrawn_before_it(self, rule, day, hour):
        walk = desk(limits=rule)
        send(walk, action="buy", quantity=1, order_type="limit", limit_price=90)
        until(walk, day, hour, 57, 59)
        assert not walk.orders()[0].ended

        until(walk, day, hour, 58)
        walk.price(price=89)

        assert (walk.orders()[0].ended, walk.position()) == (True, 0)

    @pytest.mark.parametrize(
        ("rule", "moment"), [(NOON, (2, 11, 58, 1)), (NOON, (2, 17, 59)), (NIGHT, (3, 0, 59))]
    )
    def test_an_entry_that_fills_all_the_same_is_closed_at_once(self, rule, moment):
        walk = live(limits=rule)
        send(walk, action="buy", quantity=1)
        until(walk, *moment)

        walk.filled(walk.orders()[0], 100, after=0)

        assert walk.sent[-1].order.leg is Leg.CLOSE

    def test_after_it_what_fills_may_stay_until_the_next(self):
        walk = live(limits=NOON)
        send(walk, action="buy", quantity=1)
        until(walk, 2, 18, 0)

        walk.filled(walk.orders()[0], 100, after=0)

        assert not walk.orders(leg=Leg.CLOSE)
        assert walk.desk.engine.due == datetime(2026, 3, 3, 11, 58, tzinfo=UTC)


@pytest.mark.parametrize("command", ["halt", "reduce"])
@pytest.mark.parametrize("scope", ["*", "desk", "desk/walker", "*/walker"])
def test_what_stops_opening_outlives_a_restart(command, scope):
    walk = desk()
    walk.command(command, scope=scope)

    walk.restart()
    walk.start()

    assert send(walk, action="buy", quantity=1).reason in (Reason.TRADING_HALTED, Reason.TRADING_REDUCING)
