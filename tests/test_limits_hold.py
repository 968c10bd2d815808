"""Whatever alerts, prices and fills come, in whatever order: no limit is exceeded, no exit is stopped."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Status

STRATEGIES = ("one", "two", "three")
LIMITS = {
    "quantity": 4,
    "position": 6,
    "gross": 900,
    "orders_per_day": 12,
    "day_loss": 60,
    "drawdown": 80,
    "losses_in_a_row": 3,
    "cool_down_s": 600,
}

prices = st.integers(80, 120)
names = st.sampled_from(STRATEGIES)
steps = st.one_of(
    st.tuples(st.just("buy"), names, st.integers(1, 6), prices),
    st.tuples(st.just("sell"), names, st.integers(1, 6), prices),
    st.tuples(st.just("limit"), names, st.integers(1, 4), prices),
    st.tuples(st.just("exit"), names, st.none(), prices),
    st.tuples(st.just("price"), st.none(), st.none(), prices),
    st.tuples(st.just("wait"), st.none(), st.integers(1, 4000), st.none()),
    st.tuples(st.just("limits"), st.none(), st.integers(1, 6), st.none()),
    st.tuples(st.sampled_from(["halt", "resume", "reduce"]), st.none(), st.none(), st.none()),
    st.tuples(st.just("restart"), st.none(), st.none(), st.none()),
)


def desk(broker):
    group = {"broker": broker, "sides": "both", "cash": 1000, "limits": LIMITS}
    if broker != "simulator":
        group |= {"live": True, "strategies": STRATEGIES}
    told = {"secrets": ("a-webhook-secret",), "groups": {"desk": group}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",))


class Held:
    """A walk, what the limits are at the moment, and what has to be true after every step."""

    def __init__(self, broker):
        self.walk, self.outside, self.most = desk(broker), broker != "simulator", 6

    def do(self, step):
        kind, name, amount, price = step
        walk, before = self.walk, len(self.walk.orders())
        match kind:
            case "price":
                walk.price(price=price)
            case "wait":
                walk.tick(after=amount)
            case "limits":
                self.most = amount
                walk.command("limits", scope="desk", limits={**LIMITS, "position": amount})
            case "halt" | "resume" | "reduce":
                walk.command(kind, scope="desk")
            case "restart":
                walk.restart()
            case "exit":
                self.exit(name, price)
            case "limit":
                level = {"order_type": "limit", "limit_price": price - 5}
                self.send(strategy=name, action="buy", quantity=amount, price=price, **level)
            case _:
                self.send(strategy=name, action=kind, quantity=amount, price=price)
        self.hold(walk.orders()[before:])

    def send(self, **fields):
        (ticket,) = self.walk.alert(account_group="desk", **fields)
        self.fill(fields["price"])
        return ticket

    def fill(self, price):
        """The outside broker fills at once, and withdraws what it is told to."""
        state = self.walk.desk.engine.state
        while self.outside and (busy := [one for one in state.orders.values() if one.unsettled]):
            if busy[0].cancelling:
                self.walk.report(busy[0], "cancelled", call="cancel", after=0)
            else:
                self.walk.filled(busy[0], price, after=0)

    def exit(self, name, price):
        ticket = self.send(strategy=name, action="exit", quantity=None, price=price)
        (after,) = self.walk.tickets(ticket.seq)
        assert after.status in (Status.FILLED, Status.DONE)
        assert self.walk.position(name) == 0

    def hold(self, fresh):
        """No new opening order is larger than it may be, or leads to a larger position than it may."""
        net = sum((self.walk.position(name) for name in STRATEGIES), Decimal(0))
        openings = [order for order in fresh if order.leg is Leg.OPEN]
        assert all(order.quantity <= LIMITS["quantity"] for order in openings)
        for order in openings:
            open_ = self.walk.desk.engine.state.orders.values()
            same = [one.remaining for one in open_ if one.leg is Leg.OPEN and one.side is order.side]
            assert net * order.side.sign + sum(same) <= self.most


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=40), st.sampled_from(["simulator", "scripted"]))
def test_no_limit_is_exceeded_and_every_exit_gets_out(script, broker):
    held = Held(broker)
    for step in script:
        held.do(step)

    openings = [order for order in held.walk.orders() if order.leg is Leg.OPEN]
    days = {order.submitted_at.date() for order in openings}
    for day in days:
        assert sum(order.submitted_at.date() == day for order in openings) <= LIMITS["orders_per_day"]
    for name in STRATEGIES:
        held.exit(name, 100)
