"""What an account did lately: what limits count of it, and at what cost one more order is counted."""

from datetime import timedelta

from ttflow.book.activity import MOST, Activity
from ttflow.order import Leg
from ttflow.testing import NINE, Walk
from ttflow.words import evolve


def opening(number, at=NINE, **more):
    """The n-th order that opened something."""
    walk = Walk()
    walk.alert(action="buy", quantity=1, price=100)
    (made,) = walk.orders()
    return evolve(made, seq=number, order_id=f"tt-{number}", submitted_at=at, **more)


def counted(orders):
    """What an account with these orders did."""
    activity = Activity(account_group="desk", account="main")
    for order in orders:
        activity = activity.after(order)
    return activity


ONE = opening(1)


def many(count, every_s=1):
    """Orders one after the other."""
    for number in range(1, count + 1):
        at = NINE + timedelta(seconds=every_s * number)
        yield evolve(ONE, seq=number, order_id=f"tt-{number}", submitted_at=at)


def test_the_last_thousand_openings_are_told_oldest_first():
    found = counted(many(MOST + 500)).openings

    assert len(found) == MOST
    assert [one.at for one in found] == [order.submitted_at for order in many(MOST + 500)][-MOST:]


def test_one_more_opening_leaves_all_blocks_but_the_last_as_they_are():
    before = counted(many(500))
    after = before.after(evolve(ONE, seq=501, order_id="tt-501"))

    assert after.blocks[:-1] == before.blocks[: len(after.blocks) - 1]
    assert all(one is other for one, other in zip(after.blocks[:-1], before.blocks, strict=False))
    assert max(map(len, after.blocks)) < 50


def test_what_is_kept_does_not_grow_with_the_days():
    assert sum(map(len, counted(many(3000)).blocks)) < MOST + 100
    assert sum(map(len, counted(many(3000, every_s=60)).blocks)) < 200


def test_no_opening_of_the_last_hour_is_let_go():
    orders = list(many(300, every_s=60))
    found = [one.at for one in counted(orders).openings]

    last = orders[-1].submitted_at - timedelta(hours=1)
    assert [at for at in found if at > last] == [o.submitted_at for o in orders if o.submitted_at > last]


def test_an_order_counts_once_however_often_its_row_is_written_and_two_of_one_input_both():
    second = evolve(ONE, order_id="tt-other")

    assert len(counted([ONE, second, ONE, second]).openings) == 2


def test_what_closes_is_no_opening():
    assert counted([evolve(ONE, leg=Leg.CLOSE)]).openings == ()
