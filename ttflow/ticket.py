"""A ticket: one alert on its way to one account, with what was learned about it and what became of it.

Frozen: an operator returns a new ticket, noted, denied or sized. One rule stands above every operator:
the closing leg of a ticket, the part that reduces its ledger's position, can't be denied. `deny` on a
closing leg only notes what it saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import Field, InstanceOf

from ttflow.alert import Alert
from ttflow.order import Fill, Leg, Order
from ttflow.showing import Told, line, place
from ttflow.view import NOTHING_KNOWN, View
from ttflow.words import EPOCH, ONE, ZERO, Exact, Side, evolve


class Status(StrEnum):
    """Where a ticket stands. The first three may change; the others are outcomes."""

    OPEN = "open"
    ORDERED = "ordered"
    UNKNOWN = "unknown"
    FILLED = "filled"
    DENIED = "denied"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"
    DONE = "done"


OUTCOMES = frozenset(Status) - {Status.OPEN, Status.ORDERED, Status.UNKNOWN}
"""The statuses in which a ticket ends; each ticket reaches exactly one."""

_ENDS = OUTCOMES
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.OPEN: _ENDS | {Status.ORDERED, Status.UNKNOWN},
    # Back to open: the closing leg is done, the opening leg waits for its turn.
    Status.ORDERED: _ENDS | {Status.OPEN, Status.UNKNOWN},
    Status.UNKNOWN: _ENDS | {Status.OPEN, Status.ORDERED},
    **{status: frozenset[Status]() for status in OUTCOMES},
}
"""The table of legal transitions: from each status to those that may follow it."""


class Reason(StrEnum):
    """Why a ticket or an order ended as it did; the code that stands in the journal's tables."""

    UNKNOWN_GROUP = "UNKNOWN_GROUP"
    NO_BROKER = "No broker connector configured"
    DUPLICATE_ID = "DUPLICATE_ID"
    UNREADABLE = "UNREADABLE"
    NO_PRICE = "NO_PRICE"
    NO_POSITION = "NO_POSITION"
    SUPERSEDED = "SUPERSEDED"
    BOOK_MISMATCH = "BOOK_MISMATCH"
    OPENED_LATER = "OPENED_LATER"
    FLATTENING = "FLATTENING"
    ALREADY_THERE = "ALREADY_THERE"
    NOTHING_TO_CANCEL = "NOTHING_TO_CANCEL"
    NOTHING_TO_UPDATE = "NOTHING_TO_UPDATE"
    WITHDRAWN = "WITHDRAWN"
    WRONG_LEVEL = "WRONG_LEVEL"
    SIDE_NOT_ALLOWED = "SIDE_NOT_ALLOWED"
    NO_QUANTITY = "NO_QUANTITY"
    SIZED_TO_ZERO = "SIZED_TO_ZERO"
    UNKNOWN_QUANTITY_TYPE = "UNKNOWN_QUANTITY_TYPE"
    NO_VALUE = "NO_VALUE"
    NO_STOP = "NO_STOP"
    NO_ATR = "NO_ATR"
    EQUITY_UNKNOWN = "EQUITY_UNKNOWN"
    TOO_FEW_TRADES = "TOO_FEW_TRADES"
    QUANTITY_EXCEEDS_MAX = "QUANTITY_EXCEEDS_MAX"
    NOTIONAL_EXCEEDS_MAX = "NOTIONAL_EXCEEDS_MAX"
    NO_REFERENCE = "NO_REFERENCE"
    PRICE_OUTSIDE_COLLAR = "PRICE_OUTSIDE_COLLAR"
    TOO_MANY_ORDERS = "TOO_MANY_ORDERS"
    POSITION_EXCEEDS_MAX = "POSITION_EXCEEDS_MAX"
    EXPOSURE_EXCEEDS_MAX = "EXPOSURE_EXCEEDS_MAX"
    DAY_LOSS = "DAY_LOSS"
    DRAWDOWN = "DRAWDOWN"
    STOP_EXCEEDS_ROOM = "STOP_EXCEEDS_ROOM"
    COOLING_DOWN = "COOLING_DOWN"
    FIRM_CONTRACTS = "FIRM_CONTRACTS"
    ALERT_ONLY = "ALERT_ONLY"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    CONTRACT_ENDS = "CONTRACT_ENDS"
    SHORT_OPTION = "SHORT_OPTION"
    STALE_QUOTE = "STALE_QUOTE"
    DELAYED_DATA = "DELAYED_DATA"
    FLAT_BY = "FLAT_BY"
    NEWS = "NEWS"
    TRADING_REDUCING = "TRADING_REDUCING"
    TRADING_HALTED = "TRADING_HALTED"
    STRATEGY_HALTED = "STRATEGY_HALTED"
    MODE_CHANGING = "MODE_CHANGING"
    FILTERED = "FILTERED"
    NOT_ALLOWED = "NOT_ALLOWED"
    OUT_OF_SESSION = "OUT_OF_SESSION"
    REPEATED = "REPEATED"
    STALE = "STALE"
    THROTTLED = "THROTTLED"
    DROPPED = "DROPPED"
    OPERATOR_FAILED = "OPERATOR_FAILED"
    DESK_FAILED = "DESK_FAILED"
    BROKER_REFUSED = "BROKER_REFUSED"
    BROKER_FAILED = "BROKER_FAILED"
    NOT_FOUND = "NOT_FOUND"
    TOO_OLD = "TOO_OLD"

    @property
    def meaning(self) -> str:
        """One sentence that says what the code means."""
        return MEANINGS[self]


MEANINGS: Mapping[Reason, str] = {
    Reason.UNKNOWN_GROUP: "The alert names an account group that the settings don't have.",
    Reason.NO_BROKER: "The group's broker has no connector, or the connector has no credentials.",
    Reason.DUPLICATE_ID: "Another alert, with another body, had the same id before.",
    Reason.UNREADABLE: "The kept bytes could not be read as an alert when they were decided.",
    Reason.NO_PRICE: "A market order on paper, and no price of the symbol has been seen yet.",
    Reason.NO_POSITION: "Nothing is held, working or unknown, so there is nothing to close.",
    Reason.SUPERSEDED: "A later alert of the same strategy took its place.",
    Reason.BOOK_MISMATCH: "The broker's position differs from the ledgers; nothing opens until explained.",
    Reason.OPENED_LATER: "What is held was opened by alerts that fired after this exit.",
    Reason.FLATTENING: "The ledger is being flattened.",
    Reason.ALREADY_THERE: "The ledger is already at the position that the alert asks for.",
    Reason.NOTHING_TO_CANCEL: "The strategy has no opening order that could be withdrawn.",
    Reason.NOTHING_TO_UPDATE: "There is no protective order that could be moved.",
    Reason.WITHDRAWN: "The order was withdrawn: by a cancel, an exit or a halt.",
    Reason.WRONG_LEVEL: "A stop or a target on the wrong side of the market would close the entry at once.",
    Reason.SIDE_NOT_ALLOWED: "The group's `sides` don't allow a position on that side.",
    Reason.NO_QUANTITY: "The alert gives no quantity, and nothing else says how much.",
    Reason.SIZED_TO_ZERO: "The size, rounded down to the lot, is zero.",
    Reason.UNKNOWN_QUANTITY_TYPE: "The alert's `quantity_type` is none that ttflow knows.",
    Reason.NO_VALUE: "What the order is worth is not known: no price, or no rate of its currency.",
    Reason.NO_STOP: "The alert has no stop, and how much may be opened or lost depends on it.",
    Reason.NO_ATR: "Neither the alert nor the settings tell the average range that sizes the order.",
    Reason.EQUITY_UNKNOWN: "The account's equity is not known, too old, or used up.",
    Reason.TOO_FEW_TRADES: "The strategy has too few closed trades, or too one-sided ones, to size by them.",
    Reason.QUANTITY_EXCEEDS_MAX: "The order's quantity is larger than a limit.",
    Reason.NOTIONAL_EXCEEDS_MAX: "The order's value is larger than a limit.",
    Reason.NO_REFERENCE: "No fresh price is known that did not come from the alert itself.",
    Reason.PRICE_OUTSIDE_COLLAR: "The price is too far from the last one known.",
    Reason.TOO_MANY_ORDERS: "As many orders as a limit allows were made in that time.",
    Reason.POSITION_EXCEEDS_MAX: "The position, working orders included, would be larger than a limit.",
    Reason.EXPOSURE_EXCEEDS_MAX: "The exposure, working orders included, would be larger than a limit.",
    Reason.DAY_LOSS: "The account has lost its limit since the day began; only exits go out.",
    Reason.DRAWDOWN: "The account is its limit below its highest equity; only exits go out.",
    Reason.STOP_EXCEEDS_ROOM: "The loss at the order's stop is more than may still be lost.",
    Reason.COOLING_DOWN: "Too soon after as many losses in a row as a limit allows.",
    Reason.FIRM_CONTRACTS: "The account would hold more contracts than its prop firm allows.",
    Reason.ALERT_ONLY: "The firm's rules on automation need a written opt-in; the alert is told, not traded.",
    Reason.UNKNOWN_SYMBOL: "The broker is not known to trade the symbol; it is never guessed.",
    Reason.CONTRACT_ENDS: "The contract is too near its first notice or its last trade to be opened.",
    Reason.SHORT_OPTION: "Selling an option to open is not allowed in this group.",
    Reason.STALE_QUOTE: "No quote of the symbol is as fresh as a limit asks.",
    Reason.DELAYED_DATA: "The alert comes from a delayed feed.",
    Reason.FLAT_BY: "The account has to be flat at this hour.",
    Reason.NEWS: "Too close to a piece of news.",
    Reason.TRADING_REDUCING: "The account may only reduce what it holds.",
    Reason.TRADING_HALTED: "Trading is halted, everywhere or in this group; only exits go out.",
    Reason.STRATEGY_HALTED: "The strategy is halted; only exits go out.",
    Reason.MODE_CHANGING: "The strategy changes between live and paper once this ledger is flat.",
    Reason.FILTERED: "A `where` condition of the flow did not hold.",
    Reason.NOT_ALLOWED: "The symbol, strategy, side or group is not on the flow's list.",
    Reason.OUT_OF_SESSION: "The alert came outside the session's hours.",
    Reason.REPEATED: "The same thing was asked for a moment ago.",
    Reason.STALE: "The alert is older than the flow allows.",
    Reason.THROTTLED: "Too soon after the one before.",
    Reason.DROPPED: "The flow let the ticket go without a decision.",
    Reason.OPERATOR_FAILED: "An operator of the flow raised an exception.",
    Reason.DESK_FAILED: "ttflow itself failed on the alert; the notice says how.",
    Reason.BROKER_REFUSED: "The broker refused the order.",
    Reason.BROKER_FAILED: "The order could not be sent; nothing left this machine.",
    Reason.NOT_FOUND: "The broker does not know the order.",
    Reason.TOO_OLD: "The order was too old to send when its turn came.",
}


class Note(NamedTuple):
    """One step of a ticket's trail: which step spoke, and what it said, as a sentence."""

    step: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a ticket still has to do to its ledger.

    `closing` is ours (contracts, shares, coins), `closing_theirs` and `opening` are in the strategy's
    units; all at least 0. The closing comes first; the opening waits until the close is confirmed.
    """

    side: Side
    closing: Exact = ZERO
    closing_theirs: Exact = ZERO
    opening: Exact = ZERO
    attempt: int = 1
    filled: bool = False


Hidden = Field(exclude=True)  # travels with the ticket, and is no column of its row


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One alert on its way to one account.

    The first fields are the ticket's row in the journal; `until` is when it is looked at again. The others
    travel with it: `alert`; `now`, the time of the input being applied (operators read no other clock);
    `leg`, `side` and `asked` (the strategy's units), what this pass through the flow is about; `quantity`,
    ours, which `size` sets; `position`, what the ledger holds; `ratio`, ours to theirs while it holds
    something; `multiplier` of the account; `statistics` of the strategy; `tags`; `book`, the account as it is
    while the ticket passes.
    """

    seq: int
    alert_id: str
    account_group: str
    account: str
    strategy: str
    symbol: str
    status: Status = Status.OPEN
    reason: str | None = None
    order_id: str | None = None
    plan: Plan | None = None
    until: datetime | None = None
    trail: tuple[Note, ...] = ()
    alert: Annotated[Alert, Hidden]
    now: Annotated[datetime, Hidden] = EPOCH
    received_at: Annotated[datetime, Hidden] = EPOCH
    leg: Annotated[Leg, Hidden] = Leg.OPEN
    side: Annotated[Side, Hidden] = Side.BUY
    asked: Annotated[Decimal, Hidden] = ZERO
    quantity: Annotated[Decimal | None, Hidden] = None
    position: Annotated[Decimal, Hidden] = ZERO
    ratio: Annotated[Decimal | None, Hidden] = None
    multiplier: Annotated[Decimal, Hidden] = ONE
    statistics: Annotated[Mapping[str, Any], Hidden] = field(default_factory=dict)
    tags: Annotated[Mapping[str, Any], Hidden] = field(default_factory=dict)
    book: Annotated[InstanceOf[View], Hidden] = NOTHING_KNOWN

    @property
    def key(self) -> tuple[int, str, str]:
        """What names the ticket: the alert's seq, the account group and the account."""
        return self.seq, self.account_group, self.account

    @property
    def reduces(self) -> bool:
        """Whether this pass is about closing: no operator can stop it."""
        return self.leg is Leg.CLOSE

    @property
    def ended(self) -> bool:
        """Whether the ticket has its outcome."""
        return self.status in OUTCOMES

    def note(self, text: str, step: str = "", **changes: Any) -> Ticket:
        """Return the ticket with one more sentence in its trail, and with `changes` of other fields."""
        return evolve(self, trail=(*self.trail, Note(step, text)), **changes)

    def deny(self, reason: str, text: str, step: str = "") -> Ticket:
        """Return the ticket denied, or, where it closes a position, only noted.

        `reason` is a code of `Reason` or one of your own, `text` the sentence with the figures.
        """
        if self.reduces:
            return self.note(f"{text} This would deny an entry ({reason}); an exit goes on.", step)
        return self.end(Status.DENIED, reason, text, step)

    def end(self, status: Status, reason: str | None, text: str = "", step: str = "") -> Ticket:
        """Return the ticket with its outcome; raises ValueError where the table has no such transition."""
        trail = (*self.trail, Note(step, text)) if text else self.trail
        return self.to(status, reason=reason, trail=trail)

    def to(self, status: Status, **changes: Any) -> Ticket:
        """Return the ticket in another status, and with `changes` of other fields.

        Raises ValueError where the table has no such transition.
        """
        if status is not self.status and status not in TRANSITIONS[self.status]:
            raise ValueError(f"a ticket can't go from {self.status} to {status}")
        return evolve(self, status=status, **changes)

    def sized(self, quantity: Decimal, text: str) -> Ticket:
        """Return the ticket with the quantity to open, in our units; a closing leg is left alone."""
        if self.reduces:
            return self
        return evolve(self, quantity=quantity, trail=(*self.trail, Note("", text)))

    @property
    def place(self) -> str:
        """The account that it is for: `GROUP/ACCOUNT`."""
        return place(self.account_group, self.account)

    def explain(self, orders: Iterable[Order] = (), fills: Iterable[Fill] = ()) -> Told:
        """Tell what was asked, held and known, each step with its figures, and how it ended: a page.

        Of `orders` and `fills`, such as a replay's `table("orders")`, those that are the ticket's own are
        told too.
        """
        from ttflow.explaining import page  # which needs the words of this module

        return page(self, orders, fills)

    def __repr__(self) -> str:
        ended = f"{self.status} ({self.reason})" if self.reason else self.status
        return line(self, f"{self.alert_id}:", f"{self.alert} by {self.strategy}, for {self.place}:", ended)

    def _repr_html_(self) -> str:
        return self.explain()._repr_html_()

    def tagged(self, **tags: Any) -> Ticket:
        """Return the ticket with tags added."""
        return evolve(self, tags={**self.tags, **tags})

    @classmethod
    def of(cls, alert: Alert, *, seq: int = 0, now: datetime | None = None) -> Ticket:
        """Lift an alert into a ticket outside a desk: nothing is held, the account has no name yet."""
        moment = now or alert.fired_at or EPOCH
        exit_ = alert.action.value == "exit"
        return cls(
            seq=seq,
            alert_id=alert.id or f"alert_{seq}",
            account_group=alert.account_group,
            account="",
            strategy=alert.strategy,
            symbol=alert.symbol,
            alert=alert,
            now=moment,
            received_at=moment,
            leg=Leg.CLOSE if exit_ else Leg.OPEN,
            side=Side.SELL if alert.action.value == "sell" else Side.BUY,
            asked=alert.quantity or ZERO,
        )
