"""All limits of the settings as one operator, made of the operators that can stand alone.

The rule of this room: nothing is checked here; what holds for a ticket is read off the settings, once for
each group and strategy.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ttflow.operators.core import Operator, Step, operator
from ttflow.operators.gates import allow, session
from ttflow.operators.hours import cool_down, flat_by, fresh, news
from ttflow.operators.risk import (
    collar,
    exposure,
    losses,
    order_size,
    position,
    rate,
    repeats,
    stop_fits,
    trading_state,
)
from ttflow.settings import Limits, Settings
from ttflow.settings.rules import EVERY
from ttflow.ticket import Ticket


@operator
def limits(settings: Settings) -> Step:
    """Hold an entry to all that the settings say: the desk's limits, its group's and its strategy's.

    `[limits]`, `[groups.NAME.limits]`, `[strategies."*".limits]` and `[strategies.NAME.limits]` each hold by
    themselves, in that order, made of the same operators; the first that denies ends it. Delayed data is
    denied unless the most specific table that speaks of it says otherwise, and so is whatever opens while the
    account may only reduce.
    """
    known: dict[tuple[str, str], list[Step]] = {}

    def step(ticket: Ticket, now: datetime) -> Ticket:
        group = ticket.account_group if ticket.account_group in settings.groups else ""
        strategy = ticket.strategy if ticket.strategy in settings.strategies else EVERY
        if (steps := known.get((group, strategy))) is None:
            tables = list(tables_of(settings, ticket.account_group, ticket.strategy))
            steps = known[group, strategy] = [piece.build() for piece in _pieces(tables)]
        for one in steps:
            ticket = one(ticket, now)
            if ticket.ended:
                break
        return ticket

    return step


def tables_of(settings: Settings, group: str, strategy: str) -> Iterator[Limits]:
    """The tables that hold for a group's tickets of a strategy, the most specific last."""
    yield settings.limits
    if group in settings.groups:
        yield settings.groups[group].limits
    for name in dict.fromkeys((EVERY, strategy)):
        if name in settings.strategies:
            yield settings.strategies[name].limits


def _pieces(tables: list[Limits]) -> Iterator[Operator]:
    told = [table.delayed for table in tables if table.delayed is not None]
    yield trading_state()
    yield fresh(delayed=told[-1] if told else False)
    for table in tables:
        yield from _permissions(table)
        yield from _amounts(table)
        yield from _money(table)


def _permissions(table: Limits) -> Iterator[Operator]:
    if table.symbols or table.sides in ("long", "short"):
        side = {"long": ["buy"], "short": ["sell"]}.get(table.sides or "", [])
        yield allow(symbols=table.symbols, sides=side)
    if hours := table.session:
        yield session(hours.start, hours.end, tz=hours.tz, days=hours.days)
    if flat := table.flat_by:
        yield flat_by(flat.at, flat.until, tz=flat.tz, days=flat.days, before_s=flat.before_s)
    if table.news:
        yield news(table.news.events, before_s=table.news.before_s, after_s=table.news.after_s)
    if table.quote_s is not None:
        yield fresh(quote_s=table.quote_s, delayed=True)


def _amounts(table: Limits) -> Iterator[Operator]:
    if table.quantity is not None or table.notional is not None:
        yield order_size(quantity=table.quantity, notional=table.notional)
    if table.collar_pct is not None:
        yield collar(table.collar_pct, reference_s=table.reference_s)
    if table.orders_per_second is not None or table.orders_per_day is not None:
        yield rate(per_second=table.orders_per_second, per_day=table.orders_per_day, per=table.per)
    if table.repeats is not None:
        yield repeats(table.repeats, table.repeats_s)
    if table.position is not None:
        yield position(table.position, per=table.per)
    if table.gross is not None or table.net is not None:
        yield exposure(gross=table.gross, net=table.net, per=table.per)


def _money(table: Limits) -> Iterator[Operator]:
    if table.day_loss is not None or table.drawdown is not None:
        yield losses(day=table.day_loss, drawdown=table.drawdown, equity_s=table.equity_s, per=table.per)
    if table.losses_in_a_row is not None:
        yield cool_down(table.losses_in_a_row, table.cool_down_s)
    if table.stop_fits_room:
        yield stop_fits(day=table.day_loss, drawdown=table.drawdown, per=table.per)
