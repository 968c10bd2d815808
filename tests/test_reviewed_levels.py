"""Levels that are where they were meant to be, on the contract that is traded, and for every fill of it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Status

FRONT = "ESH2026"  # on the day of a walk's clock
NEXT = "ESM2026"


def live(*can, broker="tradovate", **group):
    """A walk with one live group at a broker of futures that can do what is said."""
    given = {"broker": broker, "live": True, "strategies": ("walker",), "sides": "both", **group}
    told = {"secrets": ("a-webhook-secret",), "groups": {"desk": given}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",), can=can)


def send(walk, action="buy", symbol="ES1!", **fields):
    given = {"quantity": None if action in ("exit", "update", "cancel") else 2, "price": 5000, **fields}
    (ticket,) = walk.alert(account_group="desk", symbol=symbol, action=action, **given)
    return ticket


def accept(walk, effect):
    """What a broker says that takes an entry with its bracket."""
    legs = {leg.order_id: f"b{place}" for place, leg in enumerate(effect.legs)}
    walk.report(effect.order, "accepted", call="submit", broker_order_id="b", legs=legs, after=0.2)
    return effect.order


def levels(orders):
    """The leg and the price of each order."""
    return sorted((one.leg.value, one.stop_price or one.limit_price) for one in orders)


def standing(walk):
    """The protective orders that have not ended: leg, price, what remains."""
    orders = walk.desk.engine.state.orders.values()
    found = [(o.leg.value, o.stop_price or o.limit_price, o.remaining) for o in orders if not o.cancelling]
    return sorted(one for one in found if one[0] != "open")


def bracket(walk):
    (ledger,) = (row for row in walk.desk.engine.state.ledgers.values() if row.position)
    return ledger.bracket.stop, [target.price for target in ledger.bracket.targets]


def holding(walk, at=5000, **fields):
    """Two of the front month, bought at a price, with whatever levels."""
    send(walk, **fields)
    entry = accept(walk, walk.sent[-1])
    before = len(walk.sent)
    walk.filled(entry, at, after=0.2)
    for effect in walk.sent[before:]:
        walk.report(effect.order, "accepted", call="submit", broker_order_id="p", after=0.1)
    return entry


RESTS = {
    "limit": (
        {"order_type": "limit", "limit_price": 4900, "stop_loss": {"price": 4890}},
        {"take_profit": {"price": 4950}},
        4900,
        (4890, [4950]),
    ),
    "stop": (
        {"order_type": "stop", "stop_price": 5050, "stop_loss": {"price": 5040}},
        {"take_profit": {"price": 5100}},
        5050.25,
        (5040, [5100]),
    ),
}


class TestAnEntryThatRests:
    @pytest.mark.parametrize("kind", RESTS)
    def test_on_a_continuous_symbol_sends_its_levels_as_they_are(self, kind):
        entry, target, _, (stop, (goal,)) = RESTS[kind]
        walk = live("brackets", "modifies")

        send(walk, **entry, **target)

        assert levels(walk.sent[-1].legs) == [("stop_loss", stop), ("take_profit", goal)]

    @pytest.mark.parametrize("can", [(), ("brackets",), ("brackets", "modifies")])
    @pytest.mark.parametrize("kind", RESTS)
    def test_keeps_them_when_it_is_filled_however_far_the_market_went(self, kind, can):
        entry, target, price, expected = RESTS[kind]
        walk = live(*can)
        send(walk, **entry, **target)
        order = accept(walk, walk.sent[-1])

        walk.filled(order, price, after=3600)

        assert bracket(walk) == expected
        assert [price for _, price, _ in standing(walk)] == [expected[0], *expected[1]]

    def test_a_restart_before_the_fill_changes_nothing(self):
        entry, target, price, expected = RESTS["limit"]
        walk = live()
        walk.price(FRONT, 5050)
        send(walk, **entry, **target)
        order = accept(walk, walk.sent[-1])
        walk.restart()

        walk.filled(order, price + 50)

        assert (order.limit_price, bracket(walk)) == (4950, (4940, [5000]))
        assert expected == (4890, [4950])


class TestAContractThatTradesElsewhere:
    """The contract held trades 50 above what the alerts are computed on."""

    def held(self, *can):
        walk = live(*can)
        holding(walk, at=5050, stop_loss={"price": 4990}, take_profit={"price": 5100})
        walk.price(FRONT, 5050)
        return walk

    def test_an_entry_at_the_market_has_its_levels_as_far_from_its_fill(self):
        walk = self.held()

        assert bracket(walk) == (5040, [5150])

    @pytest.mark.parametrize(
        ("level", "stands"),
        [({"price": 4995}, 5045), ({"offset": 5}, 5045), ({"percent": Decimal("0.1")}, 5045)],
    )
    def test_an_update_moves_the_stop_to_its_own_distance(self, level, stands):
        walk = self.held()

        ticket = send(walk, "update", stop_loss=level)

        assert bracket(walk) == (stands, [5150])
        assert ticket.status is Status.DONE

    def test_a_trailing_stop_of_an_update_follows_at_its_own_distance(self):
        walk = self.held()

        send(walk, "update", stop_loss={"price": 4995, "trail": True})
        walk.price(FRONT, 5060)

        assert bracket(walk)[0] == 5055

    @pytest.mark.parametrize(
        ("kind", "level", "placed"),
        [("limit", {"limit_price": 4990}, 5040), ("stop", {"stop_price": 5010}, 5060)],
    )
    def test_an_addition_at_a_level_rests_as_far_from_the_market(self, kind, level, placed):
        walk = self.held()

        send(walk, quantity=1, order_type=kind, **level)

        order = walk.sent[-1].order
        assert (order.leg, order.limit_price or order.stop_price) == (Leg.OPEN, placed)

    def test_an_exit_at_a_limit_rests_as_far_from_the_market(self):
        walk = self.held()
        send(walk, "exit", order_type="limit", limit_price=5010)
        for order in walk.orders():
            if order.cancelling:
                walk.report(order, "cancelled", call="cancel", after=0.1)

        (order,) = walk.orders(leg=Leg.CLOSE)
        assert order.limit_price == 5060

    def test_the_levels_of_an_entry_go_out_moved_where_its_price_is_known(self):
        walk = live("brackets")
        walk.price(FRONT, 5050)

        send(walk, stop_loss={"price": 4990}, take_profit={"offset": 20})

        assert levels(walk.sent[-1].legs) == [("stop_loss", 5040), ("take_profit", 5070)]

    def test_what_is_held_past_the_roll_is_moved_by_any_difference(self):
        walk = live()
        holding(walk, symbol=NEXT, stop_loss={"price": 4990})
        walk.price(NEXT, 5001)

        send(walk, "update", stop_loss={"price": 4995})

        assert bracket(walk)[0] == 4996


class TestWhereTheDistanceIsNotKnown:
    def test_prices_a_moment_apart_are_no_distance_between_contracts(self):
        walk = live("brackets")
        walk.price(FRONT, "5001.75")

        send(walk, order_type="limit", limit_price=4990, stop_loss={"price": 4980})

        assert (walk.sent[-1].order.limit_price, levels(walk.sent[-1].legs)) == (4990, [("stop_loss", 4980)])

    @pytest.mark.parametrize(
        ("age", "limit"),
        [(60, 5040), (61, 4990)],
    )
    def test_a_price_of_long_ago_moves_nothing(self, age, limit):
        walk = live()
        walk.price(FRONT, 5050)

        send(walk, order_type="limit", limit_price=4990, after=age)

        assert walk.sent[-1].order.limit_price == limit

    def test_an_alert_without_a_price_moves_nothing(self):
        walk = live()
        walk.price(FRONT, 5050)

        send(walk, price=None, order_type="limit", limit_price=4990)

        assert walk.sent[-1].order.limit_price == 4990

    @pytest.mark.parametrize(
        "level",
        [
            {"order_type": "limit", "price": 4900},
            {"order_type": "limit", "limit_price": 4900, "price": 4900},
            {"order_type": "stop", "stop_price": 4900, "price": 4900, "action": "sell"},
        ],
    )
    def test_a_price_that_is_the_level_itself_is_not_the_markets(self, level):
        walk = live()
        walk.price(FRONT, 5000)

        send(walk, **level)

        order = walk.sent[-1].order
        assert (order.limit_price or order.stop_price) == 4900

    @pytest.mark.parametrize(("late", "limit"), [(10, 5040), (11, 4990)])
    def test_an_alert_that_fired_a_while_ago_tells_no_price_of_now(self, late, limit):
        walk = live()
        walk.price(FRONT, 5050)
        fired = walk.clock.now + timedelta(seconds=1 - late)

        send(walk, order_type="limit", limit_price=4990, timenow=fired.isoformat())

        assert walk.sent[-1].order.limit_price == limit

    def test_an_alert_on_the_contract_itself_moves_nothing(self):
        walk = live()

        send(walk, symbol=FRONT, price=5050, order_type="limit", limit_price=4990)

        assert walk.sent[-1].order.limit_price == 4990

    def test_an_exit_that_had_to_wait_keeps_its_level(self):
        walk = live()
        holding(walk)
        send(walk, "exit", order_type="limit", limit_price=5010)
        first = walk.sent[-1].order
        walk.report(first, "refused", call="submit", reason="the market is closed")
        walk.price(FRONT, 5100, after=0.2)

        walk.tick(after=20)

        again = walk.sent[-1].order
        assert (again.attempt, again.limit_price) == (2, 5010)

    def test_a_stale_price_is_no_base_for_the_distances_of_an_entry(self):
        walk = live("brackets")
        walk.price(FRONT, 4800)

        send(walk, stop_loss={"offset": 10}, after=3600)

        assert levels(walk.sent[-1].legs) == [("stop_loss", 4990)]


class TestAnEntryFilledInPart:
    """Its broker holds back stop and target until the entry is done."""

    def part(self, *can, quantity=4):
        walk = live("brackets", *can)
        send(
            walk,
            quantity=quantity,
            order_type="limit",
            limit_price=4995,
            stop_loss={"price": 4985},
            take_profit={"price": 5015},
        )
        entry = accept(walk, walk.sent[-1])
        walk.filled(entry, 4995, 2, after=60)
        return walk, entry

    def cut(self, walk, entry):
        walk.report(entry, "cancelled", call="cancel", after=0.2)

    def test_has_three_seconds_to_be_filled_whole_before_the_rest_is_withdrawn(self):
        walk, entry = self.part("modifies")
        before = len(walk.sent)

        walk.tick(after=2)
        assert len(walk.sent) == before
        walk.tick(after=1)

        assert [(e.kind, e.order.order_id) for e in walk.sent[before:]] == [("cancel", entry.order_id)]

    @pytest.mark.parametrize("can", [(), ("modifies",)])
    def test_then_what_is_held_has_its_stop_and_its_target(self, can):
        walk, entry = self.part(*can)
        walk.tick(after=3)

        self.cut(walk, entry)
        for order in walk.orders():
            if order.cancelling and not order.ended:
                walk.report(order, "cancelled", call="cancel", after=0.1)

        assert standing(walk) == [("stop_loss", 4985, 2), ("take_profit", 5015, 2)]
        (ticket,) = walk.tickets()
        assert ticket.status is Status.FILLED

    def test_a_restart_meanwhile_does_not_forget_it(self):
        walk, entry = self.part("modifies")
        walk.restart()

        walk.tick(after=3)

        assert (walk.sent[-1].kind, walk.sent[-1].order.order_id) == ("cancel", entry.order_id)

    def test_more_of_it_gives_it_no_more_time(self):
        walk, entry = self.part("modifies")
        walk.filled(entry, 4995, 1, after=2)

        walk.tick(after=1)

        assert walk.sent[-1].kind == "cancel"

    def test_filled_whole_in_time_it_is_left_as_it_is(self):
        walk, entry = self.part("modifies")

        walk.filled(entry, 4995, 2, after=2)
        walk.tick(after=2)

        assert "cancel" not in [effect.kind for effect in walk.sent]
        assert standing(walk) == [("stop_loss", 4985, 4), ("take_profit", 5015, 4)]

    def test_where_the_desk_holds_the_stop_the_rest_goes_on_working(self):
        walk = live()
        send(walk, quantity=4, order_type="limit", limit_price=4995, stop_loss={"price": 4985})
        entry = accept(walk, walk.sent[-1])
        walk.filled(entry, 4995, 2)

        walk.tick(after=60)

        assert standing(walk) == [("stop_loss", 4985, 2)]
        assert "cancel" not in [effect.kind for effect in walk.sent]

    def test_an_update_is_not_done_before_what_it_moves_is_there(self):
        walk, entry = self.part("modifies")

        ticket = send(walk, "update", stop_loss={"price": 4992}, after=0.5)
        assert (ticket.status, walk.sent[-1].kind) == (Status.OPEN, "cancel")
        self.cut(walk, entry)

        (ticket,) = walk.tickets(ticket.seq)
        moved = [e.order for e in walk.sent if e.kind == "modify" and e.order.leg is Leg.STOP_LOSS]
        assert ticket.status is Status.DONE
        assert (moved[-1].stop_price, moved[-1].quantity) == (4992, 2)

    def test_an_entry_that_rests_beside_it_does_not_keep_its_stop_from_moving(self):
        walk = live("brackets", "modifies")
        both = {"order_type": "limit", "quantity": 1, "stop_loss": {"price": 4880}}
        send(walk, limit_price=4990, **both)
        first = accept(walk, walk.sent[-1])
        send(walk, limit_price=4900, **both)
        second = accept(walk, walk.sent[-1])
        assert walk.sent[-1].legs
        walk.filled(first, 4990)

        ticket = send(walk, "update", stop_loss={"price": 4980})

        assert ticket.status is Status.DONE
        assert (walk.sent[-1].kind, walk.sent[-1].order.stop_price) == ("modify", 4980)
        walk.report(walk.sent[-1].order, "accepted", call="modify")
        walk.filled(second, 4900)
        stops = [row for row in standing(walk) if row[0] == "stop_loss"]
        assert sum(quantity for _, _, quantity in stops) == 2


class TestAnEntryFilledAfterItsEnd:
    def cancelled(self, walk=None, quantity=2, by="cancel", **fields):
        walk = walk or live()
        levels = {"stop_loss": {"price": 4980}, "take_profit": {"price": 5015}, **fields}
        send(walk, quantity=quantity, order_type="limit", limit_price=4990, **levels)
        entry = accept(walk, walk.sent[-1])
        send(walk, by)
        walk.report(entry, "cancelled", call="cancel", after=0.2)
        return walk, entry

    @pytest.mark.parametrize("restart", [False, True])
    @pytest.mark.parametrize("by", ["cancel", "exit"])
    @pytest.mark.parametrize("done", [1, 2])
    def test_what_it_opens_by_itself_is_closed_within_seconds(self, by, done, restart):
        walk, entry = self.cancelled(by=by)
        if restart:
            walk.restart()

        walk.filled(entry, 4990, done)
        walk.tick(after=3)

        closing = walk.sent[-1].order
        assert (closing.leg, closing.side.value, closing.quantity) == (Leg.CLOSE, "sell", done)
        assert [row.kind for row in walk.rows("notices")].count("late_fill") == 2
        walk.filled(closing, 4989)
        assert walk.position() == 0
        assert standing(walk) == []

    def test_what_a_person_closed_before_it_was_told_is_not_closed_again(self):
        walk, entry = self.cancelled()
        before = len(walk.sent)

        walk.filled(entry, 4990)
        walk.snapshot({}, after=1)
        for seconds in (1, 1, 3, 5):
            walk.tick(after=seconds)

        assert walk.sent[before:] == []
        walk.snapshot({}, after=1)
        walk.tick()
        assert (walk.position(), walk.sent[before:]) == (0, [])

    def test_what_it_adds_to_a_position_is_guarded_with_that(self):
        walk = live("modifies")
        holding(walk, stop_loss={"price": 4970})
        walk, entry = self.cancelled(walk, quantity=1, stop_loss=None, take_profit=None)

        walk.filled(entry, 4990)

        assert (walk.position(), standing(walk)) == (3, [("stop_loss", 4970, 3)])

    def test_past_a_position_on_the_other_side_it_is_closed(self):
        walk, entry = self.cancelled()
        holding(walk, action="sell", quantity=1)

        walk.filled(entry, 4990)
        walk.tick(after=3)

        assert walk.position() == 1
        assert (walk.sent[-1].order.leg, walk.sent[-1].order.quantity) == (Leg.CLOSE, 1)

    def test_against_a_position_it_only_makes_that_smaller(self):
        walk, entry = self.cancelled(live("modifies"), quantity=1)
        holding(walk, action="sell", quantity=2, stop_loss={"price": 5010})

        walk.filled(entry, 4990)

        assert walk.position() == -1
        assert [order.cancelling for order in walk.orders(leg=Leg.STOP_LOSS)] == [False]


class TestTheLookAtABracket:
    def taken(self, **fields):
        walk = live("brackets", "modifies")
        send(walk, stop_loss={"offset": 10}, take_profit={"offset": 20}, **fields)
        effect = walk.sent[-1]
        return walk, accept(walk, effect), effect.legs

    def looked_up(self, walk, since):
        return sorted(e.order.order_id for e in walk.sent[since:] if e.kind == "find")

    def test_comes_though_its_broker_goes_on_telling_of_it(self):
        walk, entry, legs = self.taken()
        walk.filled(entry, 5000, after=0.1)
        for leg in legs:
            walk.report(leg, "working", after=0.1)
        before = len(walk.sent)

        walk.tick(after=3)

        assert self.looked_up(walk, before) == sorted(leg.order_id for leg in legs)

    def test_comes_again_once_an_entry_that_rested_is_filled(self):
        walk, entry, legs = self.taken(order_type="limit", limit_price=4990)
        walk.tick(after=5)
        for leg in legs:
            walk.report(leg, "working", call="find")
        walk.filled(entry, 4990, after=600)
        before = len(walk.sent)

        walk.tick(after=3)
        for leg in legs:
            walk.report(leg, "working", call="find")
        walk.tick(after=60)

        assert self.looked_up(walk, before) == sorted(leg.order_id for leg in legs)

    def test_comes_after_an_entry_that_was_cut_short(self):
        walk, entry, legs = self.taken(order_type="limit", limit_price=4990)
        walk.tick(after=5)
        for leg in legs:
            walk.report(leg, "working", call="find")
        walk.filled(entry, 4990, 1)
        walk.report(entry, "cancelled")
        for leg in legs:
            walk.report(leg, "accepted", call="modify", after=0.1)
        before = len(walk.sent)

        walk.tick(after=3)

        assert self.looked_up(walk, before) == sorted(leg.order_id for leg in legs)

    def test_finds_a_stop_that_was_lost_and_it_is_placed_again(self):
        walk, entry, legs = self.taken()
        walk.filled(entry, 5000, after=0.1)
        stop = next(leg for leg in legs if leg.leg is Leg.STOP_LOSS)
        walk.report(stop, "working", after=0.1)
        walk.tick(after=3)

        walk.report(stop, "not_found", call="find", net="2")
        walk.tick(after=1)

        again = walk.sent[-1]
        assert (again.kind, again.order.leg, again.order.stop_price) == ("submit", Leg.STOP_LOSS, 4990)
        assert again.order.status is OrderStatus.SUBMITTING
