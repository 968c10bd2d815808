"""Deciding: what was kept is decided in the order of its seq, and what was decided is done once committed.

The one rule: nothing of a decision leaves before its commit. Acknowledging goes first: what is decided is
decided in the time that it leaves, or once it has waited too long. Everything here belongs to the thread of
one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from ttflow.alert import Alert
from ttflow.engine import Applied, Effect, Engine
from ttflow.errors import JournalError, JournalUnavailable
from ttflow.inputs import Decision, Input, Kind
from ttflow.journal import Journal
from ttflow.order import Leg

log = logging.getLogger("ttflow.desk")

QUIET = 3
"""How many turns of the loop that keep nothing new end a burst; what was kept is acknowledged by then."""

PATIENCE_S = 2.0
"""How long a decision waits at most for a burst to end, beside waiting for those before it. TradingView gives
up on an alert that nobody has acknowledged within 3 s; who decides meanwhile acknowledges half as many."""

SLICE_S, LONGEST_S = 0.003, 0.25
"""How long is decided between two looks for new alerts, and how long at most where decisions are late."""

GLANCE_S = 0.001
"""How long the loop rests at a time while the journal commits, which needs Python's lock."""

CHECKPOINT = 5000
"""How many inputs are between two snapshots of the state."""

STOPPED = "The desk stopped; what was kept is decided at its next start."


class Decider:
    """Decides the inputs that a journal has kept, from its making on, until `stop`.

    `leave` carries out an effect whose decision is committed, `publish` hears of each committed decision.
    `clock` tells the time, UTC: what is due by then becomes a tick. `parsed` are the alerts on their way into
    the journal by their text, so that none is read twice.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        clock: Callable[[], datetime],
        *,
        leave: Callable[[Effect], None],
        publish: Callable[[Decision], None],
    ) -> None:
        self.engine, self.journal, self.clock = engine, journal, clock
        self.leave, self.publish = leave, publish
        self.parsed: dict[str, Alert] = {}
        self.recorded = 0
        self.over: str | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.ticking: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._pending: deque[tuple[Input, Alert | None, float]] = deque()  # and since when
        self._effects: dict[int, tuple[Effect, ...]] = {}
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._draining = False
        self._since_checkpoint = 0
        self._quiet = 0  # how many turns of the loop have kept nothing new
        journal.on_kept, journal.on_recorded = self._kept, self._written

    @property
    def undecided(self) -> int:
        """How many kept inputs have no committed decision yet."""
        return self.journal.last_seq - self.recorded

    @property
    def idle(self) -> bool:
        """Whether no input waits to be decided; what is decided may still wait for its commit."""
        return not self._pending

    def resume(self, decided: int, applied: Sequence[Applied]) -> list[Effect]:
        """Go on after `decided` inputs of earlier lives; those kept after them were applied just now.

        Returns the orders of these that would reduce a position. They do not leave: it may have been closed
        while the desk was away, and to close it again would open the other side.
        """
        self.recorded = decided
        unsent: list[Effect] = []
        for one in applied:
            held = [effect for effect in one.effects if _reduces(effect)]
            unsent += held
            self._write(one._replace(effects=tuple(effect for effect in one.effects if effect not in held)))
        return unsent

    def stop(self) -> None:
        """Set nothing going any more; what waits is decided by `finish`."""
        self.over = self.over or STOPPED
        if self.timer:
            self.timer.cancel()

    def finish(self) -> None:
        """Decide what waits, as long as the journal takes it, up to what asks something of a broker.

        The lanes have ended: such an order would stand as sent, never leave, and be in doubt for a person to
        settle. It is not decided, nor what comes after it; the next start decides it, and sends it.
        """
        while self._pending and self.journal.healthy:
            item, alert, _ = self._pending.popleft()
            applied = self.engine.apply(item, alert)
            if applied.effects:
                return
            self._write(applied)

    def disappoint(self, told: str) -> None:
        """Nobody waits for ever: what is not decided now will not be decided in this life of the desk."""
        self.over = told
        waiting, self._waiting = self._waiting, {}
        for future in (one for futures in waiting.values() for one in futures):
            if not future.done():
                future.set_exception(JournalUnavailable(told))

    async def decided(self, seq: int) -> None:
        """Wait until the input is decided and its decision is committed.

        Raises JournalUnavailable where the desk stops before; the next start decides it.
        """
        if seq > self.recorded:
            if self.over:
                raise JournalUnavailable(STOPPED)
            future = self._loop.create_future()
            self._waiting.setdefault(seq, []).append(future)
            await future

    # From kept to decided

    def _kept(self, inputs: Sequence[Input]) -> None:
        now = self._loop.time()
        self._quiet = 0
        self._pending.extend((item, self.parsed.get(item.raw), now) for item in inputs)
        self._schedule()

    def _schedule(self) -> None:
        if self._pending and not self._draining:
            self._draining = True
            if self.journal.keeping:
                self._loop.call_later(GLANCE_S, self._turn)
            else:
                self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Decide some of what waits, where nothing new comes or the first has waited too long."""
        self._draining = False
        if self.over:
            return  # `finish` decides what waits; the journal may be closed when a late turn comes
        now, self._quiet = self._loop.time(), self._quiet + 1
        late_s = now - self._pending[0][2] - PATIENCE_S
        if late_s > 0:
            self._drain_until(now + min(late_s, LONGEST_S))
        elif self._quiet > QUIET:
            self._drain_until(now + SLICE_S)
        if self._effects:
            self.journal.hand_over()  # an order waits for this commit; other decisions can wait for inputs
        if self._pending:
            self._schedule()
        else:
            self._wind()

    def _drain_until(self, end: float) -> None:
        """Decide until then, one at least."""
        self._drain()
        while self._pending and self._loop.time() < end:
            self._drain()

    def _drain(self) -> None:
        item, alert, _ = self._pending.popleft()
        applied = self.engine.apply(item, alert)
        self._write(applied)
        self._since_checkpoint += 1
        if self._since_checkpoint >= CHECKPOINT:
            self._since_checkpoint = 0
            decision = applied.decision
            self.journal.checkpoint(Decision(decision.seq, decision.at, self.engine.state.snapshot()))

    # From decided to done

    def _write(self, applied: Applied) -> None:
        if applied.effects:
            self._effects[applied.decision.seq] = applied.effects
        self.journal.record(applied.decision)

    def _written(self, decisions: Sequence[Decision]) -> None:
        """Decisions are committed: now, and only now, what they lead to may leave."""
        for decision in decisions:
            self.recorded = decision.seq
            for effect in self._effects.pop(decision.seq, ()):
                self.leave(effect)
            for future in self._waiting.pop(decision.seq, ()):
                if not future.done():
                    future.set_result(None)
            self.publish(decision)

    # What is due at a time

    def _wind(self) -> None:
        """Set the clock for what is due next; the tick is an input like any other."""
        if self.timer:
            self.timer.cancel()
            self.timer = None
        due = self.engine.due
        if due is not None and not self.over:
            wait = max(0.0, (due - self.clock()).total_seconds())
            self.timer = self._loop.call_later(wait, self.tick)

    def tick(self) -> None:
        """Let the time be an input, now."""
        self.timer = None
        self.ticking = self._loop.create_task(self._keep_tick())

    async def _keep_tick(self) -> None:
        try:
            await self.journal.keep(Kind.TICK, "{}")
        except JournalError as error:
            if self.over:
                return
            log.warning("a tick waits for the journal: %s", error)
            self.timer = self._loop.call_later(1.0, self.tick)


def _reduces(effect: Effect) -> bool:
    """Whether an effect sends an order that closes a position, or protects one."""
    return effect.kind in ("submit", "close") and effect.order.leg is not Leg.OPEN


__all__ = ["Decider"]
