"""The user's own instruments (`[instruments.ROOT]`) and front months (`[contracts]`).

The rule of this room: what is given goes over what is shipped, and what is half described is refused at the
start; a wrong tick or point value loses money.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ttflow.expiry import is_rule
from ttflow.instrument import Table
from ttflow.settings.fields import Currency, Frozen, Number, Text, Whole, Zone, wrong
from ttflow.settings.section import Section
from ttflow.words import ONE

_MONTHS = "FGHJKMNQUVXZ"
_WINDOW = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_A_FUTURES = ("listed", "last_trade", "first_notice", "roll_days", "calendar", "hours", "tz", "projectx")
_NEEDED = ("tick_size", "point_value", "last_trade")


def _letters(value: str) -> str:
    letters = value.upper()
    if not letters or set(letters) - set(_MONTHS) or list(letters) != sorted(set(letters)):
        raise wrong("are no contract months", f'write letters of {_MONTHS} in that order, such as "HMUZ"')
    return letters


def _rule(value: str) -> str:
    if not is_rule(value):
        remedy = (
            'write one such as "3rd friday", "last business day of prior month" or "2 before 3rd wednesday"'
        )
        raise wrong("is no rule for a day", remedy)
    return value


def _hours(value: str) -> str:
    if not re.fullmatch(rf"{_WINDOW}(?: {_WINDOW})*", value):
        raise wrong("are no hours", 'write "17:00-16:00", or several such windows parted by blanks')
    return value


Months = Annotated[str, AfterValidator(_letters)]
Rule = Annotated[str, AfterValidator(_rule)]
Positive = Annotated[Number, Field(gt=0)]


class InstrumentSettings(Section):
    """What is known better of one root than ttflow knows it; None leaves a field as it is.

    The fields are those of `ttflow.instrument.Instrument`. With `months` it is a future: one that isn't
    shipped needs `tick_size`, `point_value` and `last_trade` too. Unless they are given, its `lot` and
    `roll_days` are 1, it is listed for its `months`, and without `hours` it is always open. `hours` need a
    `calendar` and a `tz`, for its holidays and its clocks.
    """

    tick_size: Positive | None = None
    point_value: Positive | None = None
    lot: Positive | None = None
    currency: Currency | None = None
    exchange: Text | None = None
    months: Months | None = None
    listed: Months | None = None
    last_trade: Rule | None = None
    first_notice: Rule | None = None
    roll_days: Annotated[Whole, Field(ge=1, le=60)] | None = None
    calendar: Literal["CME", "CME grains", "CME livestock", "NYSE", "weekdays"] | None = None
    hours: Annotated[str, AfterValidator(_hours)] | None = None
    tz: Zone | None = None
    mini: Text | None = None
    per_mini: Positive | None = None
    projectx: Text | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that are given."""
        return {name: value for name, value in self if value is not None}


def table(instruments: Mapping[str, InstrumentSettings]) -> Table:
    """Make the table of instruments that these settings mean, for `ttflow.instrument.using` and `install`."""
    shipped = Table().futures
    whole = {}
    for name, given in instruments.items():
        changes = given.changes()
        if given.months and name not in shipped:
            changes = {"lot": ONE, "roll_days": 1, "listed": given.months, **changes}
        whole[name] = changes
    return Table(whole)


def _check_instruments(instruments: Mapping[str, InstrumentSettings]) -> Mapping[str, InstrumentSettings]:
    shipped = Table().futures
    for name, given in instruments.items():
        if not re.fullmatch(r"[A-Z0-9.]{1,20}", name):
            raise wrong("is no root", "write it in capitals and without a contract, such as ES", at=(name,))
        if name not in shipped:
            _check_new(name, given)
        if given.mini and given.mini not in {*shipped, *instruments}:
            raise wrong("is no known root", "name the larger contract, such as ES", at=(name, "mini"))
    for found in table(instruments).futures.values():
        _check_whole(
            found.root, set(found.months) <= set(found.listed), bool(found.hours), found.calendar, found.tz
        )
    return instruments


def _check_new(name: str, given: InstrumentSettings) -> None:
    changes = given.changes()
    for key in _A_FUTURES if not given.months else ():
        if key in changes:
            raise wrong("only a future has it", 'add months, such as "HMUZ"', at=(name, key))
    for key in _NEEDED if given.months else ():
        if key not in changes:
            raise wrong("is missing", f"add it: {name} is no future that ttflow ships", at=(name, key))


def _check_whole(name: str, months: bool, hours: bool, calendar: str, tz: str) -> None:
    if not months:
        raise wrong("has a month that is not listed", "add it to listed too", at=(name, "months"))
    if hours and not (calendar and tz):
        raise wrong(
            "needs a calendar and tz", 'add calendar = "CME" and tz = "America/Chicago"', at=(name, "hours")
        )


def check_contracts(
    instruments: Mapping[str, InstrumentSettings], contracts: Mapping[str, str]
) -> Mapping[str, str]:
    """Refuse a front month that is no listed contract of its root, with a year of two or four digits."""
    known = table(instruments).futures
    for name, given in contracts.items():
        if name not in known:
            raise wrong("is no future's root", "write one such as ES", at=("contracts", name))
        expected = f"{re.escape(name)}[{known[name].listed}](?:20)?[0-9]{{2}}"
        if not re.fullmatch(expected, given):
            remedy = f'write one such as "{name}{known[name].listed[0]}2027"'
            raise wrong(f"is no contract of {name}", remedy, at=("contracts", name))
    return contracts


Instruments = Annotated[Frozen[InstrumentSettings], AfterValidator(_check_instruments)]
Contracts = Frozen[Text]
