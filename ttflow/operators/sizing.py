"""Sizing: from the strategy's units to the account's, by a method, within caps, in whole lots.

The method decides the first entry; from then until the ledger is flat, additions keep the ratio of ours to
theirs. An exit is left as it is: what it closes is what is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from ttflow import readers
from ttflow import sizing as reckon
from ttflow.errors import FlowError
from ttflow.instrument import instrument, root
from ttflow.operators.asking import Refused, equity_of, extra, point_value, shown, stop_loss, unit_value
from ttflow.operators.core import Step, operator
from ttflow.settings import Settings, Sizing
from ttflow.settings.limits import Method, for_root
from ttflow.settings.rules import EVERY
from ttflow.sizing import Cap
from ttflow.ticket import Reason, Ticket
from ttflow.view import BARS, GAP
from ttflow.words import plain, scaled, tidy

QUANTITY_TYPES: Mapping[str, Method] = {
    "contracts": "alert",
    "shares": "alert",
    "fixed": "alert",
    "fixed_quantity": "alert",
    "cash": "notional",
    "notional": "notional",
    "dollar_amount": "notional",
    "percent_of_equity": "percent_of_equity",
    "risk_percent": "risk_percent",
}
"""What an alert may say in `quantity_type`, and the method that it means; `strategy.cash` is `cash`."""

Wanted = tuple[Decimal, str]


@operator
def size(method: Method = "alert", amount: float | str | Decimal | None = None, **caps: Any) -> Step:
    """Set what an entry opens: the alert's quantity times the account's multiplier, rounded down to the lot.

    Another `method` with its `amount`, and caps, are given as in `[groups.NAME.sizing]`:
    `size("risk_percent", 1, max_quantity=5)`. An alert's own `quantity_type` goes before the method, and
    stays within the caps. While the ledger holds something, the ratio of ours to theirs takes the place of
    method and multiplier, so that additions keep the proportion of the first entry. What needs a price, a
    stop or an equity that is not known is denied, and so is less than one lot. An exit is left as it is.
    Raises FlowError for a method, an amount or a cap that the settings would refuse.
    """
    rule = _rule(method, amount, caps)
    return lambda ticket, now: _sized(ticket, rule, (rule,))


@operator
def sizing(settings: Settings) -> Step:
    """Size an entry as the settings say: by its strategy's table, else its group's, within the caps of both.

    The tables are `[strategies.NAME.sizing]`, `[strategies."*".sizing]` and `[groups.NAME.sizing]`; without
    any it is `size()`. Everything else is as with `size`.
    """

    def step(ticket: Ticket, now: datetime) -> Ticket:
        rules = _rules(settings, ticket)
        return _sized(ticket, rules[0] if rules else _BY_ALERT, rules)

    return step


_BY_ALERT = Sizing()


def _rule(method: Method, amount: object, caps: Mapping[str, Any]) -> Sizing:
    given = {"method": method, "amount": amount, **caps}
    try:
        return Sizing.model_validate({name: _exact(value) for name, value in given.items()})
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"])) or "method"
        raise FlowError(f"size: {where}: {found['msg']}") from None


def _exact(value: Any) -> Any:
    """A float as it is written, so that 0.1 is a tenth."""
    return str(value) if isinstance(value, float) else value


def _rules(settings: Settings, ticket: Ticket) -> tuple[Sizing, ...]:
    """The tables that size a ticket, the one that decides the method first."""
    group, strategies = settings.groups.get(ticket.account_group), settings.strategies
    tables = (strategies.get(ticket.strategy), strategies.get(EVERY), group)
    return tuple(table.sizing for table in tables if table is not None and table.sizing is not None)


def _sized(ticket: Ticket, rule: Sizing, caps: Sequence[Sizing]) -> Ticket:
    if ticket.reduces:
        return ticket
    try:
        wanted, said = _wanted(ticket, rule)
        most, cap = reckon.capped(wanted, (cap for rule in caps for cap in _caps(ticket, rule)))
    except Refused as refused:
        return ticket.deny(refused.reason, refused.text)
    said = f"{said}, at most {shown(cap.most)} by {cap.name}" if cap else said
    lot = tidy(instrument(ticket.symbol).floor_to_lot(most))
    if lot <= 0:
        return ticket.deny(Reason.SIZED_TO_ZERO, f"{said} is less than one lot.")
    return ticket.sized(lot, f"The size is {plain(lot)}: {said}.")


def _wanted(ticket: Ticket, rule: Sizing) -> Wanted:
    """What the method asks for, before caps and lots, and how it came to that."""
    if ticket.ratio is not None:
        return scaled(ticket.asked, ticket.ratio), f"{shown(ticket.asked)} times {shown(ticket.ratio)}"
    method, amount = _chosen(ticket, rule)
    if method == "alert":
        return scaled(amount, ticket.multiplier), f"{shown(amount)} times {shown(ticket.multiplier)}"
    quantity, said = _METHODS[method](ticket, rule, amount)
    if ticket.multiplier == 1:
        return quantity, said
    return scaled(quantity, ticket.multiplier), f"{said}, times {shown(ticket.multiplier)}"


def _chosen(ticket: Ticket, rule: Sizing) -> tuple[Method, Decimal]:
    """The method and its amount: the alert's own where it says `quantity_type`, else the rule's."""
    told = extra(ticket.alert, "quantity_type")
    if told is None or told == "":
        return rule.method, ticket.asked if rule.method == "alert" else rule.amount or reckon.KELLY_FRACTION
    name = str(told).strip().lower().removeprefix("strategy.").replace("-", "_").replace(" ", "_")
    if name not in QUANTITY_TYPES:
        text = f"The alert's quantity_type is {readers.shown(told)}; it may be {', '.join(QUANTITY_TYPES)}."
        raise Refused(Reason.UNKNOWN_QUANTITY_TYPE, text)
    return QUANTITY_TYPES[name], _told_amount(ticket)


def _told_amount(ticket: Ticket) -> Decimal:
    """The amount in the alert's own unit; where it tells a position, that is in contracts, and no amount."""
    told = ticket.alert.quantity
    return ticket.asked if told is None or ticket.alert.target is None else told


def _fixed(ticket: Ticket, rule: Sizing, amount: Decimal) -> Wanted:
    return amount, f"{shown(amount)} by the settings"


def _notional(ticket: Ticket, rule: Sizing, amount: Decimal) -> Wanted:
    value = unit_value(ticket)
    return reckon.for_notional(amount, value), f"{shown(amount)} of money at {shown(value)} each"


def _percent_of_equity(ticket: Ticket, rule: Sizing, amount: Decimal) -> Wanted:
    equity, value = equity_of(ticket), unit_value(ticket)
    said = f"{shown(amount)} % of {shown(equity)} at {shown(value)} each"
    return reckon.for_percent_of_equity(amount, equity, value), said


def _risk_percent(ticket: Ticket, rule: Sizing, amount: Decimal) -> Wanted:
    equity, loss = equity_of(ticket), stop_loss(ticket) + rule.cost
    said = f"{shown(amount)} % of {shown(equity)} at risk, {shown(loss)} each at the stop"
    return reckon.for_risk(amount, equity, loss), said


def _atr(ticket: Ticket, rule: Sizing, amount: Decimal) -> Wanted:
    equity, (atr, whose) = equity_of(ticket), _range(ticket, rule)
    ranges = f"{shown(rule.atr_multiple)} ranges of {shown(atr)}, {whose}"
    said = f"{shown(amount)} % of {shown(equity)} at risk in {ranges}"
    return reckon.for_range(amount, equity, atr * point_value(ticket), rule.atr_multiple), said


def _range(ticket: Ticket, rule: Sizing) -> tuple[Decimal, str]:
    """The average range, and whose it is: the alert's own, the stream's, or that of the settings."""
    told = extra(ticket.alert, "atr")
    try:
        own = None if told is None else readers.positive(told)
    except ValueError as error:
        raise Refused(Reason.NO_ATR, f"The alert's atr {error}.") from None
    if own is not None:
        return own, "the alert's"
    streamed, why = _streamed_range(ticket, rule.atr_minutes) if rule.atr_minutes else (None, "")
    if streamed is not None:
        return streamed, f"of {BARS} bars of {rule.atr_minutes} min"
    if rule.atr is not None:
        return rule.atr, "the settings'"
    text = f'{why}The alert tells no atr, as in "atr": {{{{plot("ATR")}}}}, and the settings have none.'
    raise Refused(Reason.NO_ATR, text)


def _streamed_range(ticket: Ticket, minutes: int) -> tuple[Decimal | None, str]:
    """What the stream's bars tell, or why they don't: too few yet, no stream, no movement at all."""
    quoted = ticket.book.quoted_at(ticket.symbol)
    if quoted is None or ticket.now - quoted > GAP:
        return None, f"No price of {ticket.symbol} was streamed lately. "
    found = ticket.book.average_range(ticket.symbol, minutes)
    if found.value is None:
        return None, f"The stream has {found.bars} of {BARS} bars of {minutes} min so far. "
    return found.value or None, f"{ticket.symbol} did not move in {BARS} bars of {minutes} min. "


def _kelly(ticket: Ticket, rule: Sizing, amount: Decimal) -> Wanted:
    trades, rate, payoff = (ticket.statistics.get(name) for name in ("trades", "win_rate", "payoff"))
    if not trades or trades < reckon.KELLY_TRADES:
        text = f"Kelly needs {reckon.KELLY_TRADES} closed trades, and the strategy has {trades or 0}."
        raise Refused(Reason.TOO_FEW_TRADES, text)
    if rate is None or payoff is None:
        text = "Kelly needs wins and losses, and the strategy's trades have no payoff."
        raise Refused(Reason.TOO_FEW_TRADES, text)
    percent = reckon.kelly_pct(Decimal(str(rate)), Decimal(str(payoff)), amount)
    wanted, said = _risk_percent(ticket, rule, percent)
    return wanted, f"Kelly of {trades} trades: {said}"


_METHODS: Mapping[str, Callable[[Ticket, Sizing, Decimal], Wanted]] = {
    "fixed": _fixed,
    "notional": _notional,
    "percent_of_equity": _percent_of_equity,
    "risk_percent": _risk_percent,
    "atr": _atr,
    "kelly": _kelly,
}


def _caps(ticket: Ticket, rule: Sizing) -> Iterator[Cap]:
    """What a rule's caps let through; raises Refused where one needs to know what is not known."""
    if (most := for_root(rule.max_quantity, ticket.symbol)) is not None:
        yield Cap("max_quantity", most)
    if rule.max_notional is not None:
        yield Cap("max_notional", reckon.for_notional(rule.max_notional, unit_value(ticket)))
    if (most := for_root(rule.max_position, ticket.symbol)) is not None:
        yield Cap("max_position", _position_left(ticket, most))
    if rule.max_risk_pct is not None:
        loss = stop_loss(ticket) + rule.cost
        yield Cap("max_risk_pct", reckon.for_risk(rule.max_risk_pct, equity_of(ticket), loss))
    if rule.margin_pct is not None:
        yield Cap("margin_pct", _margin_left(ticket, rule.margin_pct))


def _position_left(ticket: Ticket, most: Decimal) -> Decimal:
    name, book, sign = root(ticket.symbol), ticket.book, ticket.side.sign
    working = book.working(name)
    return reckon.room_for_position(
        most, book.position(name), working.buys if sign > 0 else working.sells, sign
    )


def _margin_left(ticket: Ticket, margin_pct: Decimal) -> Decimal:
    gross = ticket.book.gross
    if gross is None:
        raise Refused(Reason.NO_VALUE, "What the account holds is worth is not known: a price is missing.")
    return reckon.room_for_margin(equity_of(ticket), gross, margin_pct, unit_value(ticket))
