"""Limits: whether an entry may leave, judged by its account's book as it would be afterwards.

The rule of this room: a limit reads the ticket and its view of the book, and nothing else; working and
unknown orders count as if they filled; what must be known and isn't, denies. What passed is noted with its
figures, as what is denied is. An exit passes everything, with the notes of what would have denied it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from ttflow.instrument import root
from ttflow.operators.asking import Refused, entry_price, planned, shown, stop_loss, unit_value
from ttflow.operators.core import Step, operator
from ttflow.operators.judging import (
    Amount,
    Amounts,
    Per,
    age,
    amount_of,
    book_of,
    by_root,
    count_of,
    judged,
    optional,
    seconds_of,
    some,
    whose,
)
from ttflow.settings.limits import for_root
from ttflow.ticket import Reason, Ticket
from ttflow.view import View, worst


@operator
def trading_state() -> Step:
    """Deny an entry while its account may only reduce: `TRADING_REDUCING`, or `TRADING_HALTED`."""

    def check(ticket: Ticket, now: datetime) -> None:
        match ticket.book.state:
            case "reducing":
                text = ticket.book.why or "The account may only reduce what it holds."
                raise Refused(Reason.TRADING_REDUCING, text)
            case "halted":
                raise Refused(Reason.TRADING_HALTED, "Trading is halted for the account; only exits go out.")

    return judged("trading_state", check)


@operator
def order_size(*, quantity: Amounts | None = None, notional: Amount | None = None) -> Step:
    """Deny an entry of more than `quantity`, or worth more than `notional`.

    `quantity` is ours (contracts, shares, coins), one number or one by root. The value is price times point
    value in the account's currency; where it isn't known, the entry is denied with `NO_VALUE`. Raises
    FlowError for amounts that are not above zero, and without any.
    """
    most, money = by_root("order_size", quantity), optional("order_size", notional)
    some("order_size", quantity, notional)

    def check(ticket: Ticket, now: datetime) -> str:
        asked, largest = planned(ticket), for_root(most, ticket.symbol)
        if largest is not None and asked > largest:
            text = f"The order is for {shown(asked)}, and {shown(largest)} is the most."
            raise Refused(Reason.QUANTITY_EXCEEDS_MAX, text)
        if money is None:
            return f"The order is for {shown(asked)}; {_most(largest)}."
        value = asked * unit_value(ticket)
        if value > money:
            text = f"The order is worth {shown(value)}, and {shown(money)} is the most."
            raise Refused(Reason.NOTIONAL_EXCEEDS_MAX, text)
        return f"The order is for {shown(asked)}, {_most(largest)}, worth {shown(value)}, {_most(money)}."

    return judged("order_size", check)


@operator
def collar(percent: Amount, *, reference_s: float = 60) -> Step:
    """Deny an entry priced more than `percent` away, up or down, from a price that is not its alert's.

    The order's price is its own level, or for a market order the last price known, the alert's own included.
    The reference is another alert's price or a quote, at most `reference_s` old; where there is none, or one
    that is not above zero, the entry is denied with `NO_REFERENCE`. Raises FlowError for amounts that are not
    above zero.
    """
    most, oldest = amount_of("collar", percent), seconds_of("collar", reference_s)

    def check(ticket: Ticket, now: datetime) -> str:
        known, price = ticket.book.reference(ticket.symbol), entry_price(ticket)
        if known is None or known.price <= 0 or age(known.at, now) > oldest:
            seen = "none" if known is None else f"{shown(known.price)}, {age(known.at, now):.1f} s old"
            text = f"A price to compare with, above 0 and at most {oldest:g} s old, is needed: {seen}."
            raise Refused(Reason.NO_REFERENCE, text)
        price = known.price if price is None else price
        away = abs(price - known.price) * 100
        said = f"{shown(price)} is {shown(round(away / known.price, 4))} % from {shown(known.price)}"
        if away > most * known.price:
            raise Refused(Reason.PRICE_OUTSIDE_COLLAR, f"{said}, and {shown(most)} % is the most.")
        return f"{said}, at most {shown(most)} %."

    return judged("collar", check)


@operator
def rate(*, per_second: int | None = None, per_day: int | None = None, per: Per = "account") -> Step:
    """Deny an entry after `per_second` opening orders in the last second, or `per_day` since the day began.

    `per` says whose: the account's, or those of all accounts of its group. Raises FlowError for counts below
    1, and without any.
    """
    some("rate", per_second, per_day)
    second, day = count_of("rate", per_second), count_of("rate", per_day)
    whose("rate", per)

    def check(ticket: Ticket, now: datetime) -> str:
        book = book_of(ticket, per)
        counted = ((book.orders_since(1), second, "second"), (book.orders_today, day, "day"))
        bounded = [(made, most, name) for made, most, name in counted if most is not None]
        for made, most, name in bounded:
            if made >= most:
                text = f"There were {made} opening orders in this {name}, and {most} is the most."
                raise Refused(Reason.TOO_MANY_ORDERS, text)
        told = " and ".join(f"number {made + 1} of {most} in this {name}" for made, most, name in bounded)
        return f"It is {told}."

    return judged("rate", check)


@operator
def repeats(most: int, seconds: float = 60) -> Step:
    """Deny an entry that `most` orders of the last `seconds` were like: same strategy, root, side, quantity.

    Orders of the account are compared, as they were made, in our units; a view knows those of an hour. The
    reason is `REPEATED`. Raises FlowError for a count below 1, and for seconds not above zero.
    """
    limit, window = count_of("repeats", most), seconds_of("repeats", seconds)
    assert limit is not None  # `most` has no default

    def check(ticket: Ticket, now: datetime) -> str:
        like = (ticket.strategy, root(ticket.symbol), ticket.side, planned(ticket))
        made = sum(tuple(one)[1:] == like and age(one.at, now) < window for one in ticket.book.last_orders)
        if made >= limit:
            text = f"There were {made} orders just like it in the last {window:g} s, and {limit} is the most."
            raise Refused(Reason.REPEATED, text)
        return f"It is number {made + 1} of its like in {window:g} s, of {limit} at most."

    return judged("repeats", check)


@operator
def position(most: Amounts, *, per: Per = "account") -> Step:
    """Deny an entry that could take its account's net of a root beyond `most` on its side, in our units.

    `most` is one number, or one by root. What other orders of the same side may still do is counted as done,
    and nothing of the other side's is. An entry that brings the net nearer to zero passes. `per` says whose
    net: the account's, or that of all accounts of its group. Raises FlowError for amounts not above zero.
    """
    some("position", most)
    bounds = by_root("position", most)
    whose("position", per)

    def check(ticket: Ticket, now: datetime) -> str | None:
        if (largest := for_root(bounds, ticket.symbol)) is None:
            return None
        book, name, sign = book_of(ticket, per), root(ticket.symbol), ticket.side.sign
        working = book.working(name)
        after = book.position(name) * sign + (working.buys if sign > 0 else working.sells) + planned(ticket)
        if after > largest:
            text = f"{name} could become {shown(after * sign)}, and {shown(largest)} is the most."
            raise Refused(Reason.POSITION_EXCEEDS_MAX, text)
        return f"{name} could become {shown(after * sign)}, {_most(largest)}."

    return judged("position", check)


@operator
def exposure(*, gross: Amount | None = None, net: Amount | None = None, per: Per = "account") -> Step:
    """Deny an entry that could take its account's exposure beyond `gross`, or its side's beyond `net`.

    Both are money. Gross adds up the worst that each root may come to; net is long less short, if all that
    works on this side fills. An entry that adds nothing to the gross passes that bound. Where a price or a
    rate is unknown the entry is denied with `NO_VALUE`. `per` says whose: the account's, or its group's.
    Raises FlowError for amounts not above zero, and without any.
    """
    some("exposure", gross, net)
    most_gross, most_net = optional("exposure", gross), optional("exposure", net)
    whose("exposure", per)

    def check(ticket: Ticket, now: datetime) -> str:
        book = book_of(ticket, per)
        now_at, value = book.exposure, unit_value(ticket)
        if now_at is None:
            raise Refused(Reason.NO_VALUE, "What is held is worth is not known: a price is missing.")
        told = []
        if most_gross is not None:
            added = _added(book, ticket) * value
            told.append(_within("gross", now_at.gross + added, most_gross, grows=added > 0))
        if most_net is not None:
            sign = ticket.side.sign
            after = (now_at.long if sign > 0 else -now_at.short) + planned(ticket) * value
            told.append(_within("net", after, most_net, grows=True))
        return f"The exposure could become {' and '.join(told)}."

    return judged("exposure", check)


def _added(book: View, ticket: Ticket) -> Decimal:
    """By how much the worst that may come of the ticket's root grows with it."""
    name, asked = root(ticket.symbol), planned(ticket)
    held, (buys, sells) = book.position(name), book.working(name)
    before = worst(held, buys, sells)
    after = worst(held, buys + asked, sells) if ticket.side.sign > 0 else worst(held, buys, sells + asked)
    return after - before


def _within(name: str, after: Decimal, most: Decimal, *, grows: bool) -> str:
    if grows and after > most:
        text = f"The {name} exposure could become {shown(after)}, and {shown(most)} is the most."
        raise Refused(Reason.EXPOSURE_EXCEEDS_MAX, text)
    return f"{shown(after)} {name}, {_most(most)}"


@operator
def losses(
    *, day: Amount | None = None, drawdown: Amount | None = None, equity_s: float = 300, per: Per = "account"
) -> Step:
    """Deny an entry from `day` money lost since the day began, or `drawdown` below the highest equity.

    Open results count. Where the equity was not known in the last `equity_s`, the entry is denied with
    `EQUITY_UNKNOWN`. `per` says whose money: the account's, or its group's. Raises FlowError for amounts not
    above zero, and without any.
    """
    some("losses", day, drawdown)
    most_day, most_down = optional("losses", day), optional("losses", drawdown)
    oldest = seconds_of("losses", equity_s)
    whose("losses", per)

    def check(ticket: Ticket, now: datetime) -> str:
        book = book_of(ticket, per)
        if book.equity_at is None or age(book.equity_at, now) > oldest:
            text = f"The account's equity was not known in the last {oldest:g} s."
            raise Refused(Reason.EQUITY_UNKNOWN, text)
        told = [
            _loss(made, most, name, reason)
            for made, most, name, reason in (
                (book.day_profit, most_day, "today", Reason.DAY_LOSS),
                (book.drawdown, most_down, "below the highest equity", Reason.DRAWDOWN),
            )
            if most is not None
        ]
        return f"The account is {' and '.join(told)}."

    return judged("losses", check)


def _loss(made: Decimal | None, most: Decimal, name: str, reason: Reason) -> str:
    if made is None:
        raise Refused(Reason.EQUITY_UNKNOWN, f"What the account has made {name} is not known.")
    if made <= -most:
        raise Refused(reason, f"The account is {shown(made)} {name}, and {shown(-most)} is the limit.")
    return f"{shown(made)} {name}, the limit is {shown(-most)}"


@operator
def stop_fits(*, day: Amount | None = None, drawdown: Amount | None = None, per: Per = "account") -> Step:
    """Deny an entry whose loss at its stop is not less than what may still be lost.

    That is the least of the room to the firm's floor, of what is left of `day` since the day began, and of
    `drawdown` below the highest equity; where none of them is there, the entry passes. An entry without a
    stop is denied with `NO_STOP`. `per` says whose money. Raises FlowError for amounts not above zero.
    """
    most_day, most_down = optional("stop_fits", day), optional("stop_fits", drawdown)
    whose("stop_fits", per)

    def check(ticket: Ticket, now: datetime) -> str | None:
        left = list(_left(book_of(ticket, per), most_day, most_down))
        if ticket.reduces or not left:
            return None
        loss, room = stop_loss(ticket) * planned(ticket), min(left)
        said = f"At its stop the order loses {shown(loss)}, and {shown(room)} may still be lost."
        if loss >= room:
            raise Refused(Reason.STOP_EXCEEDS_ROOM, said)
        return said

    return judged("stop_fits", check)


def _left(book: View, day: Decimal | None, drawdown: Decimal | None) -> Iterator[Decimal]:
    if book.room is not None:
        yield book.room
    for most, made in ((day, book.day_profit), (drawdown, book.drawdown)):
        if most is not None and made is None:
            raise Refused(Reason.EQUITY_UNKNOWN, "What the account has made is not known.")
        if most is not None and made is not None:
            yield most + made


def _most(amount: Decimal | None) -> str:
    return "no limit to that" if amount is None else f"at most {shown(amount)}"
