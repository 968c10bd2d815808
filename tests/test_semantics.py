"""What an alert does to a position, walked rule by rule."""

from decimal import Decimal

import pytest

from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status

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
