"""The desk: settings, journal, flow and brokers, started and stopped as one.

    async with Desk(settings) as desk:
        receipt = await desk.send(b'{"symbol": "AAPL", "action": "buy", "quantity": 100, "price": 191.5}')

Inputs are kept first and decided afterwards, in the order of their seq; a decision is committed before
anything of it leaves. Everything here belongs to the thread of one event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import ValidationError

from ttflow import __version__, builtin
from ttflow.alert import Alert, parse_alert
from ttflow.book.record import Figures
from ttflow.book.rows import EVERYWHERE, Severity
from ttflow.brokers import Broker, Keeper, Report, Worker
from ttflow.brokers.base import connect
from ttflow.engine import Applied, Effect, Engine, Ids
from ttflow.errors import JournalError, JournalUnavailable, RequestError
from ttflow.flow import Flow
from ttflow.inputs import Decision, Input, Kind
from ttflow.journal import Journal, Reader
from ttflow.journal.journal import utc_now
from ttflow.masking import mask_secrets
from ttflow.notify import Notifier, Told
from ttflow.order import OrderStatus, Trade
from ttflow.prices import Conflation, parse_price, read_csv
from ttflow.recovery import recover
from ttflow.settings import Settings
from ttflow.settings.limits import Limits
from ttflow.ticket import Ticket
from ttflow.tradingview import MOST_IMPORTED, written
from ttflow.webhook import Receipt
from ttflow.words import plain

if TYPE_CHECKING:
    from ttflow.rerun.forking import Fork

log = logging.getLogger("ttflow.desk")

FlowFunction = Callable[[Flow, "Desk"], Flow]
Listener = Callable[[int, str], None]

STEPS = ("accept", "refuse", "partial", "delay")
SETTLED_AS = ("adopt", "absent")
MODES = ("live", "paper", "halted", "auto")
SEVERITIES = get_args(Severity)
_RECORDED = ("flow", "groups", "limits", "strategies")  # the settings that a flow may read, from each start
PATIENCE_S, REST_S = 0.1, 0.005
"""How long decisions may wait while a burst of alerts is acknowledged, and the pause that ends a burst."""

LOT, FEW, BACKLOG = 64, 8, 500
"""How many inputs are decided in one turn of the loop; how many are no burst yet; and of how many one is
decided in every turn all the same."""
_TOLD_AT_ONCE = 100  # notices that nobody waits for, on their way into the journal; further ones are logged
_CHECKPOINT = 5000  # inputs between two snapshots of the state


class Desk:
    """The whole of a running desk.

    `flow` is a function of the tickets' flow and this desk, the built-in one by default. `brokers` gives
    adapters by the name that groups call them by; registered ones are found by themselves. `clock` tells
    the time, UTC. Nothing is opened before `start`, so that a desk can be built just for its engine.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        flow: FlowFunction | None = None,
        brokers: Mapping[str, Broker] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.settings = self._given = settings or Settings()
        self.flow_function = flow or builtin.flow
        self.clock = clock
        self.brokers = connect(self.settings, brokers or {})
        self.tickets, self.fills, self.prices = Flow("tickets"), Flow("fills"), Flow("prices")
        self.engine = Engine(self.settings, self._build, connected=self._able())
        self.fatal: Exception | None = None
        self.on_fatal: Callable[[Exception], None] | None = None
        self._parsed: dict[str, Alert] = {}
        self._pending: deque[tuple[Input, Alert | None]] = deque()
        self._effects: dict[int, tuple[Effect, ...]] = {}
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._listeners: list[Listener] = []
        self._forks: list[Fork] = []
        self.notifier: Notifier | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._lost: dict[str, datetime] = {}
        self._draining = self._stopping = False
        self._importing = asyncio.Lock()
        self._conflation = Conflation(self._keep_prices)
        self._timer: asyncio.TimerHandle | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._filled: Counter[str] = Counter()
        self._recorded = self._since_checkpoint = 0
        self._decided_at = self._kept_at = 0.0

    journal: Journal
    reader: Reader
    worker: Worker
    keepers: dict[str, Keeper]

    def _build(self, alerts: Flow) -> Flow:
        if hasattr(self, "engine"):  # a recorded start brought others in force: the flow is built from those
            recorded = {name: getattr(self.engine.settings, name) for name in _RECORDED}
            self.settings = self.settings.model_copy(update=recorded)
        built = self.flow_function(alerts, self)
        if not isinstance(built, Flow):
            raise TypeError(
                f"the flow function returned {built!r}; return the Flow whose tickets are executed"
            )
        return built

    # Starting and stopping

    async def start(self) -> Self:
        """Open the journal, bring its state back, decide what was kept and not decided, and go on."""
        channels = self.settings.notify.channels
        notifier = Notifier(channels) if channels else None  # a useless address stops the start
        self.journal = await Journal.open(self.settings.journal, clock=self.clock)
        try:
            self._loop = asyncio.get_running_loop()
            self.reader = self.journal.reader()
            self.keepers = {name: self._keeper(name, broker) for name, broker in self.brokers.items()}
            self.worker = Worker(
                self.brokers, self._report, self.clock, silent=self._silent, ready=self._connected
            )
            self.journal.on_kept, self.journal.on_recorded = self._kept, self._written
            self.journal.on_fatal = self._stopped
            if notifier:
                self.notifier = notifier
                notifier.start()
                self.listen(notifier.hear)  # what was decided in an earlier life is not heard
            await self._recover()
            await self._started()
            for name, keeper in self.keepers.items():
                if self.settings.groups[name].live or self.engine.watched_at(name):
                    keeper.start()  # elsewhere nothing is traded: a session there would be one too many
        except BaseException:
            await self.stop()
            raise
        return self

    async def _recover(self) -> None:
        self.engine.ids = Ids(self.journal.journal_id)
        undecided = recover(self.engine, self.reader)
        decided = self.reader.last_seq - len(undecided)
        self._recorded = decided
        for applied in undecided:
            self._write(applied)

    async def _started(self) -> None:
        """A start is an input too: with the settings in force, and with what can be reached."""
        raw = {
            "version": __version__,
            "flow": f"{self.flow_function.__module__}:{self.flow_function.__qualname__}",
            "settings": self._given.deciding(),
            "brokers": sorted(self.brokers),
            "can": {name: sorted(can) for name, can in sorted(self._able().items())},
        }
        await self._keep_and_decide(Kind.START, raw)

    def _keeper(self, group: str, broker: Broker) -> Keeper:
        return Keeper(
            group,
            broker,
            send=self._report,
            tell=self._snapshot,
            price=self.see_price,
            link=self.link,
            watched=self.engine.watched_at,
            fills=self._filled.__getitem__,
        )

    async def _connected(self, group: str) -> None:
        await self.keepers[group].opened.wait()

    async def _snapshot(self, told: Mapping[str, Any]) -> None:
        await self.journal.keep(Kind.REPORT, _compact({"snapshot": told}))

    def _silent(self, group: str, reason: str) -> None:
        text = f"{group}: the broker has stopped answering ({reason}); no entry goes there until it answers."
        self.tell("breaker", "critical", text)

    def _able(self) -> dict[str, frozenset[str]]:
        return {name: broker.capabilities.names for name, broker in self.brokers.items()}

    async def stop(self) -> None:
        """Stop the lanes, write what has queued, and close the journal; as safe as a crash, and quieter."""
        self._stopping = True
        for fork in self._forks:
            fork.stop()
        if self._timer:
            self._timer.cancel()
        await self._conflation.stop()
        if hasattr(self, "worker"):
            await self.worker.stop()
            await asyncio.gather(*(keeper.stop() for keeper in self.keepers.values()))
        while self._pending and self.journal.healthy:
            self._drain()
        await self.journal.close()
        self._disappoint("The desk stopped; what was kept is decided at its next start.")
        if self.notifier:
            await self.notifier.stop()
        if hasattr(self, "reader"):
            self.reader.close()

    def _disappoint(self, told: str) -> None:
        """Nobody waits for ever: what is not decided now will not be decided in this life of the desk."""
        waiting, self._waiting = self._waiting, {}
        for future in (one for futures in waiting.values() for one in futures):
            if not future.done():
                future.set_exception(JournalUnavailable(told))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # What comes in

    async def keep(self, text: str, alert: Alert) -> Receipt:
        """Keep an alert; returns once it is committed. `text` is its body, with secrets masked.

        Raises JournalUnavailable where it can't be kept; nothing of it was then kept.
        """
        self._parsed[text] = alert
        try:
            timed = alert.timenow is not None
            item = await self.journal.keep(Kind.ALERT, text, explicit_id=alert.id, timed=timed)
        finally:
            self._parsed.pop(text, None)
        if item.kind is Kind.REPEAT:
            assert item.of is not None  # a repeat always says of what
            return Receipt(self.engine.ids.alert(item.of), True, item.of)
        return Receipt(self.engine.ids.alert(item.seq), False, item.seq)

    async def send(self, body: bytes | str | Mapping[str, Any]) -> Receipt:
        """Keep an alert given as bytes, text or a mapping, and wait until it is decided.

        Raises AlertError where it is none, JournalUnavailable where it can't be kept.
        """
        data = json.dumps(body, default=str) if isinstance(body, Mapping) else body
        data = data.encode() if isinstance(data, str) else data
        text, _ = mask_secrets(data, [secret.get_secret_value() for secret in self.settings.secrets])
        receipt = await self.keep(text, parse_alert(text.encode()))
        await self.decided(receipt.seq)
        return receipt

    async def halt(self, scope: str = EVERYWHERE, reason: str = "by hand") -> int:
        """Stop opening, in a group or everywhere (`*`); returns the seq of the command, once decided."""
        return await self._switch("halt", scope, reason)

    async def resume(self, scope: str = EVERYWHERE, reason: str = "by hand") -> int:
        """Let opening go on; returns the seq of the command, once decided."""
        return await self._switch("resume", scope, reason)

    async def reduce(self, scope: str = EVERYWHERE, reason: str = "by hand") -> int:
        """Let nothing open, and leave orders that work already; `resume` ends it."""
        return await self._switch("reduce", scope, reason)

    async def set_limits(
        self, limits: Mapping[str, Any] | None, scope: str = EVERYWHERE, reason: str = "by hand"
    ) -> int:
        """Put limits in force in place of the settings' own, the whole desk's (`*`) or a group's.

        They hold across restarts until others are set; None brings back the settings'. The keys are those of
        `[limits]`. Returns the seq of the command, once decided; raises RequestError for what is no limit.
        """
        if scope != EVERYWHERE and scope not in self.settings.groups:
            known = ", ".join(sorted(self.settings.groups))
            raise RequestError(f"There is no account group {scope}; there are {known}, or * for all.")
        written = None if limits is None else _limits(limits)
        data = {"command": "limits", "scope": scope, "limits": written, "reason": reason}
        return await self._keep_and_decide(Kind.COMMAND, data)

    async def settle_order(self, order_id: str, verb: str) -> int:
        """Say what became of an order in doubt: `adopt`, the broker has it, or `absent`, it never arrived.

        What is adopted counts as filled by what the broker holds more than the ledgers say, else as working.
        Returns the seq of the command, once decided.
        """
        order = self.engine.state.orders.get(order_id)
        if verb not in SETTLED_AS:
            raise RequestError(f"An order can't be {verb!r}; it is {' or '.join(SETTLED_AS)}.")
        if order is None or order.status is not OrderStatus.UNKNOWN:
            orders = self.engine.state.orders.values()
            doubtful = [one.order_id for one in orders if one.status is OrderStatus.UNKNOWN]
            told = ", ".join(doubtful) or "none"
            raise RequestError(f"The order {order_id} is not in doubt. In doubt: {told}.")
        data = {"command": "orders", "verb": verb, "order_id": order_id}
        return await self._keep_and_decide(Kind.COMMAND, data)

    async def flatten(self, scope: str = EVERYWHERE, reason: str = "by hand") -> int:
        """Halt, and close what is held in the scope, again and again until it is flat."""
        return await self._switch("flatten", scope, reason)

    async def _switch(self, command: str, scope: str, reason: str) -> int:
        """`scope` is `*`, a group, or either with a strategy behind a slash."""
        group, _, strategy = scope.partition("/")
        if group != EVERYWHERE and group not in self.settings.groups:
            known = ", ".join(sorted(self.settings.groups))
            raise RequestError(f"There is no account group {group}; there are {known}, or * for all.")
        if strategy and strategy not in self.engine.state.strategies:
            raise RequestError(f"There is no strategy {strategy}: none of that name has sent an alert.")
        data = {"command": command, "scope": scope, "reason": reason}
        return await self._keep_and_decide(Kind.COMMAND, data)

    async def set_mode(self, strategy: str, mode: str, reason: str = "by hand") -> int:
        """Set a strategy to live, paper, halted or auto; returns the seq of the command, once decided."""
        if mode not in MODES:
            raise RequestError(f"There is no mode {mode}; a strategy is {', '.join(MODES)}.")
        if strategy not in self.engine.state.strategies:
            raise RequestError(f"There is no strategy {strategy}: none of that name has sent an alert.")
        data = {"command": "mode", "strategy": strategy, "mode": mode, "reason": reason}
        return await self._keep_and_decide(Kind.COMMAND, data)

    async def notice(self, kind: str, severity: Severity, text: str) -> int:
        """Tell a person something that no input says yet; returns the seq of the command, once decided.

        It is kept like every other notice, in one line of at most 1000 characters. What stands before the
        first colon of the text is its subject: within a quiet period it is one message. Raises
        RequestError for a notice without kind or text or of an unknown severity, JournalUnavailable
        where it can't be kept.
        """
        said = " ".join(text.split())[:1000]
        if not (kind and said) or severity not in SEVERITIES:
            raise RequestError(f"A notice needs a kind, a text, and a severity of {', '.join(SEVERITIES)}.")
        data = {"command": "notice", "kind": kind, "severity": severity, "text": said}
        return await self._keep_and_decide(Kind.COMMAND, data)

    def tell(self, kind: str, severity: Severity, text: str) -> None:
        """Give a notice without waiting for it; where it can't be kept, it is logged."""
        if self._stopping or len(self._telling) >= _TOLD_AT_ONCE:
            log.warning("a notice is not kept: %s", text)
            return
        task = self._loop.create_task(self._tell(kind, severity, text))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, kind: str, severity: Severity, text: str) -> None:
        try:
            await self.notice(kind, severity, text)
        except (JournalError, RequestError) as error:
            log.warning("a notice is not kept: %s (%s)", text, error)

    def link(self, group: str, up: bool, reason: str = "") -> None:
        """Hear from a connector that a group's connection was lost (with the reason) or is back; never waits.

        Only a change is noticed, and the first word that it is up is none.
        """
        if up == (group not in self._lost) or group not in self.settings.groups:
            return
        given = self.settings.groups[group]
        line = f"{group}: the connection to {given.broker} is"
        if up:
            said = f"{line} back; it was lost at {self._lost.pop(group):%H:%M:%S} UTC."
        else:
            self._lost[group] = self.clock()
            why = f" ({reason.rstrip('.')})" if reason else ""
            said = f"{line} lost{why}. What is on its way there is looked up when it is back."
        self.tell("connection", "critical" if given.live else "warning", said)

    async def script(self, account: str, steps: Sequence[str]) -> int:
        """Tell the simulator what to do with the next orders of `GROUP/ACCOUNT`.

        A step is `accept`, `refuse`, `partial QUANTITY` or `delay SECONDS`; without steps, it does as usual.
        """
        unknown = [step for step in steps if step.partition(" ")[0] not in STEPS]
        if unknown:
            raise RequestError(f"There is no step {unknown[0]!r}; a step is {', '.join(STEPS)}.")
        data = {"command": "script", "scope": account, "steps": list(steps)}
        return await self._keep_and_decide(Kind.COMMAND, data)

    async def import_trades(self, strategy: str, trades: Sequence[Trade], source: str) -> int:
        """Take trades of `read_trades` into a strategy's backtest; returns how many were not there yet.

        `source` says where they come from, in one line. Trades that are there are left out, so that
        importing them again changes nothing. Raises RequestError for a name or a source that is none.
        """
        for name, text, most in (("strategy", strategy, 128), ("source", source, 200)):
            if not 0 < len(text) <= most or text != text.strip() or not text.isprintable():
                raise RequestError(f"The {name} has to be one line of at most {most} characters.")
        added = 0
        async with self._importing:  # what another import is about to write would not be found
            for start in range(0, len(trades), MOST_IMPORTED):
                chunk = {trade.trade_id: trade for trade in trades[start : start + MOST_IMPORTED]}
                there = {row["trade_id"] for row in self.reader.rows("trades", trade_id=list(chunk))}
                fresh = [written(trade) for name, trade in chunk.items() if name not in there]
                if fresh:
                    data = {"command": "import", "strategy": strategy, "source": source, "trades": fresh}
                    await self._keep_and_decide(Kind.COMMAND, data)
                    added += len(fresh)
        return added

    def see_price(self, symbol: str, price: object) -> None:
        """Tell the desk a price, without waiting; raises RequestError for what is no price."""
        self._conflation.put({symbol: parse_price(price)}).add_done_callback(_told)

    async def see_prices(self, prices: Mapping[str, object]) -> int:
        """Tell the desk prices by symbol; returns the seq of their input, once decided.

        Those of a tenth of a second become one input. Raises RequestError for what is no price.
        """
        seq = await asyncio.shield(
            self._conflation.put({name: parse_price(told) for name, told in prices.items()})
        )
        await self.decided(seq)
        return seq

    async def feed(self, path: str | Path, *, speed: float | None = None) -> int:
        """Feed the prices of a CSV file (`symbol,price[,at]`) to the desk, one by one; returns how many.

        `speed` 1 keeps the pauses between their times, 10 makes them ten times as short; None has no pauses.
        """
        count, before = 0, None
        for quote in read_csv(path):
            if speed and before and quote.at:
                await asyncio.sleep(max(0.0, (quote.at - before).total_seconds() / speed))
            before = quote.at or before
            seq = await self._keep_prices({quote.symbol: [plain(quote.price)]})
            await self.decided(seq)
            count += 1
        return count

    async def _keep_prices(self, prices: Mapping[str, list[str]]) -> int:
        return (await self.journal.keep(Kind.PRICE, _compact({"prices": prices}))).seq

    async def _report(self, report: Report) -> None:
        """Journal what a broker said; a journal that can't be written now is tried again until it can."""
        if report.fills and (order := self.engine.state.orders.get(report.order_id)):
            self._filled[order.account_group] += 1
        pause = 0.1
        while True:
            try:
                await self.journal.keep(Kind.REPORT, report.to_json())
                return
            except JournalError as error:
                if not self.journal.healthy and self.fatal:
                    return
                log.warning("a broker's report waits for the journal: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2.0)

    async def _keep_and_decide(self, kind: Kind, data: Mapping[str, Any]) -> int:
        item = await self.journal.keep(kind, _compact(data))
        await self.decided(item.seq)
        return item.seq

    async def decided(self, seq: int) -> None:
        """Wait until the input is decided and its decision is committed.

        Raises JournalUnavailable where the desk stops before; the next start decides it.
        """
        if seq > self._recorded:
            if self._stopping or self.fatal:
                raise JournalUnavailable("The desk stopped; what was kept is decided at its next start.")
            future = self._loop.create_future()
            self._waiting.setdefault(seq, []).append(future)
            await future

    # From kept to decided to done

    def _kept(self, inputs: Sequence[Input]) -> None:
        self._kept_at = self._loop.time()
        if not self._pending:
            self._decided_at = self._kept_at
        self._pending.extend((item, self._parsed.get(item.raw)) for item in inputs)
        self._schedule()

    def _schedule(self) -> None:
        if self._pending and not self._draining:
            self._draining = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Decide some of what waits. Acknowledging goes first, but for no longer than `PATIENCE_S`."""
        self._draining = False
        if self._stopping:
            return  # `stop` decides what waits; the journal may be closed when a late turn comes
        now = self._loop.time()
        burst = len(self._pending) > FEW and now - self._kept_at < REST_S
        late = now - self._decided_at > PATIENCE_S
        most = LOT if late or not (burst or self.journal.keeping) else 0
        for _ in range(min(len(self._pending), most + len(self._pending) // BACKLOG)):
            self._drain()
        if most:
            self._decided_at = now
        if self._effects:
            self.journal.hand_over()  # an order waits for this commit; other decisions can wait for inputs
        if not self._pending:
            self._wind()
        elif most:
            self._schedule()
        else:  # the loop rests meanwhile: the journal's thread needs Python's lock
            self._draining = True
            self._loop.call_later(REST_S, self._turn)

    def _drain(self) -> None:
        item, alert = self._pending.popleft()
        self._record(self.engine.apply(item, alert))

    def _write(self, applied: Applied) -> None:
        if applied.effects:
            self._effects[applied.decision.seq] = applied.effects
        self.journal.record(applied.decision)

    def _record(self, applied: Applied) -> None:
        self._write(applied)
        self._since_checkpoint += 1
        if self._since_checkpoint >= _CHECKPOINT:
            self._since_checkpoint = 0
            decision = applied.decision
            self.journal.checkpoint(Decision(decision.seq, decision.at, self.engine.state.snapshot()))

    def _wind(self) -> None:
        """Set the clock for what is due next; the tick is an input like any other."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due = self.engine.due
        if due is not None and not self._stopping:
            wait = max(0.0, (due - self.clock()).total_seconds())
            self._timer = self._loop.call_later(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._ticking = self._loop.create_task(self._keep_tick())

    async def _keep_tick(self) -> None:
        try:
            await self.journal.keep(Kind.TICK, "{}")
        except JournalError as error:
            if self._stopping:
                return
            log.warning("a tick waits for the journal: %s", error)
            self._timer = self._loop.call_later(1.0, self._tick)

    def _written(self, decisions: Sequence[Decision]) -> None:
        """Decisions are committed: now, and only now, what they lead to may leave."""
        for decision in decisions:
            self._recorded = decision.seq
            for effect in self._effects.pop(decision.seq, ()):
                self.worker.put(effect)
            for future in self._waiting.pop(decision.seq, ()):
                if not future.done():
                    future.set_result(None)
            self._publish(decision)

    def _publish(self, decision: Decision) -> None:
        for change in decision.changes:
            if change.table == "tickets":
                self.tickets.emit(change.row)
            elif change.table == "fills":
                self.fills.emit(change.row)
            elif change.table == "prices":
                self.prices.emit(change.row)
        if not self._listeners:
            return
        text = decision.to_json()
        for listener in tuple(self._listeners):
            try:
                listener(decision.seq, text)
            except Exception:
                log.exception("a listener of the desk raised; it goes on")

    def _stopped(self, error: Exception) -> None:
        """The journal stopped for good: nothing may be acknowledged any more, and a person must look."""
        self.fatal = error
        log.critical("the desk stopped: %s", error)
        if self.notifier:  # the one notice that no journal can hold
            said = f"The desk stopped: {error} No alert is kept until it is started again."
            self.notifier.tell(Told(kind="stopped", severity="critical", text=said, at=self.clock()))
        self._disappoint(f"The desk stopped: {error}")
        if self.on_fatal:
            self.on_fatal(error)

    # What can be asked

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(seq, changes)` for every committed decision; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def fork(self, flow: FlowFunction, *, name: str | None = None, since: int | None = None) -> Fork:
        """Run another flow in shadow beside this one: the same inputs, all on paper, nothing here touched.

        It begins flat now, or behind the input with the seq `since` (0: the whole journal) and catches up; it
        ends with the desk. `name` is the flow's own by default. Raises RequestError where the desk doesn't
        run, for such a seq or name that can't be, and whatever the flow function raises.
        """
        from ttflow.rerun.forking import Fork

        if not hasattr(self, "keepers") or self._stopping:
            raise RequestError("The desk doesn't run; start it before you fork it, or use tt.replay.")
        named = name or str(getattr(flow, "__name__", "fork"))
        fork = Fork(self, flow, name=named, since=since)
        self._forks.append(fork)
        return fork

    def statistics(self, ticket: Ticket) -> Mapping[str, Any]:
        """What a ticket's strategy has earned so far in the book that the ticket trades in, live or paper.

        The figures of `docs/statistics.md`, undefined ones None; computed when one is asked for.
        """
        return Figures(self.engine.record_of(ticket))

    @property
    def undecided(self) -> int:
        """How many kept inputs have no committed decision yet."""
        return self.journal.last_seq - self._recorded

    @property
    def unknown(self) -> int:
        """How many orders are in doubt."""
        orders = self.engine.state.orders.values()
        return sum(order.status is OrderStatus.UNKNOWN for order in orders)

    @property
    def status(self) -> str:
        """`ok`; `degraded` while an order is in doubt; `failing` while alerts can't be kept."""
        if self.fatal or not self.journal.healthy:
            return "failing"
        return "degraded" if self.unknown else "ok"

    def brokers_state(self) -> dict[str, str]:
        """The state of each group's broker.

        `simulator`; `not configured` (no credentials); `not live` (configured, and not signed in to); or
        `connecting`, `connected`, `lost`, `refused` (it lets us not in).
        """
        return {
            name: self.keepers[name].state
            if name in self.brokers
            else "simulator"
            if group.broker == "simulator"
            else "not configured"
            for name, group in sorted(self.settings.groups.items())
        }


def _told(task: asyncio.Task[int]) -> None:
    """Log prices that could not be kept: nobody waits for them, and newer ones come."""
    if not task.cancelled() and task.exception():
        log.warning("prices could not be kept, and are lost: %s", task.exception())


def _limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Read limits as the settings do, and write back those that were given."""
    try:
        read = Limits.model_validate(dict(limits))
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"])) or "limits"
        raise RequestError(f"The limit {where} {found['msg']}.") from None
    return read.model_dump(mode="json", include=set(limits))


def _compact(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
