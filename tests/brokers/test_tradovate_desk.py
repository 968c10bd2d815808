"""A whole desk with a live group at the fake of Tradovate: what the broker has is what the journal has."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from decimal import Decimal

import pytest

from ttflow.desk import Desk
from ttflow.fakes.server import serve
from ttflow.fakes.tradovate import TradovateFake
from ttflow.settings import Settings

DEADLINE_S = 30
CREDENTIALS = {"username": "u", "password": "p", "cid": "1", "sec": "s", "device_id": "d"}


def alert(action, **fields):
    usual = {
        "symbol": "ESZ2026",
        "strategy": "walker",
        "account_group": "desk",
        "price": "5000",
        "id": action,
    }
    return json.dumps({**usual, "action": action, **fields}).encode()


ENTRY = alert("buy", quantity=2, stop_loss={"offset": 10}, take_profit={"offset": 20})


def trade(folder, work, *faults, **also):
    """Serve a fake at 5000, start a desk that trades there live, and let `work` use both.

    `also` goes into the settings beside the group.
    """

    async def main():
        served = await serve(TradovateFake(penalty_s=0.05, late_s=0.05, slow_s=0.1))
        served.fake.exchange.price("ESZ2026", Decimal(5000))
        for fault in faults:
            served.fake.faults.ask(fault)
        group = {
            "broker": "tradovate",
            "live": True,
            "sides": "both",
            "strategies": ("walker", "careful"),
            "base_url": served.address,
        }
        settings = Settings.model_validate(
            {
                "journal": folder / "ttflow.db",
                "secrets": ("a-webhook-secret",),
                "credentials": {"tradovate": CREDENTIALS},
                "groups": {"desk": group, "paper": {"broker": "simulator"}},
                **also,
            }
        )
        try:
            async with asyncio.timeout(DEADLINE_S), Desk(settings) as desk:
                await work(desk, served.fake)
        finally:
            await served.close()

    asyncio.run(main())


async def until(true):
    while not true():  # noqa: ASYNC110  # what is waited for is another server's state
        await asyncio.sleep(0.01)


def held(desk):
    return sum(row.position for row in desk.engine.state.ledgers.values() if row.strategy == "walker")


def working(fake):
    return sorted(row["type"] for row in fake.exchange.state()["orders"] if row["status"] == "working")


def protected(desk, fake):
    return held(desk) == 2 and working(fake) == ["limit", "stop"]


def check_the_laws(desk, fake):
    """Orders at the broker are orders of the journal, none twice; so are the fills."""
    state = fake.exchange.state()
    sent = Counter(row["client_id"] for row in state["orders"])
    known = {
        row.order_id: row for row in (*desk.engine.state.ended.values(), *desk.engine.state.orders.values())
    }

    assert max(sent.values()) == 1
    assert set(sent) <= set(known)
    assert {f"tradovate-{fill['id']}" for fill in state["fills"]} == {
        fill_id for row in known.values() for fill_id in row.fill_ids
    }


def test_an_entry_is_guarded_at_the_broker_and_an_exit_leaves_nothing_behind(tmp_path):
    async def work(desk, fake):
        await desk.send(ENTRY)
        await until(lambda: protected(desk, fake))
        await desk.send(alert("exit"))
        await until(lambda: held(desk) == 0 and not working(fake))

        assert fake.exchange.net("DEMO12345", "ESZ6") == 0
        check_the_laws(desk, fake)

    trade(tmp_path, work)


def test_a_broker_that_wants_to_be_left_alone_is_told_once(tmp_path):
    async def work(desk, fake):
        await until(lambda: desk.brokers_state()["desk"] == "connected")
        fake.faults.ask("rate_limit")
        await desk.send(ENTRY)
        await until(lambda: desk.engine.state.ended)
        await desk.send(alert("buy", quantity=1, id="another"))
        await until(lambda: len(desk.engine.state.ended) == 4)  # an entry with two legs, and one without
        await until(lambda: list(desk.reader.rows("notices", kind="breaker")))

        (told,) = [row["text"] for row in desk.reader.rows("notices", kind="breaker")]
        assert "left alone" in told
        assert "hour" in told
        assert fake.requests["order/placeoso"] == 1
        assert "order/placeorder" not in fake.requests

    trade(tmp_path, work)


def test_a_stop_that_fills_at_the_broker_closes_the_ledger(tmp_path):
    async def work(desk, fake):
        await desk.send(ENTRY)
        await until(lambda: protected(desk, fake))
        fake.exchange.price("ESZ2026", Decimal(4980))
        fake.flush()
        await until(lambda: held(desk) == 0 and not working(fake))

        check_the_laws(desk, fake)

    trade(tmp_path, work)


@pytest.mark.parametrize(
    "fault",
    [
        "penalty",
        "expire_token",
        "lose_answer",
        "slow",
        "close_socket",
        "shutdown",
        "duplicate_fill",
        "late_fill",
        "out_of_order_fills",
        "fill_before_answer",
    ],
)
def test_whatever_goes_wrong_at_an_entry_the_position_ends_flat_and_guarded_until_then(tmp_path, fault):
    async def work(desk, fake):
        fake.faults.ask(fault)
        await desk.send(ENTRY)
        await until(lambda: protected(desk, fake))
        await desk.send(alert("exit"))
        await until(lambda: held(desk) == 0 and not working(fake))

        assert fake.exchange.net("DEMO12345", "ESZ6") == 0
        check_the_laws(desk, fake)

    trade(tmp_path, work)


# Prices


CAREFUL = {"strategies": {"careful": {"limits": {"quote_s": 20}}}}


def ticket(desk, receipt):
    (row,) = desk.reader.rows("tickets", alert_id=receipt.alert_id)
    return row


def quoted(desk):
    """What the broker's own prices say that things are at."""
    return {row.symbol: row.price for row in desk.engine.state.prices.values() if row.streamed_at}


async def tick(fake, price):
    fake.exchange.price("ESZ2026", Decimal(price))
    fake.flush()


def test_a_limit_on_the_age_of_quotes_is_kept_by_the_brokers_own(tmp_path):
    async def work(desk, fake):
        before = await desk.send(alert("buy", strategy="careful", quantity=1, id="before"))
        await desk.send(ENTRY)
        await until(lambda: quoted(desk) == {"ESZ2026": 5000})
        after = await desk.send(alert("buy", strategy="careful", quantity=1, id="after"))

        assert ticket(desk, before)["reason"] == "STALE_QUOTE"
        await until(lambda: ticket(desk, after)["status"] == "filled")
        check_the_laws(desk, fake)

    trade(tmp_path, work, **CAREFUL)


def test_without_market_data_that_limit_lets_nothing_in_and_all_else_goes_on(tmp_path):
    async def work(desk, fake):
        await desk.send(ENTRY)
        await until(lambda: protected(desk, fake))
        denied = await desk.send(alert("buy", strategy="careful", quantity=1, id="denied"))
        await desk.send(alert("exit"))
        await until(lambda: held(desk) == 0 and not working(fake))

        assert ticket(desk, denied)["reason"] == "STALE_QUOTE"
        assert quoted(desk) == {}
        check_the_laws(desk, fake)

    trade(tmp_path, work, "no_market_token", **CAREFUL)


def test_a_paper_order_is_filled_by_the_brokers_prices(tmp_path):
    async def work(desk, fake):
        await desk.send(ENTRY)
        await until(lambda: quoted(desk))
        resting = {"account_group": "paper", "strategy": "tester", "order_type": "limit", "limit_price": 4995}
        receipt = await desk.send(alert("buy", quantity=1, id="resting", **resting))
        assert ticket(desk, receipt)["status"] == "ordered"
        await tick(fake, "4994.75")
        await until(lambda: ticket(desk, receipt)["status"] == "filled")

        (fill,) = desk.reader.rows("fills", account_group="paper")
        assert fill["price"] == "4995"

    trade(tmp_path, work)


def test_a_trailing_stop_follows_the_brokers_prices(tmp_path):
    async def work(desk, fake):
        await desk.send(alert("buy", quantity=2, stop_loss={"offset": 10, "trail": True}))
        await until(lambda: held(desk) == 2 and levels(fake) == [4990])
        await until(lambda: quoted(desk))
        await tick(fake, 5020)
        await until(lambda: levels(fake) == [5010])
        await tick(fake, 5009)
        await until(lambda: held(desk) == 0 and not working(fake))

        check_the_laws(desk, fake)

    def levels(fake):
        return [row["stop_price"] for row in fake.exchange.state()["orders"] if row["status"] == "working"]

    trade(tmp_path, work)
