"""A desk that runs for months: no clock that goes round in circles, nothing that grows, nothing too large."""

from datetime import timedelta

import pytest

from ttflow.order import Leg
from ttflow.settings import Settings
from ttflow.testing import Walk

SECRET = ("a-webhook-secret",)


def live(**group):
    """A walk with one live group at a connected broker, where `walker` may trade."""
    given = {"broker": "scripted", "live": True, "strategies": ("walker",), "sides": "both", **group}
    told = {"secrets": SECRET, "groups": {"desk": given}, "flow": {"expire_s": 0}}
    return Walk(Settings.model_validate(told), connected=("desk",))


def send(walk, **fields):
    (ticket,) = walk.alert(account_group="desk", **fields)
    return ticket


def held(walk, **fields):
    send(walk, action="buy", quantity=1, **fields)
    walk.filled(walk.orders()[-1], 100)


class TestTheClock:
    """A tick is an input, written to disk: one that is due again at once would fill it."""

    def ticks(self, walk, seconds=3600, most=200):
        """How many ticks an hour takes while nobody says anything."""
        end, count = walk.clock.now + timedelta(seconds=seconds), 0
        while count < most and (due := walk.desk.engine.due) and due <= end:
            walk.tick(after=max(0, (due - walk.clock.now).total_seconds()))
            count += 1
        return count

    def test_it_rests_while_a_flattening_close_has_no_answer(self):
        walk = live()
        held(walk)
        walk.command("flatten")
        assert walk.sent[-1].order.leg is Leg.CLOSE

        assert self.ticks(walk) <= 1

    def test_it_rests_while_protection_that_was_refused_once_is_on_its_way_again(self):
        walk = live()
        held(walk, stop_loss={"price": 90})
        walk.report(walk.sent[-1].order, "refused", call="submit")

        assert self.ticks(walk) == 1
        assert len(walk.orders(leg=Leg.STOP_LOSS)) == 2

    @pytest.mark.parametrize("command", ["halt", "flatten"])
    def test_it_rests_while_an_exit_waits_for_the_open(self, command):
        walk = live()
        held(walk)
        send(walk, action="exit", quantity=None)
        walk.report(walk.sent[-1].order, "accepted", call="submit")
        walk.command(command)

        assert self.ticks(walk) <= 1
