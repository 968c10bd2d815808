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
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ttflow import __version__, builtin
from ttflow.alert import Alert, parse_alert
from ttflow.book.record import Figures
from ttflow.brokers import Broker, Report
from ttflow.deciding import STOPPED, Decider
from ttflow.engine import Engine, Ids
from ttflow.errors import RequestError
from ttflow.flow import Flow
from ttflow.inputs import Decision, Input, Kind
from ttflow.journal import Journal
from ttflow.journal.journal import utc_now
from ttflow.masking import mask_secrets
from ttflow.notify import Notifier, Told
from ttflow.order import OrderStatus
from ttflow.outside import Outside, compact
from ttflow.prices import Conflation, parse_price, read_csv
from ttflow.recovery import recover
from ttflow.settings import Settings
from ttflow.showing import line
from ttflow.ticket import Ticket
from ttflow.webhook import Receipt
from ttflow.words import plain

if TYPE_CHECKING:
    from ttflow.rerun.forking import Fork

log = logging.getLogger("ttflow.desk")

FlowFunction = Callable[[Flow, "Desk"], Flow]
Listener = Callable[[int, str], None]

_RECORDED = ("flow", "groups", "limits", "strategies")  # the settings that a flow may read, from each start


class Desk(Outside):
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
        super().__init__(settings or Settings(), brokers or {}, clock)
        self._given = self.settings
        self.flow_function = flow or builtin.flow
        self.tickets, self.fills, self.prices = Flow("tickets"), Flow("fills"), Flow("prices")
        self.engine = Engine(self.settings, self._build, connected=self._able())
        self.on_fatal: Callable[[Exception], None] | None = None
        self._listeners: list[Listener] = []
        self._forks: list[Fork] = []
        self.notifier: Notifier | None = None
        self._conflation = Conflation(self._keep_prices)

    decider: Decider

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
            self._connect()
            self.decider = Decider(
                self.engine, self.journal, self.clock, leave=self.worker.put, publish=self._publish
            )
            self.journal.on_fatal = self._stopped
            if notifier:
                self.notifier = notifier
                notifier.start()
                self.listen(notifier.hear)  # what was decided in an earlier life is not heard
            await self._recover()
            await self._started()
            self._sign_in()
        except BaseException:
            await self.stop()
            raise
        return self

    async def _recover(self) -> None:
        """Bring the journal's state back; what was to close something is made anew after the start.

        From the start on such an order waits until the broker has told what is there.
        """
        self.engine.ids = Ids(self.journal.journal_id)
        undecided = recover(self.engine, self.reader)
        reason = "it was decided at a start, before the broker had told what is there: nothing was sent"
        for effect in self.decider.resume(self.reader.last_seq - len(undecided), undecided):
            await self._report(
                Report(order_id=effect.order.order_id, outcome="failed", reason=reason, call=effect.kind)
            )

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

    async def stop(self) -> None:
        """Stop the lanes, write what has queued, and close the journal; as safe as a crash, and quieter."""
        self._stopping = True
        for fork in self._forks:
            fork.stop()
        begun = hasattr(self, "decider")
        if begun:
            self.decider.stop()
        await self._conflation.stop()
        if begun:
            await self._disconnect()
            self.decider.finish()
        await self.journal.close()
        if begun:
            self.decider.disappoint(STOPPED)
        if self.notifier:
            await self.notifier.stop()
        if hasattr(self, "reader"):
            self.reader.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        if not hasattr(self, "decider"):
            return line(self, "not started, journal", str(self.settings.journal))
        state = "stopped" if self._stopping else self.status
        return line(self, f"{state}: input {self.journal.last_seq}, journal {self.settings.journal}")

    # What comes in

    def keep(self, text: str, alert: Alert) -> asyncio.Future[Receipt]:
        """Keep an alert; the future is done once it is committed. `text` is its body, with secrets masked.

        It brings JournalUnavailable where the alert can't be kept; nothing of it was then kept.
        """
        timed = alert.timenow is not None
        kept = self.journal.keep(Kind.ALERT, text, explicit_id=alert.id, timed=timed)
        self.decider.parsed[text] = alert
        receipt: asyncio.Future[Receipt] = self._loop.create_future()
        kept.add_done_callback(partial(self._kept, text, receipt))
        return receipt

    def _kept(self, text: str, receipt: asyncio.Future[Receipt], kept: asyncio.Future[Input]) -> None:
        self.decider.parsed.pop(text, None)
        error = kept.exception()
        if receipt.done():
            return  # whoever waited has given up
        if error:
            receipt.set_exception(error)
            return
        item = kept.result()
        repeat = item.kind is Kind.REPEAT
        seq = item.of if repeat else item.seq
        assert seq is not None  # a repeat always says of what
        receipt.set_result(Receipt(self.engine.ids.alert(seq), repeat, seq))

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
        return (await self.journal.keep(Kind.PRICE, compact({"prices": prices}))).seq

    async def command(self, data: Mapping[str, Any]) -> int:
        """Keep a command; returns its seq, once decided."""
        return await self._keep_and_decide(Kind.COMMAND, data)

    async def _keep_and_decide(self, kind: Kind, data: Mapping[str, Any]) -> int:
        item = await self.journal.keep(kind, compact(data))
        await self.decided(item.seq)
        return item.seq

    async def decided(self, seq: int) -> None:
        """Wait until the input is decided and its decision is committed.

        Raises JournalUnavailable where the desk stops before; the next start decides it.
        """
        await self.decider.decided(seq)

    # What goes out

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
        self.decider.disappoint(f"The desk stopped: {error}")
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
        return self.decider.undecided

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


def _told(task: asyncio.Task[int]) -> None:
    """Log prices that could not be kept: nobody waits for them, and newer ones come."""
    if not task.cancelled() and task.exception():
        log.warning("prices could not be kept, and are lost: %s", task.exception())
