"""Limits, halts and states that a person changes while the desk runs: inputs like any other."""

import asyncio
from datetime import UTC, datetime

import pytest

from ttflow.desk import Desk
from ttflow.engine.orders import day_ends
from ttflow.errors import RequestError
from ttflow.order import OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status


def desk(**group):
    return Walk(Settings.model_validate({"groups": {"desk": {"broker": "simulator", **group}}}))


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


@pytest.mark.parametrize("scope", ["*", "desk"])
def test_a_limit_holds_from_the_moment_that_it_is_set(scope):
    walk = desk()
    assert send(walk, quantity=10).status is Status.FILLED

    walk.command("limits", scope=scope, limits={"quantity": 5})

    assert send(walk, strategy="other", quantity=10).reason == Reason.QUANTITY_EXCEEDS_MAX
    assert send(walk, strategy="other", quantity=5).status is Status.FILLED


def test_it_goes_over_what_the_settings_say_until_it_is_taken_back():
    walk = desk(limits={"quantity": 5})
    walk.command("limits", scope="desk", limits={"quantity": 20})
    assert send(walk, quantity=10).status is Status.FILLED

    walk.command("limits", scope="desk", limits=None)

    assert send(walk, strategy="other", quantity=10).reason == Reason.QUANTITY_EXCEEDS_MAX


def test_a_restart_keeps_it():
    walk = desk()
    walk.command("limits", scope="*", limits={"quantity": 5})
    walk.restart()

    assert send(walk, quantity=10).reason == Reason.QUANTITY_EXCEEDS_MAX
    walk.start()
    assert send(walk, quantity=10).reason == Reason.QUANTITY_EXCEEDS_MAX


def test_an_exit_is_held_by_no_limit():
    walk = desk()
    send(walk, quantity=10)
    walk.command("limits", scope="*", limits={"quantity": 1, "orders_per_day": 1})

    assert send(walk, action="exit", quantity=None).status is Status.FILLED


def test_reducing_opens_nothing_and_lets_working_orders_be():
    walk = desk()
    send(walk, quantity=1)
    send(walk, strategy="other", order_type="limit", limit_price=90)

    walk.command("reduce", scope="desk")

    assert send(walk, quantity=1).reason == Reason.TRADING_REDUCING
    assert [order.status for order in walk.orders(strategy="other")] == [OrderStatus.WORKING]
    assert send(walk, action="exit", quantity=None).status is Status.FILLED


def test_resume_ends_reducing():
    walk = desk()
    walk.command("reduce", scope="*")
    walk.command("resume", scope="*")

    assert send(walk, quantity=1).status is Status.FILLED


def test_money_limits_follow_the_price_of_what_is_held():
    walk = desk(cash=1000, limits={"day_loss": 50})
    send(walk, quantity=10, price=100)

    walk.price(price=95)

    assert send(walk, strategy="other", quantity=1, price=None).reason == Reason.DAY_LOSS


def test_the_days_loss_counts_from_midnight():
    walk = desk(cash=1000, limits={"day_loss": 50})
    send(walk, quantity=10, price=100)
    walk.price(price=95)

    walk.tick(after=86_400)
    walk.price(price=95)

    assert send(walk, strategy="other", quantity=1, price=None).status is Status.FILLED


def test_a_drawdown_counts_from_the_highest_equity_open_profit_included():
    walk = desk(cash=1000, limits={"drawdown": 80})
    send(walk, quantity=10, price=100)
    walk.price(price=105)

    walk.price(price=97)

    assert send(walk, strategy="other", quantity=1, price=None).reason == Reason.DRAWDOWN


def test_orders_a_day_and_losses_in_a_row_survive_a_restart():
    walk = desk(limits={"orders_per_day": 2, "losses_in_a_row": 5})
    for _ in range(2):
        send(walk, quantity=1, price=100)
        send(walk, action="exit", quantity=None, price=99)
    walk.restart()

    assert walk.desk.engine.state.activity("desk", "paper").losses == 2
    assert send(walk, quantity=1, price=100).reason == Reason.TOO_MANY_ORDERS


def test_a_flat_by_time_closes_what_is_held_120_s_before_it():
    flat = {"at": "16:00", "until": "18:00", "tz": "UTC", "days": "mon-fri"}
    walk = desk(limits={"flat_by": flat})
    send(walk, quantity=1, price=100)
    due = walk.desk.engine.due
    assert (due.hour, due.minute) == (15, 58)

    walk.tick(after=(due - walk.clock.now).total_seconds())

    assert walk.position() == 0
    assert send(walk, quantity=1, price=100).reason == Reason.FLAT_BY


def test_an_amount_of_money_is_no_quantity_where_no_operator_reads_it():
    settings = Settings.model_validate({"groups": {"desk": {"broker": "simulator"}}})
    walk = Walk(settings, lambda alerts, desk: alerts)

    ticket = send(walk, quantity=1000, quantity_type="cash")

    assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.SIZED_TO_ZERO)
    assert "no size operator" in ticket.trail[-1].text


@pytest.mark.parametrize(
    ("symbol", "moment", "ends"),
    [
        ("AAPL", (2026, 3, 2, 15, 0), (2026, 3, 2, 21, 0)),  # 16:00 in New York
        ("AAPL", (2026, 3, 2, 22, 0), (2026, 3, 3, 21, 0)),  # after the close: the next session
        ("AAPL", (2026, 11, 27, 15, 0), (2026, 11, 27, 18, 0)),  # an early close
        ("ES1!", (2026, 3, 2, 15, 0), (2026, 3, 2, 22, 0)),  # 16:00 in Chicago
        ("BTCUSDT", (2026, 3, 2, 15, 0), (2026, 3, 3, 0, 0)),  # always open
    ],
)
def test_a_day_order_ends_with_its_markets_session(symbol, moment, ends):
    assert day_ends(symbol, datetime(*moment, tzinfo=UTC)) == datetime(*ends, tzinfo=UTC)


def test_what_was_set_is_told_in_words():
    walk = desk()
    walk.command("limits", scope="desk", limits={"quantity": {"*": "5", "ES": "2"}, "orders_per_day": 20})

    assert walk.rows("notices")[-1].text == (
        "The limits in desk are quantity 5, quantity of ES 2, orders_per_day 20: a test."
    )


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"quantity": {"*": -1}}, 'The limit quantity."*": is too small; give 0 or more.'),
        ({"quantity": -1}, "The limit quantity: is too small; give 0 or more."),
        ({"quantty": 5}, "The limit quantty: unknown key; did you mean quantity?"),
        ({"day_loss": "much"}, "The limit day_loss: is not a number; give a number such as 1.5."),
    ],
)
def test_what_is_no_limit_is_refused_with_what_to_do(limits, told):
    with pytest.raises(RequestError) as refused:
        asyncio.run(Desk(Settings()).set_limits(limits))

    assert str(refused.value) == told
