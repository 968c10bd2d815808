"""How a fake tastytrade writes what it holds: orders, positions, balances, in the broker's fields. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from ttflow.fakes.exchange import Exchange, Execution, Holding, Placed
from ttflow.fakes.tastytrade.bodies import TYPES
from ttflow.instrument import instrument, root
from ttflow.words import ZERO, plain

_TYPES = {ours: theirs for theirs, ours in TYPES.items()}
_STATUS = {
    "held": "Contingent",
    "working": "Live",
    "filled": "Filled",
    "cancelled": "Cancelled",
    "rejected": "Rejected",
    "expired": "Expired",
}

_BALANCE_ZEROS = """
long-equity-value short-equity-value long-derivative-value short-derivative-value long-futures-value
short-futures-value long-futures-derivative-value short-futures-derivative-value
long-margineable-value short-margineable-value futures-margin-requirement maintenance-requirement
maintenance-call-value reg-t-call-value day-trading-call-value day-equity-call-value
day-trade-excess pending-cash long-cryptocurrency-value short-cryptocurrency-value
cryptocurrency-margin-requirement unsettled-cryptocurrency-fiat-amount closed-loop-available-balance
equity-offering-margin-requirement long-bond-value bond-margin-requirement
used-derivative-buying-power reg-t-margin-requirement futures-overnight-margin-requirement
futures-intraday-margin-requirement pending-margin-interest effective-cryptocurrency-buying-power
"""
_BALANCE_FUNDS = """
equity-buying-power derivative-buying-power day-trading-buying-power available-trading-funds
cash-available-to-withdraw maintenance-excess
"""

_TRADING_STATUS = {
    "equities-margin-calculation-type": "Reg T",
    "fee-schedule-name": "default",
    "futures-margin-rate-multiplier": "1.0",
    "small-notional-futures-margin-rate-multiplier": "1.0",
    "options-level": "No Restrictions",
    "is-futures-enabled": True,
    "is-cryptocurrency-enabled": True,
    "short-calls-enabled": True,
}
_TRADING_STATUS_NO = """
has-intraday-equities-margin is-aggregated-at-clearing is-closed is-closing-only is-frozen
is-full-equity-margin-required is-futures-closing-only is-futures-intra-day-enabled
is-in-day-trade-equity-maintenance-call is-in-margin-call is-pattern-day-trader
is-small-notional-futures-intra-day-enabled is-roll-the-day-forward-enabled
are-far-otm-net-options-restricted is-equity-offering-enabled is-equity-offering-closing-only
"""


def stamp(at: datetime) -> str:
    """A time as the broker writes it."""
    return at.isoformat(timespec="milliseconds")


def account(number: str) -> dict[str, Any]:
    """The one account."""
    opened = "2024-01-02T03:04:05.000+00:00"
    return {
        "account-number": number,
        "opened-at": opened,
        "created-at": opened,
        "nickname": "Individual",
        "account-type-name": "Individual",
        "margin-or-cash": "Margin",
        "is-closed": False,
        "day-trader-status": False,
        "is-firm-error": False,
        "is-firm-proprietary": False,
        "is-futures-approved": True,
        "is-foreign": False,
    }


def status_of(placed: Placed) -> str:
    """How an order stands, in the broker's word."""
    return str(placed.extra.get("status") or _STATUS[placed.status])


def order(placed: Placed, executions: Iterable[Execution], now: datetime) -> dict[str, Any]:
    """An order with its executions."""
    extra, done = placed.extra, list(executions)
    filled = sum((one.quantity for one in done), ZERO)
    told = {
        "id": placed.number,
        "account-number": placed.account,
        "time-in-force": extra["time_in_force"],
        "order-type": _TYPES[placed.type],
        "size": plain(placed.quantity),
        "underlying-symbol": extra["name"],
        "underlying-instrument-type": extra["instrument_type"],
        "status": status_of(placed),
        "cancellable": not placed.ended,
        "editable": not placed.ended,
        "edited": False,
        "received-at": stamp(placed.at),
        "updated-at": int(now.timestamp() * 1000),
        "legs": [
            {
                "instrument-type": extra["instrument_type"],
                "symbol": extra["name"],
                "quantity": _whole(placed.quantity),
                "remaining-quantity": _whole(placed.quantity - filled),
                "action": extra["action"],
                "fills": [_fill(one) for one in done],
            }
        ],
    }
    if placed.limit_price is not None:
        told |= {"price": plain(abs(placed.limit_price)), "price-effect": extra["effect"]}
    if placed.stop_price is not None:
        told["stop-trigger"] = plain(placed.stop_price)
    known = {
        "external-identifier": placed.client_id,
        "source": extra["source"],
        "reject-reason": placed.reason or None,
        "complex-order-id": extra.get("complex"),
        "complex-order-tag": extra.get("tag"),
        "replacing-order-id": extra.get("replacing"),
        "replaces-order-id": extra.get("replaces"),
    }
    return told | {name: value for name, value in known.items() if value is not None}


def _fill(done: Execution) -> dict[str, Any]:
    return {
        "ext-group-fill-id": str(done.number),
        "ext-exec-id": str(done.number),
        "fill-id": f"{done.order.number}_{done.number}",
        "quantity": _whole(done.quantity),
        "fill-price": plain(done.price),
        "filled-at": stamp(done.at),
        "destination-venue": "FAKE",
    }


def _whole(quantity: Decimal) -> int | str:
    return int(quantity) if quantity == quantity.to_integral_value() else plain(quantity)


def effect_of(money: Decimal) -> str:
    """The word that carries an amount's sign."""
    return "None" if not money else "Credit" if money > 0 else "Debit"


def cost() -> dict[str, Any]:
    """What an order does to the buying power: a fake asks for no margin, and says so."""
    none: dict[str, Any] = {"is-spread": False, "impact": "0.0", "effect": "None"}
    for field in (
        "change-in-margin-requirement",
        "change-in-buying-power",
        "current-buying-power",
        "new-buying-power",
        "isolated-order-margin-requirement",
    ):
        none |= {field: "0.0", f"{field}-effect": "None"}
    return none


def fees(paid: Decimal) -> dict[str, Any]:
    """What an order costs, all of it commission."""
    names = ("regulatory-fees", "clearing-fees", "commission", "proprietary-index-option-fees", "total-fees")
    told: dict[str, Any] = {}
    for name in names:
        part = paid if name in ("commission", "total-fees") else ZERO
        told |= {name: plain(part), f"{name}-effect": effect_of(-part)}
    return told


def position(number: str, name: str, kind: str, held: Holding, symbol: str, now: datetime) -> dict[str, Any]:
    """What is held of one symbol, or was."""
    way = "Zero" if not held.quantity else "Long" if held.quantity > 0 else "Short"
    return {
        "account-number": number,
        "symbol": name,
        "instrument-type": kind,
        "underlying-symbol": f"/{root(symbol)}" if kind == "Future" else name.split(" ")[0],
        "quantity": _whole(abs(held.quantity)),
        "quantity-direction": way,
        "close-price": plain(held.average_price),
        "average-open-price": plain(held.average_price),
        "multiplier": _whole(instrument(symbol).point_value),
        "cost-effect": "Credit" if way == "Long" else "Debit",
        "is-suppressed": False,
        "is-frozen": False,
        "realized-day-gain": plain(abs(held.realised)),
        "realized-day-gain-effect": effect_of(held.realised),
        "realized-today": plain(abs(held.realised)),
        "realized-today-effect": effect_of(held.realised),
        "created-at": stamp(now),
        "updated-at": stamp(now),
    }


def balance(exchange: Exchange, number: str, now: datetime) -> dict[str, Any]:
    """The money of the account."""
    cash = exchange.cash(number)
    worth = cash + exchange.open_profit(number)
    return {
        "account-number": number,
        "cash-balance": plain(cash),
        "margin-equity": plain(worth),
        "net-liquidating-value": plain(worth),
        "snapshot-date": now.date().isoformat(),
        "updated-at": stamp(now),
        **dict.fromkeys(_BALANCE_ZEROS.split(), "0.0"),
        **dict.fromkeys(_BALANCE_FUNDS.split(), plain(cash)),
    }


def trading_status(number: str, now: datetime) -> dict[str, Any]:
    """What the account may trade: everything."""
    no = dict.fromkeys(_TRADING_STATUS_NO.split(), False)
    return {"account-number": number, "id": 1, "updated-at": stamp(now), **_TRADING_STATUS, **no}
