"""Modes: whose book a ticket is for, live or shadow, and what bars it from opening, checked last of all."""

from __future__ import annotations

from decimal import Decimal

from ttflow.book.record import Record
from ttflow.book.rows import EVERYWHERE
from ttflow.engine.base import SHADOW, SIMULATOR
from ttflow.engine.passing import Passing
from ttflow.firms.automation import may_automate
from ttflow.instrument import root
from ttflow.settings import Group
from ttflow.ticket import Reason, Ticket
from ttflow.words import plain


class Modes(Passing):
    """Passing, and the modes of strategies and groups."""

    def mode(self, strategy: str, group: Group) -> str:
        """Whether the strategy trades live, on paper or not at all in the group, as things stand."""
        chosen = self._chosen(strategy)
        if chosen == "halted":
            return "halted"
        if group.broker == SIMULATOR or not group.live:
            return "paper"
        return chosen or ("live" if strategy in group.strategies else "paper")

    def alert_only(self, group: str) -> str:
        """Why no order of a live group may leave: its firm's rules on automation; empty where they may."""
        if group not in self._opted:
            may, told = may_automate(self.settings.groups[group], group, self.settings.firms)
            self._opted[group] = "" if may else f"{told}."
        return self._opted[group]

    def _chosen(self, strategy: str) -> str | None:
        """The mode that a person chose, or else the settings, or else the rule; None when nobody did yet."""
        known = self.state.strategies.get(strategy)
        if known is not None and known.pinned:
            return known.mode
        return self.rule(strategy).mode or (known.mode if known else None)

    def in_force(self, strategy: str) -> str:
        """The strategy's mode where a live group lets it trade."""
        listed = (group for group in self.settings.groups.values() if group.live)
        return self._chosen(strategy) or (
            "live" if any(strategy in group.strategies for group in listed) else "paper"
        )

    def record_of(self, ticket: Ticket) -> Record:
        """What the ticket's strategy has done in the kind of book that the ticket trades in."""
        live = self.broker_of(ticket.account_group, ticket.account) != SIMULATOR
        mode = "live" if live and not self.sandbox(ticket.account_group) else "paper"
        return self.state.record(ticket.strategy, mode)

    def account_for(self, ticket: Ticket, group: Group) -> str:
        """The account, or its shadow: where the ledger holds something already, else by mode (rule 15)."""
        name = ticket.account.removesuffix(SHADOW)
        if group.broker == SIMULATOR:
            return name
        for account in (name, name + SHADOW):
            if self._busy(ticket, account):
                return account
        return self._meant(ticket, group)

    def _meant(self, ticket: Ticket, group: Group) -> str:
        name = ticket.account.removesuffix(SHADOW)
        return name if self.mode(ticket.strategy, group) == "live" else name + SHADOW

    def _busy(self, ticket: Ticket, account: str) -> bool:
        key = (ticket.strategy, ticket.account_group, account, root(ticket.symbol))
        waiting = (one for one in self.state.tickets_of(key) if one.key != ticket.key)
        return not self.state.ledger(key).flat or bool(self.state.orders_of(key)) or any(waiting)

    def _barred(self, ticket: Ticket) -> tuple[Reason, str] | None:
        """Halts, modes and books, checked last before an order leaves."""
        group, strategy = ticket.account_group, ticket.strategy
        for scope in (EVERYWHERE, group, f"{EVERYWHERE}/{strategy}", f"{group}/{strategy}"):
            halt = self.state.halts.get(scope)
            if halt and halt.state == "halted":
                since = f"since {halt.at:%Y-%m-%d %H:%M} UTC"
                return Reason.TRADING_HALTED, f"Trading is halted {where(scope)} {since}: {halt.reason}."
            if halt and halt.state == "reducing":
                text = f"Nothing opens {where(scope)} since {halt.at:%Y-%m-%d %H:%M} UTC: {halt.reason}."
                return Reason.TRADING_REDUCING, text
        given = self.settings.groups.get(group)
        if given is None:
            return Reason.UNKNOWN_GROUP, f"The settings have no account group {group} any more."
        if given.account(ticket.account) is None:
            text = f"The account {ticket.account} is not in the group {group} any more; exits alone go there."
            return Reason.NOT_ALLOWED, text
        if given.broker != SIMULATOR and group not in self.connected:
            return Reason.NO_BROKER, no_broker(group, given)
        if self.broker_of(group, ticket.account) != SIMULATOR and (forbidden := self.alert_only(group)):
            return Reason.ALERT_ONLY, forbidden
        mode = self.mode(strategy, given)
        if mode == "halted":
            return Reason.STRATEGY_HALTED, f"The strategy {strategy} is halted."
        if given.broker != SIMULATOR and (mode == "live") == ticket.account.endswith(SHADOW):
            return Reason.MODE_CHANGING, f"The strategy is to trade {mode} once this ledger is flat."
        book = self.state.books.get((group, ticket.account, root(ticket.symbol)))
        if book and book.mismatch_since:
            text = f"The broker holds {signed(book.net)}, which the ledgers don't explain."
            return Reason.BOOK_MISMATCH, text
        return None


def sides(group: Group | None) -> str | None:
    """Which sides a group trades: as configured; else both on paper; None, the first entry's, when live."""
    if group is None:
        return None
    return group.sides or (None if group.live else "both")


def no_broker(name: str, group: Group) -> str:
    """Say that a group can't trade, and what to configure."""
    return (
        f"No broker connector configured for {name}: connect its broker ({group.broker}), or set "
        f'broker = "simulator" in [groups.{name}] to trade it on paper.'
    )


def where(scope: str) -> str:
    """Say a scope in words: `*`, a group, or either with a strategy behind a slash."""
    place, _, strategy = scope.partition("/")
    said = "everywhere" if place == EVERYWHERE else f"in {place}"
    return f"for {strategy} {said}" if strategy else said


def signed(number: Decimal) -> str:
    """Say a signed quantity in words."""
    if not number:
        return "nothing"
    return f"{'long' if number > 0 else 'short'} {plain(abs(number))}"
