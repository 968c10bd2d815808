"""A whole desk at a broker's fake, driven by alerts, and the laws that must hold of the two afterwards.

Each venue is a real adapter against the fake of its broker over sockets of this machine. What each side
remembers is compared: the journal's tables, and what the fake shows at `/_state`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from ttflow import outside as outside_module
from ttflow.brokers import Keeper, Worker, projectx, tastytrade, tradovate, worker
from ttflow.brokers.projectx import adapter as projectx_adapter
from ttflow.brokers.projectx import session as projectx_session
from ttflow.brokers.tastytrade import adapter as tastytrade_adapter
from ttflow.brokers.tastytrade import costs, hours
from ttflow.brokers.tastytrade import session as tastytrade_session
from ttflow.brokers.tradovate import adapter as tradovate_adapter
from ttflow.brokers.tradovate import session as tradovate_session
from ttflow.desk import Desk
from ttflow.engine import base, books, reports, turns
from ttflow.fakes import projectx as fake_projectx
from ttflow.fakes import tastytrade as fake_tastytrade
from ttflow.fakes import tradovate as fake_tradovate
from ttflow.fakes.server import Fake, serve
from ttflow.instrument import root
from ttflow.order import OrderStatus
from ttflow.rerun import verify
from ttflow.settings import Settings
from ttflow.ticket import OUTCOMES
from ttflow.words import OrderType, Side, evolve

DEADLINE_S = 40
"""How long anything is waited for; a busy machine is no fault."""
UNDECIDED_S = 2
"""How long an input may be undecided where nothing is on its way any more."""
SYMBOL = "ES1!"
"""The front month, whichever it is on the day of the test."""
PRICE = 5000
SECRET = "a-webhook-secret"
STRATEGIES = ("walker", *(f"s{number}" for number in range(40)))

Row = dict[str, Any]
Patch = Callable[[Any, str, Any], object]


# Venues


def _tradovate() -> Fake:
    return fake_tradovate.TradovateFake(penalty_s=0.05, late_s=0.05, slow_s=0.1, beat_s=0.1)


def _tastytrade() -> Fake:
    fake = fake_tastytrade.make()
    fake.late_s, fake.slow_s = 0.05, 0.1
    return fake


def _projectx() -> Fake:
    return fake_projectx.ProjectXFake(late_s=0.05, slow_s=0.1, beat_s=0.1, per_minute=10**6)


@dataclass(frozen=True)
class Venue:
    """A broker as the tests meet it: its fake, and what a desk signs in to it with."""

    name: str
    make: Callable[[], Fake]
    section: str
    credentials: Mapping[str, str]

    def __str__(self) -> str:
        return self.name


TRADOVATE = Venue(
    "tradovate",
    _tradovate,
    "tradovate",
    {"username": "u", "password": "p", "cid": "1", "sec": "s", "device_id": "d"},
)
TASTYTRADE = Venue("tastytrade", _tastytrade, "tastytrade", {"client_secret": "c", "refresh_token": "r"})
PROJECTX = Venue("projectx", _projectx, "topstepx", {"username": "u", "api_key": "k"})
VENUES = (TRADOVATE, TASTYTRADE, PROJECTX)


def hurry(patch: Patch, *, every_s: float = 0.2, silence_s: float = 0.6) -> None:
    """Shorten every interval that only a calm broker or a person needs; `patch` is a `setattr`.

    `every_s` is how often a desk asks what is held, `silence_s` how long a stream may be silent: a desk and
    its fakes share one event loop here, so what keeps it busy for that long breaks every line. At that pace a
    minute's budget of requests would be used up in seconds, so the budgets are lifted; that they are kept to
    is tested with each adapter.
    """
    patch(outside_module, "Worker", partial(Worker, timeout_s=2.0, settle_s=0.3, busy_s=5.0))
    patch(worker, "LEAST_PAUSE_S", 0.1)
    patch(outside_module, "Keeper", partial(Keeper, every_s=every_s, busy_s=every_s))
    patch(
        tradovate_adapter,
        "Pace",
        partial(tradovate.Pace, beat_s=0.1, silence_s=silence_s, retry_s=0.02, settle_s=0.3, look_s=0.1),
    )
    patch(
        projectx_adapter,
        "Pace",
        partial(
            projectx.Pace, beat_s=0.1, silence_s=silence_s, retry_s=0.02, settle_s=0.3, look_s=0.1, busy_s=0.3
        ),
    )
    patch(projectx_session, "AGAIN_S", 0.3)
    patch(
        tastytrade_adapter,
        "Tastytrade",
        partial(tastytrade_adapter.Tastytrade, heartbeat_s=silence_s / 3, pauses_s=(0.02,), settle_s=0.1),
    )
    patch(tradovate_session, "RATE_LIMITED_S", 0.3)
    patch(tastytrade_session, "PAUSE_S", 0.3)
    for room in (costs, hours):
        patch(room, "PATIENCE_S", 5.0)
    patch(base, "_PAUSES_S", (0.2, 0.3))
    for room, name, seconds in (
        (reports, "CANCEL_PAUSE", 0.2),
        (reports, "LOOK_PAUSE", 0.5),
        (books, "SETTLED", 1.0),
        (turns, "BROKER_PAUSE", 0.3),
    ):
        patch(room, name, type(getattr(room, name))(seconds=seconds))
    for kind in (tradovate.Tradovate, projectx.ProjectX, tastytrade.Tastytrade):
        patch(kind, "capabilities", evolve(kind.capabilities, requests_per_minute=None))


# The scene


@dataclass
class Scene:
    """A desk, the fakes that its groups are at, by group, and what was sent."""

    desk: Desk
    fakes: Mapping[str, Fake]
    addresses: Mapping[str, str]
    http: aiohttp.ClientSession
    sent: list[str]
    number: int = 0

    @property
    def fake(self) -> Fake:
        """The only fake, of a scene with one group."""
        (fake,) = self.fakes.values()
        return fake

    async def alert(self, action: str, group: str = "desk", **fields: Any) -> str:
        """Send an alert and wait until it is decided; returns its id."""
        usual = {"symbol": SYMBOL, "strategy": "walker", "account_group": group, "price": PRICE}
        self.number += 1
        given = {**usual, "id": f"{action} {self.number}", **fields, "action": action}
        receipt = await self.desk.send(json.dumps(given))
        self.sent.append(receipt.alert_id)
        return str(receipt.alert_id)

    async def enter(self, quantity: int = 2, action: str = "buy", **fields: Any) -> str:
        """Send an entry with a stop and a target."""
        levels = {"stop_loss": {"offset": 10}, "take_profit": {"offset": 20}}
        return await self.alert(action, quantity=quantity, **{**levels, **fields})

    async def ask(self, call: str, group: str = "desk", body: Any = None) -> Any:
        """Ask a fake one of the calls that every fake has."""
        method = "GET" if body is None else "POST"
        async with self.http.request(method, self.addresses[group] + call, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def fault(self, kind: str, count: int = 1, group: str = "desk") -> None:
        """Let something go wrong at a fake."""
        await self.ask("/_fault", group, {"kind": kind, "count": count})

    async def price(self, price: float, group: str = "desk", symbol: str = SYMBOL) -> None:
        """Tell a fake what the market does."""
        await self.ask("/_price", group, {"symbol": symbol, "price": price})

    async def trade_by_hand(self, side: str, quantity: int, group: str = "desk") -> None:
        """What a person does at the broker, past the desk: an order of their own in what was traded there."""
        exchange = self.fakes[group].exchange
        symbol = next(symbol for _, symbol in exchange.holdings)
        like = {
            name: value
            for name, value in next(iter(exchange.orders.values())).extra.items()
            if name in ("name", "instrument_type", "action", "effect", "time_in_force", "source")
        }
        exchange.work(
            exchange.place(
                account=self.fakes[group].account,
                symbol=symbol,
                side=Side(side),
                quantity=Decimal(quantity),
                type=OrderType.MARKET,
                extra={**like, "by_hand": True},
            )
        )
        await self.price(PRICE, group)

    async def until(self, true: Callable[[], bool], what: str = "", ticks: float | None = None) -> None:
        """Wait until something holds of the desk and the fake; the market goes on trading at `ticks`."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not true():
                    await asyncio.sleep(0.01)
                    if ticks is not None:
                        await self.price(ticks)
        except TimeoutError:
            raise AssertionError(f"it never came to be {what}\n{self.told()}") from None

    async def decide_doubts(self, group: str = "desk") -> None:
        """What a person does about orders in doubt: look at the broker, and say what is there."""
        told = {row["text"] for row in self.desk.reader.rows("notices", kind="unknown_order")}
        for order in self.standing(group):
            if order.status is OrderStatus.UNKNOWN and any(order.order_id in text for text in told):
                there = self.fakes[group].exchange.find(order.order_id)
                await self.desk.settle_order(order.order_id, "adopt" if there else "absent")

    # What they hold

    def held(self, group: str = "desk", strategy: str = "walker") -> Decimal:
        """What the ledgers of a strategy hold at a group."""
        rows = self.desk.engine.state.ledgers.values()
        mine = (row for row in rows if (row.strategy, row.account_group) == (strategy, group))
        return sum((row.position for row in mine if not row.account.endswith("~paper")), Decimal())

    def net(self, group: str = "desk") -> Decimal:
        """What the broker holds, all symbols added up."""
        return sum((one.quantity for one in self.fakes[group].exchange.holdings.values()), Decimal())

    def working(self, group: str = "desk") -> list[tuple[str, Decimal]]:
        """The orders that stand at the broker: their types and what is left of each."""
        orders = self.fakes[group].exchange.orders.values()
        standing = (order for order in orders if order.status in ("working", "held"))
        return sorted((order.type.value, order.remaining) for order in standing)

    def orders(self, group: str = "desk") -> list[Any]:
        """The orders of the journal's state that went to a group's broker, ended or not."""
        state = self.desk.engine.state
        rows = (*state.ended.values(), *state.orders.values())
        return [
            row for row in rows if row.account_group == group and row.broker not in ("simulator", "manual")
        ]

    def standing(self, group: str = "desk") -> list[Any]:
        """Those that have not ended."""
        return [row for row in self.orders(group) if not row.ended]

    def ticket(self, alert_id: str) -> Any:
        """The one ticket of an alert, as the journal has it."""
        (row,) = self.desk.reader.rows("tickets", alert_id=alert_id)
        return row

    async def ends(self, alert_id: str, status: str) -> None:
        """Wait until the ticket of an alert has its outcome, and hold it to what is expected."""
        await self.until(lambda: self.ticket(alert_id)["status"] in OUTCOMES, f"the end of {alert_id}")
        assert self.ticket(alert_id)["status"] == status, self.told()

    def guarded(self, quantity: int = 2, group: str = "desk") -> bool:
        """Whether a position stands with its stop and its target, both of its size, and is known to."""
        size = Decimal(abs(quantity))
        there = self.working(group) == [("limit", size), ("stop", size)]
        known = all(order.status is OrderStatus.WORKING for order in self.standing(group))
        return self.held(group) == self.net(group) == quantity and there and known

    def flat(self, group: str = "desk") -> bool:
        """Whether nothing is held, nothing works, and nothing is on its way, on both sides."""
        nothing = not self.held(group) and not self.net(group) and not self.working(group)
        return nothing and not self.standing(group)

    def told(self) -> str:
        """What happened, for whoever reads a failure."""
        orders = [
            f"{row.order_id[-6:]} {row.leg} {row.side} {row.filled}/{row.quantity} {row.status} {row.reason}"
            for group in self.fakes
            for row in self.orders(group)
        ]
        there = [str(row) for fake in self.fakes.values() for row in fake.exchange.state()["orders"]]
        tickets = [
            f"{row['alert_id']} {row['status']} {row['reason']} {[note[-1] for note in row['trail']]}"
            for row in self.desk.reader.rows("tickets")
        ]
        notices = [row["text"] for row in self.desk.reader.rows("notices")]
        parts = {"orders": orders, "at the broker": there, "tickets": tickets, "notices": notices}
        return "\n".join(f"{name}:\n  " + "\n  ".join(rows[-40:]) for name, rows in parts.items())

    # The laws

    async def broken(self) -> list[str]:
        """The laws that don't hold now, one sentence each, by `/_state` and the journal."""
        found = []
        for group in self.fakes:
            found += self._laws(group, await self.ask("/_state", group))
        with suppress(TimeoutError):  # a snapshot that came just now is decided at once, or never
            async with asyncio.timeout(UNDECIDED_S):
                while self.desk.undecided:  # noqa: ASYNC110  # the desk's own state
                    await asyncio.sleep(0.001)
        return [*found, *self._decided()]

    def _laws(self, group: str, state: Mapping[str, Any]) -> Iterator[str]:
        rows = {row["order_id"]: row for row in self.desk.reader.rows("orders", account_group=group)}
        ours = {key: row for key, row in rows.items() if row["broker"] not in ("simulator", "manual")}
        numbers = {row["broker_order_id"]: key for key, row in ours.items() if row["broker_order_id"]}
        by_hand = self._by_hand(group)
        there: dict[str, list[Row]] = defaultdict(list)
        for order in state["orders"]:
            name = order["client_id"] or numbers.get(str(order["id"]))
            if order["id"] in by_hand:
                continue
            if name not in ours:
                yield f"{group}: an order at the broker is not in the journal: {order}"
                continue
            there[name].append(order)
        replaced = self._replaced(group)
        sent = Counter({name: sum(row["id"] not in replaced for row in many) for name, many in there.items()})
        yield from (f"{group}: {name} was sent {count} times" for name, count in sent.items() if count > 1)
        yield from self._fills(group, ours, numbers, state["fills"], by_hand)
        for name, row in ours.items():
            yield from self._judged(group, row, there.get(name, []))
        yield from self._positions(group, state["positions"])

    def _by_hand(self, group: str) -> set[int]:
        orders = self.fakes[group].exchange.orders.values()
        return {order.number for order in orders if order.extra.get("by_hand")}

    def _replaced(self, group: str) -> set[int]:
        """The orders that a change put another one in the place of: they were not sent twice."""
        orders = self.fakes[group].exchange.orders.values()
        return {order.extra["replaces"] for order in orders if "replaces" in order.extra}

    def _fills(
        self,
        group: str,
        ours: Mapping[str, Row],
        numbers: Mapping[str, str],
        fills: list[Row],
        by_hand: set[int],
    ) -> Iterator[str]:
        """Each fill of the broker is in the journal once, and no other."""
        there, here = defaultdict(list), defaultdict(list)
        for done in fills:
            if done["order_id"] not in by_hand:
                name = done["client_id"] or numbers.get(str(done["order_id"]), "?")
                there[name].append((Decimal(str(done["quantity"])), Decimal(str(done["price"]))))
        for row in self.desk.reader.rows("fills", account_group=group):
            if row["order_id"] in ours:
                here[row["order_id"]].append((Decimal(row["quantity"]), Decimal(row["price"])))
        for name in there.keys() | here.keys():
            if sorted(there[name]) != sorted(here[name]):
                yield f"{group}: {name} was filled as {there[name]} and is booked as {here[name]}"

    def _judged(self, group: str, row: Row, there: list[Row]) -> Iterator[str]:
        """What the journal says of an order is how it stands at the broker."""
        status = OrderStatus(row["status"])
        stands = {one["status"] for one in there}
        legal = {
            OrderStatus.FILLED: {"filled"},
            OrderStatus.WORKING: {"working", "held"},
            OrderStatus.PARTIALLY_FILLED: {"working"},
            OrderStatus.REJECTED: {"rejected"},
        }.get(status, {"cancelled", "rejected", "expired"})
        wrong = stands - legal - {"cancelled"}
        missing = status in (OrderStatus.FILLED, OrderStatus.WORKING) and not stands & legal
        in_doubt = status in (OrderStatus.UNKNOWN, OrderStatus.SUBMITTING)
        if not in_doubt and (wrong or missing):
            yield f"{group}: {row['order_id']} is {status} and stands at the broker as {there}"

    def _positions(self, group: str, positions: list[Row]) -> Iterator[str]:
        """The ledgers, with `manual`, are what the broker holds."""
        there: Counter[str] = Counter()
        here: Counter[str] = Counter()
        for one in positions:
            there[root(one["symbol"])] += Decimal(str(one["quantity"]))
        for row in self.desk.engine.state.ledgers.values():
            if row.account_group == group and not row.account.endswith("~paper"):
                here[row.root] += row.position
        for one in there.keys() | here.keys():
            if there[one] != here[one]:
                yield f"{group}: the broker holds {there[one]} {one}, the ledgers {here[one]}"

    def _decided(self) -> Iterator[str]:
        if self.desk.undecided:
            yield f"{self.desk.undecided} inputs are not decided"
        tickets: dict[str, list[Row]] = defaultdict(list)
        for row in self.desk.reader.rows("tickets"):
            tickets[row["alert_id"]].append(row)
        for alert_id in self.sent:
            if not tickets[alert_id]:
                yield f"{alert_id} has no ticket"
        doubtful = {
            row.strategy
            for row in self.desk.engine.state.orders.values()
            if row.status is OrderStatus.UNKNOWN
        }
        for row in itertools.chain(*tickets.values()):
            rests = any(one.order_id == row["order_id"] for one in self.desk.engine.state.orders.values())
            if row["status"] not in OUTCOMES and row["strategy"] not in doubtful and not rests:
                yield f"a ticket is left {row['status']}: {row}"
            if row["reason"] == "DESK_FAILED":
                yield f"the desk failed: {row}"
        for row in self.desk.reader.rows("notices"):
            if row["kind"] in ("failure", "overfill"):
                yield row["text"]


@asynccontextmanager
async def on_stage(
    folder: Path,
    groups: Mapping[str, Venue],
    *,
    live: bool = True,
    changes: Mapping[str, Any] | None = None,
    also: Mapping[str, Any] | None = None,
    struck: str = "",
) -> AsyncIterator[Scene]:
    """Serve a fake for each group, start a desk that trades at them, and check the replay in the end.

    `changes` go into the groups' settings, `also` beside the groups; `struck` is a fault that strikes the
    sign-in.
    """
    journal = folder / "ttflow.db"
    served = {name: await serve(venue.make()) for name, venue in groups.items()}
    for one in served.values():
        one.fake.exchange.price(SYMBOL, Decimal(PRICE))
        if struck:
            one.fake.faults.ask(struck)
    addresses = {name: one.address for name, one in served.items()}
    given = settings(journal, groups, addresses, live=live, changes=changes, also=also)
    fakes = {name: one.fake for name, one in served.items()}
    try:
        async with aiohttp.ClientSession() as http, Desk(given) as desk:
            if live and not struck:
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.gather(*(keeper.opened.wait() for keeper in desk.keepers.values()))
            yield Scene(desk, fakes, addresses, http, [])
    finally:
        for one in served.values():
            await one.close()
    difference = verify(journal)
    assert difference is None, difference


def settings(
    journal: Path,
    groups: Mapping[str, Venue],
    addresses: Mapping[str, str],
    *,
    live: bool = True,
    changes: Mapping[str, Any] | None = None,
    also: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings with a live group at each venue, whose strategies trade live from their first alert."""
    made = {
        name: {
            "broker": venue.name,
            "live": live,
            "sides": "both",
            "strategies": STRATEGIES if live else (),
            "base_url": addresses[name],
            **(changes or {}),
        }
        for name, venue in groups.items()
    }
    made["paper"] = {"broker": "simulator"}
    credentials = {venue.section: venue.credentials for venue in groups.values()}
    return Settings.model_validate(
        {
            "journal": journal,
            "secrets": (SECRET,),
            "rate_limit": "0",
            "credentials": credentials,
            "groups": made,
            **(also or {}),
        }
    )


def play(
    folder: Path, venue: Venue, work: Callable[[Scene], Awaitable[Any]], *, laws: bool = True, **more: Any
) -> None:
    """Let `work` use a desk with one live group, `desk`, at a venue; then hold both to the laws."""

    async def main() -> None:
        async with on_stage(folder, {"desk": venue}, **more) as scene:
            await work(scene)
            if laws:
                await rest(scene)

    asyncio.run(main())


async def rest(scene: Scene, within_s: float = DEADLINE_S / 4) -> None:
    """Wait until the laws hold, as they must once nothing is on its way any more; say which do not."""
    async with asyncio.timeout(within_s + DEADLINE_S):
        try:
            async with asyncio.timeout(within_s):
                while await scene.broken():  # noqa: ASYNC110  # two servers and a journal come to rest
                    await asyncio.sleep(0.05)
        except TimeoutError:
            broken = await scene.broken()
            assert not broken, "\n".join([*broken, scene.told()])
