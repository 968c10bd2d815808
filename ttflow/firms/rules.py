"""The rules that bind one account at a prop firm: those of its firm, its program and its size, made one.

The rule of this room: what a firm doesn't say is None, and binds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from ttflow.settings.firms import Firms, merged
from ttflow.settings.sections import Group
from ttflow.words import ONE, Exact

Trail = Literal["eod", "intraday", "static"]
OnDailyLoss = Literal["lock", "pause", "fail"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What binds one account: money in its own currency, times of day as `HH:MM` on the clocks of `tz`.

    `ttflow.settings.firms.FirmRules` explains each. `peak_balance` is what the floor has trailed before the
    desk knew the account; `warn_at` are the percentages of the room to a limit at which to warn, the largest
    first.
    """

    firm: str
    program: str
    size: str
    title: str
    start_balance: Exact
    drawdown: Exact
    trail: Trail
    session_start: str
    tz: str
    peak_balance: Exact | None = None
    lock: Exact | None = None
    daily_loss: Exact | None = None
    daily_loss_action: OnDailyLoss = "lock"
    contracts: Exact | None = None
    micro_ratio: Exact = ONE
    caps: tuple[tuple[str, Exact], ...] = ()
    last_entry: str | None = None
    flat_at: str | None = None
    early_flat_s: int = 0
    trades_a_day: int | None = None
    news_window_s: int | None = None
    news_symbols: tuple[str, ...] = ()
    warn_at: tuple[Exact, ...] = ()

    @property
    def identity(self) -> tuple[str, str, str, Decimal]:
        """What makes it another account: its firm, program, size and start balance."""
        return self.firm, self.program, self.size, self.start_balance

    @property
    def name(self) -> str:
        """How people call it: `Topstep combine 50K`."""
        return f"{self.title} {self.program} {self.size}"

    def floor(self, peak: Decimal) -> Decimal:
        """The equity at which the account is lost, once what the floor trails has been as high as `peak`."""
        if self.trail == "static":
            return self.start_balance - self.drawdown
        trailing = peak - self.drawdown
        return trailing if self.lock is None else min(trailing, self.start_balance + self.lock)


def rules_of(group: Group, account: str, firms: Firms) -> Rules | None:
    """The rules that bind the account called `account` of a group; None where no firm's floor can be kept.

    That is without a firm, and where the group's program or the account's size isn't said. `firms` are the
    tables of the settings (`settings.firms`), which have been checked: `Settings` refuses a group whose rules
    don't tell all that is needed. A shadow's (`NAME~paper`) are those of its account, and one that is in no
    group any more has the group's. It costs some 60 microseconds: ask once per start.
    """
    own = group.account(account)
    size = (own.size if own else None) or group.size
    if group.firm is None or group.program is None or size is None:
        return None
    table = merged(firms, group.firm, group.program, size)
    told = {key: value for key, value in table if key in Rules.__dataclass_fields__ and value is not None}
    if "caps" in told:
        told["caps"] = tuple(told["caps"].items())
    if own:
        said = {"start_balance": own.start_balance, "peak_balance": own.peak_balance}
        told |= {key: value for key, value in said.items() if value is not None}
    told.setdefault("title", group.firm)
    return Rules(firm=group.firm, program=group.program, size=size, warn_at=group.warn_at, **told)
