"""Other settings, the next time that the desk starts: what is held can be closed, and where it is held."""

from decimal import Decimal

import pytest

from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status

SECRET = ("a-webhook-secret",)
PAPER = {"broker": "simulator"}
LIVE = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both"}


def told(names="a", **group):
    given = {"accounts": [{"name": name} for name in names], **group}
    return Settings.model_validate({"secrets": SECRET, "groups": {"desk": given}, "flow": {"expire_s": 0}})


def begin(settings):
    return Walk(settings, connected=("desk",) if settings.groups["desk"].live else ())


def again(walk, settings):
    """Stop the desk and start it with other settings."""
    walk.settings = settings
    walk.connected = {"desk": frozenset()} if settings.groups["desk"].live else {}
    walk.restart()
    walk.start()


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


@pytest.mark.parametrize("how", [PAPER, LIVE])
def test_an_exit_goes_to_an_account_that_was_taken_out_and_nothing_opens_there(how):
    walk = begin(told("ab", **how))
    walk.alert(account_group="desk", action="buy", quantity=1)
    for order in walk.orders() if how is LIVE else ():
        walk.filled(order, 100)
    again(walk, told("a", **how))
    for account in "ab" if how is LIVE else ():
        walk.snapshot({"AAPL": 1}, account=account)

    more = walk.alert(account_group="desk", action="buy", quantity=1)
    for order in walk.orders(account="a") if how is LIVE else ():
        if not order.ended:
            walk.filled(order, 100)
    walk.alert(account_group="desk", action="exit", quantity=None)
    for order in walk.orders(leg=Leg.CLOSE) if how is LIVE else ():
        walk.filled(order, 100)

    assert {one.account: one.reason for one in more}["b"] == Reason.NOT_ALLOWED
    assert walk.position() == 0


def test_an_account_that_traded_on_paper_trades_live_once_its_group_does():
    walk = begin(told(**PAPER))
    send(walk, action="buy", quantity=1)
    send(walk, action="exit", quantity=None, price=90)
    again(walk, told(**LIVE))

    send(walk, action="buy", quantity=1)

    assert [(effect.kind, effect.order.broker) for effect in walk.sent] == [("submit", "scripted")]
    assert walk.desk.engine.worth("desk", "a").equity is None  # nothing of its paper money is left


def test_what_is_held_on_paper_is_closed_on_paper_before_the_account_goes_live():
    walk = begin(told(**PAPER))
    send(walk, action="buy", quantity=1)
    again(walk, told(**LIVE))

    send(walk, action="exit", quantity=None)

    assert (walk.position(), walk.sent) == (0, [])


def test_a_position_at_a_broker_is_not_closed_on_paper_when_its_group_goes_there():
    walk = begin(told(**LIVE))
    send(walk, action="buy", quantity=1)
    walk.filled(walk.orders()[-1], 100)
    again(walk, told(**PAPER))

    ticket = send(walk, action="exit", quantity=None)

    assert walk.position() == 1
    assert walk.sent[-1].order.leg is Leg.CLOSE
    walk.report(walk.sent[-1].order, "failed", reason="the broker is not connected")
    assert walk.tickets(ticket.seq)[0].status is Status.OPEN
    assert "exit_stands" in [row.kind for row in walk.rows("notices")]


def test_an_account_that_was_live_and_is_flat_begins_anew_on_paper():
    walk = begin(told(**LIVE))
    send(walk, action="buy", quantity=1)
    walk.filled(walk.orders()[-1], 100)
    send(walk, action="exit", quantity=None)
    walk.filled(walk.orders()[-1], 90)
    again(walk, told(**PAPER, cash=5000))

    ticket = send(walk, action="buy", quantity=1)

    assert (ticket.status, walk.orders()[-1].broker) == (Status.FILLED, "simulator")
    assert walk.desk.engine.worth("desk", "a").equity == Decimal(5000)


def test_no_strategy_takes_the_name_of_what_is_traded_by_hand():
    walk = begin(told(**PAPER))

    ticket = send(walk, strategy="manual", action="buy", quantity=1)

    assert (ticket.status, ticket.reason, walk.position("manual")) == (Status.DENIED, Reason.NOT_ALLOWED, 0)
