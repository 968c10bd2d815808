"""Prop firms in the settings: `[firms.NAME]`, what groups and accounts say of theirs, and ttflow's table.

The rule of this room: rules are data. What the user writes goes over what comes with ttflow, a more specific
name over a less specific one; a firm, program or size that neither knows stops the start.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from itertools import takewhile
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from ttflow.instrument import root
from ttflow.settings.fields import Clock, Frozen, Names, Number, Symbols, Text, Whole, Zone, wrong
from ttflow.settings.refusals import Loc, did_you_mean
from ttflow.settings.section import Section


def _word(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]+", value, re.ASCII):
        raise wrong("is not the name of a firm, a program or a size", "use letters, digits and _ only")
    return value


def _capitals(caps: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    return MappingProxyType({root.upper(): most for root, most in caps.items()})


def _descending(percents: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
    return tuple(sorted(set(percents), reverse=True))


Word = Annotated[str, AfterValidator(_word)]
Size = Annotated[Word, AfterValidator(str.upper)]
Roots = Annotated[Symbols, AfterValidator(lambda names: tuple(map(root, names)))]
Caps = Annotated[Frozen[Number], AfterValidator(_capitals)]
Count = Annotated[Whole, Field(ge=0)]
Percents = Annotated[tuple[Annotated[Number, Field(gt=0, lt=100)], ...], AfterValidator(_descending)]


class FirmRules(Section):
    """What a prop firm demands of an account; every key that is None is said elsewhere or by nobody.

    Money is in the account's currency. `drawdown` is the maximum loss: how far the floor lies below what it
    trails, the highest end-of-day balance (`eod`), the highest equity (`intraday`) or the start (`static`).
    The floor stops rising at `lock` above the start balance, and never where that is None. A loss of
    `daily_loss` since the day began locks or pauses the account until the next session, or fails it; 0 is
    none. `contracts` is the most that may be held at once, in minis, `micro_ratio` how many micros count as
    one; `caps` are those of single roots. By `flat_at` all positions are closed, and nothing is opened after
    `last_entry`, on the clocks of `tz`; on a day of early close `early_flat_s` before it. A day begins at
    `session_start`, on the evening before where that is noon or later. From `trades_a_day` opening orders on
    nothing is opened until the next. Nothing is opened within `news_window_s` seconds of the news that the
    limits know, of the roots `news_symbols` alone where they are told. 0 is no such rule. `conditions` are
    those of a `conditional` automation. `source` and `verified` tell where and when all this was read.
    """

    title: Text | None = None
    start_balance: Number | None = None
    drawdown: Annotated[Number, Field(gt=0)] | None = None
    trail: Literal["eod", "intraday", "static"] | None = None
    lock: Number | None = None
    daily_loss: Number | None = None
    daily_loss_action: Literal["lock", "pause", "fail"] | None = None
    contracts: Number | None = None
    micro_ratio: Annotated[Number, Field(gt=0)] | None = None
    caps: Caps | None = None
    trades_a_day: Count | None = None
    session_start: Clock | None = None
    last_entry: Clock | None = None
    flat_at: Clock | None = None
    early_flat_s: Count | None = None
    tz: Zone | None = None
    news: Text | None = None
    news_window_s: Count | None = None
    news_symbols: Roots | None = None
    automation: Literal["allowed", "conditional", "forbidden"] | None = None
    conditions: Text | None = None
    note: Text | None = None
    source: Names | None = None
    verified: date | None = None


class AtFirm(Section):
    """What a group says of the prop firm whose rules bind its accounts.

    Without a `firm` none do; with a `firm` alone only its policy on automation; with its `program` and a
    `size` all of them. `warn_at`: a warning is given when so many percent or less of the room to a limit
    are left.
    """

    firm: Annotated[Word | None, BeforeValidator(lambda value: None if value == "" else value)] = None
    program: Word | None = None
    size: Size | None = None
    warn_at: Percents = (Decimal(50), Decimal(25))


class AccountAtFirm(Section):
    """What an account says of itself at its group's firm.

    `size` goes over the group's, `start_balance` over the firm's. `peak_balance` is what the floor has
    trailed so far, where the account is older than the desk.
    """

    size: Size | None = None
    start_balance: Number | None = None
    peak_balance: Number | None = None


Firms = Mapping[str, FirmRules]
"""Tables of rules by `FIRM`, `FIRM-PROGRAM` or `FIRM-PROGRAM-SIZE`."""


@cache
def shipped() -> Firms:
    """Read the rules that come with ttflow."""
    text = files("ttflow").joinpath("firms", "firms.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text, parse_float=Decimal)
    return MappingProxyType({name: FirmRules.model_validate(table) for name, table in tables.items()})


def names(*words: str | None) -> tuple[str, ...]:
    """The names of the tables that hold for a firm, its program and a size, the least specific first."""
    said = [word for word in takewhile(bool, words) if word]
    return tuple("-".join(said[: length + 1]) for length in range(len(said)))


def merged(firms: Firms, *words: str | None) -> FirmRules:
    """Lay all tables of a firm, its program and a size over each other: ttflow's, then the user's.

    What no table says is None, as is everything for a firm that nobody knows.
    """
    there = [tables[name] for tables in (shipped(), firms) for name in names(*words) if name in tables]
    told = {key: value for table in there for key, value in table if value is not None}
    return FirmRules.model_construct(**told)


class Said(NamedTuple):
    """What the settings say of the firm of one account: the `number`th of the group called `group`."""

    group: str
    number: int
    at_firm: AtFirm
    account: AccountAtFirm

    @property
    def words(self) -> tuple[str | None, str | None, str | None]:
        """Its firm, its program and its size; None for what is not said."""
        return self.at_firm.firm, self.at_firm.program, self.account.size or self.at_firm.size

    def wrong(self, key: str, problem: str, remedy: str) -> PydanticCustomError:
        """Make the error that refuses one of its keys, at the account where that says it itself."""
        own = key not in AtFirm.model_fields or (key == "size" and self.account.size is not None)
        at: Loc = ("groups", self.group, *(("accounts", self.number) if own else ()), key)
        return wrong(problem, remedy, at)


def check_firms(firms: Firms, accounts: Iterable[Said]) -> None:
    """Refuse an account that no rules can be made for, and a table of rules that no account has.

    Raises the error of a setting, with its place.
    """
    used = set(shipped())
    for said in accounts:
        _check_words(said, [name.split("-") for name in (*shipped(), *firms)])
        if all(said.words):
            _check_rules(said, merged(firms, *said.words))
        _check_money(said)
        used.update(names(*said.words))
    for name in firms:
        if name not in used:
            remedy = f"{did_you_mean(name, used)} A group's firm, program and size make its name"
            raise wrong("no account has these rules", remedy, at=("firms", name))


def _check_words(said: Said, known: Iterable[list[str]]) -> None:
    """Refuse a firm, a program or a size that no table has, or that stands without those before it."""
    firm, program, size = said.words
    for key, word, before in (("program", program, firm), ("size", size, program)):
        if word and not before:
            needed = "program" if firm else "firm"
            raise said.wrong(key, f"means nothing without a {needed}", f"give the {needed} as well")
    for depth, (key, word) in enumerate(zip(("firm", "program", "size"), said.words, strict=True)):
        there = {parts[depth] for parts in known if parts[:depth] == [*said.words[:depth]] and parts[depth:]}
        if word and word not in there:
            remedy = did_you_mean(word, there) if key != "size" else f"known are {_listed(there)}"
            raise said.wrong(key, f"is no {key} whose rules are known", remedy)


def _listed(sizes: Iterable[str]) -> str:
    """List sizes from the smallest: one that was mistaken for another could cost the account."""
    return ", ".join(sorted(sizes, key=lambda size: (len(size), size)))


NEEDED = ("start_balance", "drawdown", "trail", "session_start", "tz")
"""What must be known of an account's rules before its floor can be kept."""


def _check_rules(said: Said, rules: FirmRules) -> None:
    """Refuse rules that don't tell all that a floor is kept by, or that contradict themselves."""
    table = f"[firms.{names(*said.words)[-1]}]"
    for key in NEEDED:
        if getattr(rules, key) is None and getattr(said.account, key, None) is None:
            where = f"the account or {table}" if key == "start_balance" else table
            raise said.wrong("size", f"the firm's {key} is not known for it", f"add {key} to {where}")
    if rules.last_entry and (rules.flat_at is None or rules.last_entry > rules.flat_at):
        raise said.wrong("size", "its last entry is not before a flat-by time", f"correct {table}")


def _check_money(said: Said) -> None:
    for key in ("start_balance", "peak_balance"):
        if getattr(said.account, key) is not None and not all(said.words):
            raise said.wrong(
                key, "means nothing without a firm's rules", "give firm, program and size as well"
            )


def unkept(accounts: Iterable[Said]) -> Iterator[str]:
    """Warn of each group with a firm whose floor is not kept, since its program or size is not said."""
    for said in accounts:
        if said.words[0] and not all(said.words):
            account = f"account {said.number + 1} of {said.group}"
            yield f"the floor of {said.words[0]} is not kept for {account}; give it a program and a size"
