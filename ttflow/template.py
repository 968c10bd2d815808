"""Alert messages before they are pasted into TradingView: what one would do, what is wrong, what is risky.

`check` puts samples in the place of the `{{placeholders}}`, reads the result just as the webhook would, and
looks at where each placeholder stands. It is what `ttflow check` prints; nothing is sent anywhere.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ttflow.alert import ALIASES, Action, Alert, Level, canonical, parse_alert
from ttflow.errors import AlertError
from ttflow.strict_json import SECRET_KEYS, NotJson, read

SAMPLES: Mapping[str, str] = {
    "ticker": "MNQ1!",
    "exchange": "CME_MINI",
    "open": "21490.25",
    "high": "21510.5",
    "low": "21480",
    "close": "21500.75",
    "volume": "1234",
    "time": "2026-01-05T14:30:00Z",
    "timenow": "2026-01-05T14:35:00Z",
    "interval": "5",
    "syminfo.currency": "USD",
    "syminfo.basecurrency": "na",
    "strategy.position_size": "2",
    "strategy.order.action": "buy",
    "strategy.order.contracts": "2",
    "strategy.order.price": "21500.75",
    "strategy.order.id": "Long",
    "strategy.order.comment": "Long",
    "strategy.order.alert_message": "Long",
    "strategy.market_position": "long",
    "strategy.market_position_size": "2",
    "strategy.prev_market_position": "flat",
    "strategy.prev_market_position_size": "0",
    **{f"plot_{index}": "21437.433333333334" for index in range(20)},
}
"""What TradingView puts in the place of each placeholder when a strategy enters long; see also `EXIT`."""

EXIT: Mapping[str, str] = {
    **SAMPLES,
    "strategy.position_size": "0",
    "strategy.order.action": "sell",
    "strategy.order.id": "Exit",
    "strategy.order.comment": "Exit",
    "strategy.market_position": "flat",
    "strategy.market_position_size": "0",
    "strategy.prev_market_position": "long",
    "strategy.prev_market_position_size": "2",
}
"""The same when that position is closed."""

RECOMMENDED = """\
{
  "symbol": "{{ticker}}",
  "action": "{{strategy.order.action}}",
  "quantity": "{{strategy.order.contracts}}",
  "price": "{{close}}",
  "strategy": "my_strategy",
  "account_group": "paper_simulator",
  "position_size": "{{strategy.position_size}}",
  "market_position": "{{strategy.market_position}}",
  "prev_market_position": "{{strategy.prev_market_position}}",
  "order_id": "{{strategy.order.id}}",
  "timeframe": "{{interval}}",
  "timestamp": "{{time}}",
  "timenow": "{{timenow}}"
}
"""
"""The alert message to paste into a strategy's alert, with the strategy's and the group's names put in."""

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_PLOT = re.compile(r'plot\("[^"{}]+"\)')
_NUMBER = re.compile(r"-?[0-9.]+")
_ALERT_MESSAGE = "strategy.order.alert_message"
_CAN_BE_NA = re.compile(r"plot|volume$|syminfo\.basecurrency$")
_CONTINUOUS = re.compile(r"[A-Z0-9]+[0-9]!$")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in a template; each entry is one plain sentence.

    `would` tells what the alert does, `errors` why it would be refused or do harm, `warnings` what is
    risky, `notes` what is good to know. `filled` is the message with samples in it, and `content_type`
    what TradingView sends it as.
    """

    would: tuple[str, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    content_type: str
    filled: str

    @property
    def ok(self) -> bool:
        """Whether the alert would be accepted; it may still be risky."""
        return not self.errors

    @property
    def clean(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return not self.errors and not self.warnings

    def __str__(self) -> str:
        """The whole report as text, one finding a line."""
        lines = [*self.would, *(f"error: {line}" for line in self.errors)]
        lines += [f"warning: {line}" for line in self.warnings] + [f"note: {line}" for line in self.notes]
        return "\n".join([*lines, f"TradingView sends it as {self.content_type}"])


@dataclass(frozen=True, kw_only=True)
class _Template:
    """A template taken apart: its placeholders, those outside quotes, and each field's own text."""

    text: str
    names: tuple[str, ...]
    bare: tuple[str, ...]
    keys: Mapping[str, Any]

    @property
    def fields(self) -> dict[str, Any]:
        return {name: value for key, value in self.keys.items() if (name := canonical(key))}

    @property
    def strategic(self) -> bool:
        return any(name.startswith("strategy.") for name in self.names)


def check(template: str) -> Report:
    """Check an alert message, with or without placeholders; an empty one is an error, never an exception."""
    taken = _take_apart(template)
    filled = fill(template)
    if template.strip() == f"{{{{{_ALERT_MESSAGE}}}}}":
        return _from_the_script(filled)
    would, errors = _outcomes(taken)
    unread = tuple(_placeholder_errors(taken))
    return Report(
        would=would,
        errors=tuple(dict.fromkeys([*unread, *errors])),
        warnings=tuple(_warnings(taken)),
        notes=tuple(_notes(taken)),
        content_type=_content_type(filled),
        filled=filled,
    )


def fill(template: str, samples: Mapping[str, str] = SAMPLES) -> str:
    """Put samples in the place of the placeholders; unknown ones stay, as TradingView leaves them."""
    return _PLACEHOLDER.sub(lambda found: _sample(found[1], samples) or found[0], template)


def _sample(name: str, samples: Mapping[str, str]) -> str | None:
    return samples.get("plot_0" if _PLOT.fullmatch(name) else name)


def _take_apart(template: str) -> _Template:
    bare: list[str] = []
    written: list[str] = []
    quoted, end = False, 0
    for found in _PLACEHOLDER.finditer(template):
        between = template[end : found.start()]
        quoted ^= re.sub(r"\\.", "", between).count('"') % 2 == 1
        if not quoted:
            bare.append(found[1])
        # A name as in plot("Stop") brings quotes of its own, which TradingView takes away.
        name = found[0].replace('"', "'").replace("{{", "\u27e6").replace("}}", "\u27e7")
        written += [between, name if quoted else f'"{name}"']
        end = found.end()
    keys = _keys("".join([*written, template[end:]]))
    names = dict.fromkeys(_PLACEHOLDER.findall(template))
    return _Template(text=template, names=tuple(names), bare=tuple(dict.fromkeys(bare)), keys=keys)


def _keys(text: str) -> dict[str, Any]:
    try:
        value = read(text).value
    except NotJson:
        return {}
    return value if isinstance(value, dict) else {}


def _from_the_script(filled: str) -> Report:
    note = "The whole message comes from `alert_message` in the script: check that text instead."
    return Report(
        would=(), errors=(), warnings=(), notes=(note,), content_type="what that text is", filled=filled
    )


def _content_type(filled: str) -> str:
    # TradingView looks at the message after filling it in; what is not JSON goes as text.
    try:
        is_json = not read(filled).repairs
    except NotJson:
        is_json = False
    return "application/json; charset=utf-8" if is_json else "text/plain; charset=utf-8"


def _outcomes(taken: _Template) -> tuple[tuple[str, ...], tuple[str, ...]]:
    cases = {"When the strategy enters long: ": SAMPLES, "When it closes that position: ": EXIT}
    if not taken.strategic:
        cases = {"": SAMPLES}
    would, errors = [], []
    for when, samples in cases.items():
        try:
            alert = parse_alert(fill(taken.text, samples).encode())
        except AlertError as error:
            errors += [f"{field} {problem}".strip() for field, problem in error.problems]
        else:
            would.append(when + describe(alert))
            errors += [f"the message has to be mended to be read: {repair}" for repair in alert.repairs]
    return tuple(would), tuple(errors)


def describe(alert: Alert) -> str:
    """Say in one sentence what an alert asks for."""
    amount = "" if alert.quantity is None else f"{alert.quantity:f} of "
    verbs = {
        Action.BUY: f"buy {amount}{alert.symbol}",
        Action.SELL: f"sell {amount}{alert.symbol}",
        Action.EXIT: f"close {amount or 'the whole position in '}{alert.symbol}",
        Action.REVERSE: f"close the position in {alert.symbol} and open {amount}the other way",
        Action.CANCEL: f"withdraw the opening orders in {alert.symbol}",
        Action.TARGET: f"move the position in {alert.symbol}",
        Action.UPDATE: f"move the take-profit and stop-loss of the position in {alert.symbol}",
    }
    parts = [verbs[alert.action], *_conditions(alert)]
    return f"{', '.join(parts)}; strategy {alert.strategy}, account group {alert.account_group}."


def _conditions(alert: Alert) -> Iterator[str]:
    if alert.action not in (Action.CANCEL, Action.UPDATE):
        at = [f"{price:f}" for price in (alert.stop_price, alert.limit_price) if price is not None]
        waits = alert.order_type != "market" and bool(at)
        yield f"with a {alert.order_type.replace('_', '-')} order" + (
            f" at {' and '.join(at)}" if waits else ""
        )
    if alert.target is not None:
        yield f"ending at a position of {alert.target:f}"
    for name, levels in (("take profit", alert.take_profit), ("stop loss", alert.stop_loss)):
        yield from (f"{name} {_level(level)}" for level in levels)


def _level(level: Level) -> str:
    if level.price is not None:
        return f"at {level.price:f}"
    away = level.offset if level.offset is not None else level.percent or Decimal(0)
    return f"{away:f}{'' if level.offset is not None else ' %'} away"


def _placeholder_errors(taken: _Template) -> Iterator[str]:
    for name in taken.names:
        if _sample(name, SAMPLES) is None:
            near = difflib.get_close_matches(name.strip(), SAMPLES, 1)
            hint = f"; did you mean {{{{{near[0]}}}}}?" if near else ""
            yield f"{{{{{name}}}}} is no placeholder that TradingView replaces{hint}"
    for name in taken.bare:
        sample = _sample(name, SAMPLES)
        if sample is not None and not _NUMBER.fullmatch(sample):
            yield f'{{{{{name}}}}} is text and needs quotes: "{{{{{name}}}}}"'


def _warnings(taken: _Template) -> Iterator[str]:
    fields = taken.fields
    if "timenow" not in taken.names:
        yield "There is no {{timenow}}: a repeat that is meant can't be told from TradingView sending again."
    yield from _id_warnings(str(fields["id"]) if "id" in fields else None)
    yield from _position_warnings(taken)
    for name in taken.names:
        if _CAN_BE_NA.match(name) and _feeds_a_number(taken, name):
            yield f"{{{{{name}}}}} may be na (no value): the alert is then refused, or lacks the field."
    for key in taken.keys:
        if key.lower() in SECRET_KEYS:
            yield f"{key}: TradingView warns against secrets in a message; put it into the webhook's URL."
    yield from _unknown_fields(taken)
    if fields.keys() & {"limit_price", "stop_price"} and "order_type" not in fields:
        yield "limit_price and stop_price do nothing without order_type: the order is a market order."


def _id_warnings(alert_id: str | None) -> Iterator[str]:
    if alert_id is None or "timenow\u27e7" in alert_id:
        return
    if "strategy.order.id" in alert_id:
        yield "{{strategy.order.id}} as id would repeat for ever: every alert after the first is a repeat."
    else:
        yield "id has no {{timenow}} in it: alerts with an id seen before count as repeats, for ever."


def _position_warnings(taken: _Template) -> Iterator[str]:
    told = taken.fields.keys() & {"position_size", "market_position"}
    if not taken.strategic or told:
        return
    yield "There is no {{strategy.position_size}}: after a missed alert the position stays wrong."
    if "strategy.order.action\u27e7" in str(taken.fields.get("action")):
        yield "{{strategy.order.action}} is buy or sell even for an exit: without position_size it may open."


def _feeds_a_number(taken: _Template, name: str) -> bool:
    mark = f"\u27e6{name}\u27e7".replace('"', "'")
    return name in taken.bare or any(mark in str(value) for value in taken.fields.values())


def _unknown_fields(taken: _Template) -> Iterator[str]:
    for key in taken.keys:
        near = difflib.get_close_matches(key.lower(), ALIASES, 1, 0.75)
        if canonical(key) is None and key.lower() not in SECRET_KEYS and near:
            yield f"{key} is no field of an alert; did you mean {near[0]}? As it is, it goes under extras."


def _notes(taken: _Template) -> Iterator[str]:
    if taken.strategic:
        yield "The {{strategy.…}} placeholders work in a strategy's alerts only, not in an indicator's."
    symbol = str(taken.fields.get("symbol", ""))
    if "ticker" in symbol or _CONTINUOUS.search(symbol):
        yield "On a continuous futures chart the symbol is like MNQ1!; the desk picks the contract."
    for name in ("strategy.order.comment", _ALERT_MESSAGE):
        if name in taken.names:
            yield f"{{{{{name}}}}} must bring no double quotes: they would end the text that it stands in."
