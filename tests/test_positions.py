"""What must hold for every ledger, whatever alerts, fills, refusals, restarts and halts come."""

from collections import Counter, defaultdict
from decimal import Decimal
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import OUTCOMES
from ttflow.words import encode

PROTECTIVE = (Leg.STOP_LOSS, Leg.TAKE_PROFIT)
STRATEGIES = ("one", "two")
PRICES = st.integers(80, 120)

alerts = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(STRATEGIES),
        "action": st.sampled_from(
            ["buy", "sell", "buy", "sell", "exit", "reverse", "target", "cancel", "update"]
        ),
        "quantity": st.integers(1, 4),
        "price": PRICES,
    },
    optional={
        "position_size": st.integers(-3, 3),
        "order_type": st.sampled_from(["market", "limit"]),
        "limit_price": PRICES,
        "stop_loss": st.fixed_dictionaries(
            {"offset": st.integers(1, 20)}, optional={"trail": st.booleans(), "break_even": st.integers(1, 9)}
        ),
        "take_profit": st.fixed_dictionaries({"offset": st.integers(1, 20)}),
        "cancel_after": st.integers(1, 20),
        "prev_market_position": st.sampled_from(["long", "short", "flat"]),
    },
)


def sound(alert):
    """Make a drawn alert one that the parser takes."""
    given_ = dict(alert)
    if given_["action"] == "target":
        given_.setdefault("position_size", 0)
        given_["quantity"] = None
    if given_["action"] in ("exit", "reverse") and given_["quantity"] > 2:
        given_["quantity"] = None
    return given_


class Book(RuleBasedStateMachine):
    """One paper group of two accounts, driven at random."""

    group: ClassVar = {"broker": "simulator", "accounts": ({"name": "a"}, {"name": "b", "multiplier": "2"})}

    @initialize()
    def begin(self):
        self.walk = self.fresh()

    def fresh(self):
        given_ = {"secrets": ("a-webhook-secret",), "groups": {"desk": self.group}}
        return Walk(Settings.model_validate(given_), connected=("desk",))

    @rule(alert=alerts, after=st.sampled_from([0, 0.2, 1, 30]))
    def send(self, alert, after):
        self.walk.alert(account_group="desk", after=after, **sound(alert))

    @rule(price=PRICES)
    def price(self, price):
        self.walk.price(price=price)

    @rule(seconds=st.sampled_from([0.5, 1, 5, 61]))
    def wait(self, seconds):
        self.walk.tick(after=seconds)

    @rule(command=st.sampled_from(["halt", "resume"]), scope=st.sampled_from(["*", "desk", "desk/one"]))
    def switch(self, command, scope):
        self.walk.command(command, scope=scope)

    @rule(scope=st.sampled_from(["*", "*/two"]))
    def flatten(self, scope):
        self.walk.command("flatten", scope=scope)

    @rule(strategy=st.sampled_from(STRATEGIES), mode=st.sampled_from(["live", "paper", "halted", "auto"]))
    def mode(self, strategy, mode):
        self.walk.command("mode", strategy=strategy, mode=mode)

    @rule()
    def restart(self):
        before = sorted((change.table, encode(change.row)) for change in self.state.snapshot())
        self.walk.restart()

        assert sorted((change.table, encode(change.row)) for change in self.state.snapshot()) == before

    @property
    def state(self):
        return self.walk.desk.engine.state

    @invariant()
    def nothing_failed(self):
        assert not [notice for notice in self.walk.rows("notices") if notice.kind == "failure"]

    @invariant()
    def every_ledger_is_the_sum_of_its_fills_and_no_exit_ever_flips_one(self):
        legs = {order.order_id: order.leg for order in self.walk.rows("orders")}
        held = defaultdict(Decimal)
        for fill in self.walk.fills:
            key = (fill.strategy, fill.account_group, fill.account)
            before, after = held[key], held[key] + fill.signed
            if legs[fill.order_id] is not Leg.OPEN and not self.may_overshoot(fill):
                assert abs(after) < abs(before)
                assert before * after >= 0
            held[key] = after
        assert held == {
            row.key[:3]: row.position for row in self.state.ledgers.values() if row.key[:3] in held
        }

    def may_overshoot(self, fill):
        return False

    @invariant()
    def no_order_has_the_id_of_another(self):
        made = Counter()
        for decision in self.walk.decisions:
            for change in decision.changes:
                if change.table == "orders" and change.row.seq == decision.seq:
                    made[change.row.order_id, change.row.quantity, change.row.submitted_at] += 1
        assert max(made.values(), default=1) == 1
        filled = Counter(
            change.row.fill_id for d in self.walk.decisions for change in d.changes if change.table == "fills"
        )
        assert max(filled.values(), default=1) == 1

    @invariant()
    def protection_equals_the_ledger(self):
        for ledger in self.state.ledgers.values():
            orders = self.state.orders_of(ledger.key)
            if any(order.unsettled for order in orders) or (ledger.bracket and ledger.bracket.refused):
                continue
            stops = sum(order.remaining for order in orders if order.leg is Leg.STOP_LOSS)
            targets = sum(order.remaining for order in orders if order.leg is Leg.TAKE_PROFIT)
            wanted = ledger.bracket is not None and ledger.bracket.stop is not None
            assert stops == (abs(ledger.position) if wanted else 0)
            assert targets <= abs(ledger.position)

    @invariant()
    def what_waits_for_a_time_or_follows_the_price_is_what_looking_at_everything_finds(self):
        state, ledgers = self.state, self.state.ledgers.values()
        times = [at for order in state.orders.values() for at in (order.expires_at, order.wakes_at)]
        times += [ticket.until for ticket in state.tickets.values()]
        times += [account.unseen_since for account in state.accounts.values()]
        times += [firm.due for firm in state.firms.values()]
        times += [ledger.leave_by for ledger in ledgers]
        times += [ledger.flattening.until for ledger in ledgers if ledger.flattening]
        times += [ledger.bracket.refused_at for ledger in ledgers if ledger.bracket]
        assert state.waits_until == min(filter(None, times), default=None)
        moving = {ledger.key for ledger in ledgers if ledger.bracket and ledger.bracket.follows}
        assert {ledger.key for ledger in state.following()} == moving

    @invariant()
    def every_alert_has_one_ticket_for_each_account_it_concerns(self):
        counts = Counter(
            (ticket.seq, ticket.account.removesuffix("~paper")) for ticket in self.walk.tickets()
        )
        alerts_kept = [item.seq for item in self.walk.inputs if item.kind == "alert"]
        names = [account["name"] for account in self.group["accounts"]]
        assert set(counts) == {(seq, name) for seq in alerts_kept for name in names}
        self.no_ticket_twice(counts)

    def no_ticket_twice(self, counts):
        assert set(counts.values()) <= {1}

    def teardown(self):
        if hasattr(self, "walk"):
            self.come_to_rest()
            self.check_rest()
            self.check_replay()

    def come_to_rest(self):
        self.walk.command("script", scope="desk/a", steps=[])
        self.walk.command("script", scope="desk/b", steps=[])
        for _ in range(8):
            self.walk.tick(after=61)

    def check_rest(self):
        """No exit is left undone while the broker would take it."""
        for ticket in self.walk.tickets():
            if ticket.alert.action in ("exit", "cancel", "update"):
                resting = [o for o in self.state.orders.values() if o.ticket_seq == ticket.seq]
                assert ticket.status in OUTCOMES or resting, ticket
        assert not [ledger for ledger in self.state.ledgers.values() if ledger.flattening]

    def check_replay(self):
        applied = map(self.fresh().desk.engine.apply, self.walk.inputs)
        replayed = [one.decision.to_json() for one in applied]
        assert replayed == [decision.to_json() for decision in self.walk.decisions]


class ScriptedBook(Book):
    """The same, with a simulator that refuses, delays and fills in parts."""

    @rule(
        account=st.sampled_from(["a", "b"]),
        steps=st.lists(st.sampled_from(["refuse", "partial 1", "delay 3", "accept"]), max_size=4),
    )
    def script(self, account, steps):
        self.walk.command("script", scope=f"desk/{account}", steps=steps)


class LiveBook(Book):
    """One live account at a broker that answers when, and what, it likes."""

    group: ClassVar = {
        "broker": "scripted",
        "live": True,
        "sides": "both",
        "strategies": STRATEGIES,
        "accounts": ({"name": "main"},),
    }

    @initialize()
    def begin(self):
        super().begin()
        self.done = 0
        self.by_hand = 0
        self.outside = {}

    def may_overshoot(self, fill):
        """Whether a broker filled what could not be withdrawn in time: then it is told, and flattened."""
        return any(
            notice.kind == "overshoot" and notice.seq <= fill.seq for notice in self.walk.rows("notices")
        )

    def no_ticket_twice(self, counts):
        assert set(counts.values()) <= {1, 2}  # a leg may move between the live book and its shadow

    def take(self):
        """Let the effects reach the broker: an order arrives once, a cancel finds it or not."""
        for effect in self.walk.sent[self.done :]:
            order_id = effect.order.order_id
            if effect.kind == "submit":
                assert order_id not in self.outside, "an order was sent twice"
                self.outside[order_id] = "submitted"
        self.done = len(self.walk.sent)

    def open_orders(self):
        self.take()
        return sorted(one for one in self.state.orders if one in self.outside)

    @precondition(lambda self: bool(self.open_orders()))
    @rule(
        which=st.integers(0, 20),
        what=st.sampled_from(["fill", "fill", "part", "accept", "refuse", "unknown", "cancel"]),
        price=PRICES,
    )
    def answer(self, which, what, price):
        orders = self.open_orders()
        order = self.state.orders[orders[which % len(orders)]]
        if what == "fill":
            self.walk.filled(order, price)
        elif what == "part":
            self.walk.filled(order, price, min(Decimal(1), order.remaining))
        elif what == "cancel":
            self.walk.report(order, "cancelled")
        else:
            self.walk.report(order, {"accept": "accepted", "refuse": "refused"}.get(what, what))

    @rule()
    def start(self):
        self.walk.start()

    @rule(quantity=st.integers(-3, 3))
    def trade_by_hand(self, quantity):
        """What the person does at the broker, which the desk learns of by its next snapshots."""
        self.by_hand += quantity

    def net(self):
        """What the broker holds: its fills, and the person's trades."""
        live = (fill for fill in self.walk.fills if fill.mode == "live")
        manual = {order.order_id for order in self.walk.rows("orders") if order.broker == "manual"}
        return self.by_hand + sum(fill.signed for fill in live if fill.order_id not in manual)

    @rule(after=st.sampled_from([1, 6]))
    def snapshot(self, after):
        net = self.net()
        self.walk.snapshot({"AAPL": net} if net else {}, after=after)

    def come_to_rest(self):
        self.settle_orders()
        for _ in range(2):
            self.snapshot(6)
        self.settle_orders()
        for _ in range(2):
            self.snapshot(6)

    def check_rest(self):
        super().check_rest()
        held = sum(row.position for row in self.state.ledgers.values() if row.account == "main")
        unsettled = [order for order in self.state.orders.values() if order.unsettled]
        assert unsettled or held == self.net(), "ledgers plus manual are not what the broker holds"

    def settle_orders(self):
        for _ in range(60):
            for one in self.open_orders():
                order = self.state.orders.get(one)
                if order is None:
                    continue
                if order.cancelling:
                    self.walk.report(order, "cancelled")
                elif order.type == "market" or order.status in ("unknown", "submitting"):
                    self.walk.filled(order, 100)
            self.walk.tick(after=61)


run = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestBook = Book.TestCase
TestBook.settings = run
TestScriptedBook = ScriptedBook.TestCase
TestScriptedBook.settings = run
TestLiveBook = LiveBook.TestCase
TestLiveBook.settings = run
