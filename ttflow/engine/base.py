"""What every part of the engine stands on: the state, the ids, the time, outcomes and notices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Literal, NamedTuple

from ttflow.book.ledger import Key
from ttflow.book.rows import Notice, Price, Severity
from ttflow.book.state import State
from ttflow.firms.rules import Rules
from ttflow.instrument import held_as, root, ticker
from ttflow.order import Account, Leg, Order, Trade
from ttflow.settings import Settings
from ttflow.settings.limits import FlatBy
from ttflow.ticket import Note, Status, Ticket
from ttflow.words import ZERO

SIMULATOR = "simulator"
SHADOW = "~paper"
"""What stands behind a live account's name in the name of its shadow, a book of the simulator."""

OURS = "tt-"
"""How the id of every order begins that a desk sends."""

PROTECTIVE = frozenset({Leg.TAKE_PROFIT, Leg.STOP_LOSS})
_PAUSES_S = (1, 2, 4, 8, 16, 32, 60)


class Effect(NamedTuple):
    """What is to be done outside, after the decision is committed.

    `legs` are the stop and the target that go with an entry as one bracket. `close` asks the broker to close
    the position in the order's contract, whatever it is.
    """

    kind: Literal["submit", "modify", "cancel", "find", "close"]
    order: Order
    legs: tuple[Order, ...] = ()


class Ids:
    """Ids derived from the journal's own and an input's seq, so that a replay makes the same ones."""

    def __init__(self, journal_id: str) -> None:
        self.journal_id = journal_id
        self._last = (0, "")

    def alert(self, seq: int) -> str:
        """The id under which an alert is acknowledged."""
        if self._last[0] != seq:
            self._last = (seq, f"alert_{self._digest(str(seq))[:12]}")
        return self._last[1]

    def order(self, seq: int, group: str, account: str, leg: Leg, attempt: int) -> str:
        """The id that an order carries to its broker: from (input, account, leg, attempt)."""
        return f"{OURS}{self._digest(f'{seq}:{group}/{account}:{leg}:{attempt}')[:24]}"

    def _digest(self, text: str) -> str:
        return sha256(f"{self.journal_id}:{text}".encode()).hexdigest()


class Base:
    """The state, and what is told of it."""

    settings: Settings
    can: Mapping[str, frozenset[str]]

    def __init__(self, journal_id: str) -> None:
        self.ids = Ids(journal_id)
        self.state = State()
        self.seq = 0
        self.now: datetime = datetime.fromtimestamp(0, UTC)
        self.effects: list[Effect] = []
        self.touched: dict[Key, None] = {}
        self.held: set[tuple[int, str, str]] = set()
        self.weighed: dict[tuple[str, str], None] = {}  # the accounts whose worth this input may have changed
        self.watched_money: frozenset[str] = frozenset()  # the groups where open profit counts for it
        self.needs_quotes: frozenset[str] = frozenset()  # the groups where a limit asks for fresh quotes
        self.named: dict[tuple[str, str], datetime] = {}  # when alerts last named a symbol, for each group
        self.judged: dict[str, None] = {}  # the strategies whose evidence this input changed
        self.trades_live = False  # whether any group is live
        self._bound: dict[tuple[str, str], Rules | None] = {}
        self._flat_rules: dict[tuple[str, str], tuple[FlatBy, ...]] = {}
        self.closed: tuple[Trade, ...] = ()  # the round trips that the fill being booked closed
        self._notices = self._unasked = (0, 0)

    def end(
        self, ticket: Ticket, status: Status, reason: str | None, text: str, step: str = "desk"
    ) -> Ticket:
        """Give a ticket its outcome."""
        trail = (*ticket.trail, Note(step, text)) if text else ticket.trail
        ended = ticket.to(status, reason=reason, trail=trail, plan=None)
        self.state.put("tickets", ended)
        return ended

    def finish(
        self, ticket: Ticket, status: Status, reason: str | None, text: str, step: str = "desk"
    ) -> None:
        """End a ticket; where part of it was done already, it counts as filled, with the reason kept."""
        done = ticket.plan is not None and ticket.plan.filled
        self.end(ticket, Status.FILLED if done else status, reason, text, step)

    def broker_of(self, group: str, account: str) -> str:
        """Who executes for an account: the simulator for paper groups and for shadows of live ones."""
        known = self.state.accounts.get((group, account))
        if account.endswith(SHADOW) or (known and known.simulated):
            return SIMULATOR
        given = self.settings.groups.get(group)
        if given is None or (known and given.broker == SIMULATOR):
            return "removed"  # what is held at a broker is not closed on paper
        return given.broker

    def able(self, order: Order, what: str) -> bool:
        """Whether the order's broker can do something: `brackets`, `modifies` or `closes`."""
        return order.broker != SIMULATOR and what in self.can.get(order.account_group, ())

    def sandbox(self, group: str) -> bool:
        """Whether the group's broker trades on paper of its own: its fills are no evidence (rule 18)."""
        given = self.settings.groups.get(group)
        return given is not None and given.where(group) == "demo"

    def mode_of_fills(self, order: Order) -> Literal["live", "paper"]:
        """Whose money an order's fills are: the account's, or nobody's."""
        return "paper" if order.broker == SIMULATOR or self.sandbox(order.account_group) else "live"

    def account(self, group: str, name: str) -> Account:
        """An account's money; before anything is known of it, what the settings start it with on paper."""
        found = self.state.accounts.get((group, name))
        if found is not None:
            return found
        simulated = self.broker_of(group, name) == SIMULATOR
        cash = self.start_cash(group, name) if simulated else ZERO
        return Account(account_group=group, account=name, cash=cash, simulated=simulated)

    def unseen(self, group: str, name: str) -> bool:
        """Whether an account's broker has yet to tell, since the desk's start, what the account holds."""
        known = self.state.accounts.get((group, name))
        return known is not None and known.unseen_since is not None

    def start_cash(self, group: str, name: str) -> Decimal:
        """What a paper account begins with."""
        given = self.settings.groups.get(group)
        return given.cash if given else ZERO

    def price_of(self, symbol: str) -> Decimal | None:
        """The last price seen of a symbol, or else of another contract of its root; None without any."""
        known = self.seen_of(symbol)
        return known.price if known else None

    def seen_of(self, symbol: str) -> Price | None:
        """The row that `price_of` takes its price from."""
        known = self.state.prices.get(ticker(symbol))
        if known is None:
            same = [row for row in self.state.prices.values() if root(row.symbol) == root(symbol)]
            known = max(same, key=lambda row: row.seq, default=None)
        return known

    def _ticket_of(self, order: Order) -> Ticket | None:
        if order.ticket_seq is None:
            return None
        return self.state.tickets.get((order.ticket_seq, order.account_group, order.account))

    def net(self, group: str, account: str, symbol_root: str) -> Decimal:
        """What the ledgers of an account hold of a root, `manual` included, added up."""
        held = self.state.held_in(group, account)
        return sum((ledger.position for ledger in held if root(ledger.root) == symbol_root), ZERO)

    def held_of(self, group: str, account: str, contract: str) -> Decimal:
        """What the ledgers of an account hold of one contract, as `held_as` writes it, added up."""
        held = self.state.held_in(group, account)
        return sum((one.position for one in held if held_as(one.contract or one.root) == contract), ZERO)

    def all_orders(self) -> list[Order]:
        """The orders that have not ended, oldest first."""
        return sorted(self.state.orders.values(), key=lambda one: (one.seq, one.order_id))

    def notice(self, kind: str, severity: Severity, text: str) -> None:
        """Tell a person something."""
        seq, place = self._notices
        place = place + 1 if seq == self.seq else 1
        self._notices = (self.seq, place)
        row = Notice(
            notice_id=f"{self.seq}.{place}",
            seq=self.seq,
            at=self.now,
            kind=kind,
            severity=severity,
            text=text,
        )
        self.state.put("notices", row)


def pause_after(attempt: int) -> int:
    """How long to wait after a refused attempt, in seconds."""
    return _PAUSES_S[min(attempt, len(_PAUSES_S)) - 1]
