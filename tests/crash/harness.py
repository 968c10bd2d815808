"""The crash harness: load a desk, kill it, start it again on the same journal; in the end, judge.

It sends alerts as TradingView does, several at once and again when no answer came, and remembers every body
that was acknowledged. `Harness.judge` compares three memories that a kill can't reach: its own, the journal's
and the outside broker's; what it returns are the broken laws, one sentence each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from crash import fake
from crash.child import SECRET, STRATEGIES
from crash.outside import TROUBLE
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from ttflow.inputs import Kind
from ttflow.instrument import root
from ttflow.journal import Reader
from ttflow.journal.connect import sqlite3
from ttflow.order import ENDED, OrderStatus
from ttflow.rerun import verify
from ttflow.symbols import from_broker
from ttflow.ticket import OUTCOMES, Status

HERE = Path(__file__).parent
DEADLINE_S = 20.0
"""How long anything is waited for before the harness gives up, loudly."""
SENDERS = 8
SYMBOLS = (
    "AAPL",
    "MSFT",
    "ESZ2026",
    "NQZ2026",
    "EURUSD",
    "BTCUSD",
    *(f"T{letter}" for letter in "ABCDEFGHIJ"),
)
RESEND_S = 12.0
"""An alert without id and time is sent again within this time only, as TradingView does."""

Row = dict[str, Any]


@dataclass
class Sent:
    """One body: the ids that it was acknowledged with, and how often it was sent."""

    body: bytes
    timeless: bool
    first_sent: float
    acknowledged: list[str] = field(default_factory=list)
    times: int = 0


class Process:
    """A process that tells what it does in lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, script: str, *arguments: str, **more: Any) -> Process:
        """Start one of the scripts beside this file."""
        path = os.pathsep.join([str(HERE.parent), str(HERE.parents[1]), *sys.path])
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                str(HERE / script),
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                **more,
            )
        )

    async def line(self) -> Any:
        """Read the next line."""
        assert self.process.stdout
        read = await asyncio.wait_for(self.process.stdout.readline(), DEADLINE_S)
        assert read, "the process ended without a word"
        return json.loads(read)

    def write(self, what: Any) -> None:
        """Write one line."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(what).encode() + b"\n")

    async def end(self) -> None:
        """Close its stdin, which ends it, and wait."""
        assert self.process.stdin
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), DEADLINE_S)


class DeskRun:
    """One life of the desk: its port once it listens, and its end."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid = 0
        self.rests, self.at_rest = 0, asyncio.Event()
        self.port: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()

    async def watch(self, nursery: Process) -> None:
        """Read what the nursery tells until the desk has ended."""
        while not self.ended.done():
            told = await nursery.line()
            self.pid = told.get("pid", self.pid)
            self.rests = self.rests + 1 if told.get("rest") else 0
            if self.rests >= 3:
                self.at_rest.set()
            if "port" in told:
                self.port.set_result(told["port"])
            if "ended" in told:
                self.ended.set_result(told["ended"])

    def kill(self) -> None:
        """Kill it, unless it has ended by itself."""
        if self.pid and not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Harness:
    """A journal, a broker that outlives the desk, a nursery of desks, and what was sent; see `running`."""

    script, trouble = "outside.py", TROUBLE
    symbols = SYMBOLS
    late_s: ClassVar = 0.3
    """How long after the load a desk is given to come to its crash point."""
    accounts: Mapping[str, Sequence[str]] = {"paper": ["paper"], "live": ["one", "two"], "nowhere": [""]}

    def __init__(self, journal: Path, seed: int, mutant: str = "") -> None:
        self.journal, self.mutant = journal, mutant
        self.random = random.Random(seed)
        self.sent: list[Sent] = []
        self.cycles = self.by_itself = 0
        self.crashed: Counter[str] = Counter()

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, journal: Path, seed: int, *, mutant: str = "", trouble: tuple[str, ...] | None = None
    ) -> AsyncIterator[Harness]:
        """Start the broker and the nursery; end them in the end."""
        harness = cls(journal, seed, mutant)
        harness.http = AsyncHTTPClient(force_instance=True, max_clients=2 * SENDERS)
        kinds = cls.trouble if trouble is None else trouble
        harness.broker = await Process.start(cls.script, ",".join(kinds))
        harness.broker_url = f"http://127.0.0.1:{await harness.broker.line()}"
        harness.nursery = await Process.start("child.py")
        try:
            yield harness
        finally:
            await harness.nursery.end()
            await harness.broker.end()
            harness.http.close()

    @property
    def reached(self) -> str:
        """What a desk is told of its broker."""
        return self.broker_url

    http: AsyncHTTPClient
    broker: Process
    broker_url: str
    nursery: Process

    # The load

    def alert(self) -> Sent:
        """Make a new alert, unlike every other: with an id, with the time, or with neither."""
        number = len(self.sent) + 1
        style = self.random.choice(("id", "timenow", "neither"))
        action = self.random.choice(("buy", "buy", "sell", "exit", "reverse"))
        fields: Row = {
            "strategy": self.random.choice(STRATEGIES),
            "symbol": self.random.choice(self.symbols),
            "action": action,
            "price": self.random.randint(90, 110),
            "account_group": self.random.choice(("paper", "live", "live", "nowhere")),
            "comment": f"alert {number}",
        }
        if action in ("buy", "sell"):
            fields["quantity"] = self.random.randint(1, 3)
        if style == "id":
            fields["id"] = f"mine-{number}"
        if style == "timenow":
            fields["timenow"] = datetime.now(UTC).isoformat()
        made = Sent(json.dumps(fields).encode(), style == "neither", asyncio.get_running_loop().time())
        self.sent.append(made)
        return made

    def choose(self) -> Sent:
        """A new alert; or one again that was not acknowledged; or, now and then, one that was."""
        now = asyncio.get_running_loop().time()
        recent = [one for one in self.sent[-60:] if not one.timeless or now - one.first_sent < RESEND_S]
        silent = [one for one in recent if not one.acknowledged]
        if silent and self.random.random() < 0.4:
            return self.random.choice(silent)
        if recent and self.random.random() < 0.1:
            return self.random.choice(recent)
        return self.alert()

    async def send(self, port: int, sent: Sent) -> bool:
        """Post it once; false when the desk is gone."""
        sent.times += 1
        url = f"http://127.0.0.1:{port}/webhook/tradingview/{SECRET}"
        try:
            answer = await self.http.fetch(
                url, method="POST", body=sent.body, raise_error=False, request_timeout=5
            )
        except (OSError, HTTPClientError):
            return False
        if answer.code == 200:
            sent.acknowledged.append(json.loads(answer.body)["alert_id"])
        return answer.code == 200

    async def _sender(self, run: DeskRun, port: int, count: int) -> None:
        for _ in range(count):
            if run.ended.done() or not await self.send(port, self.choose()):
                return

    # The kills

    @contextlib.asynccontextmanager
    async def desk(self, crash: str = "") -> AsyncIterator[DeskRun]:
        """One life of the desk; whatever happens, it is dead at the end."""
        run = DeskRun()
        self.nursery.write([str(self.journal), self.reached, crash, self.mutant])
        watching = asyncio.create_task(run.watch(self.nursery))
        try:
            yield run
        finally:
            run.kill()
            await watching

    async def cycle(self, crash: str = "", *, alerts: int = 40, kill_after_s: float | None = None) -> None:
        """Start the desk, load it, and have it die: at its crash point, or by a kill at any time."""
        self.cycles += 1
        async with self.desk(crash) as run:
            await asyncio.wait((run.port, run.ended), timeout=DEADLINE_S, return_when="FIRST_COMPLETED")
            if run.port.done():
                work = (self._sender(run, run.port.result(), alerts // SENDERS) for _ in range(SENDERS))
                load = asyncio.gather(*work)
                if kill_after_s is not None:
                    await asyncio.wait((run.ended, load), timeout=kill_after_s)
                    run.kill()
                await load
            # What a sender did may lead to the crash point only later, in a lane of the worker.
            if crash and kill_after_s is None:
                await asyncio.wait((run.ended,), timeout=self.late_s)
            reached = bool(crash) and run.ended.done()
        self.by_itself += reached
        self.crashed[crash if reached else f"{crash or 'any time'}: killed"] += 1

    async def settle(self) -> None:
        """Run the desk once more, send what was not acknowledged, and wait until it rests; then again."""
        await self._run_out()
        await self._run_out()  # a start asks about every order: what was filled late is told then

    async def _run_out(self) -> None:
        async with self.desk() as run:
            port = await asyncio.wait_for(run.port, DEADLINE_S)
            now = asyncio.get_running_loop().time()
            for sent in self.sent:
                if not sent.acknowledged and (not sent.timeless or now - sent.first_sent < RESEND_S):
                    assert await self.send(port, sent), "the desk did not take an alert"
            run.rests = 0
            run.at_rest.clear()
            async with asyncio.timeout(2 * DEADLINE_S):
                await run.at_rest.wait()

    # The judgement

    async def judge(self) -> list[str]:
        """Say which laws are broken, one sentence each; empty when none is."""
        arrived = await self.arrived()
        with Reader.open(self.journal) as reader:
            found = Findings(reader, self.sent, arrived, self.accounts)
            return [*found.broken(), *self._same_again(), *self._whole()]

    async def arrived(self) -> dict[str, Row]:
        """Every order that arrived at the broker, by our id: how often, how it stands, and its fills."""
        answer = await self.http.fetch(f"{self.broker_url}/state")
        orders: dict[str, Row] = json.loads(answer.body)["orders"]
        return orders

    def _same_again(self) -> Iterator[str]:
        difference = verify(self.journal)
        if difference:
            yield f"A replay decides otherwise. {difference}"

    def _whole(self) -> Iterator[str]:
        with contextlib.closing(sqlite3.connect(self.journal)) as connection:
            for pragma in ("quick_check", "foreign_key_check"):
                said = connection.execute(f"PRAGMA {pragma}").fetchall()
                if said not in ([], [("ok",)]):
                    yield f"{pragma} says {said}."


class AtTradovate(Harness):
    """The same, with the live group at a fake of Tradovate over its real adapter."""

    script, trouble = "fake.py", fake.TROUBLE
    symbols = ("ES1!", "NQ1!")
    late_s = 3.0  # it signs in first
    accounts: ClassVar = {"paper": ["paper"], "live": ["main"], "nowhere": [""]}

    @property
    def reached(self) -> str:
        """What a desk is told of its broker."""
        return f"tradovate {self.broker_url}"

    async def arrived(self) -> dict[str, Row]:
        """Every order at the fake, as `/_state` shows it."""
        answer = await self.http.fetch(f"{self.broker_url}/_state")
        state = json.loads(answer.body)
        found: dict[str, Row] = {}
        for order in state["orders"]:
            row = found.setdefault(order["client_id"], {"arrived": 0, "fills": []})
            row["arrived"] += 1
            row["symbol"] = from_broker(order["symbol"], "tradovate", datetime.now(UTC).date())
            row["side"], row["quantity"], row["outcome"] = (
                order["side"],
                str(order["quantity"]),
                order["status"],
            )
        for done in state["fills"]:
            told = {"fill_id": f"tradovate-{done['id']}", "quantity": str(done["quantity"])}
            found[done["client_id"]]["fills"].append(told)
        return found


class Findings:
    """What the journal, the broker and the senders remember, laid side by side."""

    def __init__(
        self,
        reader: Reader,
        sent: list[Sent],
        arrived: dict[str, Row],
        accounts: Mapping[str, Sequence[str]],
    ) -> None:
        self.sent, self.arrived, self.accounts = sent, arrived, accounts
        self.inputs = list(reader.inputs())
        self.alerts = {row["alert_id"]: row for row in reader.rows("alerts")}
        self.tickets = list(reader.rows("tickets"))
        self.orders = {row["order_id"]: row for row in reader.rows("orders")}
        self.fills = list(reader.rows("fills"))
        self.ledgers = list(reader.rows("ledgers"))
        self.decided = [recorded.seq for recorded in reader.decisions()]
        self.in_doubt = {
            ledger_of(row) for row in self.orders.values() if row["status"] in ("unknown", "submitting")
        }

    def broken(self) -> Iterator[str]:
        """Every broken law."""
        yield from self._kept()
        yield from self._decided()
        yield from self._ordered()
        yield from self._filled()
        yield from self._held()

    def _kept(self) -> Iterator[str]:
        """Law 1: what was acknowledged is in the journal, with identical bytes, once."""
        kept = Counter(item.raw.encode() for item in self.inputs if item.kind is Kind.ALERT)
        raw = {item.seq: item.raw.encode() for item in self.inputs}
        for sent in self.sent:
            if kept[sent.body] > 1:
                yield f"Kept {kept[sent.body]} times: {sent.body!r}."
            if not sent.acknowledged:
                continue
            if not kept[sent.body]:
                yield f"Acknowledged and lost: {sent.body!r}."
            for alert_id in set(sent.acknowledged):
                row = self.alerts.get(alert_id)
                if row is None or raw[row["seq"]] != sent.body:
                    yield f"Acknowledged as {alert_id}, which is {row}: {sent.body!r}."
        strange = set(kept) - {sent.body for sent in self.sent}
        if strange:
            yield f"Kept and never sent: {strange}."

    def _decided(self) -> Iterator[str]:
        """Law 2: each kept alert has one outcome for each account that it concerns, and nothing is left."""
        if self.decided != [item.seq for item in self.inputs]:
            yield "Not every input is decided once."
        tickets: dict[int, list[Row]] = defaultdict(list)
        for ticket in self.tickets:
            tickets[ticket["seq"]].append(ticket)
        for item in self.inputs:
            if item.kind is not Kind.ALERT:
                continue
            mine = tickets.pop(item.seq, [])
            wanted = self.accounts[json.loads(item.raw)["account_group"]]
            if sorted(ticket["account"] for ticket in mine) != wanted:
                yield f"Input {item.seq} has outcomes for {[ticket['account'] for ticket in mine]}."
        if tickets:
            yield f"Tickets without an alert: {tickets}."
        for ticket in self.tickets:
            waits = ledger_of(ticket) in self.in_doubt or (ticket["plan"] or {}).get("attempt", 1) > 1
            if ticket["status"] not in OUTCOMES and not waits:
                yield f"Left {ticket['status']}: {ticket}."
            if ticket["status"] == Status.FAILED and ticket["reason"] == "DESK_FAILED":
                yield f"The desk failed: {ticket}."

    def _ordered(self) -> Iterator[str]:
        """Law 3: at the broker each order arrived once, and is one of the journal's; none is misjudged."""
        for order_id, order in self.arrived.items():
            row = self.orders.get(order_id)
            if order["arrived"] > 1:
                yield f"Order {order_id} arrived {order['arrived']} times."
            if row is None:
                yield f"Order {order_id} arrived and is not in the journal."
                continue
            same = (row["symbol"], row["side"], row["quantity"])
            if same != (order["symbol"], order["side"], order["quantity"]):
                yield f"Order {order_id} arrived as {order}, and is {row}."
        for order_id, row in self.orders.items():
            if row["broker"] != "simulator":
                yield from self._judged(row, self.arrived.get(order_id))

    def _judged(self, row: Row, order: Row | None) -> Iterator[str]:
        """What the journal says of an order is how it stands at the broker."""
        if order is None:
            legal = {OrderStatus.UNKNOWN, OrderStatus.FAILED, OrderStatus.EXPIRED}
        else:
            said = order["outcome"]
            ends = {"refused": OrderStatus.REJECTED, "cancelled": OrderStatus.CANCELLED}
            legal = {ends.get(said, OrderStatus.FILLED)}
        if row["status"] not in legal:
            yield f"Order {row['order_id']} is {row['status']} and stands at the broker as {order}."

    def _filled(self) -> Iterator[str]:
        """No fill is lost or doubled."""
        of_order: dict[str, list[Row]] = defaultdict(list)
        for fill in self.fills:
            of_order[fill["order_id"]].append(fill)
        for order_id, row in self.orders.items():
            mine = of_order.pop(order_id, [])
            filled = sum(Decimal(fill["quantity"]) for fill in mine)
            if filled > Decimal(row["quantity"]) or filled != Decimal(row["filled"]):
                yield f"Order {order_id} has fills of {filled}: {row}."
            if row["status"] == OrderStatus.FILLED and filled != Decimal(row["quantity"]):
                yield f"Order {order_id} counts as filled with {filled}: {row}."
            there = self.arrived.get(order_id, {"fills": []})["fills"]
            told = sorted((fill["fill_id"], fill["quantity"]) for fill in mine)
            if row["broker"] != "simulator" and told != sorted((f["fill_id"], f["quantity"]) for f in there):
                yield f"Order {order_id} was filled as {there} and has {told}."
            if row["status"] in ENDED and row["broker"] == "simulator" and len(mine) != 1:
                yield f"The paper order {order_id} has {len(mine)} fills."
        if of_order:
            yield f"Fills without an order: {of_order}."

    def _held(self) -> Iterator[str]:
        """Ledgers are the sum of their fills; on paper, they are what a naive replay of the alerts holds."""
        summed: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
        for fill in self.fills:
            signed = Decimal(fill["quantity"]) * (1 if fill["side"] == "buy" else -1)
            summed[ledger_of(fill)] += signed
        held = {
            (row["strategy"], row["account_group"], row["account"], row["root"]): Decimal(row["position"])
            for row in self.ledgers
        }
        for key in summed.keys() | held.keys():
            if summed[key] != held.get(key, 0):
                yield f"The ledger {key} holds {held.get(key)}, its fills sum up to {summed[key]}."
        throttled = {ticket["seq"] for ticket in self.tickets if ticket["reason"] == "THROTTLED"}
        naive = self._naive(throttled)
        for key in naive.keys() | held.keys():
            if key[1] == "paper" and naive[key] != held.get(key, 0):
                yield f"The ledger {key} holds {held.get(key)}, its alerts ask for {naive[key]}."

    def _naive(self, throttled: set[int]) -> dict[tuple[str, ...], Decimal]:
        """Positions on paper by the alerts alone; what was throttled opens nothing, and closes."""
        held: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
        for item in self.inputs:
            if item.kind is not Kind.ALERT:
                continue
            alert = json.loads(item.raw)
            key = (alert["strategy"], alert["account_group"], "paper", root(alert["symbol"]))
            before, asked = held[key], Decimal(alert.get("quantity", 0))
            after = {
                "buy": before + asked,
                "sell": before - asked,
                "exit": Decimal(),
                "reverse": -before,
            }[alert["action"]]
            if item.seq in throttled:
                after = before if before * (after - before) >= 0 else after
                after = Decimal() if before * after < 0 else after
            held[key] = after
        return held


def ledger_of(row: Row) -> tuple[str, ...]:
    """The ledger that a row belongs to."""
    return row["strategy"], row["account_group"], row["account"], root(row["symbol"])


def plan(rounds: int, seed: int) -> Iterator[tuple[str, float | None]]:
    """Where each cycle's desk dies: at every named place, early and later, and at any time."""
    chosen = random.Random(seed)
    for _ in range(rounds):
        for place in ("before_commit", "inside", "after_commit", "stall"):
            yield f"{place}:{chosen.choice((1, 2, 3, 5, 8, 13))}", None
        yield f"answer:{chosen.randint(1, 20)}", None
        for place in ("before_submit", "after_submit"):
            yield f"{place}:{chosen.randint(1, 8)}", None
        for _ in range(3):
            yield "", chosen.uniform(0.0, 0.25)
