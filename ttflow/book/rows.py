"""The remaining rows of the book: what a desk knows besides ledgers, orders and tickets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from ttflow.alert import Action
from ttflow.firms.standing import Standing
from ttflow.view import TradingState
from ttflow.words import ZERO, Exact

Mode = Literal["live", "paper", "halted"]
Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, kw_only=True)
class AlertRow:
    """An alert as the table `alerts` tells it; the body stands in `inputs` under the same seq."""

    seq: int
    alert_id: str
    received_at: datetime
    strategy: str | None = None
    symbol: str | None = None
    action: Action | None = None
    quantity: Exact | None = None
    price: Exact | None = None
    account_group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A strategy registers itself with its first alert.

    `mode` None: nobody chose one yet, so it is live where a group lists it, and on paper elsewhere;
    `pinned`: a person chose it, and only a person changes it; else the rule did. `changed` are the times of
    the last changes. `stopped` says which money stop sent it to paper: a person must release it. `trades`,
    `wins` and `net_profit` (the account's money, after commission) count the round trips closed so far, in
    all accounts, live and paper. `live_net` is what it earned live since a person last set its mode,
    `live_high` the most that ever was, `day_net` what it earned live on `day` (UTC). `asked` is when a
    person was asked to promote it.
    """

    strategy: str
    seq: int
    first_seen_at: datetime
    mode: Mode | None = None
    pinned: bool = False
    trades: int = 0
    wins: int = 0
    net_profit: Exact = ZERO
    changed: tuple[datetime, ...] = ()
    stopped: str | None = None
    live_net: Exact = ZERO
    live_high: Exact = ZERO
    day: date | None = None
    day_net: Exact = ZERO
    asked: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What a ledger did from flat to flat; money in the account's currency, after commission.

    `signal` is the seq of the alert that opened it, the same in every account that copies it; None where no
    alert did. `notional` is the value of all its entries, `risk` what they could lose to their own stops,
    None where one had none. `honest`: fit to tell whether a strategy earns. A paper episode with resting
    orders is so only where a price stream was there all the time; a broker's sandbox fills never are.
    """

    seq: int
    episode_id: str
    strategy: str
    account_group: str
    account: str
    symbol: str
    side: Literal["long", "short"]
    opened_at: datetime
    closed_at: datetime
    signal: int | None
    trades: int
    net_pnl: Exact
    notional: Exact
    risk: Exact | None
    mode: Literal["live", "paper"]
    honest: bool


@dataclass(frozen=True, kw_only=True)
class ModeChange:
    """One change of a strategy's mode; mode None is `auto`."""

    seq: int
    at: datetime
    strategy: str
    mode: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something a person should know."""

    notice_id: str
    seq: int
    at: datetime
    kind: str
    severity: Severity
    text: str


@dataclass(frozen=True, kw_only=True)
class Price:
    """The last price seen of a symbol, by its ticker.

    `streamed_at` is when a price came that was not an alert's, `since` when such prices began to come without
    a long gap. `before` and `before_at` are the price that this one's input found there, `low` and `high` the
    ends of what its input streamed; null where an alert brought it.
    """

    symbol: str
    seq: int
    price: Exact
    at: datetime
    streamed_at: datetime | None = None
    since: datetime | None = None
    before: Exact | None = None
    before_at: datetime | None = None
    low: Exact | None = None
    high: Exact | None = None


@dataclass(frozen=True, kw_only=True)
class Halt:
    """What `scope` may do: a group, `*` for everywhere, or either with a strategy behind a slash."""

    scope: str
    seq: int
    state: TradingState
    at: datetime
    reason: str


@dataclass(frozen=True, kw_only=True)
class Override:
    """Limits that a person put in force at run time, in place of those of the settings.

    `scope` is a group, or `*` for the whole desk's. `limits` None: those of the settings hold again.
    """

    scope: str
    seq: int
    at: datetime
    limits: dict[str, Any] | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the simulator is to do with the next orders of an account: `refuse`, `partial 1`, `delay 5`."""

    scope: str
    seq: int
    steps: tuple[str, ...]


class Taken(NamedTuple):
    """A part of a ledger's position that was booked as a trade by hand: signed, ours and the strategy's."""

    strategy: str
    root: str
    contract: str
    change: Exact
    theirs: Exact
    price: Exact
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Book:
    """An account's position of one root at its broker, as last told, and whether the ledgers agree.

    `net` is all of it and `held` what there is of each contract, as `held_as` writes it, signed.
    `mismatch_since` is when they first disagreed. `taken` is what was booked as a trade by hand of late,
    `adopted` how much of an order a person has had booked ahead of its fills, by the order's id, and
    `strays` the broker's ids of the working orders there that are not this desk's and were told.
    """

    account_group: str
    account: str
    root: str
    seq: int
    at: datetime
    net: Exact
    mismatch_since: datetime | None = None
    held: dict[str, Exact] = field(default_factory=dict)
    taken: tuple[Taken, ...] = ()
    adopted: dict[str, Exact] = field(default_factory=dict)
    strays: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FirmRow:
    """Where an account stands with its prop firm: the verdict, what was warned of, and when to look again.

    `state` is the verdict's: active, reducing, flatten, locked or breached. `due` is when the clock alone may
    change it.
    """

    account_group: str
    account: str
    seq: int
    state: str
    standing: Standing
    warned: tuple[str, ...] = ()
    due: datetime | None = None


EVERYWHERE = "*"
