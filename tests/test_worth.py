"""What an account at a broker is worth between two of the broker's own words on it."""

from decimal import Decimal

import pytest

from ttflow.firms import opt_in_sentence
from ttflow.settings import Settings
from ttflow.testing import Walk

GROUP = {
    "broker": "scripted",
    "live": True,
    "strategies": ("walker",),
    "sides": "both",
    "firm": "topstep",
    "program": "combine",
    "size": "50K",
    "automation_opt_in": opt_in_sentence("topstep"),
}


def holding(quantity=2, price=5000):
    """A desk that holds contracts of ES, bought at a price just told; one point is 50 for each."""
    given = {"secrets": ("a-webhook-secret",), "groups": {"desk": GROUP}, "flow": {"expire_s": 0}}
    walk = Walk(Settings.model_validate(given), connected=("desk",))
    walk.snapshot({}, equity=50_000)
    walk.alert(account_group="desk", symbol="ES1!", action="buy", quantity=quantity, price=price)
    walk.filled(walk.sent[-1].order, price)
    return walk


def equity(walk):
    return walk.desk.engine.worth("desk", "main").equity


def state(walk):
    rows = walk.rows("firms")
    return rows[-1].state if rows else "active"


def told(walk, price, open_profit=None, after=10):
    """The broker tells what the account is worth with the market at a price that the desk has not seen."""
    profit = (Decimal(price) - 5000) * 2 * 50
    return walk.snapshot(
        {"ESH2026": 2},
        equity=50_000 + profit,
        open_profit=profit if open_profit is None else open_profit,
        after=after,
    )


def test_a_price_that_confirms_what_the_broker_told_counts_its_loss_once():
    walk = holding()
    told(walk, 4991)
    assert equity(walk) == 49_100

    walk.price("ES1!", 4991)

    assert equity(walk) == 49_100
    assert state(walk) != "breached"


def test_a_price_after_the_brokers_word_moves_it_by_the_difference():
    walk = holding()
    told(walk, 4991)

    walk.price("ES1!", 4992)

    assert equity(walk) == 49_200


def test_a_close_at_the_brokers_price_leaves_what_the_broker_told():
    walk = holding()
    told(walk, 4991)
    walk.alert(account_group="desk", symbol="ES1!", action="exit", quantity=None, price=4991)
    walk.filled(walk.sent[-1].order, 4991)

    assert walk.position() == 0
    assert equity(walk) == 49_100
    assert state(walk) != "breached"


def test_an_old_price_is_no_word_on_what_the_broker_counted_as_open():
    """A broker that doesn't say how much is open: what moves after its word is not known until the next."""
    walk = holding()
    walk.snapshot({"ESH2026": 2}, equity=49_400, after=10)
    assert equity(walk) == 49_400

    walk.price("ES1!", 4994)
    assert equity(walk) == 49_400

    walk.alert(account_group="desk", symbol="ES1!", action="exit", quantity=None, price=4994)
    walk.filled(walk.sent[-1].order, 4994)
    assert equity(walk) is None
    assert state(walk) == "reducing"

    walk.snapshot({}, equity=49_400)
    assert equity(walk) == 49_400
    assert state(walk) == "active"


def test_without_any_price_what_is_closed_since_is_not_counted_twice():
    walk = holding()
    told(walk, 4994)
    walk.alert(account_group="desk", symbol="ES1!", action="exit", quantity=1, price=4994)
    walk.desk.engine.state.prices.clear()
    walk.filled(walk.sent[-1].order, 4994)

    assert walk.position() == 1
    assert equity(walk) is None


def test_with_prices_as_new_as_its_word_a_broker_need_not_say_how_much_is_open():
    walk = holding()
    walk.price("ES1!", 4991)
    walk.snapshot({"ESH2026": 2}, equity=49_100)

    walk.price("ES1!", 4990)

    assert equity(walk) == 49_000


@pytest.mark.parametrize("open_profit", [None, "0"])
def test_flat_and_told_so_every_fill_since_counts(open_profit):
    walk = holding()
    walk.alert(account_group="desk", symbol="ES1!", action="exit", quantity=None, price=5000)
    walk.filled(walk.sent[-1].order, 5000)
    walk.snapshot({}, equity=50_000, open_profit=open_profit, after=30)
    walk.alert(account_group="desk", symbol="ES1!", action="buy", quantity=2, price=5000)
    walk.filled(walk.sent[-1].order, 5001)

    assert equity(walk) == 49_900
