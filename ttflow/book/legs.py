"""What an alert asks of a ledger: how much to close, how much to open, and why. Pure.

Everything here is in the strategy's own units until the last step; `Want.closing` alone is in ours. The
rules are numbered as in the trading rules of the documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from ttflow.alert import Action, Alert
from ttflow.book.ledger import Ledger
from ttflow.instrument import Instrument
from ttflow.order import Order
from ttflow.ticket import Plan, Reason
from ttflow.words import ONE, ZERO, Side, plain, scaled

Sides = str | None


class Want(NamedTuple):
    """What is to be done: a plan, or none with the reason; and the sentence that explains it."""

    plan: Plan | None
    text: str
    reason: Reason | None = None


def want(alert: Alert, ledger: Ledger, working: Iterable[Order], sides: Sides, kind: Instrument) -> Want:
    """Say what `alert` asks of `ledger`, given its working orders and the group's `sides`.

    `sides` is `long`, `short`, `both`, or None for the side of the ledger's first entry (rule 5).
    """
    theirs = ledger.theirs
    aim = _aim(alert, theirs, sides, ledger)
    if alert.action is Action.TARGET:  # counts what is already on its way (rule 6)
        theirs += sum((order.share(order.remaining) for order in working), ZERO)
    held = f"The ledger holds {_signed(ledger.position)}"
    held += f" ({_signed(theirs)} of the strategy's)" if theirs != ledger.position else ""
    if aim is None or aim == theirs:
        return _nothing(alert, ledger, held, aim)
    plan = _plan(ledger, theirs, aim, kind)
    if plan.opening and sides in ("long", "short") and sides != ("long" if aim > 0 else "short"):
        if not plan.closing:
            return Want(None, f"{held}; the group trades {sides} only.", Reason.SIDE_NOT_ALLOWED)
        plan, aim = Plan(side=plan.side, closing=plan.closing, closing_theirs=plan.closing_theirs), ZERO
        held += f"; the group trades {sides} only"
    if not plan.closing and not plan.opening:
        said = f"{held}; the alert leads to {_signed(aim)}, which is the same in whole lots."
        return Want(None, said, Reason.ALREADY_THERE)
    return Want(plan, f"{held}; the alert leads to {_signed(aim)}, so {_told(plan)}.")


def _aim(alert: Alert, theirs: Decimal, sides: Sides, ledger: Ledger) -> Decimal | None:
    """The signed position, in the strategy's units, at which the ledger should end; None: no change."""
    match alert.action:
        case Action.BUY | Action.SELL:
            return _ordered(alert, theirs, sides or _first(ledger))
        case Action.EXIT:
            return _exited(alert, theirs)
        case Action.REVERSE:
            return _reversed(alert, theirs)
        case Action.TARGET:
            return alert.target
    return None


def _first(ledger: Ledger) -> str:
    """A live group's default: the side of the ledger's first entry; before there is one, both."""
    if ledger.first_side is None:
        return "both"
    return "long" if ledger.first_side is Side.BUY else "short"


def _ordered(alert: Alert, theirs: Decimal, sides: str) -> Decimal | None:
    """`buy` and `sell`: bounded by the position fields (rule 4), else by `sides` (rule 5)."""
    up = alert.action is Action.BUY
    low, high = _bounds(alert, up)
    if alert.quantity is None:
        aim = high if up else low
    else:
        aim = theirs + (alert.quantity if up else -alert.quantity)
    if aim is None:
        return None
    if low is None and high is None:
        bounded = sides == ("short" if up else "long")  # against the side: to flat at most
        low, high = (None, ZERO) if bounded and up else (ZERO, None) if bounded else (None, None)
    if up:
        aim = aim if high is None else min(aim, high)
        return aim if aim > theirs else None
    aim = aim if low is None else max(aim, low)
    return aim if aim < theirs else None


def _bounds(alert: Alert, up: bool) -> tuple[Decimal | None, Decimal | None]:
    """How far down a sell, or up a buy, may go by the position fields; None where they say nothing."""
    target = alert.target
    if target is not None:
        return target, target
    match alert.market_position:
        case "long":
            return (None, None) if up else (ZERO, None)
        case "short":
            return (None, ZERO) if up else (None, None)
    return None, None


def _exited(alert: Alert, theirs: Decimal) -> Decimal | None:
    """`exit`: everything, or `quantity` of it, but no further than the position that the alert tells."""
    if not theirs:
        return None
    sign = ONE if theirs > 0 else -ONE
    left = max(abs(theirs) - alert.quantity, ZERO) if alert.quantity is not None else ZERO
    told = alert.target
    if told is not None and ZERO < told * sign < abs(theirs):
        left = max(left, told * sign)
    return left * sign


def _reversed(alert: Alert, theirs: Decimal) -> Decimal | None:
    """`reverse`: the other way, by `quantity` or as much as is held; from flat only to a told position."""
    target = alert.target
    if not theirs:
        return target
    sign = ONE if theirs > 0 else -ONE
    aim = -sign * (alert.quantity if alert.quantity is not None else abs(theirs))
    if target is None:
        return aim
    return max(aim, target) if sign > 0 else min(aim, target)


def _plan(ledger: Ledger, theirs: Decimal, aim: Decimal, kind: Instrument) -> Plan:
    side = Side.of(aim - theirs)
    if not ledger.position or side is Side.of(ledger.position):
        return Plan(side=side, opening=abs(aim - theirs))
    if aim * ledger.position <= 0:  # all of it, and what crosses zero becomes a second leg (rule 7)
        return Plan(
            side=side, closing=abs(ledger.position), closing_theirs=abs(ledger.theirs), opening=abs(aim)
        )
    ratio = ledger.ratio or ONE
    keep = min(
        kind.floor_to_lot(scaled(abs(aim), ratio)), abs(ledger.position)
    )  # rounded towards flat (rule 8)
    return Plan(side=side, closing=abs(ledger.position) - keep, closing_theirs=abs(ledger.theirs) - abs(aim))


def _nothing(alert: Alert, ledger: Ledger, held: str, aim: Decimal | None) -> Want:
    if ledger.flat and alert.action in (Action.EXIT, Action.REVERSE):
        return Want(None, f"{held}; there is nothing to {alert.action}.", Reason.NO_POSITION)
    if ledger.flat and aim is None:
        return Want(None, f"{held}; a {alert.action} can only close here.", Reason.NO_POSITION)
    return Want(None, f"{held}; the alert asks for nothing beyond that.", Reason.ALREADY_THERE)


def _told(plan: Plan) -> str:
    close = f"{plan.side} {plain(plan.closing)} to close" if plan.closing else ""
    open_ = f"{plan.side} {plain(plan.opening)} of the strategy's to open" if plan.opening else ""
    return ", then ".join(filter(None, (close, open_)))


def _signed(number: Decimal) -> str:
    if not number:
        return "nothing"
    return f"{'long' if number > 0 else 'short'} {plain(abs(number))}"
