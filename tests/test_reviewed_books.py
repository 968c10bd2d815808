"""What a review found of books: months of one future, orders in doubt, lost fills, orders of others."""

import json

import pytest
from pydantic import ValidationError

from ttflow.errors import SettingsError
from ttflow.inputs import Kind
from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings, load
from ttflow.testing import Walk

NEAR, NEXT = "ESH2026", "ESM2026"


def live(**fields):
    group = {"broker": "scripted", "live": True, "sides": "both", "strategies": ("walker", "other"), **fields}
    settings = {"secrets": ("a-webhook-secret",), "groups": {"desk": group}}
    return Walk(Settings.model_validate(settings), connected=("desk",))


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def held(walk, quantity=2, strategy="walker", symbol="AAPL", price=100, **fields):
    """Let a strategy hold something that its broker has filled, with the protection that it asks for."""
    send(walk, strategy=strategy, action="buy", quantity=quantity, symbol=symbol, price=price, **fields)
    entry = next(order for order in reversed(walk.orders(leg=Leg.OPEN)) if order.strategy == strategy)
    walk.filled(entry, price)
    for order in standing(walk):
        if order.status is OrderStatus.SUBMITTING:
            walk.report(order, "accepted", call="submit", broker_order_id=f"b-{order.order_id}")


def in_doubt(walk, strategy="other", quantity=1, action="buy", **fields):
    """An order of a strategy that nobody knows to have arrived."""
    send(walk, strategy=strategy, action=action, quantity=quantity, **fields)
    order = walk.orders(strategy=strategy)[-1]
    walk.report(order, "unknown", call="submit")
    return order


def standing(walk):
    return [order for order in walk.orders() if not order.ended and order.broker == "scripted"]


def protection(walk):
    return {order.leg: order for order in standing(walk) if order.leg in (Leg.STOP_LOSS, Leg.TAKE_PROFIT)}


def shown(*orders):
    """These orders as a broker shows them among those that work."""
    return [
        {
            "broker_order_id": order.broker_order_id,
            "order_id": order.order_id,
            "symbol": order.symbol,
            "side": order.side.value,
            "quantity": str(order.remaining),
        }
        for order in orders
    ]


def settled(walk, positions, working=()):
    """Let the broker show the same for long enough that it is booked."""
    for _ in range(3):
        walk.snapshot(positions, working=list(working), after=4)


def told(walk, kind):
    return [row.text for row in walk.rows("notices") if row.kind == kind]


def closes(walk):
    """What was sent to close or to open, but for protection: leg, quantity and symbol."""
    orders = [effect.order for effect in walk.sent if effect.kind in ("submit", "close")]
    return [(str(one.leg), one.quantity, one.symbol) for one in orders if one.leg is Leg.CLOSE]


class TestTheMonthsOfAFuture:
    def walk(self):
        walk = live()
        held(walk, symbol="ES1!", price=5000, stop_loss={"offset": 10}, take_profit={"offset": 20})
        return walk

    def test_a_roll_by_hand_closes_the_ledger_and_the_next_month_is_the_persons(self):
        walk = self.walk()

        settled(walk, {NEXT: 2}, shown(*standing(walk)))

        assert (walk.position(), walk.position("manual")) == (0, 2)
        assert all(order.cancelling for order in protection(walk).values())
        send(walk, symbol="ES1!", action="exit", quantity=None, price=5000)
        assert closes(walk) == []

    def test_before_that_is_booked_an_exit_closes_nothing(self):
        walk = self.walk()
        walk.snapshot({NEXT: 2}, working=shown(*standing(walk)))

        send(walk, symbol="ES1!", action="exit", quantity=None, price=5000)
        for order in standing(walk):
            walk.report(order, "cancelled", call="cancel")
        walk.tick(after=6)

        assert closes(walk) == []

    def test_a_spread_by_hand_leaves_the_position_and_its_stop_alone(self):
        walk = self.walk()

        settled(walk, {NEAR: 2, NEXT: -2}, shown(*standing(walk)))

        assert (walk.position(), walk.position("manual")) == (2, -2)
        assert [order.quantity for order in protection(walk).values()] == [2, 2]
        assert not any(order.cancelling for order in protection(walk).values())

    def test_and_its_exit_closes_what_it_holds(self):
        walk = self.walk()
        settled(walk, {NEAR: 2, NEXT: -2}, shown(*standing(walk)))

        send(walk, symbol="ES1!", action="exit", quantity=None, price=5000)
        for order in standing(walk):
            walk.report(order, "cancelled", call="cancel")

        assert closes(walk) == [("close", 2, NEAR)]

    def test_a_person_may_hold_two_months_and_both_are_known(self):
        walk = live()

        settled(walk, {NEAR: 1, NEXT: -3})

        ledgers = [row for row in walk.rows("ledgers") if row.strategy == "manual"]
        assert sorted((row.contract, row.position) for row in ledgers) == [(NEAR, 1), (NEXT, -3)]
        assert walk.desk.engine.net("desk", "main", "ES") == -2
        settled(walk, {NEXT: -1})
        ledgers = [row for row in walk.rows("ledgers") if row.strategy == "manual"]
        assert sorted((row.contract, row.position) for row in ledgers if row.position) == [(NEXT, -1)]

    def test_a_restart_knows_them_too(self):
        walk = self.walk()
        walk.snapshot({NEAR: 2, NEXT: -2}, working=shown(*standing(walk)))

        walk.restart()
        settled(walk, {NEAR: 2, NEXT: -2}, shown(*standing(walk)))

        assert (walk.position(), walk.position("manual")) == (2, -2)


class TestBesideAnOrderInDoubt:
    def test_a_close_by_hand_that_no_outcome_explains_is_known_at_once(self):
        walk = live()
        held(walk)
        in_doubt(walk)
        walk.snapshot({}, working=[])

        send(walk, action="exit", quantity=None)

        assert closes(walk) == []
        assert told(walk, "mismatch")

    def test_and_is_booked_once_it_has_stood(self):
        walk = live()
        held(walk, stop_loss={"price": 90})
        in_doubt(walk)

        settled(walk, {}, shown(*protection(walk).values()))

        assert walk.position() == 0
        assert protection(walk)[Leg.STOP_LOSS].cancelling

    @pytest.mark.parametrize("net", [2, 3])
    def test_what_the_order_may_have_done_is_no_mismatch(self, net):
        walk = live()
        held(walk)
        in_doubt(walk)

        settled(walk, {"AAPL": net})

        assert (walk.position(), walk.position("manual"), told(walk, "mismatch")) == (2, 0, [])
        send(walk, action="exit", quantity=None)
        assert closes(walk) == [("close", 2, "AAPL")]

    def test_only_what_goes_beyond_it_is_booked(self):
        walk = live()
        held(walk)
        in_doubt(walk)

        settled(walk, {"AAPL": 5})

        assert walk.position("manual") == 2

    def test_an_order_in_another_month_explains_nothing(self):
        walk = live()
        held(walk, symbol="ES1!", price=5000)
        in_doubt(walk, symbol="ES1!", price=5000)

        settled(walk, {NEAR: 2, NEXT: 1})

        assert walk.position("manual") == 1

    def test_adopted_it_is_filled_with_what_the_broker_holds_of_its_own_month(self):
        walk = live()
        order = in_doubt(walk, quantity=2, symbol="ES1!", price=5000)
        walk.snapshot({NEAR: 1, NEXT: -1}, working=[])

        walk.command("orders", verb="adopt", order_id=order.order_id)

        assert walk.position("other") == 1


class TestAFillThatWasNotTold:
    def stopped(self):
        """The stop has filled, and nobody says so: it works no more, and nothing is held."""
        walk = live()
        held(walk, stop_loss={"price": 90}, take_profit={"price": 120})
        self.stop = protection(walk)[Leg.STOP_LOSS]
        return walk

    def test_it_is_not_taken_for_a_close_by_hand_while_nobody_has_answered(self):
        walk = self.stopped()

        settled(walk, {})

        assert (walk.position(), told(walk, "manual_trade")) == (2, [])
        assert walk.desk.engine.state.books["desk", "main", "AAPL"].mismatch_since

    def test_nothing_is_closed_or_protected_again_meanwhile(self):
        walk = self.stopped()
        walk.snapshot({}, working=[], after=6)
        before = len(walk.sent)

        for order in protection(walk).values():
            walk.report(order, "cancelled", call="find")
        send(walk, action="exit", quantity=None)
        walk.tick(after=6)

        assert [effect.kind for effect in walk.sent[before:] if effect.kind != "find"] == []

    def test_when_it_is_told_it_is_booked_once(self):
        walk = self.stopped()
        settled(walk, {})

        walk.filled(self.stop, 90)
        settled(walk, {})

        assert (walk.position(), walk.position("manual")) == (0, 0)
        assert told(walk, "manual_trade") == told(walk, "overshoot") == []

    def test_a_person_who_closes_and_withdraws_all_is_noticed_when_the_broker_says_so(self):
        walk = self.stopped()
        settled(walk, {})

        for order in protection(walk).values():
            walk.report(order, "cancelled", call="find")
        walk.snapshot({}, working=[])

        assert walk.position() == 0

    def test_an_order_that_nobody_answers_for_holds_it_back_for_a_minute_at_most(self):
        walk = self.stopped()

        walk.snapshot({}, working=[])
        walk.snapshot({}, working=[], after=61)

        assert walk.position() == 0

    def taken(self):
        walk = self.stopped()
        walk.snapshot({}, working=[])
        walk.snapshot({}, working=[], after=61)
        return walk

    @pytest.mark.parametrize("restarts", [False, True])
    def test_told_after_it_was_booked_as_manual_it_is_taken_back_and_booked_once(self, restarts):
        walk = self.taken()
        if restarts:
            walk.restart()

        walk.filled(self.stop, 90)
        walk.tick(after=6)

        assert (walk.position(), walk.position("manual")) == (0, 0)
        assert told(walk, "overshoot") == []
        assert closes(walk) == []
        assert sum(trade.net_pnl for trade in walk.trades) == -20  # as the stop filled it, and nothing else

    def test_what_it_was_taken_from_wrongly_gets_it_back(self):
        walk = live()
        held(walk, strategy="other")
        held(walk, stop_loss={"price": 90})
        stop = protection(walk)[Leg.STOP_LOSS]
        walk.snapshot({"AAPL": 2}, working=[])
        walk.snapshot({"AAPL": 2}, working=[], after=61)
        assert (walk.position("other"), walk.position()) == (0, 2)

        walk.filled(stop, 90)

        assert (walk.position("other"), walk.position()) == (2, 0)
        assert "other holds 2 again, without a stop" in told(walk, "manual_trade")[-1]

    def test_an_entry_that_filled_unseen_comes_out_of_manual(self):
        walk = live()
        send(walk, action="buy", quantity=3, order_type="limit", limit_price=90)
        entry = walk.orders()[-1]
        walk.report(entry, "accepted", call="submit", broker_order_id="b")
        walk.snapshot({"AAPL": 3}, working=[])
        walk.snapshot({"AAPL": 3}, working=[], after=61)
        assert walk.position("manual") == 3

        walk.filled(entry, 90, 2)

        assert (walk.position(), walk.position("manual")) == (2, 1)

    def test_a_fill_of_later_is_one_of_its_own(self):
        walk = self.taken()

        send(walk, strategy="other", action="sell", quantity=2)
        walk.filled(walk.orders(strategy="other")[-1], 100)

        assert walk.position("other") == -2
        assert walk.position() == 0

    def test_a_fill_that_the_broker_dates_after_it_is_one_of_its_own(self):
        walk = live()
        send(walk, strategy="other", action="buy", quantity=1, order_type="limit", limit_price=90)
        entry = walk.orders()[-1]
        walk.report(entry, "accepted", call="submit", broker_order_id="b")
        settled(walk, {"AAPL": 1}, shown(entry))
        assert walk.position("manual") == 1
        at = walk.clock.advance(60).isoformat()

        walk.report(
            entry,
            "filled",
            fills=({"fill_id": "f", "quantity": "1", "price": "90", "at": at},),
            after=10,
        )

        assert (walk.position("other"), walk.position("manual")) == (1, 1)

    def test_a_rest_that_the_broker_shows_as_less_is_looked_up_and_not_taken_over(self):
        walk = live()
        send(walk, action="buy", quantity=3, order_type="limit", limit_price=90)
        entry = walk.orders()[-1]
        walk.report(entry, "accepted", call="submit", broker_order_id="b")

        settled(walk, {"AAPL": 2}, [{**shown(entry)[0], "quantity": "1"}])

        assert walk.position("manual") == 0
        assert walk.sent[-1].kind == "find"


class TestAnAdoptedOrder:
    def adopted(self, held_there=2):
        walk = live()
        self.order = in_doubt(walk, strategy="walker", quantity=2)
        walk.snapshot({"AAPL": held_there}, working=[])
        walk.command("orders", verb="adopt", order_id=self.order.order_id)
        return walk

    def tell(self, walk, fill_id, quantity, price=101):
        fill = {"fill_id": fill_id, "quantity": str(quantity), "price": str(price), "commission": "4"}
        walk.report(self.order, "filled", fills=(fill,))

    @pytest.mark.parametrize("restarts", [False, True])
    def test_its_fill_told_later_is_not_booked_again(self, restarts):
        walk = self.adopted()
        if restarts:
            walk.restart()

        for _ in range(2):
            self.tell(walk, "late", 2)

        assert walk.position() == 2
        assert told(walk, "overfill") == told(walk, "late_fill") == []
        assert "at 101" in told(walk, "orders")[-1]

    def test_nor_are_its_parts(self):
        walk = self.adopted()

        self.tell(walk, "one", 1)
        self.tell(walk, "two", 1)

        assert walk.position() == 2

    def test_only_what_exceeds_what_was_adopted_is_booked(self):
        walk = self.adopted(held_there=1)
        assert walk.position() == 1

        self.tell(walk, "late", 2)

        assert walk.position() == 2
        assert [(fill.quantity, fill.price, fill.commission) for fill in walk.fills[1:]] == [(1, 101, 2)]

    def test_what_was_closed_meanwhile_stays_closed(self):
        walk = self.adopted()
        send(walk, action="exit", quantity=None)
        walk.filled(walk.orders(leg=Leg.CLOSE)[-1], 100)

        self.tell(walk, "late", 2)

        assert walk.position() == 0

    def test_what_the_broker_showed_had_it_already(self):
        walk = self.adopted(held_there=3)

        assert walk.position() == 2
        assert walk.desk.engine.state.books["desk", "main", "AAPL"].net == 3

    def test_more_than_was_asked_for_is_booked_as_the_broker_tells_it(self):
        walk = self.adopted()

        self.tell(walk, "late", 2)
        self.tell(walk, "more", 1)

        assert walk.position() == 3
        assert told(walk, "overfill")


class TestOrdersOfOthers:
    def stranger(self, name, number="p"):
        order = {"broker_order_id": number, "order_id": name, "symbol": "AAPL", "side": "buy"}
        return {**order, "quantity": "1"}

    def test_one_under_an_id_that_the_journal_does_not_know_is_told_once(self):
        walk = live()
        working = [self.stranger("tt-of-another-desk")]

        walk.snapshot({}, working=working, after=10)
        walk.restart()
        walk.snapshot({}, working=working, after=10)

        (text,) = told(walk, "stray_order")
        assert "buy 1 AAPL works at the broker under tt-of-another-desk" in text
        assert walk.sent == []

    def test_each_is_told_and_one_that_comes_back_is_told_again(self):
        walk = live()
        walk.snapshot({}, working=[self.stranger("tt-a", "1")])
        walk.snapshot({}, working=[self.stranger("tt-a", "1"), self.stranger("tt-b", "2")])
        walk.snapshot({}, working=[])
        walk.snapshot({}, working=[self.stranger("tt-a", "1")])

        assert len(told(walk, "stray_order")) == 3

    @pytest.mark.parametrize("name", [None, "my own"])
    def test_a_persons_own_is_told_too(self, name):
        walk = live()

        for _ in range(2):
            walk.snapshot({}, working=[self.stranger(name)])

        assert len(told(walk, "manual_order")) == 1
        assert walk.sent == []

    def test_the_desks_own_are_not(self):
        walk = live()
        held(walk, stop_loss={"price": 90}, take_profit={"price": 120})

        walk.snapshot({"AAPL": 2}, working=shown(*standing(walk)), after=10)

        assert told(walk, "stray_order") == told(walk, "manual_order") == []

    def test_nor_is_one_without_a_name_that_may_be_one_of_them(self):
        walk = live()
        held(walk, stop_loss={"price": 90})

        walk.snapshot({"AAPL": 2}, working=[self.stranger(None)], after=10)

        assert told(walk, "manual_order") == []

    def test_an_order_of_another_group_says_that_both_have_one_account(self):
        walk = live()
        held(walk, stop_loss={"price": 90})
        order = {"account_group": "twin", "account": "main", "positions": {}, "working": []}
        order["working"] = shown(*standing(walk))

        walk.put(Kind.REPORT, json.dumps({"snapshot": order}))

        assert "was sent for desk/main: both are one account" in told(walk, "stray_order")[0]


CREDENTIALS = {
    "tradovate": {"username": "u", "password": "p", "cid": "1", "sec": "s", "device_id": "d"},
    "topstepx": {"username": "u", "api_key": "k"},
}


def desk_of(**groups):
    """Settings with these groups, each live at Tradovate unless it says otherwise."""
    made = {name: {"broker": "tradovate", "live": True, **given} for name, given in groups.items()}
    told = {"secrets": ("a-webhook-secret",), "credentials": CREDENTIALS, "groups": made}
    return Settings.model_validate(told)


def accounts(*names):
    return {"accounts": [{"name": name} for name in names]}


class TestOneAccountInTwoPlaces:
    def test_two_groups_at_one_account_are_refused(self):
        with pytest.raises(ValidationError, match="DEMO1 is an account of the group one at the same broker"):
            desk_of(one=accounts("DEMO1"), two=accounts("DEMO2", "DEMO1"))

    def test_so_are_two_that_leave_the_account_to_the_sign_in(self):
        with pytest.raises(ValidationError, match="main is an account of the group one"):
            desk_of(one={}, two={})

    @pytest.mark.parametrize("names", [("main", "DEMO1"), ("DEMO1", "main")])
    def test_so_is_the_only_account_beside_one_with_a_name(self, names):
        with pytest.raises(ValidationError, match="main is the only account of a sign-in"):
            desk_of(one=accounts(*names))
        with pytest.raises(ValidationError, match="main is the only account of a sign-in"):
            desk_of(one=accounts(names[0]), two=accounts(names[1]))

    @pytest.mark.parametrize(
        "other",
        [
            {"live": False},
            {"broker": "simulator"},
            {"environment": "demo"},
            {"broker": "projectx"},
            {"base_url": "http://127.0.0.1:8101"},
            accounts("DEMO2"),
        ],
    )
    def test_what_is_another_account_or_trades_on_paper_is_taken(self, other):
        settings = desk_of(one=accounts("DEMO1"), two={**accounts("DEMO1"), **other})

        assert len(settings.groups) == 2

    def test_the_line_that_stops_the_start_names_the_place_and_the_remedy(self, tmp_path):
        group = '[groups.{}]\nbroker = "tradovate"\nlive = true\n'
        (tmp_path / "ttflow.toml").write_text(group.format("one") + group.format("two"))

        with pytest.raises(SettingsError, match=r"groups\.two\.accounts.*let one group trade it"):
            load(environ={"TRADINGVIEW_WEBHOOK_SECRET": "a-webhook-secret"}, cwd=tmp_path)
