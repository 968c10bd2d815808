"""A prop firm's floor (rule 25), by the broker's own word on the equity: warn, reduce, flatten before it.

The account begins with 50,000 and may lose 2,000: the floor is at 48,000. Two contracts of ES make or lose
100 for each point.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outside.scene import PRICE, PROJECTX, TRADOVATE, play
from ttflow.engine import money

FLOOR, OLD = 48_000, timedelta(seconds=2)
HOUSE = {
    "start_balance": 50_000,
    "drawdown": 2_000,
    "trail": "static",
    "contracts": 10,
    "session_start": "00:00",
    "tz": "UTC",
}
FIRM = {
    "changes": {"firm": "house", "program": "trial", "size": "50K"},
    "also": {"firms": {"house": {"automation": "allowed"}, "house-trial": {}, "house-trial-50K": HOUSE}},
}

at_a_firm = pytest.mark.parametrize("venue", [TRADOVATE, PROJECTX], ids=str)


def told(scene):
    """What the firm's limits led to, as the person reads it."""
    return [row["text"] for row in scene.desk.reader.rows("notices", kind="firm")]


def state(scene):
    """What the account may do at its firm."""
    row = scene.desk.engine.state.firms.get(("desk", "main"))
    return row.state if row else "active"


def equity(scene):
    """What the broker says that the account is worth."""
    exchange, account = scene.fake.exchange, scene.fake.account
    return exchange.cash(account) + exchange.open_profit(account)


async def buys(scene, quantity=2):
    await scene.alert("buy", quantity=quantity, stop_loss={"offset": 100})
    await scene.until(lambda: scene.held() == scene.net() == quantity, "held")


async def falls(scene, price, expected):
    """Let the market fall, and wait until the desk heeds what the broker says of it."""
    await scene.price(price)
    await scene.until(lambda: state(scene) == expected, f"{expected} at {price}")


@at_a_firm
def test_an_account_that_falls_towards_its_floor_is_warned_reduced_and_flat_before_it(tmp_path, venue):
    async def work(scene):
        await scene.until(lambda: ("desk", "main") in scene.desk.engine.state.firms, "its equity known")
        await buys(scene)
        await scene.price(4989)
        await scene.until(lambda: any("50 % or less" in text for text in told(scene)), "warned")
        assert state(scene) == "active"

        await falls(scene, 4983, "reducing")
        more = await scene.alert("buy", quantity=1, price=4983)
        assert scene.ticket(more)["reason"] == "TRADING_REDUCING"
        assert scene.held() == scene.net() == 2

        await falls(scene, 4981, "flatten")
        await scene.until(scene.flat, "flat")

        assert FLOOR < equity(scene) < FLOOR + 200
        again = await scene.alert("buy", quantity=1, price=4981)
        assert scene.ticket(again)["reason"] == "TRADING_REDUCING"
        assert len(scene.fake.exchange.executions) == 2

    play(tmp_path, venue, work, **FIRM)


@at_a_firm
@pytest.mark.parametrize("fault", ["refuse", "lose_answer", "drop", "server_error"])
def test_whatever_becomes_of_the_first_close_it_is_tried_until_the_account_is_flat(tmp_path, venue, fault):
    async def work(scene):
        await scene.until(lambda: ("desk", "main") in scene.desk.engine.state.firms, "its equity known")
        await scene.alert("buy", quantity=2)
        await scene.until(lambda: scene.held() == scene.net() == 2, "held")
        await scene.fault(fault)
        await scene.price(4981)
        await scene.until(scene.flat, "flat")

        assert equity(scene) > FLOOR
        assert [done.signed for done in scene.fake.exchange.executions] == [2, -2]

    play(tmp_path, venue, work, **FIRM)


@at_a_firm
def test_while_the_broker_says_nothing_of_the_equity_the_account_only_reduces(tmp_path, venue, monkeypatch):
    for name in ("FRESH", "IDLE"):
        monkeypatch.setattr(money, name, OLD)

    async def work(scene):
        await scene.until(lambda: ("desk", "main") in scene.desk.engine.state.firms, "its equity known")
        await scene.alert("buy", quantity=1)
        await scene.until(lambda: scene.held() == scene.net() == 1, "held")
        scene.desk.keepers["desk"].broker.snapshot = silence
        await scene.until(lambda: is_old(scene), "not known")
        denied = await scene.alert("buy", quantity=1, symbol="NQ1!", price=20_000)
        assert scene.ticket(denied)["reason"] == "TRADING_REDUCING"
        assert "equity is not known" in str(scene.ticket(denied)["trail"])

        exit_id = await scene.alert("exit")
        await scene.until(scene.flat, "flat")
        await scene.ends(exit_id, "filled")

    async def silence():
        raise TimeoutError("the broker says nothing")

    play(tmp_path, venue, work, **FIRM)


def is_old(scene):
    """Whether what is known of the account is older than it may be."""
    return datetime.now(UTC) - scene.desk.engine.worth("desk", "main").at > OLD


assert PRICE == 5000  # the sums above count from it
