"""Evidence: what ledgers do from flat to flat, and whether it may tell what a strategy is worth (rule 18)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ttflow.book.ledger import Ledger, Running
from ttflow.book.rows import Episode
from ttflow.book.state import ledger_key
from ttflow.engine.base import SHADOW, SIMULATOR
from ttflow.engine.protection import Protection
from ttflow.instrument import instrument, ticker
from ttflow.order import Fill, Order, Trade
from ttflow.ticket import Ticket
from ttflow.view import GAP
from ttflow.words import ZERO, OrderType, evolve, tidy


class Evidence(Protection):
    """Protection, and the episodes of ledgers."""

    def fill(self, order: Order, done: Fill) -> Order:
        """Book a fill, and carry it into the episode of its ledger; the one that ends here is told."""
        before, ticket = self.state.ledger(ledger_key(order)), self._ticket_of(order)
        filled = super().fill(order, done)
        after = self.state.ledger(before.key)
        running = _with_trades(before.running, self.closed)
        if running and before.position * after.position <= 0 and before.position:
            self._ends(before, running, order, done)
            running = None
        opened = done.quantity - sum((trade.quantity for trade in self.closed), ZERO)
        if opened > 0:
            running = running or Running(opened_at=done.filled_at, signal=order.ticket_seq)
            running = _with_entry(running, after, ticket, opened, done.price)
        if running:
            rests = order.type is not OrderType.MARKET or bool(before.bracket or after.bracket)
            there = order.broker != SIMULATOR and self.sandbox(order.account_group)
            if (rests and not running.resting) or (there and not running.sandbox):
                running = evolve(running, resting=running.resting or rests, sandbox=running.sandbox or there)
        leaves = self.leaves_by(after) if opened > 0 else after.leave_by
        if (running, leaves) != (after.running, after.leave_by):
            self.state.put("ledgers", evolve(after, running=running, leave_by=leaves))
        return filled

    def leaves_by(self, ledger: Ledger) -> datetime | None:
        """When what a ledger holds must be closed, since its contract ends; None where it doesn't."""
        return None

    def _ends(self, ledger: Ledger, running: Running, order: Order, done: Fill) -> None:
        mode = done.mode
        resting = running.resting or bool(ledger.bracket) or order.type is not OrderType.MARKET
        shadow = mode == "paper" and ledger.account.endswith(SHADOW)
        streamed = not resting or self._streamed(ledger, running.opened_at)
        episode = Episode(
            seq=self.seq,
            episode_id=done.fill_id,
            strategy=ledger.strategy,
            account_group=ledger.account_group,
            account=ledger.account,
            symbol=ledger.contract or ledger.root,
            side="long" if ledger.position > 0 else "short",
            opened_at=running.opened_at,
            closed_at=done.filled_at,
            signal=running.signal,
            trades=running.trades,
            net_pnl=tidy(running.net_pnl),
            notional=tidy(running.notional),
            risk=tidy(running.risk) if running.risk else None,
            mode=mode,
            honest=mode == "live" or (shadow and streamed and not running.sandbox),
        )
        self.state.put("episodes", episode)
        self.judged[ledger.strategy] = None

    def _streamed(self, ledger: Ledger, since: datetime) -> bool:
        """Whether prices that no alert brought came all the while since `since`, without a long gap."""
        price = self.state.prices.get(ticker(ledger.contract or ledger.root))
        if price is None or price.since is None or price.streamed_at is None:
            return False
        return price.since <= since and self.now - price.streamed_at <= GAP


def _with_trades(running: Running | None, trades: tuple[Trade, ...]) -> Running | None:
    if running is None or not trades:
        return running
    net = sum((trade.net_pnl for trade in trades), running.net_pnl)
    return evolve(running, trades=running.trades + len(trades), net_pnl=net)


def _with_entry(
    running: Running, ledger: Ledger, ticket: Ticket | None, quantity: Decimal, price: Decimal
) -> Running:
    """Count an entry: its value, and what it loses at its own stop, unknown where the alert brought none."""
    value = quantity * instrument(ledger.contract or ledger.root).point_value
    stop = ledger.bracket.stop if ledger.bracket and ticket and ticket.alert.stop_loss else None
    known = stop is not None and running.risk is not None
    risk = running.risk + abs(price - stop) * value if known else None  # type: ignore[operator]  # both known
    return evolve(running, notional=running.notional + abs(price) * value, risk=risk)
