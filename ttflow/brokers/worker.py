"""The worker around a broker: two lanes for each account and symbol, entries and exits, each in order.

It acts only on effects, whose decision is committed. An order is submitted once: an answer that is lost
makes it unknown, and an unknown order is looked up by its id, never sent again. A lane that fails or hangs
costs its own order alone, and ends when it is idle; only a close of a whole position holds entries up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, get_args

from ttflow.brokers.base import Broker, Busy, NotSent, Outcome, Report, check
from ttflow.brokers.budget import Breaker, Budget, patient, patiently
from ttflow.engine import Effect
from ttflow.order import Leg, Order, OrderStatus
from ttflow.words import evolve

log = logging.getLogger("ttflow.brokers")

_OUTCOMES = frozenset(get_args(Outcome))

Place = tuple[str, str, str]
Lane = tuple[*Place, str]
Send = Callable[[Report], Awaitable[object]]
Ask = Callable[[Order], Awaitable[Report]]

CHANGE_S = 1.0
"""How far apart the changes of one order are at least: a stop that trails is changed with every price."""

GONE_S = 1.0
"""For how long an order that a broker had is looked up before it counts as gone."""

LEAST_PAUSE_S = 1.0
"""For how long at least a busy broker is left alone: one that names no pause would be stormed."""

crash_point: Callable[[str], None] = lambda name: None  # noqa: E731  # the crash harness puts its own here


class Closes:
    """The closes of one account and symbol that have no answer yet; `none` is set once all of them have."""

    def __init__(self) -> None:
        self.count, self.none = 0, asyncio.Event()


class Worker:
    """Carries effects out and hands the reports to `send`, which journals them as inputs.

    `clock` tells the time, UTC: an entry older than `max_age_s` when its turn comes is reported as expired.
    `timeout_s` bounds each call. A lookup is repeated for `settle_s` before it says `not_found`. What surely
    was not taken is sent again where that is of use: an entry while it is young, an exit for `busy_s`.
    `silent` is called with a group's name when its broker stops answering, `left_alone` when it wants to be
    left alone, for how many seconds; `ready` waits until it is connected.
    """

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        send: Send,
        clock: Callable[[], datetime],
        *,
        timeout_s: float = 10.0,
        settle_s: float = 15.0,
        max_age_s: float = 60.0,
        busy_s: float = 30.0,
        silent: Callable[[str, str], None] = lambda group, reason: None,
        left_alone: Callable[[str, str, float], None] = lambda group, reason, seconds: None,
        ready: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        self.brokers, self._send, self._clock, self._silent = brokers, send, clock, silent
        self._ready, self._left_alone = ready, left_alone
        self._timeout_s, self._settle_s, self._max_age = timeout_s, settle_s, timedelta(seconds=max_age_s)
        self._busy = timedelta(seconds=busy_s)
        self._lanes: dict[Lane, asyncio.Queue[Effect]] = {}
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._closes: dict[Place, Closes] = {}
        self._stopped = False
        counted = {name: getattr(broker, "budget", None) for name, broker in brokers.items()}
        self._counts = frozenset(name for name, budget in counted.items() if budget is None)
        self.budgets = {
            name: counted[name] or Budget(broker.capabilities.requests_per_minute, monotonic)
            for name, broker in brokers.items()
        }
        self._lookups: defaultdict[tuple[str, bool], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unsent: set[str] = set()  # entries that have not left, or that did certainly not arrive
        self._withdrawn: set[str] = set()  # those of them that are never to leave, until that is told
        self._changes: dict[str, Effect] = {}
        self._changed_at: dict[str, float] = {}
        self.breakers = {name: Breaker(monotonic) for name in brokers}

    def put(self, effect: Effect) -> None:
        """Queue an effect in its lane; the newest change of an order when its turn has come.

        Nothing leaves any more once the worker was stopped.
        """
        order = effect.order
        if self._stopped:
            log.info("%s of %s waits for the next start", effect.kind, order.order_id)
            return
        if effect.kind == "modify":
            self._put_change(effect)
            return
        if effect.kind == "cancel":
            self._changes.pop(order.order_id, None)  # what goes is not changed before
            if order.order_id in self._unsent:
                self._unsent.remove(order.order_id)
                self._withdrawn.add(order.order_id)
        elif effect.kind == "submit" and order.leg is Leg.OPEN:
            self._unsent.add(order.order_id)
        self._queue(effect)

    def _queue(self, effect: Effect) -> None:
        order = effect.order
        # An exit must not wait for an entry that hangs, so exits and withdrawals have a lane of their own;
        # the engine lets an entry follow an exit only once that is confirmed.
        exits = order.leg is not Leg.OPEN or effect.kind == "cancel"
        place = (order.account_group, order.account, order.root)
        lane = (*place, "exit" if exits else "entry")
        if effect.kind == "close":
            self._closes.setdefault(place, Closes()).count += 1
        queue = self._lanes.setdefault(lane, asyncio.Queue())
        queue.put_nowait(effect)
        if lane not in self._tasks:
            self._tasks[lane] = asyncio.create_task(self._run(lane, queue), name=f"lane {'/'.join(lane)}")

    def _put_change(self, effect: Effect) -> None:
        order = effect.order
        self._changes[order.order_id] = effect
        lane = (order.account_group, order.account, order.root, f"change {order.order_id}")
        if lane not in self._tasks:
            self._tasks[lane] = asyncio.create_task(self._change(lane, order), name=f"lane {'/'.join(lane)}")

    async def _change(self, lane: Lane, order: Order) -> None:
        """Let the newest change of an order go when it may: until then no exit waits behind it."""
        try:
            await asyncio.sleep(max(0.0, self._changed_at.get(order.order_id, 0.0) + CHANGE_S - monotonic()))
            if budget := self.budgets.get(order.account_group):
                await budget.turn(entry=True, take=False)
            if effect := self._changes.pop(order.order_id, None):
                now = monotonic()
                late = {name: at for name, at in self._changed_at.items() if now - at < CHANGE_S}
                self._changed_at = {**late, order.order_id: now}
                self._queue(effect)
        finally:
            self._tasks.pop(lane, None)

    async def look_up(self, orders: Iterable[Order]) -> None:
        """Ask once, beside the lanes, how orders stand, and report what is known.

        For orders that the broker took and whose end nobody tells, since its stream is lost. No answer says
        nothing of them: they are asked about again.
        """
        for order in orders:
            with patiently(exit_waits=_is_awaited(order)):
                report = await self._look(self.brokers[order.account_group].find, order)
            if report.outcome not in ("unknown", "not_found"):
                await self._send(evolve(report, call="find"))

    async def stop(self) -> None:
        """End every lane, for good; what was on its way will be looked up at the next start."""
        self._stopped = True
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, lane: Lane, queue: asyncio.Queue[Effect]) -> None:
        try:
            while not queue.empty():
                effect = queue.get_nowait()
                try:
                    report = await self._carry_out(effect)
                    if report:
                        await self._send(evolve(report, call=effect.kind))
                except Exception:  # the others in the lane have done nothing wrong
                    log.exception("%s of %s failed", effect.kind, effect.order.order_id)
                finally:
                    if effect.kind == "submit":
                        self._unsent.discard(effect.order.order_id)
                    if effect.kind == "close":
                        self._closed(lane[:3])
        finally:
            self._tasks.pop(lane, None)
            if queue.empty():
                self._lanes.pop(lane, None)

    def _closed(self, place: Place) -> None:
        closes = self._closes[place]
        closes.count -= 1
        if not closes.count:
            del self._closes[place]
            closes.none.set()

    async def _after_closes(self, order: Order) -> None:
        """Let an entry wait for the closes under way: they would close what it opens, whoever's it is."""
        while closes := self._closes.get((order.account_group, order.account, order.root)):
            await closes.none.wait()

    async def _carry_out(self, effect: Effect) -> Report | None:
        order = effect.order
        if effect.kind == "cancel" and order.order_id in self._withdrawn:
            self._withdrawn.remove(order.order_id)
            reason = "it was withdrawn before it left"
            return Report(order_id=order.order_id, outcome="cancelled", reason=reason)
        broker = self.brokers.get(order.account_group)
        if broker is None:
            return _unconnected(effect)
        await self._until_ready(order.account_group)  # a lookup, too, would open a session past the keeper
        match effect.kind:
            case "submit":
                legs = effect.legs
                if order.leg is Leg.OPEN:
                    await self._after_closes(order)
                return await self._sent(order, lambda one: broker.submit(one, legs))
            case "close":
                return await self._sent(order, broker.close_position)
            case "modify":
                return await self._insisting(broker.modify, order)
            case "cancel":
                return await self._insisting(broker.cancel, order)
            case "find":
                return await self._find(broker, order)

    async def _sent(self, order: Order, call: Ask) -> Report | None:
        """Send an order once; again only where it is certain that the broker did not take it.

        An entry that was withdrawn before it left never leaves: None, its withdrawal tells.
        """
        opens = order.leg is Leg.OPEN
        while True:
            age = self._clock() - order.submitted_at
            barred = await self._barred(order, age) if opens else None
            if opens and order.order_id not in self._unsent:
                return None
            if barred:
                return barred
            self._unsent.discard(order.order_id)
            crash_point("before_submit")
            report = await self._ask(call, order, sends=True)
            crash_point("after_submit")
            if report.pause_s is None:
                return report
            pause_s = max(report.pause_s, LEAST_PAUSE_S)
            if age + timedelta(seconds=pause_s) > self._patience(order):
                return evolve(report, pause_s=None)
            if opens:
                self._unsent.add(order.order_id)
            await asyncio.sleep(pause_s)

    async def _insisting(self, call: Ask, order: Order) -> Report:
        """Ask for what changes an order, and again while a busy broker does nothing of it; for a while."""
        passed = timedelta()
        while True:
            report = await (self._look(call, order) if patient.get() else self._ask(call, order))
            if report.pause_s is None:
                return report
            pause_s = max(report.pause_s, LEAST_PAUSE_S)
            passed += timedelta(seconds=pause_s)
            if passed > self._busy:
                return evolve(report, pause_s=None)
            await asyncio.sleep(pause_s)

    async def _look(self, call: Ask, order: Order) -> Report:
        """Look one order up after the other, exits beside entries: one made of several requests gets done."""
        async with self._lookups[order.account_group, order.leg is Leg.OPEN]:
            return await self._ask(call, order)

    async def _barred(self, order: Order, age: timedelta) -> Report | None:
        """Wait for an entry's turn in its broker's budget, while it is young; says what bars it."""
        if age > self._max_age:
            reason = f"it was {age.total_seconds():.0f} s old when its turn came"
            return Report(order_id=order.order_id, outcome="expired", reason=reason)
        if self.breakers[order.account_group].open:
            reason = "the broker has stopped answering; entries wait until it answers again"
            return Report(order_id=order.order_id, outcome="failed", reason=reason)
        left_s = (self._max_age - age).total_seconds()
        budget, take = self.budgets[order.account_group], order.account_group in self._counts
        if pause := await budget.turn(entry=True, within_s=left_s, take=take):
            reason = f"the broker's budget of requests lets it go in {pause:.0f} s, when it would be too old"
            return Report(order_id=order.order_id, outcome="expired", reason=reason)
        return None

    async def _until_ready(self, group: str) -> None:
        """Wait a while for a connection that is being made; without one, the adapter says so."""
        if self._ready:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._ready(group)
            except TimeoutError:
                log.warning("%s is not connected", group)

    def _patience(self, order: Order) -> timedelta:
        return self._max_age if order.leg is Leg.OPEN else self._busy

    async def _find(self, broker: Broker, order: Order) -> Report | None:
        """Look an order up until it is found, or until the settle window has passed.

        One that the broker had confirmed before is not on its way: that it is gone is known sooner.
        """
        pause, passed, began = 0.5, 0.0, monotonic()
        doubtful = order.status in (OrderStatus.SUBMITTING, OrderStatus.UNKNOWN)
        settle_s = self._settle_s if doubtful else min(self._settle_s, GONE_S)
        while True:
            with patiently(exit_waits=_is_awaited(order)):
                report = await self._insisting(broker.find, order)
            if report.outcome not in ("unknown", "not_found"):
                return report
            if max(passed, monotonic() - began) >= settle_s:
                return report
            await asyncio.sleep(pause)
            passed, pause = passed + pause, min(2 * pause, 5.0)

    async def _ask(self, call: Ask, order: Order, *, sends: bool = False) -> Report:
        """Ask the broker once; whatever goes wrong means that no answer came, unless nothing was sent."""
        group = order.account_group
        if not sends or order.leg is not Leg.OPEN:  # an entry has waited for its turn before
            await self.budgets[group].turn(entry=patient.get(), take=group in self._counts)
        entry = sends and order.leg is Leg.OPEN
        try:
            async with asyncio.timeout(self._timeout_s):
                with patiently() if entry else nullcontext():
                    report = _read(await call(order), order)
        except Exception as error:
            pause = error.seconds if isinstance(error, Busy) else None
            if pause is not None:
                self._left_alone(group, str(error), pause)
            if sends and isinstance(error, NotSent):
                told = str(error)
                return Report(order_id=order.order_id, outcome="failed", reason=told, pause_s=pause)
            log.warning("no answer about %s: %r", order.order_id, error)
            told = str(error) or type(error).__name__
            # Who is asked to be left alone has answered, and who waits here for a turn has asked nothing.
            if not isinstance(error, Busy) and self.breakers[group].missed():
                self._silent(group, told)
            reason = f"no answer: {told}"
            return Report(order_id=order.order_id, outcome="unknown", reason=reason, pause_s=pause)
        self.breakers[group].heard()
        return report


def _is_awaited(order: Order) -> bool:
    """Whether an exit may wait for what becomes of an order: it is one, or makes room for one."""
    return order.cancelling or order.leg is not Leg.OPEN


def _unconnected(effect: Effect) -> Report | None:
    """What is to be said where there is no broker to ask: of an order in doubt, nothing."""
    reason = "the broker is not connected"
    match effect.kind:
        case "submit" | "close":
            return Report(order_id=effect.order.order_id, outcome="failed", reason=reason)
        case "cancel" | "modify":
            return Report(order_id=effect.order.order_id, outcome="unknown", reason=reason)
    return None


def _read(report: Any, order: Order) -> Report:
    """Check what an adapter answered; raises where it can't be read, since a fill is booked as it is told."""
    if not isinstance(report, Report) or report.order_id != order.order_id or report.outcome not in _OUTCOMES:
        raise TypeError(f"the adapter answered {report!r}")
    check(report)
    report.to_json()
    return report
