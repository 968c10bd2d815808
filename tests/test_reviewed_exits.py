"""Exits leave: whatever hangs in front of them, whatever they are called, and never past what is held."""

from datetime import timedelta

import pytest

from ttflow.firms import opt_in_sentence
from ttflow.order import Leg, OrderStatus
from ttflow.settings import Settings
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status

SECRET = ("a-webhook-secret",)


def live(*can, **group):
    """A walk with one live group at a connected broker, where `walker` and `other` may trade."""
    given = {"broker": "scripted", "live": True, "strategies": ("walker", "other"), "sides": "both", **group}
    told = {"secrets": SECRET, "groups": {"desk": given}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",), can=can)


def desk(**group):
    """A walk with one paper group."""
    told = {"groups": {"desk": {"broker": "simulator", **group}}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told))


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def of(walk, ticket):
    return next(one for one in walk.tickets(ticket.seq) if one.key == ticket.key)


def sent(walk, since=0):
    return [(e.kind, e.order.leg.value, int(e.order.quantity)) for e in walk.sent[since:]]


def held(walk, quantity=1, symbol="AAPL", price=100):
    """Let `walker` hold something at its broker."""
    send(walk, symbol=symbol, action="buy", quantity=quantity, price=price)
    walk.filled(walk.orders()[-1], price)


def hangs(walk, symbol="AAPL", price=100):
    """An addition whose answer was lost, and that its broker does not know."""
    send(walk, symbol=symbol, action="buy", quantity=1, price=price)
    entry = walk.orders()[-1]
    walk.report(entry, "unknown", call="submit")
    walk.report(entry, "not_found", call="find", net="1")
    return entry


def wait(walk, seconds):
    """Let time pass, with a tick wherever one is due."""
    end = walk.clock.now + timedelta(seconds=seconds)
    while (due := walk.desk.engine.due) and due <= end:
        walk.tick(after=max(0, (due - walk.clock.now).total_seconds()))
    walk.tick(after=(end - walk.clock.now).total_seconds())


class TestBehindAnEntryThatHangs:
    @pytest.mark.parametrize(
        "reduces",
        [
            {"action": "exit", "quantity": None},
            {"action": "sell", "quantity": 2, "position_size": 0},
            {"action": "sell", "quantity": 2, "market_position": "flat"},
            {"action": "target", "quantity": None, "position_size": 0},
            {"action": "sell", "quantity": 1},
            {"action": "reverse", "quantity": 1},
        ],
    )
    def test_whatever_reduces_overtakes_it(self, reduces):
        walk = live()
        held(walk)
        hangs(walk)
        before = len(walk.sent)

        send(walk, **reduces, after=0.5)
        wait(walk, 2)

        assert sent(walk, before) == [("cancel", "open", 1), ("submit", "close", 1)]

    @pytest.mark.parametrize(
        "told", [{"action": "exit", "quantity": None}, {"action": "sell", "quantity": 2}]
    )
    def test_what_is_to_leave_nothing_closes_the_entry_too_when_it_comes_in_after_all(self, told):
        walk = live()
        held(walk)
        entry = hangs(walk)
        ticket = send(walk, **{"quantity": None, **told}, position_size=0)
        wait(walk, 2)
        walk.filled(walk.sent[-1].order, 100)

        walk.report(
            entry, "filled", call="find", fills=({"fill_id": "late", "quantity": "1", "price": "100"},)
        )

        assert sent(walk)[-1] == ("submit", "close", 1)
        walk.filled(walk.sent[-1].order, 100)
        assert (walk.position(), of(walk, ticket).status) == (0, Status.FILLED)
        closes = [order.order_id for order in walk.orders(leg=Leg.CLOSE)]
        assert len(closes) == len(set(closes)) == 2

    @pytest.mark.parametrize("told", [{"action": "reverse"}, {"action": "sell", "position_size": -1}])
    def test_a_reversal_ends_where_it_should_when_the_entry_comes_in_after_all(self, told):
        walk = live()
        held(walk)
        entry = hangs(walk)
        send(walk, **told, quantity=2 if told["action"] == "sell" else 1)
        wait(walk, 2)
        walk.filled(walk.sent[-1].order, 100)
        assert not walk.orders(leg=Leg.OPEN, side="sell")

        walk.report(
            entry, "filled", call="find", fills=({"fill_id": "late", "quantity": "1", "price": "100"},)
        )
        walk.filled(walk.sent[-1].order, 100)
        walk.filled(walk.sent[-1].order, 100)

        assert walk.position() == -1
        ids = [order.order_id for order in walk.orders()]
        assert len(ids) == len(set(ids))

    def test_flatten_overtakes_it(self):
        walk = live()
        held(walk)
        entry = hangs(walk)
        before = len(walk.sent)

        walk.command("flatten", after=0.5)
        wait(walk, 2)
        walk.filled(walk.sent[-1].order, 100)

        assert sent(walk, before) == [("cancel", "open", 1), ("submit", "close", 1)]
        walk.report(
            entry, "filled", call="find", fills=({"fill_id": "late", "quantity": "1", "price": "100"},)
        )
        assert sent(walk)[-1] == ("submit", "close", 1)

    def test_a_firms_floor_is_not_waited_for_by_it(self):
        firm = {"firm": "topstep", "program": "combine", "size": "50K"}
        walk = live(**firm, automation_opt_in=opt_in_sentence("topstep"))
        walk.snapshot({}, equity=50_000)
        held(walk, symbol="ES1!", price=5000)
        walk.snapshot({"ESH2026": 1}, equity=50_000)
        hangs(walk, symbol="ES1!", price=5000)

        walk.price("ESH2026", 4980)  # the daily loss limit of 1,000 is near
        wait(walk, 3)

        assert sent(walk)[-1] == ("submit", "close", 1)

    def test_a_refused_exit_keeps_its_pauses(self):
        walk = live()
        held(walk)
        hangs(walk)
        send(walk, action="exit", quantity=None)
        wait(walk, 2)

        walk.report(walk.sent[-1].order, "refused", reason="not now", after=0.1)
        assert walk.orders(leg=Leg.CLOSE)[-1].status is OrderStatus.REJECTED
        walk.tick(after=0.5)
        assert len(walk.orders(leg=Leg.CLOSE)) == 1
        walk.tick(after=0.5)

        assert len(walk.orders(leg=Leg.CLOSE)) == 2


class TestNeverPastWhatTheBrokerHolds:
    def closed_by_hand(self):
        walk = live()
        held(walk)
        walk.snapshot({})
        return walk

    def test_flatten_sends_nothing_where_the_broker_shows_nothing(self):
        walk = self.closed_by_hand()

        walk.command("flatten")
        wait(walk, 4)

        assert not walk.orders(leg=Leg.CLOSE)

    def test_and_is_done_once_that_is_explained(self):
        walk = self.closed_by_hand()
        walk.command("flatten")

        walk.snapshot({}, after=6)
        wait(walk, 6)

        assert walk.position() == 0
        assert not walk.orders(leg=Leg.CLOSE, broker="scripted")
        assert walk.desk.engine.due is None

    def test_flatten_goes_out_when_the_broker_shows_the_position_again(self):
        walk = self.closed_by_hand()
        walk.command("flatten")

        walk.snapshot({"AAPL": 1})
        wait(walk, 6)

        assert sent(walk)[-1] == ("submit", "close", 1)

    @pytest.mark.parametrize("leaves", ["exit", "flatten"])
    def test_what_an_exit_closed_itself_is_gone_at_the_broker_too(self, leaves):
        walk = live()
        held(walk, 3)
        walk.snapshot({"AAPL": 1})  # two were sold by hand
        if leaves == "exit":
            send(walk, action="exit", quantity=None)
        else:
            walk.command("flatten")

        walk.filled(walk.sent[-1].order, 100)
        wait(walk, 10)

        assert sent(walk)[1:] == [("submit", "close", 1)]
        walk.snapshot({})
        assert walk.position() == 0


class TestBesideAClosingOrderThatRests:
    def resting(self):
        walk = desk()
        send(walk, action="buy", quantity=2)
        self.high, self.higher = (
            send(walk, action="sell", quantity=1, order_type="limit", limit_price=price)
            for price in (110, 120)
        )
        return walk

    @pytest.mark.parametrize("action", ["exit", "sell"])
    def test_a_part_is_closed_at_the_market_and_the_newest_makes_room(self, action):
        walk = self.resting()

        ticket = send(walk, action=action, quantity=1)

        assert (ticket.status, walk.position()) == (Status.FILLED, 1)
        assert of(walk, self.high).status is Status.ORDERED
        assert of(walk, self.higher).status is Status.CANCELLED

    def test_one_more_limit_takes_nobodys_place(self):
        walk = self.resting()

        ticket = send(walk, action="sell", quantity=1, order_type="limit", limit_price=130)

        assert (ticket.status, ticket.reason) == (Status.DONE, Reason.NO_POSITION)
        assert {of(walk, one).status for one in (self.high, self.higher)} == {Status.ORDERED}


class TestAStandingExit:
    def standing(self, **fields):
        walk = desk()
        send(walk, action="buy", quantity=3, timenow="2026-03-02T09:00:00Z")
        walk.command("script", scope="desk/paper", steps=["refuse"])
        return walk, send(walk, action="exit", quantity=None, **fields)

    def test_an_exit_of_a_part_does_not_take_its_place(self):
        walk, _ = self.standing()

        send(walk, action="exit", quantity=1, after=0.2)
        wait(walk, 5)

        assert walk.position() == 0

    def test_nor_does_one_that_fired_before_it(self):
        walk, _ = self.standing(timenow="2026-03-02T09:00:02Z")

        send(walk, action="exit", quantity=None, timenow="2026-03-02T08:59:00Z", after=0.2)
        wait(walk, 5)

        assert walk.position() == 0


class TestAnExitsOwnTerms:
    @pytest.mark.parametrize("terms", [{"cancel_after": 5}, {"time_in_force": "day"}])
    @pytest.mark.parametrize("kind", [{}, {"order_type": "limit", "limit_price": 105}])
    def test_it_is_not_withdrawn_when_its_time_is_over(self, terms, kind):
        walk = live()
        held(walk)
        ticket = send(walk, action="exit", quantity=None, **terms, **kind)
        walk.report(walk.sent[-1].order, "accepted", call="submit")

        wait(walk, 3 * 86_400)

        assert sent(walk)[-1] == ("submit", "close", 1)
        assert of(walk, ticket).status is Status.ORDERED

    def test_what_closes_a_part_at_a_limit_keeps_its_terms(self):
        walk = desk()
        send(walk, action="buy", quantity=2)

        ticket = send(walk, action="sell", quantity=1, order_type="limit", limit_price=110, cancel_after=5)
        wait(walk, 6)

        assert of(walk, ticket).status is Status.EXPIRED

    def test_on_paper_too_it_stands_where_nothing_met_it_at_once(self):
        walk = desk()
        send(walk, action="buy", quantity=1)
        terms = {"order_type": "limit", "limit_price": 105, "time_in_force": "ioc"}
        ticket = send(walk, action="exit", quantity=None, **terms)
        assert (ticket.status, walk.position()) == (Status.OPEN, 1)

        walk.price(price=106)
        wait(walk, 60)

        assert walk.position() == 0

    @pytest.mark.parametrize("action", ["exit", "buy"])
    def test_seconds_beyond_the_calendar_are_no_fault(self, action):
        walk = desk()
        send(walk, action="buy", quantity=1)

        ticket = send(walk, action=action, quantity=1, cancel_after=999_999_999_999)

        assert ticket.status is Status.FILLED


def test_an_exit_in_doubt_is_looked_up_again_when_another_fill_was_yet_to_be_told():
    walk = live()
    held(walk)
    send(walk, strategy="other", action="buy", quantity=1)
    other = walk.orders()[-1]
    send(walk, action="exit", quantity=None)
    close = walk.orders()[-1]
    walk.report(close, "unknown", call="submit")
    walk.report(close, "not_found", call="find", net="2")  # the other's contract is in it, and not booked
    walk.filled(other, 100)

    wait(walk, 60)
    assert (walk.sent[-1].kind, walk.sent[-1].order.order_id) == ("find", close.order_id)
    walk.report(close, "not_found", call="find", net="2")
    wait(walk, 2)

    assert (sent(walk)[-1], walk.sent[-1].order.attempt) == (("submit", "close", 1), 2)


class TestBehindOthersThatWait:
    @pytest.mark.parametrize("told", [{"action": "exit"}, {"action": "target", "position_size": 0}])
    def test_what_is_to_get_flat_goes_past_entries_that_wait_for_one_that_hangs(self, told):
        walk = live()
        held(walk)
        hangs(walk)
        entry = send(walk, action="buy", quantity=1)
        assert entry.status is Status.OPEN

        send(walk, **{"quantity": None, **told})
        wait(walk, 3)

        assert sent(walk)[-2:] == [("cancel", "open", 1), ("submit", "close", 1)]
        assert (of(walk, entry).status, of(walk, entry).reason) == (Status.DENIED, Reason.SUPERSEDED)

    def test_an_exit_of_a_part_waits_behind_them(self):
        walk = live()
        held(walk, 2)
        hangs(walk)
        send(walk, action="buy", quantity=1)
        before = len(walk.sent)

        send(walk, action="exit", quantity=1)
        wait(walk, 3)

        assert len(walk.sent) == before


def test_a_cancel_without_an_answer_is_looked_into_though_a_fill_was_told_meanwhile():
    walk = live()
    send(walk, action="buy", quantity=3, order_type="limit", limit_price=99)
    entry = walk.orders()[0]
    walk.report(entry, "accepted", call="submit")
    send(walk, action="exit", quantity=None)
    walk.report(entry, "unknown", call="cancel")

    walk.filled(entry, 99, 1, after=0.5)
    wait(walk, 2)

    assert (walk.sent[-1].kind, walk.sent[-1].order.order_id) == ("find", entry.order_id)


def test_a_close_of_the_position_that_found_less_of_it_is_followed_by_another():
    walk = live("closes")
    held(walk, 3)
    send(walk, action="exit", quantity=None)
    walk.report(walk.sent[-1].order, "refused", call="submit")
    wait(walk, 1)
    close = walk.sent[-1]
    assert (close.kind, close.order.quantity) == ("close", 3)
    done = ({"fill_id": "f", "quantity": "1", "price": "100"},)  # the other strategy had just sold 2

    walk.report(close.order, "filled", call="close", fills=done)
    walk.report(close.order, "filled", call="find", fills=done, after=10)
    assert len(walk.orders(leg=Leg.CLOSE)) == 2  # its fills may be told one by one
    walk.report(close.order, "filled", call="find", fills=done, after=60)
    wait(walk, 3)

    assert walk.orders(leg=Leg.CLOSE)[-1].quantity == 2
    walk.filled(walk.sent[-1].order, 100)
    assert walk.position() == 0


@pytest.mark.parametrize(("rests", "kind"), [(True, "submit"), (False, "close")])
def test_a_close_of_the_whole_position_leaves_the_resting_entry_of_another_strategy_alone(rests, kind):
    walk = live("closes")
    held(walk)
    if rests:
        send(walk, strategy="other", action="buy", quantity=1, order_type="limit", limit_price=90, price=100)
        walk.report(walk.orders()[-1], "accepted")
    send(walk, action="exit", quantity=None)
    walk.report(walk.orders(leg=Leg.CLOSE)[-1], "refused", reason="try again")

    wait(walk, 3)

    assert sent(walk)[-1] == (kind, "close", 1)
