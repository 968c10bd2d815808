"""A start finds accounts as they are, not as they were: nothing leaves before their broker has told."""

from datetime import timedelta

import pytest

from ttflow.firms import opt_in_sentence
from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Status


def live(*can, told=True, **group):
    """A walk with one live group at a connected broker, in which `walker` holds two.

    `told` says whether the broker has told what the account holds.
    """
    given = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both", **group}
    settings = {"secrets": ("a-webhook-secret",), "groups": {"desk": given}, "flow": {"expire_s": 0}}
    walk = Walk(Settings.model_validate(settings), connected=("desk",), can=can)
    if told:
        walk.snapshot({}, equity=50_000)
    buy(walk, 2)
    walk.filled(walk.orders()[-1], 100)
    return walk


def buy(walk, quantity):
    return walk.alert(account_group="desk", action="buy", quantity=quantity, price=100)


def leave(walk, **at):
    return walk.alert(account_group="desk", action="exit", quantity=None, price=100, **at)[0]


def wait(walk, seconds):
    """Let time pass, with a tick wherever one is due."""
    end = walk.clock.now + timedelta(seconds=seconds)
    while (due := walk.desk.engine.due) and due <= end:
        walk.tick(after=max(0.0, (due - walk.clock.now).total_seconds()))
    walk.tick(after=(end - walk.clock.now).total_seconds())


def sent(walk):
    return [(one.kind, one.order.leg, int(one.order.quantity)) for one in walk.sent[1:]]


def notices(walk):
    return [row.kind for row in walk.rows("notices")]


def started(walk, after=1):
    walk.restart()
    walk.start(after=after)


def test_an_exit_after_a_start_leaves_once_the_broker_shows_the_position():
    walk = live()
    started(walk)

    leave(walk)
    assert sent(walk) == []
    walk.snapshot({"AAPL": 2})

    assert sent(walk) == [("submit", Leg.CLOSE, 2)]


def test_an_exit_that_stood_while_the_desk_was_away_does_not_sell_what_a_person_has_sold():
    walk = live()
    leave(walk)
    walk.report(walk.orders()[-1], "refused", reason="closed for the day")
    before = len(sent(walk))
    started(walk, after=86_400)

    walk.snapshot({})
    wait(walk, 4)
    walk.snapshot({})
    wait(walk, 60)

    assert sent(walk)[before:] == []
    assert walk.position() == 0
    assert "manual_trade" in notices(walk)


def test_what_a_person_left_of_a_position_is_all_that_an_exit_closes():
    walk = live()
    started(walk)

    leave(walk)
    walk.snapshot({"AAPL": 1})

    assert sent(walk) == [("submit", Leg.CLOSE, 1)]


def test_an_entry_after_a_start_waits_too_and_is_denied_beside_what_nobody_explains():
    walk = live()
    started(walk)

    (ticket,) = buy(walk, 1)
    assert ticket.status is Status.OPEN
    walk.snapshot({"AAPL": 7})

    (ticket,) = walk.tickets(ticket.seq)
    assert (ticket.status, ticket.reason) == (Status.DENIED, "BOOK_MISMATCH")


def test_an_entry_after_a_start_opens_as_soon_as_all_is_as_the_ledgers_say():
    walk = live()
    started(walk)

    buy(walk, 1)
    walk.snapshot({"AAPL": 2})

    assert sent(walk) == [("submit", Leg.OPEN, 1)]


def test_a_broker_that_never_tells_holds_an_exit_back_for_half_a_minute_and_is_told_of():
    walk = live()
    started(walk)

    leave(walk)
    wait(walk, 28)
    assert sent(walk) == []
    wait(walk, 3)

    assert sent(walk) == [("submit", Leg.CLOSE, 2)]
    assert "unseen" in notices(walk)


def test_a_stop_that_is_missing_after_a_start_waits_for_the_brokers_word():
    walk = live()
    walk.alert(account_group="desk", action="update", stop_loss=90, price=100)
    (stop,) = walk.orders(leg=Leg.STOP_LOSS)
    walk.report(stop, "cancelled")
    started(walk)
    before = len(sent(walk))

    walk.report(stop, "cancelled")
    assert sent(walk)[before:] == []
    walk.snapshot({"AAPL": 2})

    wait(walk, 6)
    assert ("submit", Leg.STOP_LOSS, 2) in sent(walk)[before:]


def test_paper_waits_for_nobody():
    walk = Walk(Settings.model_validate({"groups": {"desk": {"broker": "simulator"}}}))
    buy(walk, 2)
    started(walk)

    leave(walk)

    assert walk.position() == 0


def test_each_account_waits_for_its_own_broker_alone():
    walk = live(accounts=({"name": "main"}, {"name": "second"}))
    for order in walk.orders(leg=Leg.OPEN):
        walk.filled(order, 100) if order.account == "second" else None
    started(walk)

    leave(walk)
    walk.snapshot({"AAPL": 2}, account="second")

    assert [one.order.account for one in walk.sent if one.order.leg is Leg.CLOSE] == ["second"]


TRADEDAY = {"firm": "tradeday", "program": "intraday", "size": "50K"}
TRADEDAY["automation_opt_in"] = opt_in_sentence("tradeday", "intraday")


@pytest.mark.parametrize("days", [1, 3])
def test_what_was_held_past_a_firms_flat_by_time_while_the_desk_was_away_is_closed(days):
    walk = live(**TRADEDAY)
    assert walk.position() == 2
    started(walk, after=days * 86_400)
    walk.snapshot({"AAPL": 2}, equity=50_000)
    wait(walk, 6)

    assert ("submit", Leg.CLOSE, 2) in sent(walk)
    assert "flat_by" in notices(walk)


def test_what_was_opened_since_the_last_flat_by_time_is_kept():
    walk = live(**TRADEDAY)
    started(walk, after=60)
    walk.snapshot({"AAPL": 2}, equity=50_000)
    wait(walk, 6)

    assert sent(walk) == []


def test_a_broker_that_never_told_anything_of_an_account_is_not_waited_for():
    walk = live(told=False)
    started(walk)

    leave(walk)

    assert sent(walk) == [("submit", Leg.CLOSE, 2)]
