"""The remaining rows of the book: what a desk knows besides ledgers, orders and tickets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ttflow.alert import Action
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

    `mode` None is `auto`; `pinned`: a person chose it. `trades`, `wins` and `net_profit` (the account's
    money, after commission) count the round trips closed so far, in all accounts, live and paper.
    """

    strategy: str
    seq: int
    first_seen_at: datetime
    mode: Mode | None = None
    pinned: bool = False
    trades: int = 0
    wins: int = 0
    net_profit: Exact = ZERO


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
    """The last price seen of a symbol, by its ticker."""

    symbol: str
    seq: int
    price: Exact
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Halt:
    """Whether opening is halted in `scope`: a group's name, or `*` for everywhere."""

    scope: str
    seq: int
    state: Literal["active", "halted"]
    at: datetime
    reason: str


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the simulator is to do with the next orders of an account: `refuse`, `partial 1`, `delay 5`."""

    scope: str
    seq: int
    steps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Book:
    """An account's net position of one root at its broker, as last told, and whether the ledgers agree.

    `net` None: never told. `mismatch_since` is when they first disagreed.
    """

    account_group: str
    account: str
    root: str
    seq: int
    at: datetime
    net: Exact
    mismatch_since: datetime | None = None


EVERYWHERE = "*"
