"""The tables of the settings: groups and accounts, limits of rate, credentials, the flow's parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from ttflow.settings.fields import (
    Currency,
    Flag,
    Name,
    Names,
    Number,
    Seconds,
    Secret,
    Symbols,
    Text,
    Url,
    Whole,
    is_loopback,
    wrong,
)
from ttflow.settings.firms import AccountAtFirm, AtFirm
from ttflow.settings.limits import Limits, Session, Sizing
from ttflow.settings.section import Section
from ttflow.words import ONE


class Rate(Section):
    """At most `count` in `seconds`."""

    count: Annotated[Whole, Field(gt=0)]
    seconds: Annotated[Whole, Field(gt=0)]


class RateLimits(Section):
    """How many requests the webhook takes; None is no limit.

    `per_address` holds where no secret is configured, `per_secret` where one is. `failures` counts failed
    authentications of one address, and never touches an authenticated request.
    """

    per_address: Rate | None = Rate(count=10, seconds=60)
    per_secret: Rate | None = Rate(count=600, seconds=60)
    failures: Rate | None = Rate(count=10, seconds=60)


NO_LIMITS = RateLimits(per_address=None, per_secret=None, failures=None)


def rate_limits(value: Any) -> Any:
    """Read `N/second|minute|hour` for both kinds of senders, `0` as no limit, empty as the default."""
    if isinstance(value, RateLimits | Mapping):
        return value
    text = str(value).strip().lower()
    if text in ("", "0"):
        return NO_LIMITS if text else RateLimits()
    read = re.fullmatch(r"([1-9][0-9]{0,8})\s*/\s*(second|minute|hour)", text, re.ASCII)
    if read is None:
        raise wrong("is not a rate", "write 10/second, 600/minute or 1000/hour, or 0 for no limit")
    rate = Rate(count=int(read[1]), seconds={"second": 1, "minute": 60, "hour": 3600}[read[2]])
    return RateLimits(per_address=rate, per_secret=rate)


class Tastytrade(Section):
    """What tastytrade's OAuth wants; the client id is optional."""

    client_id: Secret | None = None
    client_secret: Secret | None = None
    refresh_token: Secret | None = None


class Tradovate(Section):
    """What Tradovate's access token request wants; the device id is demanded for live orders."""

    username: Secret | None = None
    password: Secret | None = None
    cid: Secret | None = None
    sec: Secret | None = None
    device_id: Secret | None = None


class TopstepX(Section):
    """What ProjectX's login by key wants, at TopstepX."""

    username: Secret | None = None
    api_key: Secret | None = None


ADDRESSES: Mapping[str, Mapping[str, str]] = {
    "tastytrade": {"live": "https://api.tastyworks.com", "demo": "https://api.cert.tastyworks.com"},
    "tradovate": {
        "live": "https://live.tradovateapi.com/v1",
        "demo": "https://demo.tradovateapi.com/v1",
    },
    "projectx": {
        "live": "https://api.topstepx.com",
        "demo": "https://gateway-api-demo.s2f.projectx.com",
    },
}
"""Where the brokers that ttflow ships are reached: their own documents, as `docs/brokers.md` lists them."""

_NEEDED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "tastytrade": ("tastytrade", ("client_secret", "refresh_token")),
    "tradovate": ("tradovate", ("username", "password", "cid", "sec", "device_id")),
    "projectx": ("topstepx", ("username", "api_key")),
}


class Credentials(Section):
    """What the desk signs in to its brokers with."""

    tastytrade: Tastytrade = Tastytrade()
    tradovate: Tradovate = Tradovate()
    topstepx: TopstepX = TopstepX()

    def missing(self, broker: str) -> tuple[str, ...]:
        """The environment names that a broker (`Group.broker`) still needs; empty when it can sign in.

        A broker that ttflow doesn't ship brings its own credentials, and never misses any here.
        """
        section, needed = _NEEDED.get(broker, ("", ()))
        return tuple(
            f"{section}_{name}".upper() for name in needed if getattr(getattr(self, section), name) is None
        )


class Commission(Section):
    """What the paper broker charges for a fill; what is set adds up, by default nothing.

    `per_contract` (or share, or coin) and `per_order` are money in the account's currency, `percent` is of
    the fill's value.
    """

    per_contract: Number | None = None
    per_order: Number | None = None
    percent: Number | None = None


class Slippage(Section):
    """How much worse than the price the paper broker fills; at most one of the three, by default none.

    In `ticks` of the instrument, as a `fixed` distance in price, or in `percent` of the price.
    """

    ticks: Number | None = None
    fixed: Number | None = None
    percent: Number | None = None

    @model_validator(mode="after")
    def _only_one(self) -> Self:
        if len([value for value in (self.ticks, self.fixed, self.percent) if value is not None]) > 1:
            raise wrong("has more than one measure", "keep one of ticks, fixed and percent")
        return self


class AccountSettings(AccountAtFirm):
    """One account of a group; orders are the alert's quantity times `multiplier`.

    `commission` and `slippage` are the paper broker's, for this account instead of its group's.
    """

    name: Name
    multiplier: Annotated[Number, Field(gt=0)] = ONE
    commission: Commission | None = None
    slippage: Slippage | None = None


class DisasterStop(Section):
    """How far from its fill an entry without a stop of its own gets one: in price, or in percent of it."""

    offset: Annotated[Number, Field(gt=0)] | None = None
    percent: Annotated[Number, Field(gt=0, lt=100)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.offset is None) == (self.percent is None):
            raise wrong("needs one measure", "give offset or percent")
        return self


def _usual_account(group: dict[str, Any]) -> tuple[AccountSettings, ...]:
    return (AccountSettings(name="paper" if group.get("broker") == "simulator" else "main"),)


class Group(AtFirm):
    """The accounts that receive the same alert, at one broker.

    A group that is not `live` trades in the simulator. `sides` is None where it wasn't said: what that
    means is rule 5 of the trading rules. `strategies` are those that may trade live from their first
    alert; `automation_opt_in` is the sentence that a firm with rules on automation needs. `base_url`
    is where the broker is reached instead of its own address: on loopback, a fake. `environment` is the
    broker's own: None is `demo` where the group's name begins with `paper`, else `live`. Each account starts
    with `cash` in `currency`. Without `accounts` there is one: `paper` at the simulator, `main` elsewhere.
    `disaster_stop` gives every entry without a stop of its own one at the broker. `limits` and `sizing` are
    those of each of its accounts.
    """

    broker: Name
    live: Flag = False
    sides: Literal["long", "short", "both"] | None = None
    strategies: Names = ()
    automation_opt_in: Text | None = None
    base_url: Url | None = None
    environment: Literal["demo", "live"] | None = None
    short_options: Flag = False
    accounts: Annotated[tuple[AccountSettings, ...], Field(min_length=1)] = Field(
        default_factory=_usual_account
    )
    cash: Number = Decimal(100_000)
    currency: Currency = "USD"
    commission: Commission = Commission()
    slippage: Slippage = Slippage()
    disaster_stop: DisasterStop | None = None
    limits: Limits = Limits()
    sizing: Sizing | None = None

    def account(self, name: str) -> AccountSettings | None:
        """The account of that name, or of that shadow's name; None where there is none any more."""
        real = name.removesuffix("~paper")
        for account in self.accounts:  # no generator: every order asks
            if account.name == real:
                return account
        return None

    def reached(self, name: str) -> str:
        """The address of this group's broker, the group being called `name`; KeyError for brokers unknown."""
        return self.base_url or ADDRESSES[self.broker][self.where(name)]

    def where(self, name: str) -> str:
        """The broker's environment that a group called `name` trades in: `demo` or `live`."""
        return self.environment or ("demo" if name.startswith("paper") else "live")

    @model_validator(mode="after")
    def _is_the_brokers_own_address(self) -> Self:
        """Credentials go nowhere else than to the broker, or to a fake on this machine."""
        own = ADDRESSES.get(self.broker)
        if self.base_url and own:
            given = urlsplit(self.base_url)
            hosts = {urlsplit(address).hostname for address in own.values()}
            safe = given.scheme == "https" and given.hostname in hosts
            if not safe and not is_loopback(given.hostname or ""):
                remedy = f"use {' or '.join(sorted(own.values()))}, or a fake on 127.0.0.1"
                raise wrong("is not the broker's own address", remedy, at=("base_url",))
        return self

    @model_validator(mode="after")
    def _accounts_differ(self) -> Self:
        if len({account.name for account in self.accounts}) < len(self.accounts):
            raise wrong("holds the same name twice", "give each account its own name", at=("accounts",))
        return self


BROKERS: Mapping[str, str] = {
    "paper_simulator": "simulator",
    "paper_tastytrade": "tastytrade",
    "paper_tradovate": "tradovate",
    "main": "tastytrade",
    "topstep": "projectx",
    "apex": "tradovate",
    "tradeday": "tradovate",
}
"""The groups that are there without a file, and the broker of each."""


FIRMS = ("topstep", "apex", "tradeday")
"""Those of these groups that are at the prop firm of their own name."""

USUAL: Mapping[str, Mapping[str, str]] = {
    name: {"broker": broker, **({"firm": name} if name in FIRMS else {})} for name, broker in BROKERS.items()
}
"""The groups that are there without a file, as a file would write them."""


def usual_groups() -> Mapping[str, Group]:
    """Make the groups that are there without a file; none of them is live."""
    return {name: Group.model_validate(table) for name, table in USUAL.items()}


class FlowSettings(Section):
    """The built-in flow's parameters; exits pass them all.

    `expire_s`: an opening alert older than so many seconds is denied, by its `timenow` where it has one,
    else by its arrival; 0 is never. `throttle_s`: the least time between two openings of one strategy and
    symbol; 0 is none. `symbols`: those that may be opened, in capitals; empty is all. `session`: None is
    always.
    """

    expire_s: Seconds = 60.0
    throttle_s: Seconds = 0.0
    symbols: Symbols = ()
    session: Session | None = None
