"""What an alert does to a position, walked rule by rule."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from reactivex import operators as rx

from ttflow import operators as ops
from ttflow.inputs import Kind
from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status
from ttflow.words import evolve

SECRET = ("a-webhook-secret",)


def desk(**group):
    """A walk with one paper group, `desk`, made as told."""
    return Walk(Settings.model_validate({"groups": {"desk": {"broker": "simulator", **group}}}))


def live(**group):
    """A walk with one live group, `desk`, at a connected broker, where `walker` may trade."""
    given = {"broker": "scripted", "live": True, "strategies": ("walker",), **group}
    settings = Settings.model_validate({"secrets": SECRET, "groups": {"desk": given}})
    return Walk(settings, connected=("desk",))


def send(walk, **fields):
    """Send an alert to the group and return its one ticket."""
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


class TestRule1WhosePosition:
    def test_two_strategies_in_one_account_never_close_each_others_contracts(self):
        walk = desk()
        send(walk, strategy="one", action="buy", quantity=2)
        send(walk, strategy="two", action="buy", quantity=3)

        send(walk, strategy="one", action="exit", quantity=None)

        assert walk.position("one") == 0
        assert walk.position("two") == 3

    def test_one_strategy_name_in_two_groups_holds_two_positions(self):
        walk = Walk(
            Settings.model_validate({"groups": {"a": {"broker": "simulator"}, "b": {"broker": "simulator"}}})
        )
        walk.alert(account_group="a", action="buy", quantity=1)
        walk.alert(account_group="b", action="buy", quantity=1)

        walk.alert(account_group="a", action="exit", quantity=None)

        held = {row.account_group: row.position for row in walk.rows("ledgers")}
        assert held == {"a": 0, "b": 1}

    def test_contracts_of_one_root_share_a_ledger_and_the_one_held_is_closed(self):
        walk = desk()
        send(walk, symbol="ESZ2026", action="buy", quantity=1, price=5000)

        send(walk, symbol="ES1!", action="exit", quantity=None, price=5010)

        assert walk.position() == 0
        assert [order.symbol for order in walk.orders()] == ["ESZ2026", "ESZ2026"]


class TestAnExitThatTheBrokerDoesNotCover:
    def walk(self):
        """The ledger holds 2, and the broker has just said that nothing is held."""
        walk = live()
        send(walk, action="buy", quantity=2, stop_loss={"price": 90})
        walk.filled(walk.orders()[-1], 100)
        for order in walk.orders(leg=Leg.STOP_LOSS):
            walk.report(order, "accepted", call="submit")
        walk.snapshot({})
        return walk

    def exit_in(self, walk):
        ticket = send(walk, action="exit", quantity=None)
        for order in walk.orders(leg=Leg.STOP_LOSS):
            walk.report(order, "cancelled", call="cancel")
        return ticket

    def test_it_stands_until_that_is_explained(self):
        walk = self.walk()

        ticket = self.exit_in(walk)

        assert walk.tickets(ticket.seq)[0].status is Status.OPEN
        assert not walk.orders(leg=Leg.CLOSE)
        assert not [row for row in walk.rows("notices") if row.kind == "failure"]

    def test_when_the_broker_shows_the_position_it_goes_out(self):
        walk = self.walk()
        self.exit_in(walk)

        walk.snapshot({"AAPL": 2})
        walk.tick(after=5)

        assert walk.sent[-1].order.leg is Leg.CLOSE

    def test_when_it_was_closed_by_hand_nothing_is_sent_and_the_ticket_ends(self):
        walk = self.walk()
        ticket = self.exit_in(walk)

        walk.snapshot({}, after=6)
        walk.tick(after=6)

        assert walk.position() == 0
        assert walk.tickets(ticket.seq)[0].ended
        assert not walk.orders(leg=Leg.CLOSE, broker="scripted")


class TestRule4PositionFieldsBoundAnOrder:
    @pytest.mark.parametrize(
        ("held", "action", "quantity", "target", "ends"),
        [
            (0, "buy", 2, 1, 1),  # a reversal whose entry was missed
            (-1, "buy", 2, 1, 1),
            (1, "sell", 2, -1, -1),
            (0, "sell", 2, -1, -1),
            (0, "sell", 1, 0, 0),  # a closing alert on a flat ledger
            (1, "sell", 1, 0, 0),
            (2, "sell", 5, 0, 0),
            (3, "sell", 1, 2, 2),
            (0, "sell", 1, 2, 0),  # nothing sells up to a position
            (2, "buy", 1, 1, 2),
            (1, "buy", 1, 2, 2),
        ],
    )
    def test_no_order_goes_past_the_told_position(self, held, action, quantity, target, ends):
        walk = desk()
        if held:
            send(walk, action="buy" if held > 0 else "sell", quantity=abs(held))

        send(walk, action=action, quantity=quantity, position_size=target)

        assert walk.position() == ends

    @pytest.mark.parametrize(
        ("held", "action", "side", "ends"),
        [(1, "sell", "flat", 0), (1, "sell", "long", 0), (-1, "buy", "short", 0), (1, "sell", "short", -4)],
    )
    def test_a_side_without_a_size_bounds_too(self, held, action, side, ends):
        walk = desk()
        send(walk, action="buy" if held > 0 else "sell", quantity=abs(held))

        send(walk, action=action, quantity=5, market_position=side)

        assert walk.position() == ends

    def test_the_fields_are_in_the_strategys_units(self):
        walk = desk(accounts=({"name": "double", "multiplier": 2},))
        send(walk, action="buy", quantity=2, position_size=2)
        assert walk.position() == 4

        send(walk, action="sell", quantity=1, position_size=1)

        assert walk.position() == 2


class TestRule5SidesWithoutPositionFields:
    def test_a_paper_group_sends_what_is_said(self):
        walk = desk()

        send(walk, action="sell", quantity=1)

        assert walk.position() == -1

    @pytest.mark.parametrize(("sides", "first", "then"), [("long", "buy", "sell"), ("short", "sell", "buy")])
    def test_against_the_side_an_order_reduces_to_flat_at_most(self, sides, first, then):
        walk = desk(sides=sides)
        send(walk, action=first, quantity=1)

        send(walk, action=then, quantity=3)

        assert walk.position() == 0

    def test_against_the_side_nothing_opens(self):
        walk = desk(sides="long")

        ticket = send(walk, action="sell", quantity=1)

        assert (ticket.status, ticket.reason) == (Status.DONE, Reason.NO_POSITION)

    def test_position_fields_do_not_lift_the_groups_sides(self):
        walk = desk(sides="long")

        ticket = send(walk, action="sell", quantity=1, position_size=-1)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.SIDE_NOT_ALLOWED)

    def test_a_reversal_to_a_forbidden_side_still_closes(self):
        walk = desk(sides="long")
        send(walk, action="buy", quantity=1)

        send(walk, action="sell", quantity=2, position_size=-1)

        assert walk.position() == 0

    def test_a_live_group_keeps_to_the_side_of_its_first_entry(self):
        walk = live()
        send(walk, action="buy", quantity=1)
        walk.filled(walk.orders()[-1], 100)
        send(walk, action="sell", quantity=3)
        walk.filled(walk.orders()[-1], 101)
        assert walk.position() == 0

        ticket = send(walk, action="sell", quantity=1)

        assert ticket.reason == Reason.NO_POSITION


class TestRule6Actions:
    @pytest.mark.parametrize(("quantity", "left"), [(None, 0), (1, 2), (3, 0), (9, 0)])
    def test_exit_closes_the_position_or_a_quantity_of_it(self, quantity, left):
        walk = desk()
        send(walk, action="buy", quantity=3)

        send(walk, action="exit", quantity=quantity)

        assert walk.position() == left

    def test_exit_of_a_short_buys(self):
        walk = desk()
        send(walk, action="sell", quantity=3)

        send(walk, action="exit", quantity=None)

        assert walk.position() == 0

    def test_exit_on_a_flat_ledger_needs_no_order(self):
        ticket = send(desk(), action="exit", quantity=None)

        assert (ticket.status, ticket.reason) == (Status.DONE, Reason.NO_POSITION)

    @pytest.mark.parametrize(("held", "quantity", "ends"), [(2, None, -2), (-2, None, 2), (2, 5, -5)])
    def test_reverse_closes_and_opens_the_other_way(self, held, quantity, ends):
        walk = desk()
        send(walk, action="buy" if held > 0 else "sell", quantity=abs(held))

        send(walk, action="reverse", quantity=quantity)

        assert walk.position() == ends

    @pytest.mark.parametrize("target", [3, 1, 0, -2])
    @pytest.mark.parametrize("held", [2, 0, -1])
    def test_target_moves_the_ledger_to_a_signed_position(self, held, target):
        walk = desk()
        if held:
            send(walk, action="buy" if held > 0 else "sell", quantity=abs(held))

        send(walk, action="target", quantity=None, position_size=target)

        assert walk.position() == target

    def test_target_counts_what_is_already_on_its_way(self):
        walk = desk()
        send(walk, action="buy", quantity=1, order_type="limit", limit_price=90)

        send(walk, action="target", quantity=None, position_size=3)

        assert walk.position() == 2
        walk.price(price=89)
        assert walk.position() == 3

    def test_a_target_the_other_way_withdraws_what_is_on_its_way_first(self):
        walk = desk()
        send(walk, action="buy", quantity=1, order_type="limit", limit_price=90)

        send(walk, action="target", quantity=None, position_size=-1)
        walk.price(price=80)

        assert walk.position() == -1
        assert walk.orders()[0].status is OrderStatus.CANCELLED

    def test_cancel_withdraws_the_strategys_opening_orders(self):
        walk = desk()
        entry = send(walk, action="buy", quantity=1, order_type="limit", limit_price=90)
        other = send(walk, strategy="other", action="buy", quantity=1, order_type="limit", limit_price=90)

        ticket = send(walk, action="cancel", quantity=None)

        status = {ticket.seq: ticket.status for ticket in walk.tickets()}
        assert ticket.status is Status.DONE
        assert status[entry.seq] is Status.CANCELLED
        assert status[other.seq] is Status.ORDERED

    @pytest.mark.parametrize(
        "told",
        [
            {"action": "sell", "quantity": 1, "position_size": 0},
            {"action": "sell", "quantity": 1, "market_position": "flat"},
            {"action": "reverse", "quantity": None},
            {"action": "exit", "quantity": None},
        ],
    )
    def test_an_alert_to_get_flat_withdraws_an_entry_that_rests(self, told):
        walk = desk()
        send(walk, action="buy", quantity=1, order_type="limit", limit_price=90, position_size=1)

        send(walk, **told)
        walk.price(price=89)

        assert walk.position() == 0
        assert walk.orders()[0].status is OrderStatus.CANCELLED

    def test_cancel_with_nothing_to_cancel_says_so(self):
        ticket = send(desk(), action="cancel", quantity=None)

        assert ticket.reason == Reason.NOTHING_TO_CANCEL


class TestRule7TwoLegs:
    def test_what_crosses_zero_becomes_two_orders(self):
        walk = desk()
        send(walk, action="buy", quantity=1)

        ticket = send(walk, action="sell", quantity=3)

        legs = [(order.leg, order.quantity) for order in walk.orders(alert_id=ticket.alert_id)]
        assert legs == [(Leg.CLOSE, 1), (Leg.OPEN, 2)]
        assert walk.position() == -2

    def test_the_opening_leg_waits_until_the_close_is_confirmed(self):
        walk = live(sides="both")
        send(walk, action="buy", quantity=1)
        walk.filled(walk.orders()[-1], 100)

        send(walk, action="sell", quantity=2)

        assert [effect.order.leg for effect in walk.sent] == [Leg.OPEN, Leg.CLOSE]
        walk.filled(walk.orders()[-1], 99)
        assert [effect.order.leg for effect in walk.sent] == [Leg.OPEN, Leg.CLOSE, Leg.OPEN]

    def test_a_halt_that_comes_meanwhile_stops_the_opening_leg_alone(self):
        walk = live(sides="both")
        send(walk, action="buy", quantity=1)
        walk.filled(walk.orders()[-1], 100)
        ticket = send(walk, action="sell", quantity=2)
        walk.command("halt")

        walk.filled(walk.orders()[-1], 99)

        (ended,) = walk.tickets(ticket.seq)
        assert (ended.status, ended.reason) == (Status.FILLED, Reason.TRADING_HALTED)
        assert walk.position() == 0

    def test_an_opening_leg_that_has_grown_too_old_is_not_sent(self):
        walk = live(sides="both")
        send(walk, action="buy", quantity=1)
        walk.filled(walk.orders()[-1], 100)
        ticket = send(walk, action="sell", quantity=2)

        walk.filled(walk.orders()[-1], 99, after=300)

        (ended,) = walk.tickets(ticket.seq)
        assert ended.reason == Reason.STALE
        assert walk.position() == 0


class TestRule8Ratio:
    def test_sizing_decides_the_first_entry_and_the_ratio_holds_until_flat(self):
        walk = desk(accounts=({"name": "half", "multiplier": "0.5"},))
        send(walk, symbol="ES1!", action="buy", quantity=3, price=5000)  # 1.5 contracts are 1
        assert walk.position() == 1

        send(walk, symbol="ES1!", action="buy", quantity=3, price=5000)

        assert walk.position() == 2  # a third of theirs again, not a half

    def test_reductions_take_the_same_fraction_rounded_towards_flat(self):
        walk = desk(accounts=({"name": "third", "multiplier": "0.3"},))
        send(walk, symbol="ES1!", action="buy", quantity=10, price=5000)
        assert walk.position() == 3

        send(walk, symbol="ES1!", action="sell", quantity=5, price=5000)

        assert walk.position() == 1  # half of three, towards flat

    def test_a_full_exit_takes_everything(self):
        walk = desk(accounts=({"name": "third", "multiplier": "0.3"},))
        send(walk, symbol="ES1!", action="buy", quantity=10, price=5000)
        send(walk, symbol="ES1!", action="sell", quantity=10, price=5000)

        assert walk.position() == 0

    def test_a_new_first_entry_is_sized_anew(self):
        walk = desk(accounts=({"name": "half", "multiplier": "0.5"},))
        send(walk, symbol="ES1!", action="buy", quantity=3, price=5000)
        send(walk, symbol="ES1!", action="exit", quantity=None, price=5000)

        send(walk, symbol="ES1!", action="buy", quantity=4, price=5000)

        assert walk.position() == 2

    def test_less_than_a_lot_is_no_order(self):
        walk = desk(accounts=({"name": "tenth", "multiplier": "0.1"},))

        ticket = send(walk, symbol="ES1!", action="buy", quantity=3, price=5000)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.SIZED_TO_ZERO)


class TestPrices:
    def test_a_market_order_without_any_known_price_is_rejected(self):
        ticket = send(desk(), price=None)

        assert (ticket.status, ticket.reason) == (Status.REJECTED, Reason.NO_PRICE)

    def test_an_alerts_price_first_triggers_resting_orders_then_serves_its_own(self):
        walk = desk()
        send(walk, strategy="resting", action="buy", quantity=1, order_type="limit", limit_price=95)

        send(walk, strategy="next", action="buy", quantity=1, price=94)

        assert [(fill.strategy, fill.price) for fill in walk.fills] == [("resting", 95), ("next", 94)]

    def test_slippage_and_commission_are_the_groups(self):
        walk = desk(slippage={"ticks": 2}, commission={"per_contract": "1.25"})

        send(walk, symbol="ES1!", action="buy", quantity=2, price=5000)

        (fill,) = walk.fills
        assert (fill.price, fill.commission, fill.expected_price) == (
            Decimal("5000.50"),
            Decimal("2.50"),
            5000,
        )

    def test_a_round_trip_pays_by_its_point_value(self):
        walk = desk(commission={"per_contract": "2"})
        send(walk, symbol="ES1!", action="buy", quantity=1, price=5000)
        send(walk, symbol="ES1!", action="exit", quantity=None, price=5010)

        (trade,) = walk.trades
        assert (trade.gross_pnl, trade.commission, trade.net_pnl) == (500, 4, 496)
        assert walk.rows("accounts")[0].cash == 100_496


def script(walk, *steps, account="paper"):
    """Tell the simulator what to do with the account's next orders."""
    walk.command("script", scope=f"desk/{account}", steps=steps)


def of(walk, ticket):
    """The ticket as it stands now."""
    (found,) = walk.tickets(ticket.seq)
    return found


def protection(walk):
    """The protective orders that stand: leg, quantity left and price."""
    rows = [row for row in walk.orders() if row.leg in (Leg.STOP_LOSS, Leg.TAKE_PROFIT) and not row.ended]
    return sorted((row.leg.value, row.remaining, row.stop_price or row.limit_price) for row in rows)


class TestRule2And3TheBrokersNet:
    def bought(self, **group):
        walk = live(**group)
        send(walk, action="buy", quantity=2)
        walk.filled(walk.orders()[-1], 100)
        return walk

    def test_a_difference_bars_opening_until_it_is_explained(self):
        walk = self.bought()
        walk.snapshot({"AAPL": 5})

        ticket = send(walk, action="buy", quantity=1)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.BOOK_MISMATCH)

    def test_a_difference_that_goes_away_was_none(self):
        walk = self.bought()
        walk.snapshot({"AAPL": 5})
        walk.snapshot({"AAPL": 2})

        ticket = send(walk, action="buy", quantity=1)

        assert ticket.status is Status.ORDERED

    def test_a_difference_that_stands_is_booked_as_manual(self):
        walk = self.bought()
        walk.snapshot({"AAPL": 5})
        walk.snapshot({"AAPL": 5}, after=6)

        assert (walk.position("walker"), walk.position("manual")) == (2, 3)
        assert send(walk, action="buy", quantity=1).status is Status.ORDERED

    def test_a_manual_close_comes_off_the_ledgers_first_in_first_out(self):
        walk = live(strategies=("walker", "second"))
        for strategy in ("walker", "second"):
            send(walk, strategy=strategy, action="buy", quantity=2)
            walk.filled(walk.orders()[-1], 100)

        walk.snapshot({"AAPL": 1})
        walk.snapshot({"AAPL": 1}, after=6)

        assert (walk.position("walker"), walk.position("second"), walk.position("manual")) == (0, 1, 0)

    def test_a_manual_close_withdraws_the_brackets_of_what_it_closed(self):
        walk = live()
        send(walk, action="buy", quantity=2, stop_loss={"price": 90})
        walk.filled(walk.orders()[-1], 100)
        walk.report(walk.orders(leg=Leg.STOP_LOSS)[0], "accepted")

        walk.snapshot({})
        walk.snapshot({}, after=6)

        assert ("cancel", Leg.STOP_LOSS) in [(effect.kind, effect.order.leg) for effect in walk.sent]

    def test_an_exit_never_goes_past_what_the_other_ledgers_hold(self):
        walk = self.bought()
        walk.snapshot({"AAPL": 1})

        send(walk, action="exit", quantity=None)

        assert walk.orders(leg=Leg.CLOSE)[0].quantity == 1


class TestRule9AnExitStands:
    def test_refused_twice_then_accepted_with_a_restart_in_between(self):
        walk = desk()
        send(walk, action="buy", quantity=2)
        script(walk, "refuse", "refuse")

        ticket = send(walk, action="exit", quantity=None)
        assert (ticket.status, walk.position()) == (Status.OPEN, 2)
        walk.tick(after=1)
        walk.restart()
        assert walk.position() == 2
        walk.tick(after=3)

        assert (of(walk, ticket).status, walk.position()) == (Status.FILLED, 0)
        assert [order.attempt for order in walk.orders(leg=Leg.CLOSE)] == [1, 2, 3]

    def test_pauses_grow_between_attempts(self):
        walk = desk()
        send(walk, action="buy", quantity=1)
        script(walk, *["refuse"] * 9)
        ticket = send(walk, action="exit", quantity=None)

        pauses = []
        for _ in range(8):
            pauses.append((of(walk, ticket).until - walk.clock.now).total_seconds())
            walk.tick(after=pauses[-1])

        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]

    def test_a_broker_that_does_not_withdraw_what_it_waits_for_is_told_of_once_and_asked_on(self):
        walk = live()
        send(walk, action="buy", quantity=1, stop_loss={"offset": 5})
        walk.filled(walk.orders()[-1], 100)
        (stop,) = walk.orders(leg=Leg.STOP_LOSS)
        walk.report(stop, "accepted", call="submit")
        ticket = send(walk, action="exit", quantity=None)

        told = []
        for _ in range(4):
            assert walk.sent[-1].kind == "cancel"
            walk.report(stop, "accepted", call="cancel", reason="it is locked")
            walk.tick(after=30)
            assert walk.sent[-1].kind == "find"
            walk.report(stop, "accepted", call="find")
            told.append(len([row for row in walk.rows("notices") if row.kind == "not_withdrawn"]))

        assert told == [0, 1, 1, 1]
        assert "it is locked" in walk.rows("notices")[-1].text
        assert of(walk, ticket).status is Status.OPEN
        walk.report(stop, "cancelled", call="cancel")
        walk.filled(walk.orders(leg=Leg.CLOSE)[-1], 100)
        assert (of(walk, ticket).status, walk.position()) == (Status.FILLED, 0)

    def test_a_halt_whose_entry_the_broker_does_not_withdraw_is_told(self):
        walk = live()
        entry = send(walk, action="buy", quantity=1, order_type="limit", limit_price=90)
        (order,) = walk.orders()
        walk.report(order, "accepted", call="submit")
        walk.command("halt", scope="*")

        for _ in range(2):
            walk.report(order, "accepted", call="cancel", reason="it is locked")

        assert [row.kind for row in walk.rows("notices")].count("not_withdrawn") == 1
        assert sum("not withdraw" in note.text for note in of(walk, entry).trail) == 2

    def test_a_partly_filled_entry_is_withdrawn_and_what_it_filled_closed(self):
        walk = desk()
        script(walk, "partial 1")
        entry = send(walk, action="buy", quantity=3, order_type="limit", limit_price=100)
        assert walk.position() == 1

        send(walk, action="exit", quantity=None)
        walk.price(price=99)

        assert walk.position() == 0
        assert of(walk, entry).status is Status.FILLED
        assert all(order.ended for order in walk.orders())

    def test_a_newer_alert_that_says_where_to_be_takes_the_place_of_an_exit(self):
        walk = desk()
        send(walk, action="buy", quantity=1)
        script(walk, "refuse")
        ticket = send(walk, action="exit", quantity=None)

        send(walk, action="target", quantity=None, position_size=1, after=0.2)

        assert (of(walk, ticket).status, of(walk, ticket).reason) == (Status.CANCELLED, Reason.SUPERSEDED)
        assert walk.position() == 1

    def test_an_entry_that_comes_meanwhile_waits_behind_the_exit(self):
        walk = desk()
        send(walk, action="buy", quantity=1)
        script(walk, "refuse")
        send(walk, action="exit", quantity=None)

        entry = send(walk, action="buy", quantity=1, after=0.2)
        assert entry.status is Status.OPEN
        walk.tick(after=2)

        assert walk.position() == 1
        assert [trade.quantity for trade in walk.trades] == [1]

    def test_without_a_price_an_exit_goes_as_soon_as_there_is_one(self):
        walk = live()
        send(walk, action="buy", quantity=1, price=None)
        walk.filled(walk.orders()[-1], 100)

        ticket = send(walk, action="exit", quantity=None, price=None)

        assert ticket.status is Status.ORDERED  # a broker needs no price of ours

    def test_an_exit_behind_an_unsettled_order_waits_and_is_sized_by_its_report(self):
        walk = live()
        send(walk, action="buy", quantity=3)

        ticket = send(walk, action="exit", quantity=None, after=0.5)
        assert ticket.status is Status.OPEN
        walk.filled(walk.orders()[0], 100, after=0.5)

        (close,) = walk.orders(leg=Leg.CLOSE)
        assert close.quantity == 3

    def test_no_position_is_not_said_while_an_entry_is_in_doubt(self):
        walk = live()
        send(walk, action="buy", quantity=1)
        walk.report(walk.orders()[0], "unknown")

        ticket = send(walk, action="exit", quantity=None)
        assert ticket.status is Status.OPEN
        walk.report(walk.orders()[0], "refused")

        assert of(walk, ticket).reason == Reason.NO_POSITION


class TestRule10WhatMayStopAnExit:
    @pytest.mark.parametrize(
        "gate",
        [
            ops.where(lambda ticket: False),
            ops.allow(symbols=["OTHER"]),
            ops.session("00:00", "00:01"),
            ops.expire(0.000001),
            ops.throttle(3600, by="strategy"),
            ops.dedupe(3600),
            ops.where(lambda ticket: 1 / 0),
        ],
        ids=repr,
    )
    def test_no_gate_stops_it(self, gate):
        settings = Settings.model_validate({"groups": {"desk": {"broker": "simulator"}}})
        gated = {"on": False}

        def flow(alerts, desk):
            return alerts.pipe(ops.route({True: [gate]}, by=lambda ticket: gated["on"]), ops.size())

        walk = Walk(settings, flow)
        send(walk, action="buy", quantity=1, timenow="2026-03-02T07:59:00Z")
        gated["on"] = True
        send(walk, strategy="other", action="buy", quantity=1)
        send(walk, strategy="other", action="buy", quantity=1)

        ticket = send(walk, action="exit", quantity=None, timenow="2026-03-02T08:00:00Z")

        assert (of(walk, ticket).status, walk.position("walker")) == (Status.FILLED, 0)

    @pytest.mark.parametrize("command", [{"scope": "*"}, {"scope": "desk"}, {"scope": "desk/walker"}])
    def test_no_halt_stops_it(self, command):
        walk = desk()
        send(walk, action="buy", quantity=1)
        walk.command("halt", **command)

        send(walk, action="exit", quantity=None)

        assert walk.position() == 0
        assert send(walk, action="buy", quantity=1).reason == Reason.TRADING_HALTED

    def test_a_halted_strategy_gets_out(self):
        walk = desk()
        send(walk, action="buy", quantity=1)
        walk.command("mode", strategy="walker", mode="halted")

        send(walk, action="sell", quantity=1, position_size=0)

        assert walk.position() == 0

    def test_one_larger_than_an_order_may_be_goes_in_parts_one_after_the_other(self):
        walk = self.holding_twelve()

        ticket = send(walk, action="exit", quantity=None)
        for part in (5, 5, 2):
            (close,) = [order for order in walk.orders(leg=Leg.CLOSE) if not order.ended]
            assert (close.quantity, of(walk, ticket).status) == (part, Status.ORDERED)
            walk.filled(close, 100)

        assert (of(walk, ticket).status, walk.position()) == (Status.FILLED, 0)
        assert len({order.order_id for order in walk.orders(leg=Leg.CLOSE)}) == 3
        assert sum("it goes in parts" in note.text for note in of(walk, ticket).trail) == 1

    def test_on_paper_all_parts_are_filled_at_once_and_a_reversal_then_opens(self):
        walk = desk(limits={"quantity": 5})
        for _ in range(3):
            send(walk, action="buy", quantity=4)

        reversal = send(walk, action="sell", quantity=16, position_size=-4)

        assert (of(walk, reversal).status, walk.position()) == (Status.FILLED, -4)
        assert [order.quantity for order in walk.orders(leg=Leg.CLOSE)] == [5, 5, 2]

    def test_a_part_that_is_refused_is_told_and_tried_again_in_a_second(self):
        walk = self.holding_twelve()
        ticket = send(walk, action="exit", quantity=None)
        walk.filled(walk.orders(leg=Leg.CLOSE)[-1], 100)

        walk.report(walk.orders(leg=Leg.CLOSE)[-1], "refused")

        assert of(walk, ticket).until == walk.clock.now + timedelta(seconds=1)
        assert "exit_stands" in [notice.kind for notice in walk.rows("notices")]
        walk.tick(after=1)
        assert [order.quantity for order in walk.orders(leg=Leg.CLOSE)] == [5, 5, 5]

    @staticmethod
    def holding_twelve():
        walk = live(limits={"quantity": 5})
        for _ in range(3):
            send(walk, action="buy", quantity=4)
            walk.filled(walk.orders()[-1], 100)
        assert walk.position() == 12
        return walk

    def test_an_exit_overtakes_an_entry_that_hangs_for_more_than_two_seconds(self):
        walk = live()
        send(walk, action="buy", quantity=1)
        walk.filled(walk.orders()[-1], 100)
        send(walk, action="buy", quantity=1)  # no answer comes

        ticket = send(walk, action="exit", quantity=None, after=0.5)
        assert of(walk, ticket).status is Status.OPEN
        walk.tick(after=1.6)

        (close,) = walk.orders(leg=Leg.CLOSE)
        assert close.quantity == 1
        assert walk.sent[-2].kind == "cancel"


class TestRule11NoOrderTwice:
    def bought(self):
        walk = live()
        send(walk, action="buy", quantity=1)
        walk.filled(walk.orders()[-1], 100)
        return walk

    def test_an_entry_that_is_not_found_stays_unknown(self):
        walk = live()
        ticket = send(walk, action="buy", quantity=1)
        walk.report(walk.orders()[0], "unknown")
        walk.report(walk.orders()[0], "not_found")

        assert of(walk, ticket).status is Status.UNKNOWN
        assert [effect.kind for effect in walk.sent] == ["submit", "find"]

    def test_an_exit_that_is_not_found_with_its_position_unchanged_gets_a_new_attempt(self):
        walk = self.bought()
        send(walk, action="exit", quantity=None)
        walk.report(walk.orders()[-1], "unknown")
        walk.put(
            Kind.REPORT,
            json.dumps({"order_id": walk.orders()[-1].order_id, "outcome": "not_found", "net": "1"}),
        )
        walk.tick(after=2)

        first, second = walk.orders(leg=Leg.CLOSE)
        assert (first.status, second.attempt) == (OrderStatus.FAILED, 2)
        assert first.order_id != second.order_id

    def test_an_exit_that_is_not_found_with_its_position_gone_is_not_tried_again(self):
        walk = self.bought()
        send(walk, action="exit", quantity=None)
        walk.report(walk.orders()[-1], "unknown")
        walk.put(
            Kind.REPORT,
            json.dumps({"order_id": walk.orders()[-1].order_id, "outcome": "not_found", "net": "0"}),
        )
        walk.tick(after=100)

        assert len(walk.orders(leg=Leg.CLOSE)) == 1

    def test_what_was_submitting_at_a_crash_is_looked_up_and_not_sent_again(self):
        walk = live()
        send(walk, action="buy", quantity=1)
        walk.restart()

        walk.start()

        assert walk.orders()[0].status is OrderStatus.UNKNOWN
        assert [effect.kind for effect in walk.sent] == ["submit", "find"]


class TestWhatABrokerSaysLate:
    def working(self):
        walk = live()
        send(walk, action="buy", quantity=2, order_type="limit", limit_price=90)
        (order,) = walk.orders()
        walk.report(order, "accepted", call="submit")
        return walk, order

    def test_a_cancel_that_was_lost_is_asked_again_when_the_order_is_found_working(self):
        walk, order = self.working()
        send(walk, action="cancel", quantity=None)
        walk.restart()
        walk.start()

        walk.report(order, "accepted", call="find")

        assert [effect.kind for effect in walk.sent] == ["submit", "cancel", "find", "cancel"]

    @pytest.mark.parametrize("outcome", ["refused", "unknown", "not_found", "accepted"])
    def test_a_cancel_that_is_not_confirmed_ends_nothing_and_is_looked_into(self, outcome):
        walk, order = self.working()
        send(walk, action="cancel", quantity=None)

        walk.report(order, outcome, call="cancel")
        assert not walk.orders()[0].ended
        walk.tick(after=2)

        assert walk.sent[-1].kind == "find"

    def test_a_fill_after_the_end_is_booked_and_told(self):
        walk, order = self.working()
        send(walk, action="cancel", quantity=None)
        walk.report(order, "cancelled", call="cancel")
        walk.restart()

        walk.filled(order, 90)

        assert walk.position() == 2
        assert walk.rows("notices")[-1].kind == "late_fill"

    def test_a_fill_is_booked_once_however_often_it_is_told(self):
        walk, order = self.working()
        fill = {"fill_id": "f1", "quantity": "2", "price": "90"}

        for _ in range(3):
            walk.report(order, "accepted", fills=(fill,))

        assert walk.position() == 2

    def test_a_fill_of_more_than_was_ordered_is_booked_as_it_is_and_told(self):
        walk, order = self.working()

        walk.report(order, "accepted", fills=({"fill_id": "f1", "quantity": "3", "price": "90"},))

        assert walk.position() == 3
        assert walk.rows("notices")[-1].kind == "overfill"

    def test_an_order_that_nobody_answers_about_is_looked_up_again(self):
        walk = live()
        send(walk, action="buy", quantity=1)
        walk.report(walk.orders()[0], "unknown", call="submit")
        walk.report(walk.orders()[0], "unknown", call="find")

        walk.tick(after=60)

        assert [effect.kind for effect in walk.sent] == ["submit", "find", "find"]


class TestWithoutItsBroker:
    def held(self, account):
        walk = live(sides="both")
        if account.endswith("~paper"):
            walk.command("mode", strategy="walker", mode="paper")
        send(walk, action="buy", quantity=2)
        if not account.endswith("~paper"):
            walk.filled(walk.orders()[-1], 100)
        assert walk.position(account=account) == 2
        return walk

    @pytest.mark.parametrize("gone", ["connection", "group"])
    def test_an_exit_from_the_shadow_needs_no_broker(self, gone):
        walk = self.held("main~paper")
        walk.connected = {}
        if gone == "group":
            walk.settings = Settings.model_validate({"groups": {"other": {"broker": "simulator"}}})
        walk.start()

        ticket = send(walk, action="exit", quantity=None)

        assert (ticket.status, walk.position()) == (Status.FILLED, 0)

    def test_an_exit_of_a_live_position_stands_and_is_told(self):
        walk = self.held("main")
        walk.connected = {}
        walk.start()

        ticket = send(walk, action="exit", quantity=None)
        walk.report(walk.orders()[-1], "failed", call="submit", reason="the broker is not connected")

        assert of(walk, ticket).status is Status.OPEN
        assert walk.rows("notices")[-1].kind == "exit_stands"

    def test_nothing_opens(self):
        walk = self.held("main")
        walk.connected = {}
        walk.start()

        assert send(walk, action="buy", quantity=1).reason == Reason.NO_BROKER


class TestRule12To14Brackets:
    def test_an_entry_brings_its_stop_and_target(self):
        walk = desk()
        send(walk, action="buy", quantity=2, stop_loss={"offset": 5}, take_profit={"percent": 10})

        assert protection(walk) == [("stop_loss", 2, 95), ("take_profit", 2, 110)]

    def test_the_other_one_is_cancelled_when_one_fills(self):
        walk = desk()
        send(walk, action="buy", quantity=2, stop_loss={"price": 95}, take_profit={"price": 110})

        walk.price(price=111)

        assert (walk.position(), protection(walk)) == (0, [])
        assert walk.fills[-1].price == 110

    def test_a_stop_fills_at_the_worse_of_its_level_and_the_price(self):
        walk = desk()
        send(walk, action="buy", quantity=1, stop_loss={"price": 95})

        walk.price(price=92)

        assert walk.fills[-1].price == 92

    def test_the_protective_quantity_follows_the_ledger(self):
        walk = desk()
        send(walk, action="buy", quantity=2, stop_loss={"price": 95})
        send(walk, action="buy", quantity=1)
        assert protection(walk) == [("stop_loss", 3, 95)]

        send(walk, action="sell", quantity=2)

        assert protection(walk) == [("stop_loss", 1, 95)]

    def test_several_targets_take_their_quantities_one_by_one(self):
        walk = desk()
        targets = [{"price": 110, "quantity": 1}, {"price": 120, "quantity": 2}]
        send(walk, action="buy", quantity=3, stop_loss={"price": 95}, take_profit=targets)

        walk.price(price=112)
        assert protection(walk) == [("stop_loss", 2, 95), ("take_profit", 2, 120)]
        walk.price(price=121)

        assert (walk.position(), protection(walk)) == (0, [])

    def test_a_trailing_stop_follows_the_best_price(self):
        walk = desk()
        send(walk, action="buy", quantity=1, stop_loss={"offset": 5, "trail": True})
        walk.price(price=110)
        walk.price(price=107)
        assert protection(walk) == [("stop_loss", 1, 105)]

        walk.price(price=104)

        assert walk.fills[-1].price == 104

    def test_a_stop_moves_to_break_even_once_it_is_earned(self):
        walk = desk()
        send(walk, action="sell", quantity=1, stop_loss={"offset": 5, "break_even": 4})
        walk.price(price=97)
        assert protection(walk) == [("stop_loss", 1, 105)]

        walk.price(price=96)

        assert protection(walk) == [("stop_loss", 1, 100)]

    def test_an_update_moves_what_it_names(self):
        walk = desk()
        send(walk, action="buy", quantity=1, stop_loss={"price": 95}, take_profit={"price": 110})

        ticket = send(walk, action="update", quantity=None, stop_loss={"price": 99})

        assert ticket.status is Status.DONE
        assert protection(walk) == [("stop_loss", 1, 99), ("take_profit", 1, 110)]

    def test_an_update_without_a_position_says_so(self):
        ticket = send(desk(), action="update", quantity=None, stop_loss={"price": 99})

        assert ticket.reason == Reason.NOTHING_TO_UPDATE

    @pytest.mark.parametrize("command", ["halt", "cancel", "demote"])
    def test_protection_outlives_a_halt_a_cancel_and_a_demotion(self, command):
        walk = desk()
        send(walk, action="buy", quantity=1, stop_loss={"price": 95})

        if command == "halt":
            walk.command("halt")
        elif command == "cancel":
            send(walk, action="cancel", quantity=None)
        else:
            walk.command("mode", strategy="walker", mode="halted")

        assert protection(walk) == [("stop_loss", 1, 95)]

    def test_refused_protection_is_tried_again(self):
        walk = desk()
        script(walk, "accept", "refuse")
        send(walk, action="buy", quantity=1, stop_loss={"price": 95})
        assert protection(walk) == []

        walk.tick(after=1)

        assert protection(walk) == [("stop_loss", 1, 95)]

    def test_protection_that_stays_refused_flattens_the_position_within_five_seconds_or_so(self):
        walk = desk()
        script(walk, "accept", *["refuse"] * 4)
        send(walk, action="buy", quantity=1, stop_loss={"price": 95})

        for _ in range(6):
            walk.tick(after=1)

        assert walk.position() == 0
        assert "unprotected" in {notice.kind for notice in walk.rows("notices")}

    def test_an_exit_withdraws_the_bracket_first(self):
        walk = desk()
        send(walk, action="buy", quantity=1, stop_loss={"price": 95})

        send(walk, action="exit", quantity=None, price=94)

        assert walk.position() == 0
        assert [trade.quantity for trade in walk.trades] == [1]

    def test_a_stop_that_fills_while_an_exit_is_on_its_way_does_not_flip_the_position(self):
        walk = live()
        send(walk, action="buy", quantity=1, stop_loss={"price": 95})
        walk.filled(walk.orders()[-1], 100)
        (stop,) = walk.orders(leg=Leg.STOP_LOSS)
        walk.report(stop, "accepted")

        ticket = send(walk, action="exit", quantity=None)
        assert walk.sent[-1].kind == "cancel"
        walk.filled(stop, 95)  # it filled before the cancel arrived

        assert walk.position() == 0
        assert walk.orders(leg=Leg.CLOSE) == []
        assert of(walk, ticket).reason == Reason.NO_POSITION

    def test_an_exit_closes_the_rest_once_the_stop_is_cancelled(self):
        walk = live()
        send(walk, action="buy", quantity=1, stop_loss={"price": 95})
        walk.filled(walk.orders()[-1], 100)
        (stop,) = walk.orders(leg=Leg.STOP_LOSS)
        walk.report(stop, "accepted")
        send(walk, action="exit", quantity=None)
        assert walk.orders(leg=Leg.CLOSE) == []

        walk.report(stop, "cancelled")

        assert walk.orders(leg=Leg.CLOSE)[0].quantity == 1

    def test_a_limit_exit_and_a_target_do_not_both_close(self):
        walk = desk()
        send(walk, action="sell", quantity=2, price=106, take_profit={"offset": 1})
        limit = {"order_type": "limit", "limit_price": 80}
        ticket = send(walk, action="buy", quantity=2, price=106, position_size=0, **limit)

        walk.price(price=80)

        assert walk.position() == 0
        assert [fill.quantity for fill in walk.fills] == [2, 2]
        assert of(walk, ticket).ended
        assert all(order.ended for order in walk.orders())

    def test_an_exit_tried_again_finds_the_protection_restored_and_withdraws_it(self):
        walk = desk()
        send(walk, action="buy", quantity=1, stop_loss={"price": 95})
        script(walk, "refuse")
        send(walk, action="exit", quantity=None)
        assert protection(walk) == [("stop_loss", 1, 95)]

        walk.tick(after=1)

        assert (walk.position(), protection(walk)) == (0, [])
        assert [trade.quantity for trade in walk.trades] == [1]

    @pytest.mark.parametrize(
        "reversal",
        [
            {"action": "sell", "quantity": 2},
            {"action": "sell", "quantity": 2, "position_size": -1},
            {"action": "reverse", "quantity": None},
            {"action": "target", "quantity": None, "position_size": -1},
        ],
    )
    @pytest.mark.parametrize("levels", [{"stop_loss": {"price": 90}}, {"take_profit": {"offset": 30}}])
    def test_a_reversal_leaves_the_old_sides_bracket_behind(self, levels, reversal):
        walk = desk()
        send(walk, action="buy", quantity=1, **levels)

        send(walk, **reversal)

        assert (walk.position(), protection(walk)) == (-1, [])

    @pytest.mark.parametrize(
        ("action", "levels"),
        [
            ("buy", {"stop_loss": {"price": 200}}),
            ("buy", {"take_profit": {"price": 90}}),
            ("sell", {"stop_loss": {"price": 90}}),
            ("sell", {"take_profit": {"price": 130}}),
        ],
    )
    def test_a_level_on_the_wrong_side_of_the_market_opens_nothing(self, action, levels):
        ticket = send(desk(), action=action, quantity=1, **levels)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.WRONG_LEVEL)

    def test_a_group_may_require_protection(self):
        walk = desk(disaster_stop={"percent": 2})

        send(walk, action="buy", quantity=1)

        assert protection(walk) == [("stop_loss", 1, 98)]


class TestRule15And16Modes:
    def held(self):
        walk = live(sides="both")
        send(walk, action="buy", quantity=1)
        walk.filled(walk.orders()[-1], 100)
        walk.command("mode", strategy="walker", mode="paper")
        return walk

    def test_demoted_while_it_holds_increases_are_denied_and_exits_go_where_the_position_is(self):
        walk = self.held()
        assert send(walk, action="buy", quantity=1).reason == Reason.MODE_CHANGING

        ticket = send(walk, action="exit", quantity=None)

        assert (ticket.account, walk.orders()[-1].broker) == ("main", "scripted")

    def test_after_the_exit_it_trades_in_its_shadow_book(self):
        walk = self.held()
        send(walk, action="exit", quantity=None)
        walk.filled(walk.orders()[-1], 99)

        ticket = send(walk, action="buy", quantity=1)

        assert (ticket.account, ticket.status) == ("main~paper", Status.FILLED)
        assert walk.fills[-1].mode == "paper"

    def test_a_reversal_closes_live_and_opens_in_the_shadow(self):
        walk = self.held()
        send(walk, action="sell", quantity=2)

        walk.filled(walk.orders()[-1], 99)

        assert (walk.position(account="main"), walk.position(account="main~paper")) == (0, -1)

    def test_a_strategy_never_seen_starts_on_paper_even_in_a_live_group(self):
        walk = live(strategies=())

        ticket = send(walk, action="buy", quantity=1)

        assert (ticket.account, walk.sent) == ("main~paper", [])

    def test_a_group_that_is_not_live_trades_in_the_shadow(self):
        walk = live(live=False)

        assert send(walk, action="buy", quantity=1).account == "main~paper"


class TestRule20OutOfOrder:
    def test_exit_and_entry_300_ms_apart_in_the_wrong_order(self):
        walk = desk()
        send(walk, action="buy", quantity=1)
        entry = send(
            walk,
            action="sell",
            quantity=1,
            prev_market_position="flat",
            market_position="short",
            position_size=-1,
        )
        assert (entry.status, walk.position()) == (Status.OPEN, 1)

        send(
            walk,
            action="sell",
            quantity=1,
            after=0.3,
            prev_market_position="long",
            market_position="flat",
            position_size=0,
        )

        assert (of(walk, entry).status, walk.position()) == (Status.FILLED, -1)

    def test_what_nothing_resolves_is_handled_after_half_a_second(self):
        walk = desk()
        ticket = send(walk, action="sell", quantity=2, prev_market_position="long", position_size=-1)
        assert ticket.status is Status.OPEN
        assert walk.desk.engine.due == walk.clock.now + timedelta(seconds=0.5)

        walk.tick(after=0.5)

        assert (of(walk, ticket).status, walk.position()) == (Status.FILLED, -1)


class TestRule21StaleAndBacklogs:
    def test_an_exit_never_expires(self):
        walk = desk()
        send(walk, action="buy", quantity=1, timenow="2026-03-01T00:00:00Z")

        walk.alert(account_group="desk", action="buy", quantity=1)
        send(walk, action="exit", quantity=None, timenow="2026-03-02T09:00:30Z", after=3600)

        assert walk.position() == 0

    def test_an_exit_closes_only_what_was_opened_before_its_own_time(self):
        walk = desk()
        send(walk, action="buy", quantity=1, timenow="2026-03-02T09:00:01Z")
        send(walk, action="buy", quantity=2, timenow="2026-03-02T09:00:03Z")

        send(walk, action="exit", quantity=None, timenow="2026-03-02T09:00:02Z")

        assert walk.position() == 2

    def test_an_old_exit_leaves_an_entry_alone_that_only_has_an_arrival(self):
        walk = desk()
        send(walk, action="buy", quantity=1)

        send(walk, action="exit", quantity=None, timenow="2026-03-02T08:50:00Z")

        assert walk.position() == 1

    def test_of_the_same_second_an_exit_closes_everything(self):
        walk = desk()
        send(walk, action="buy", quantity=1, timenow="2026-03-02T09:00:01Z")

        send(walk, action="exit", quantity=None, timenow="2026-03-02T09:00:01Z")

        assert walk.position() == 0

    def test_a_stale_reversal_keeps_its_closing_leg(self):
        walk = desk()
        send(walk, action="buy", quantity=1)

        ticket = send(walk, action="reverse", quantity=None, timenow="2026-03-02T08:00:00Z")

        assert (walk.position(), ticket.reason) == (0, Reason.STALE)

    def test_a_ten_minute_outage_with_five_targets_queued(self):
        walk = live(sides="both")
        send(walk, action="buy", quantity=1)  # the broker does not answer for ten minutes
        first = walk.orders()[0]
        targets = [
            send(walk, action="target", quantity=None, position_size=size, after=120)
            for size in (2, -1, 3, 0, -2)
        ]

        walk.filled(first, 100)

        *others, last = [of(walk, ticket) for ticket in targets]
        assert {(t.status, t.reason) for t in others} == {(Status.DENIED, Reason.SUPERSEDED)}
        assert last.status is Status.ORDERED
        assert walk.orders()[-1].leg is Leg.CLOSE


class TestRule22Repeats:
    def test_a_repeated_id_with_another_body_is_denied_and_noticed(self):
        walk = desk()
        send(walk, id="a1", action="buy", quantity=1)

        ticket = send(walk, id="a1", action="buy", quantity=5, of=2)

        assert (ticket.status, ticket.reason) == (Status.DENIED, Reason.DUPLICATE_ID)
        assert walk.rows("notices")[-1].kind == "duplicate_id"

    def test_identical_adds_within_a_minute_are_all_made(self):
        walk = desk()
        for _ in range(3):
            send(walk, action="buy", quantity=1, after=19)

        assert walk.position() == 3


class TestRule23TheContractIsFixedUntilFlat:
    def test_an_add_goes_to_the_contract_that_is_held(self):
        walk = desk()
        send(walk, symbol="ESZ2026", action="buy", quantity=1, price=5000)

        send(walk, symbol="ESH2027", action="buy", quantity=1, price=5050)

        assert {order.symbol for order in walk.orders()} == {"ESZ2026"}

    def test_levels_computed_on_another_contract_travel_as_a_distance(self):
        walk = desk()
        send(walk, symbol="ESZ2026", action="buy", quantity=1, price=5000)
        walk.price("ESZ2026", 5010)

        send(walk, symbol="ESH2027", action="buy", quantity=1, price=5060, stop_loss={"price": 5040})

        assert protection(walk) == [("stop_loss", 2, 4990)]


class TestRule24HaltAndFlatten:
    def test_a_halt_cancels_opening_orders_and_keeps_the_position(self):
        walk = desk()
        send(walk, action="buy", quantity=1, stop_loss={"price": 90})
        entry = send(walk, strategy="other", action="buy", quantity=1, order_type="limit", limit_price=80)

        walk.command("halt")

        assert of(walk, entry).reason == Reason.TRADING_HALTED
        assert (walk.position("walker"), protection(walk)) == (1, [("stop_loss", 1, 90)])

    def test_flatten_closes_too_and_repeats_until_flat(self):
        walk = desk()
        send(walk, action="buy", quantity=2, stop_loss={"price": 90})
        script(walk, "refuse")

        walk.command("flatten")
        assert walk.position() == 2
        walk.tick(after=1)

        assert (walk.position(), protection(walk)) == (0, [])
        assert send(walk, action="buy", quantity=1).reason == Reason.TRADING_HALTED

    def test_flatten_of_one_strategy_leaves_the_others_alone(self):
        walk = desk()
        send(walk, strategy="one", action="buy", quantity=1)
        send(walk, strategy="two", action="buy", quantity=1)

        walk.command("flatten", scope="desk/one")

        assert (walk.position("one"), walk.position("two")) == (0, 1)
        assert send(walk, strategy="two", action="buy", quantity=1).status is Status.FILLED

    def test_an_order_that_no_alert_caused_has_no_alert_id(self):
        walk = desk()
        send(walk, action="buy", quantity=1)
        walk.command("flatten")

        assert walk.orders()[-1].alert_id is None

    def test_resume_everywhere_lifts_narrower_halts_too(self):
        walk = desk()
        send(walk, action="buy", quantity=1)
        walk.command("flatten", scope="desk/walker")
        walk.command("halt", scope="desk")
        walk.command("resume")

        assert send(walk, action="buy", quantity=1).status is Status.FILLED

    def test_resume_of_a_group_leaves_a_halt_everywhere(self):
        walk = desk()
        walk.command("halt")
        walk.command("resume", scope="desk")

        assert send(walk, action="buy", quantity=1).reason == Reason.TRADING_HALTED

    def test_resume_lets_opening_go_on(self):
        walk = desk()
        walk.command("halt")
        walk.command("resume")

        assert send(walk, action="buy", quantity=1).status is Status.FILLED


class TestAccounts:
    def test_three_accounts_of_which_one_rejects(self):
        walk = desk(accounts=[{"name": name} for name in ("a", "b", "c")])
        script(walk, "refuse", account="b")

        tickets = walk.alert(account_group="desk", action="buy", quantity=1)

        assert [ticket.status for ticket in tickets] == [Status.FILLED, Status.REJECTED, Status.FILLED]

    def test_each_account_has_fees_and_slippage_of_its_own(self):
        accounts = [
            {"name": "cheap"},
            {"name": "dear", "commission": {"per_order": 5}, "slippage": {"fixed": 1}},
        ]
        walk = desk(accounts=accounts)

        walk.alert(account_group="desk", action="buy", quantity=1)

        assert [(fill.price, fill.commission) for fill in walk.fills] == [(100, 0), (101, 5)]

    def test_fractional_crypto_leaves_no_dust(self):
        walk = desk(accounts=({"name": "third", "multiplier": "0.333333333"},))
        send(walk, symbol="BTCUSDT", action="buy", quantity="0.1", price=60000)
        for _ in range(3):
            send(walk, symbol="BTCUSDT", action="sell", quantity="0.0333333", price=60000)

        send(walk, symbol="BTCUSDT", action="sell", quantity="0.0000001", price=60000)

        assert walk.position() == 0


class TestSimulator:
    def test_orders_can_be_delayed_by_script_and_meet_the_price_of_then(self):
        walk = desk()
        script(walk, "delay 5")
        send(walk, action="buy", quantity=1, price=100)
        walk.price(price=103)

        walk.tick(after=5)

        assert [fill.price for fill in walk.fills] == [103]

    def test_cancel_after_withdraws_what_did_not_fill(self):
        walk = desk()
        ticket = send(walk, action="buy", quantity=1, order_type="limit", limit_price=90, cancel_after=30)
        assert walk.desk.engine.due == walk.clock.now + timedelta(seconds=30)

        walk.tick(after=30)

        assert of(walk, ticket).status is Status.EXPIRED

    @pytest.mark.parametrize(("tif", "filled"), [("ioc", 1), ("fok", 0)])
    def test_time_in_force_lets_nothing_rest(self, tif, filled):
        walk = desk()
        script(walk, "partial 1")

        send(walk, action="buy", quantity=3, order_type="limit", limit_price=100, time_in_force=tif)

        assert walk.position() == filled
        assert all(order.ended for order in walk.orders())

    @pytest.mark.parametrize(
        ("kind", "prices", "fills"),
        [
            ({"order_type": "stop", "stop_price": 105}, [104, 106], [106]),
            ({"order_type": "stop_limit", "stop_price": 105, "limit_price": 107}, [104, 106], [106]),
            ({"order_type": "stop_limit", "stop_price": 105, "limit_price": 105}, [104, 106, 105], [105]),
            ({"order_type": "limit", "limit_price": 95}, [96, 93], [95]),
        ],
    )
    def test_resting_entries_wait_for_their_price(self, kind, prices, fills):
        walk = desk()
        send(walk, action="buy", quantity=1, **kind)

        for price in prices:
            walk.price(price=price)

        assert [fill.price for fill in walk.fills] == fills


class TestTicketsThatAFlowHolds:
    def walk(self, flow):
        return Walk(Settings.model_validate({"groups": {"desk": {"broker": "simulator"}}}), flow)

    def test_a_reversal_through_a_delay_opens_what_it_says(self):
        walk = self.walk(lambda alerts, desk: alerts.pipe(rx.delay(5), ops.size()))
        send(walk, action="buy", quantity=1)
        walk.tick(after=10)

        send(walk, action="sell", quantity=3)
        walk.tick(after=10)

        assert walk.position() == -2

    def test_the_flows_own_clock_is_due_beside_other_dates(self):
        walk = self.walk(lambda alerts, desk: alerts.pipe(rx.delay(5), ops.size()))
        send(walk, strategy="limit", order_type="limit", limit_price=90, cancel_after=3600)
        walk.tick(after=10)

        send(walk, action="buy", quantity=1)

        assert walk.desk.engine.due == walk.clock.now + timedelta(seconds=5)

    def test_what_never_comes_back_is_denied_in_the_end(self):
        def flow(alerts, desk):
            alerts.pipe(rx.sample(1))
            return alerts.pipe(rx.filter(lambda ticket: False))

        walk = self.walk(flow)
        ticket = send(walk, action="buy", quantity=1)
        for _ in range(400):
            walk.tick(after=1)

        assert (of(walk, ticket).status, of(walk, ticket).reason) == (Status.DENIED, Reason.DROPPED)

    def test_a_piece_cannot_turn_a_ticket_into_another(self):
        changed = rx.map(lambda ticket: evolve(ticket, symbol="MSFT", asked=Decimal(9)))
        walk = self.walk(lambda alerts, desk: alerts.pipe(rx.delay(1), changed))

        ticket = send(walk, action="buy", quantity=1)
        walk.tick(after=2)

        assert walk.orders() == []
        assert of(walk, ticket).reason == Reason.OPERATOR_FAILED
