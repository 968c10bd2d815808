"""Brackets that a broker holds: sent with the entry, changed in place, and never left without a position."""

from decimal import Decimal

import pytest

from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Status

SECRET = ("a-webhook-secret",)
LEVELS = {"stop_loss": {"price": 95}, "take_profit": {"price": 110}}


def live(*can, **group):
    """A walk with one live group at a broker that can do what is said."""
    given = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both", **group}
    settings = Settings.model_validate({"secrets": SECRET, "groups": {"desk": given}})
    return Walk(settings, connected=("desk",), can=can)


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def entered(walk, quantity=2, price=100, **fields):
    """An entry with a bracket, taken and filled by its broker."""
    send(walk, action="buy", quantity=quantity, **{**LEVELS, **fields})
    entry, legs = walk.sent[-1].order, walk.sent[-1].legs
    taken = {leg.order_id: f"b{place}" for place, leg in enumerate(legs)}
    walk.report(entry, "accepted", call="submit", broker_order_id="b", legs=taken)
    walk.filled(entry, price)
    return entry, legs


def standing(walk):
    """The protective orders that have not ended: leg, price, quantity, status."""
    orders = [order for order in walk.desk.engine.state.orders.values() if order.leg is not Leg.OPEN]
    told = [(o.leg.value, o.stop_price or o.limit_price, o.remaining, o.status.value) for o in orders]
    return sorted(told)


def kinds(walk, since=0):
    return [effect.kind for effect in walk.sent[since:]]


class TestGoingOut:
    def test_an_entry_carries_its_stop_and_its_target(self):
        walk = live("brackets")

        send(walk, action="buy", quantity=2, **LEVELS)

        (effect,) = walk.sent
        assert [(leg.leg, leg.stop_price or leg.limit_price, leg.quantity) for leg in effect.legs] == [
            (Leg.TAKE_PROFIT, 110, 2),
            (Leg.STOP_LOSS, 95, 2),
        ]
        assert {leg.parent for leg in effect.legs} == {effect.order.order_id}

    def test_a_broker_that_takes_no_brackets_gets_none(self):
        walk = live()

        send(walk, action="buy", quantity=2, **LEVELS)

        assert walk.sent[0].legs == ()

    def test_several_targets_are_held_by_the_desk(self):
        walk = live("brackets")

        send(
            walk,
            action="buy",
            quantity=2,
            take_profit=[{"price": 105, "quantity": 1}, {"price": 110, "quantity": 1}],
        )

        assert walk.sent[0].legs == ()

    def test_a_group_that_requires_protection_sends_its_own_stop_along(self):
        walk = live("brackets", disaster_stop={"percent": 2})

        send(walk, action="buy", quantity=1)

        assert [leg.stop_price for leg in walk.sent[0].legs] == [98]

    def test_an_addition_carries_none_since_the_ledger_is_protected_already(self):
        walk = live("brackets", "modifies")
        entered(walk)

        send(walk, action="buy", quantity=1)

        assert walk.sent[-1].legs == ()


class TestWhenItFills:
    def test_what_the_broker_holds_is_not_placed_again(self):
        walk = live("brackets", "modifies")

        entered(walk)

        assert kinds(walk) == ["submit"]
        assert standing(walk) == [("stop_loss", 95, 2, "working"), ("take_profit", 110, 2, "working")]

    def test_while_the_entry_is_filled_in_part_the_bracket_is_left_to_the_broker(self):
        walk = live("brackets", "modifies")
        send(walk, action="buy", quantity=2, **LEVELS)
        entry, legs = walk.sent[-1].order, walk.sent[-1].legs
        walk.report(entry, "accepted", call="submit", legs={leg.order_id: "b" for leg in legs})

        walk.filled(entry, 100, 1)

        assert kinds(walk) == ["submit"]

    def test_an_entry_cut_short_has_its_bracket_cut_to_what_is_held(self):
        walk = live("brackets", "modifies")
        send(walk, action="buy", quantity=2, **LEVELS)
        entry, legs = walk.sent[-1].order, walk.sent[-1].legs
        walk.report(entry, "accepted", call="submit", legs={leg.order_id: "b" for leg in legs})
        walk.filled(entry, 100, 1)

        walk.report(entry, "cancelled")

        changed = [effect.order for effect in walk.sent if effect.kind == "modify"]
        assert sorted((order.leg.value, order.quantity) for order in changed) == [
            ("stop_loss", 1),
            ("take_profit", 1),
        ]

    def test_distances_count_from_the_fill_where_the_broker_can_change_orders(self):
        walk = live("brackets", "modifies")

        entered(walk, price=101, stop_loss={"offset": 5}, take_profit={"offset": 10})

        changed = {
            e.order.leg: e.order.stop_price or e.order.limit_price for e in walk.sent if e.kind == "modify"
        }
        assert changed == {Leg.STOP_LOSS: 96, Leg.TAKE_PROFIT: 111}

    def test_elsewhere_they_stay_as_they_went_out(self):
        walk = live("brackets")

        entered(walk, price=101, stop_loss={"offset": 5}, take_profit={"offset": 10})

        assert kinds(walk) == ["submit"]
        assert [row[1] for row in standing(walk)] == [95, 110]

    def test_a_leg_that_the_broker_did_not_confirm_is_looked_up_and_replaced_when_it_is_not_there(self):
        walk = live("brackets")
        send(walk, action="buy", quantity=2, **LEVELS)
        entry, legs = walk.sent[-1].order, walk.sent[-1].legs
        stop = next(leg for leg in legs if leg.leg is Leg.STOP_LOSS)
        target = next(leg for leg in legs if leg.leg is Leg.TAKE_PROFIT)
        walk.report(entry, "accepted", call="submit", legs={target.order_id: "b"})
        walk.filled(entry, 100)
        assert [(e.kind, e.order.order_id) for e in walk.sent[1:]] == [("find", stop.order_id)]

        walk.report(stop, "not_found", call="find", net="2")
        walk.tick(after=5)

        again = walk.sent[-1].order
        assert (again.leg, again.stop_price, again.parent) == (Leg.STOP_LOSS, 95, None)


class TestALegThatIsLost:
    def test_each_leg_is_looked_up_once_after_it_was_taken(self):
        walk = live("brackets")
        _, legs = entered(walk)
        before = len(walk.sent)

        walk.tick(after=3)

        found = [(e.kind, e.order.order_id) for e in walk.sent[before:]]
        assert sorted(found) == sorted(("find", leg.order_id) for leg in legs)
        for leg in legs:
            walk.report(leg, "accepted", call="find")
        walk.tick(after=60)
        assert len(walk.sent) == before + 2

    def test_one_that_is_not_there_is_placed_again(self):
        walk = live("brackets")
        _, legs = entered(walk)
        stop = next(leg for leg in legs if leg.leg is Leg.STOP_LOSS)
        walk.tick(after=3)

        walk.report(stop, "not_found", call="find", net="2")
        walk.tick(after=1)

        again = walk.sent[-1]
        assert (again.kind, again.order.leg, again.order.stop_price) == ("submit", Leg.STOP_LOSS, 95)


class TestWhenItEnds:
    def test_a_refused_entry_takes_its_bracket_with_it(self):
        walk = live("brackets")
        ticket = send(walk, action="buy", quantity=2, **LEVELS)

        walk.report(walk.sent[-1].order, "refused", call="submit", reason="no margin")

        assert standing(walk) == []
        assert walk.tickets(ticket.seq)[0].status is Status.REJECTED
        assert kinds(walk) == ["submit"]

    def test_when_the_stop_fills_the_target_goes_and_nothing_flips(self):
        walk = live("brackets")
        _, legs = entered(walk)
        stop = next(leg for leg in legs if leg.leg is Leg.STOP_LOSS)
        target = next(leg for leg in legs if leg.leg is Leg.TAKE_PROFIT)

        walk.filled(stop, 95)
        walk.report(target, "cancelled")

        assert (walk.position(), standing(walk)) == (0, [])

    def test_a_target_that_goes_before_the_news_of_the_stop_is_not_placed_again(self):
        walk = live("brackets")
        _, legs = entered(walk)
        stop = next(leg for leg in legs if leg.leg is Leg.STOP_LOSS)
        target = next(leg for leg in legs if leg.leg is Leg.TAKE_PROFIT)
        before = len(walk.sent)

        walk.report(target, "cancelled")
        assert [(e.kind, e.order.order_id) for e in walk.sent[before:]] == [("find", stop.order_id)]
        walk.filled(stop, 95, after=0.3)

        assert "submit" not in kinds(walk, before)
        assert walk.position() == 0

    def test_an_exit_withdraws_the_bracket_first(self):
        walk = live("brackets")
        _, legs = entered(walk)
        before = len(walk.sent)

        send(walk, action="exit", quantity=None)
        assert kinds(walk, before) == ["cancel", "cancel"]
        for leg in legs:
            walk.report(leg, "cancelled", call="cancel")

        sent = [(e.kind, e.order.leg) for e in walk.sent[before + 2 :] if e.kind != "find"]
        assert sent == [("submit", Leg.CLOSE)]


class TestChanging:
    def held(self):
        walk = live("brackets", "modifies")
        _, legs = entered(walk)
        return walk, next(leg for leg in legs if leg.leg is Leg.STOP_LOSS)

    def test_an_update_moves_the_stop_in_place(self):
        walk, stop = self.held()

        send(walk, action="update", quantity=None, stop_loss={"price": 98})

        assert (walk.sent[-1].kind, walk.sent[-1].order.order_id) == ("modify", stop.order_id)
        assert walk.sent[-1].order.stop_price == 98

    def test_while_a_change_has_no_answer_there_is_no_second_one(self):
        walk, _ = self.held()
        send(walk, action="update", quantity=None, stop_loss={"price": 98})

        send(walk, action="update", quantity=None, stop_loss={"price": 99})

        assert kinds(walk).count("modify") == 1

    def test_the_newest_level_follows_with_the_answer(self):
        walk, stop = self.held()
        send(walk, action="update", quantity=None, stop_loss={"price": 98})
        send(walk, action="update", quantity=None, stop_loss={"price": 99})

        walk.report(stop, "accepted", call="modify")

        assert (walk.sent[-1].kind, walk.sent[-1].order.stop_price) == ("modify", 99)

    @pytest.mark.parametrize("outcome", ["refused", "unknown", "not_found"])
    def test_a_change_that_is_not_taken_replaces_the_order(self, outcome):
        walk, stop = self.held()
        send(walk, action="update", quantity=None, stop_loss={"price": 98})

        walk.report(stop, outcome, call="modify")
        assert (walk.sent[-1].kind, walk.sent[-1].order.order_id) == ("cancel", stop.order_id)
        walk.report(stop, "cancelled", call="cancel")

        again = walk.sent[-1]
        assert (again.kind, again.order.leg, again.order.stop_price) == ("submit", Leg.STOP_LOSS, 98)
        assert again.order.order_id != stop.order_id

    def test_a_trailing_stop_follows_in_place(self):
        walk = live("brackets", "modifies")
        entered(walk, stop_loss={"offset": 5, "trail": True}, take_profit=None)

        walk.price(price=104)

        assert (walk.sent[-1].kind, walk.sent[-1].order.stop_price) == ("modify", 99)


class TestInDoubt:
    def test_an_entry_without_an_answer_leaves_nothing_sent_twice(self):
        walk = live("brackets")
        send(walk, action="buy", quantity=2, **LEVELS)
        entry = walk.sent[-1].order

        walk.report(entry, "unknown", call="submit")
        walk.report(
            entry, "accepted", call="find", fills=({"fill_id": "f", "quantity": "2", "price": "100"},)
        )

        assert [effect.kind for effect in walk.sent].count("submit") == 1
        assert {e.order.leg for e in walk.sent if e.kind == "find"} == {
            Leg.OPEN,
            Leg.TAKE_PROFIT,
            Leg.STOP_LOSS,
        }

    def test_a_restart_in_between_looks_all_of_them_up(self):
        walk = live("brackets")
        send(walk, action="buy", quantity=2, **LEVELS)
        before = len(walk.sent)
        walk.restart()

        walk.start()

        assert kinds(walk, before) == ["find", "find", "find"]

    def test_an_exit_in_doubt_goes_out_again_as_a_close_of_the_position_where_the_broker_has_that(self):
        walk = live("closes")
        send(walk, action="buy", quantity=2)
        walk.filled(walk.sent[-1].order, 100)
        send(walk, action="exit", quantity=None)
        first = walk.sent[-1].order
        walk.report(first, "unknown", call="submit")

        walk.report(first, "not_found", call="find", net="2")
        walk.tick(after=2)

        again = walk.sent[-1]
        assert (again.kind, again.order.attempt) == ("close", 2)
        assert again.order.order_id != first.order_id

    def test_with_another_ledger_in_the_account_it_goes_as_a_plain_order(self):
        walk = live("closes", strategies=("walker", "other"))
        send(walk, strategy="other", action="buy", quantity=1)
        walk.filled(walk.sent[-1].order, 100)
        send(walk, action="buy", quantity=2)
        walk.filled(walk.sent[-1].order, 100)
        send(walk, action="exit", quantity=None)
        first = walk.sent[-1].order
        walk.report(first, "unknown", call="submit")

        walk.report(first, "not_found", call="find", net="3")
        walk.tick(after=2)

        assert walk.sent[-1].kind == "submit"

    def test_a_position_that_another_order_may_have_moved_does_not_say_that_an_exit_never_arrived(self):
        walk = live("closes", strategies=("walker", "other"))
        send(walk, action="buy", quantity=2)
        walk.filled(walk.sent[-1].order, 100)
        send(walk, action="exit", quantity=None)
        first = walk.sent[-1].order
        walk.report(first, "unknown", call="submit")
        send(walk, strategy="other", action="buy", quantity=2)  # filled, and not told yet
        other, before = walk.sent[-1].order, len(walk.sent)

        walk.report(first, "not_found", call="find", net="2")  # the exit was done as well
        walk.tick(after=2)

        assert kinds(walk, before) == []
        walk.filled(other, 100)
        walk.report(first, "not_found", call="find", net="4")
        walk.tick(after=2)
        assert kinds(walk, before) == ["submit"]


class TestTheBrokersOrders:
    def working(self, order, quantity=1):
        shown = {"broker_order_id": "b", "order_id": order.order_id, "symbol": "AAPL", "side": "buy"}
        return [{**shown, "quantity": str(quantity)}]

    def test_an_order_that_the_broker_does_not_show_is_looked_up(self):
        walk = live()
        send(walk, action="buy", quantity=1, order_type="limit", limit_price=90)
        walk.report(walk.sent[-1].order, "accepted", call="submit", broker_order_id="b")

        walk.snapshot({}, working=[], after=10)

        assert kinds(walk) == ["submit", "find"]

    def test_one_that_it_shows_is_left_alone(self):
        walk = live()
        send(walk, action="buy", quantity=1, order_type="limit", limit_price=90)
        order = walk.sent[-1].order
        walk.report(order, "accepted", call="submit", broker_order_id="b")

        walk.snapshot({}, working=self.working(order), after=10)

        assert kinds(walk) == ["submit"]

    def test_one_that_should_be_gone_is_withdrawn_and_told(self):
        walk = live()
        send(walk, action="buy", quantity=1, order_type="limit", limit_price=90)
        order = walk.sent[-1].order
        walk.report(order, "accepted", call="submit", broker_order_id="b")
        walk.report(order, "cancelled")

        walk.snapshot({}, working=self.working(order), after=10)

        assert kinds(walk)[-1] == "cancel"
        assert [row.kind for row in walk.rows("notices")][-1] == "stray_order"

    def test_a_persons_own_orders_are_none_of_ours(self):
        walk = live()
        shown = {"broker_order_id": "p", "order_id": None, "symbol": "AAPL", "side": "buy", "quantity": "1"}

        walk.snapshot({}, working=[shown], after=10)

        assert walk.sent == []


class TestParkedOrders:
    def parked(self):
        walk = live()
        ticket = send(walk, action="buy", quantity=2)
        order = walk.sent[-1].order
        walk.report(order, "unknown", call="submit")
        walk.report(order, "not_found", call="find", net="0")
        return walk, order, ticket

    def test_an_entry_that_nobody_finds_stays_in_doubt(self):
        walk, _, ticket = self.parked()

        assert walk.orders()[0].status is OrderStatus.UNKNOWN
        assert walk.tickets(ticket.seq)[0].status is Status.UNKNOWN

    def test_a_person_says_that_it_never_arrived(self):
        walk, order, ticket = self.parked()

        walk.command("orders", verb="absent", order_id=order.order_id)

        assert walk.orders()[0].status is OrderStatus.FAILED
        assert walk.tickets(ticket.seq)[0].status is Status.FAILED

    def test_a_person_adopts_it_and_what_the_broker_holds_is_its_fill(self):
        walk, order, _ = self.parked()
        walk.snapshot({"AAPL": 2})

        walk.command("orders", verb="adopt", order_id=order.order_id)

        assert (walk.position(), walk.orders()[0].status) == (2, OrderStatus.FILLED)
        assert walk.fills[-1].price == Decimal(100)

    def test_adopted_without_a_position_it_is_a_working_order(self):
        walk, order, _ = self.parked()
        walk.snapshot({})

        walk.command("orders", verb="adopt", order_id=order.order_id)

        assert (walk.position(), walk.orders()[0].status) == (0, OrderStatus.WORKING)

    @pytest.mark.parametrize("verb", ["adopt", "absent"])
    def test_an_order_that_is_not_in_doubt_is_left_alone(self, verb):
        walk = live()
        send(walk, action="buy", quantity=2)
        order = walk.sent[-1].order
        walk.filled(order, 100)

        walk.command("orders", verb=verb, order_id=order.order_id)

        assert walk.orders()[0].status is OrderStatus.FILLED
        assert walk.position() == 2


class TestTheDaysProfit:
    def traded(self, day_profit):
        """A day that began under the desk's eyes, with one round trip that made 100."""
        walk = live()
        walk.snapshot({}, equity=50_000)
        walk.tick(after=86_400)
        walk.snapshot({}, equity=50_000)
        send(walk, action="buy", quantity=100)
        walk.filled(walk.sent[-1].order, 100)
        send(walk, action="exit", quantity=None, price=101)
        walk.filled(walk.sent[-1].order, 101)
        for _ in range(2):
            walk.snapshot({}, equity=50_100, day_profit=day_profit)
        return [row.text for row in walk.rows("notices") if row.kind == "day_profit"]

    @pytest.mark.parametrize("told", ["100", "98.50", "125"])
    def test_the_brokers_own_that_agrees_but_for_fees_is_fine(self, told):
        assert self.traded(told) == []

    @pytest.mark.parametrize("told", ["125.01", "-100", "0"])
    def test_one_that_does_not_is_told_once(self, told):
        (text,) = self.traded(told)

        assert "our fills say 100" in text


def test_a_stop_that_was_filled_before_it_could_grow_is_done_and_another_guards_what_is_left():
    walk = live("modifies")
    entered(walk, quantity=1)
    for effect in walk.sent[1:]:
        walk.report(effect.order, "accepted", call="submit", broker_order_id=effect.order.leg.value)
    send(walk, action="buy", quantity=1)
    added = walk.sent[-1].order
    walk.filled(added, 100)
    stop = next(e.order for e in walk.sent if e.kind == "modify" and e.order.leg is Leg.STOP_LOSS)
    assert stop.quantity == 2

    fill = {"fill_id": "f", "quantity": "1", "price": "95"}
    walk.report(stop, "refused", call="modify", reason="part of the order is filled")
    walk.report(stop, "filled", call="cancel", fills=(fill,))

    ended = walk.desk.engine.state.ended[stop.order_id]
    assert (ended.status, ended.quantity, ended.filled) == (OrderStatus.FILLED, 1, 1)
    (renewed,) = [e.order for e in walk.sent if e.kind == "submit" and e.order.leg is Leg.STOP_LOSS][1:]
    assert renewed.quantity == 1
