"""The keeper: signs in until it is let in, asks what accounts hold, and passes on what it hears."""

import asyncio
from decimal import Decimal

import pytest

from ttflow.brokers.base import Capabilities, Link, Moved, Quote, Report, SignInError, Snapshot, Working
from ttflow.brokers.keeper import Keeper, asked

DEADLINE_S = 10


class Line:
    """A broker whose sign-in is a script: errors to raise, then nothing."""

    capabilities = Capabilities()

    def __init__(self, *errors, snapshots=()):
        self.errors, self.snapshots = list(errors), snapshots
        self.opened, self.closed, self.asked, self.watching = 0, 0, 0, []

    async def open(self, tell):
        self.opened += 1
        self.tell = tell
        if self.errors:
            raise self.errors.pop(0)

    async def close(self):
        self.closed += 1

    async def watch(self, symbols):
        self.watching.append(symbols)

    async def snapshot(self):
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.snapshots


class Heard:
    """What the desk would have heard."""

    def __init__(self):
        self.reports, self.snapshots, self.prices, self.links = [], [], [], []
        self.news = asyncio.Event()

    def _note(self, where, what):
        where.append(what)
        self.news.set()

    async def send(self, report):
        self._note(self.reports, report)

    async def snapshot(self, told):
        self._note(self.snapshots, told)

    def price(self, symbol, price):
        self._note(self.prices, (symbol, price))

    def link(self, group, up, reason):
        self._note(self.links, (group, up, reason))

    async def until(self, condition):
        while not condition():
            self.news.clear()
            await self.news.wait()


def keeping(line, work, **intervals):
    """Keep a line while `work` runs; returns what was heard."""

    async def run():
        heard = Heard()
        keeper = Keeper(
            "desk",
            line,
            send=heard.send,
            tell=heard.snapshot,
            price=heard.price,
            link=heard.link,
            watched=lambda group: frozenset({"ESZ2026"}),
            **intervals,
        )
        keeper.start()
        async with asyncio.timeout(DEADLINE_S):
            await work(keeper, heard)
        await keeper.stop()
        return heard

    return asyncio.run(run())


HELD = Snapshot(
    account="main",
    positions={"ESZ2026": Decimal(2), "NQZ2026": Decimal(0)},
    working=(
        Working(broker_order_id="7", order_id="tt-1", symbol="ESZ2026", side="sell", quantity=Decimal(2)),
    ),
    equity=Decimal("50012.50"),
)


def test_a_new_connection_asks_what_the_accounts_hold():
    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)

    heard = keeping(Line(snapshots=(HELD,)), work)

    assert heard.snapshots == [
        {
            "account_group": "desk",
            "account": "main",
            "positions": {"ESZ2026": "2"},
            "working": [
                {
                    "broker_order_id": "7",
                    "order_id": "tt-1",
                    "symbol": "ESZ2026",
                    "side": "sell",
                    "quantity": "2",
                }
            ],
            "equity": "50012.50",
        }
    ]


def test_it_asks_for_the_prices_of_what_is_held():
    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)

    line = Line(snapshots=(HELD,))
    keeping(line, work)

    assert line.watching[0] == {"ESZ2026"}


def test_a_broker_that_cannot_be_reached_is_told_once_and_tried_again(monkeypatch):
    monkeypatch.setattr("ttflow.brokers.keeper._PAUSES_S", (0.0,))

    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)
        assert keeper.state == "connected"

    line = Line(ConnectionError("no route"), ConnectionError("no route"), snapshots=(HELD,))
    heard = keeping(line, work)

    assert line.opened == 3
    assert heard.links == [("desk", False, "no route"), ("desk", True, "")]


def test_a_sign_in_that_is_refused_for_good_is_not_tried_again(monkeypatch):
    monkeypatch.setattr("ttflow.brokers.keeper._PAUSES_S", (0.0,))

    async def work(keeper, heard):
        await heard.until(lambda: heard.links)
        await asyncio.sleep(0)
        assert keeper.state == "refused"

    line = Line(SignInError("the password is wrong"))
    heard = keeping(line, work)

    assert (line.opened, heard.links) == (1, [("desk", False, "the password is wrong")])


def test_one_that_may_pass_later_is_tried_again(monkeypatch):
    monkeypatch.setattr("ttflow.brokers.keeper._PAUSES_S", (0.0,))

    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)

    line = Line(SignInError("a captcha, for an hour", lasting=False), snapshots=(HELD,))
    keeping(line, work)

    assert line.opened == 2


def test_what_the_broker_says_is_passed_on_in_order_and_a_bad_report_stops_nothing():
    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)
        for number in range(3):
            keeper.broker.tell(Report(order_id=f"tt-{number}", outcome="accepted"))
        keeper.broker.tell(Quote(symbol="ESZ2026", price=Decimal(5000)))
        await heard.until(lambda: len(heard.reports) == 3 and heard.prices)

    heard = keeping(Line(snapshots=(HELD,)), work)

    assert [report.order_id for report in heard.reports] == ["tt-0", "tt-1", "tt-2"]
    assert heard.prices == [("ESZ2026", 5000)]


def test_a_connection_that_comes_back_asks_again_at_once():
    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)
        keeper.broker.tell(Link(up=False, reason="cut"))
        assert keeper.state == "lost"
        keeper.broker.tell(Link(up=True))
        await heard.until(lambda: len(heard.snapshots) == 2)
        assert keeper.state == "connected"

    heard = keeping(Line(snapshots=(HELD,)), work)

    assert heard.links == [("desk", False, "cut"), ("desk", True, "")]


def test_a_broker_that_says_that_something_moved_is_asked_what_is_held_at_once():
    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)
        keeper.broker.tell(Moved())
        await heard.until(lambda: len(heard.snapshots) == 2)

    line = Line(snapshots=(HELD,))
    keeping(line, work)

    assert line.asked == 2


def test_a_question_without_an_answer_costs_that_time_only():
    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)
        keeper.broker.errors = [ConnectionError("cut")]
        keeper.broker.tell(Link(up=True))
        await heard.until(lambda: keeper.broker.asked >= 3)

    line = Line(snapshots=(HELD,))
    keeping(line, work, busy_s=0.01)

    assert line.closed == 1


def test_a_keeper_that_never_started_closes_nothing():
    async def run():
        line = Line()
        heard = Heard()
        keeper = Keeper(
            "desk",
            line,
            send=heard.send,
            tell=heard.snapshot,
            price=heard.price,
            link=heard.link,
            watched=lambda group: frozenset(),
        )
        await keeper.stop()
        return keeper.state, line.closed

    assert asyncio.run(run()) == ("not live", 0)


def test_what_is_not_told_is_left_out_of_the_input():
    told = asked("desk", Snapshot(account="main", positions={}))

    assert told == {"account_group": "desk", "account": "main", "positions": {}, "working": []}


@pytest.mark.parametrize("money", ["equity", "cash", "day_profit"])
def test_money_is_written_exactly(money):
    told = asked("desk", Snapshot(account="main", positions={}, **{money: Decimal("0.10")}))

    assert told[money] == "0.10"


class Moving(Line):
    """A broker that fills something while it is asked what the account holds, so many times."""

    def __init__(self, times):
        super().__init__(snapshots=(Snapshot(account="main", positions={"ESZ2026": Decimal(2)}),))
        self.times = times

    async def snapshot(self):
        if self.asked < self.times:
            fill = {"fill_id": str(self.asked), "quantity": "1", "price": "100"}
            self.tell(Report(order_id="tt-1", outcome="accepted", fills=(fill,)))
        return await super().snapshot()


def test_what_is_held_is_told_only_when_no_fill_came_in_while_it_was_asked():
    line = Moving(times=2)

    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)
        assert line.asked == 3
        assert len(heard.reports) == 2

    keeping(line, work)


def test_a_broker_that_never_comes_to_rest_is_asked_again_later():
    line = Moving(times=4)

    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)
        assert line.asked == 5

    keeping(line, work, busy_s=0.01)


NO_FILL = {"fill_id": "f", "quantity": "1", "price": "100"}


@pytest.mark.parametrize(
    "wrong",
    [
        *(Report(order_id="tt-1", outcome="accepted", fills=({**NO_FILL, **part},)) for part in (
            {"quantity": "NaN"}, {"quantity": "-1"}, {"quantity": "0"}, {"price": "Infinity"},
            {"price": "NaN"}, {"commission": "NaN"}, {"quantity": "many"}, {"at": "soon"},
        )),
        Snapshot(account="main", positions={"ESZ2026": Decimal("NaN")}),
        Snapshot(account="main", positions={}, equity=Decimal("Infinity")),
    ],
)  # fmt: skip
def test_what_is_no_number_is_not_passed_on_and_what_follows_is(wrong, caplog):
    right = Report(order_id="tt-2", outcome="accepted")

    async def work(keeper, heard):
        await heard.until(lambda: heard.snapshots)
        keeper._heard.put_nowait(wrong)
        keeper._heard.put_nowait(right)
        await heard.until(lambda: heard.reports)

    heard = keeping(Line(snapshots=(HELD,)), work)

    assert (heard.reports, len(heard.snapshots)) == ([right], 1)
    assert "was not understood" in caplog.text
