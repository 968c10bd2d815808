"""The promises that `check_broker` holds an adapter to, one function for each.

The one rule: a promise is a sentence of `ttflow.brokers.base`; what no sentence there says is not checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from ttflow.brokers.base import Busy, Capabilities, Link, Report, SignInError
from ttflow.order import Leg, Order
from ttflow.testing.line import Line, named
from ttflow.words import OrderType, Side, evolve, plain

Check = Callable[[Line], Awaitable[None]]


@dataclass(frozen=True)
class Promise:
    """One promise: its sentence, the check, the faults and the capability that it needs."""

    text: str
    check: Check
    faults: tuple[str, ...] = ()
    capability: str = ""
    wants_refused: bool = False


PROMISES: list[Promise] = []
"""All of them, in the order in which they are checked."""


def _promise(
    text: str, *, faults: tuple[str, ...] = (), capability: str = "", refused: bool = False
) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        PROMISES.append(Promise(text, check, faults, capability, refused))
        return check

    return add


# Coming and going


@_promise("it signs in, and says what the account holds")
async def _signs_in(line: Line) -> None:
    capabilities = line.broker.capabilities
    seen = f"its capabilities are {capabilities!r}"
    line.expect(isinstance(capabilities, Capabilities), seen, "they are a Capabilities")
    await line.open()
    line.expect(not line.links(), "a Link was told at the start", "only a stream that was lost is told")


@_promise("wrong credentials are a SignInError", refused=True)
async def _refused(line: Line) -> None:
    try:
        await line.broker.open(line.told.append)
    except SignInError:
        return
    except Exception as error:
        raise line.broken(f"open raised {error!r}", "it should raise SignInError") from error
    raise line.broken("open returned", "it should raise SignInError")


@_promise("closing twice does nothing more, and it can be opened again")
async def _closes_twice(line: Line) -> None:
    await line.open()
    await line.broker.close()
    await line.broker.close()
    await line.open()


# Orders and fills


@_promise("an order arrives once, under its id")
async def _arrives_once(line: Line) -> None:
    await line.open()
    report = await line.submit(order := line.order())
    await line.until_held(1)
    found = await line.find(order)
    numbers = (report.broker_order_id, found.broker_order_id)
    line.expect(report.broker_order_id, f"the answer was {report}", "it should name the broker's id")
    line.expect(numbers[0] == numbers[1], f"sent as {numbers[0]}, found as {numbers[1]}", "it is one order")


@_promise("a market order's fills are told, each under one id however often")
async def _fills_once(line: Line) -> None:
    await line.open()
    await _trades(line)


for _fault in ("duplicate_fill", "fill_before_answer", "late_fill", "out_of_order_fills"):

    @_promise(f"fills are told, each under one id, whatever comes ({_fault})", faults=(_fault,))
    async def _fills_whatever(line: Line, fault: str = _fault) -> None:
        await line.open()
        await line.fault(fault)
        await _trades(line)


async def _trades(line: Line) -> None:
    await line.submit(order := line.order(quantity=2))
    await line.until_filled(order)
    found = await line.find(order)
    told = line.fills(order)
    line.expect(found.outcome == "filled", f"it was found {found.outcome}", "it should be filled")
    line.expect(
        line.fills(order, found) == told,
        f"find told the fills {found.fills}, before that {list(told.values())}",
        "they are the same",
    )
    for fill in told.values():
        line.expect(Decimal(fill["price"]) > 0, f"a fill is {fill}", "it should have a price")
    await line.until_held(2)


@_promise("a snapshot shows positions, signed, and orders that stand, under their ids")
async def _snapshot(line: Line) -> None:
    await line.open()
    await line.submit(order := line.order(Side.SELL, 2))
    await line.submit(resting := line.resting())
    await line.until_filled(order)
    await line.until_held(-2)
    await line.until_working(resting)
    (row,) = (await line.snapshot()).working
    seen, wanted = (row.symbol, row.side, row.quantity), (resting.symbol, "buy", resting.quantity)
    line.expect(seen == wanted, f"the order is shown as {seen}", f"it is {wanted}")


@_promise("every type of order that it says it takes is taken, and rests")
async def _types(line: Line) -> None:
    await line.open()
    levels = {OrderType.LIMIT: "0.9", OrderType.STOP: "1.1", OrderType.STOP_LIMIT: "1.1"}
    orders = [
        line.order(kind=kind, at=at)
        for kind, at in levels.items()
        if kind in line.broker.capabilities.order_types
    ]
    for order in orders:
        await line.submit(order)
    await line.until_working(*orders)


# Withdrawing and changing


@_promise("an order is withdrawn, and its end is told")
async def _cancels(line: Line) -> None:
    await line.open()
    await line.submit(order := line.resting())
    await line.until_working(order)
    report = line.read(await line.broker.cancel(order), order)
    asked = report.outcome in ("accepted", "cancelled")
    line.expect(asked, f"cancel answered {report}", "it is under way, or done")
    if report.outcome != "cancelled":
        wanted = "its end should be told"
        await line.until(lambda: any(one.outcome == "cancelled" for one in line.reports(order)), wanted)
    await line.until_working()
    found = await line.find(order)
    line.expect(found.outcome == "cancelled", f"it was found {found.outcome}", "it is cancelled")


@_promise("a withdrawal that comes too late says how the order ended")
async def _cancels_too_late(line: Line) -> None:
    await line.open()
    await line.submit(order := line.order())
    await line.until_filled(order)
    report = line.read(await line.broker.cancel(order), order)
    line.expect(report.outcome == "filled", f"cancel answered {report}", "the order is filled")


@_promise("a working order is changed in place", capability="modifies")
async def _modifies(line: Line) -> None:
    await line.open()
    await line.submit(order := line.resting())
    await line.until_working(order)
    reached = line.order(kind=OrderType.LIMIT, at="1.1").limit_price
    report = line.read(await line.broker.modify(evolve(order, limit_price=reached)), order)
    taken = report.outcome in ("accepted", "filled")
    line.expect(taken, f"modify answered {report}", "the change should be taken")
    line.hear(report)
    await line.until_filled(order)
    await line.until_held(1)


@_promise("a position is closed by its contract, whatever it is", capability="closes")
async def _closes(line: Line) -> None:
    await line.open()
    await line.submit(entry := line.order(quantity=2))
    await line.until_filled(entry)
    closing = line.order(Side.SELL, 2, leg=Leg.CLOSE, attempt=2)
    report = line.read(await line.broker.close_position(closing), closing)
    taken = report.outcome in ("accepted", "filled")
    line.expect(taken, f"close_position answered {report}", "it should be taken")
    line.hear(report)
    await line.until_filled(closing)
    await line.until_held(0)


@_promise("closing what is not held is a refusal", capability="closes")
async def _closes_nothing(line: Line) -> None:
    await line.open()
    order = line.order(Side.SELL, leg=Leg.CLOSE, attempt=2)
    report = line.read(await line.broker.close_position(order), order)
    line.expect(report.outcome == "refused", f"it answered {report}", "it should be refused")


@_promise("an entry carries its stop and its target", capability="brackets")
async def _brackets(line: Line) -> None:
    await line.open()
    entry = line.order()
    target = line.order(Side.SELL, kind=OrderType.LIMIT, at="1.1", leg=Leg.TAKE_PROFIT)
    stop = line.order(Side.SELL, kind=OrderType.STOP, at="0.9", leg=Leg.STOP_LOSS)
    report = await line.submit(entry, (target, stop))
    legs = report.legs or {}
    both = legs.keys() == {target.order_id, stop.order_id} and all(legs.values())
    line.expect(both, f"the answer names the legs {dict(legs)}", "it should name the broker's id of both")
    await line.until_filled(entry)
    await line.until_working(target, stop)


# Looking up


@_promise("an id that never arrived is not found, and the account's net comes with that")
async def _not_found(line: Line) -> None:
    await line.open()
    await line.submit(entry := line.order())
    await line.until_filled(entry)
    await line.until_held(1)
    await _is_absent(line, line.order(Side.SELL, leg=Leg.CLOSE), net="1")


async def _is_absent(line: Line, order: Order, *, net: str) -> None:
    found = await line.find(order)
    line.expect(found.outcome == "not_found", f"find answered {found}", "it never arrived")
    told = found.net is not None and Decimal(found.net) == Decimal(net)
    line.expect(told, f"the net was told as {found.net}", f"the account holds {net}")


# What goes wrong


@_promise("a refusal is a Report with the broker's reason", faults=("refuse",))
async def _refusal(line: Line) -> None:
    await line.open()
    await line.fault("refuse")
    order = line.order()
    report = line.read(await line.broker.submit(order), order)
    line.expect(report.outcome == "refused", f"submit answered {report}", "it was refused")
    line.expect(report.reason, f"submit answered {report}", "it should say why")
    await line.until_held(0)


@_promise("an order whose answer is lost is found by its id, and was sent once", faults=("lose_answer",))
async def _lost_answer(line: Line) -> None:
    await line.open()
    await line.fault("lose_answer")
    await line.without_answer(order := line.order())
    await line.until_found(order)
    await line.until_held(1)


for _fault in ("drop", "server_error"):

    @_promise(f"an order that is lost on its way is known to be absent ({_fault})", faults=(_fault,))
    async def _lost_order(line: Line, fault: str = _fault) -> None:
        await line.open()
        await line.fault(fault)
        await line.without_answer(order := line.order(leg=Leg.CLOSE, side=Side.SELL))
        await _is_absent(line, order, net="0")


@_promise("a broker that wants to be left alone is Busy, and nothing was taken", faults=("rate_limit",))
async def _busy(line: Line) -> None:
    await line.open()
    await line.fault("rate_limit")
    try:
        report = await line.broker.submit(line.order())
    except Busy as error:
        line.expect(error.seconds > 0, f"it asks for {error.seconds} s", "it should say for how long")
    except Exception as error:
        raise line.broken(f"{error!r} was raised", "it should be Busy") from error
    else:
        raise line.broken(f"submit answered {report}", "it should raise Busy")


@_promise("a stream that was cut is told, and what was missed before it is back", faults=("cut_stream",))
async def _cut(line: Line) -> None:
    await line.open()
    await line.submit(resting := line.resting())
    await line.until_working(resting)
    await line.fault("cut_stream")
    await line.submit(order := line.order(quantity=2))
    await line.until(lambda: line.links() == [False, True], "the stream should be told lost, then back")
    up = line.told.index(Link(up=True))
    before = [one for one in line.told[:up] if isinstance(one, Report) and one.order_id == order.order_id]
    booked = {fill["fill_id"]: Decimal(fill["quantity"]) for one in before for fill in one.fills}
    total = plain(sum(booked.values(), Decimal(0)))
    line.expect(total == "2", f"fills of {total} of {named(order)} were told by then", "all was filled")
    await line.until_working(resting)
