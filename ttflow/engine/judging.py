"""Judging: a strategy that loses goes to paper, and comes back when it earns there (rules 15 to 18).

The evidence is the episodes since its last change of mode. What a person chose is changed by a person only.
"""

from __future__ import annotations

from typing import NamedTuple

from ttflow.book.rows import ModeChange, Strategy
from ttflow.engine.base import SHADOW, SIMULATOR
from ttflow.engine.modes import Modes
from ttflow.order import Leg, Order
from ttflow.settings.rules import StrategyRule
from ttflow.stats.rule import Progress, Sample, TradedMode, Verdict, judge, next_change
from ttflow.ticket import Reason
from ttflow.words import ZERO, evolve, plain

_REMEMBERED = 20  # changes of mode that a strategy remembers, for the most that a day may have


class Judged(NamedTuple):
    """How a strategy stands: its mode in force, and what the evidence says of a change."""

    in_force: str
    verdict: Verdict


class Judging(Modes):
    """Modes, and who changes them."""

    def judged_now(self, strategy: str) -> Judged:
        """How a strategy stands at this moment; progress towards a change can be read from it."""
        mode = self.in_force(strategy)
        judged_as: TradedMode = "live" if mode == "live" else "paper"
        samples = self._since_change(strategy, self.state.record(strategy, judged_as).samples)
        backtest = self.state.record(strategy, "backtest").imported.baseline
        return Judged(mode, judge(judged_as, samples, self.rule(strategy), backtest))

    def tried(self, strategy: str) -> Progress:
        """What a strategy's paper trades say where nothing may change: those of the simulator alone too.

        Honest ones (rule 18) go before the others.
        """
        record = self.state.record(strategy, "paper")
        samples = self._since_change(strategy, record.samples or record.tried)
        return judge("paper", samples, self.rule(strategy)).progress

    def _since_change(self, strategy: str, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        """Those after the strategy's last change of mode."""
        known = self.state.strategies.get(strategy)
        if known is None or not known.changed:
            return samples
        return tuple(one for one in samples if one.at > known.changed[-1])

    def judge_all(self) -> None:
        """Change the modes that the evidence of this input changes."""
        strategies, self.judged = sorted(self.judged), {}
        for strategy in strategies:
            known = self.state.strategies.get(strategy)
            if known is None or known.pinned or self.rule(strategy).mode is not None:
                continue
            if self.trades_live or self.in_force(strategy) == "live":  # else there is nothing to change
                self._judge(known, self.rule(strategy))

    def _judge(self, known: Strategy, rule: StrategyRule) -> None:
        in_force, verdict = self.judged_now(known.strategy)
        if in_force == "live" and (stop := _money_stop(known, rule)):
            text = f"{stop} A person must release it."
            self.change_mode(evolve(known, stopped=stop), "paper", text, severity="critical")
        elif verdict.change is None or known.stopped or self._too_soon(known, rule):
            return
        elif verdict.change == "paper":
            self.change_mode(known, "paper", verdict.sentence, severity="warning")
        elif not self.trades_live:
            return
        elif rule.promote == "auto":
            self.change_mode(known, "live", verdict.sentence, severity="warning")
        elif known.asked is None:
            self.state.put("strategies", evolve(known, seq=self.seq, asked=self.now))
            text = f"{known.strategy} earns on paper: {verdict.sentence}. To trade it live: ttflow mode."
            self.notice("promotion", "warning", text)

    def _too_soon(self, known: Strategy, rule: StrategyRule) -> bool:
        ready = next_change(known.changed, rule)
        return ready is not None and self.now < ready

    def set_mode(self, strategy: str, mode: str, reason: str) -> None:
        """What a person says: a mode is pinned, and `auto` leaves the one in force to the rule.

        Either releases a money stop, whose count begins anew. A halted strategy that is set to auto is as if
        it had never been judged.
        """
        known = self.state.strategies.get(strategy)
        known = known or Strategy(strategy=strategy, seq=self.seq, first_seen_at=self.now)
        kept = None if known.mode == "halted" else known.mode
        chosen = kept if mode == "auto" else mode
        released = evolve(known, stopped=None, live_net=ZERO, live_high=ZERO, day_net=ZERO)
        row = evolve(released, mode=chosen, pinned=mode != "auto")
        self._changed(row, mode, reason)
        self.notice("mode", "info", f"{strategy} is set to {mode}: {reason}.")

    def change_mode(self, known: Strategy, mode: str, reason: str, *, severity: str) -> None:
        """What the evidence says."""
        self._changed(evolve(known, mode=mode), mode, reason)
        where = "trades live again" if mode == "live" else "goes to paper"
        text = f"{known.strategy} {where}: {reason}"
        self.notice("mode", "critical" if severity == "critical" else "warning", text)

    def _changed(self, row: Strategy, mode: str, reason: str) -> None:
        changed = (*row.changed, self.now)[-_REMEMBERED:]
        self.state.put("strategies", evolve(row, seq=self.seq, changed=changed, asked=None))
        change = ModeChange(seq=self.seq, at=self.now, strategy=row.strategy, mode=mode, reason=reason)
        self.state.put("modes", change)
        for order in self.all_orders():
            if order.strategy == row.strategy and order.leg is Leg.OPEN and self._is_elsewhere(order):
                self.withdraw(order, f"{row.strategy} is set to {mode}", reason=Reason.MODE_CHANGING)

    def _is_elsewhere(self, order: Order) -> bool:
        """Whether an opening order stands in a book that its strategy's mode does not open in."""
        group = self.settings.groups.get(order.account_group)
        mode = self.mode(order.strategy, group) if group else "halted"
        if mode == "halted" or group is None or group.broker == SIMULATOR:
            return mode == "halted"
        return (mode == "live") == order.account.endswith(SHADOW)


def _money_stop(known: Strategy, rule: StrategyRule) -> str:
    """Say which stop in money a strategy has hit; nothing when none."""
    if rule.max_loss_day is not None and known.day_net <= -rule.max_loss_day:
        return (
            f"It lost {plain(-known.day_net)} on {known.day}; the limit is {plain(rule.max_loss_day)} a day."
        )
    down = known.live_high - known.live_net
    if rule.max_drawdown is not None and down >= rule.max_drawdown:
        return f"It is {plain(down)} below its best; the limit is {plain(rule.max_drawdown)}."
    return ""
