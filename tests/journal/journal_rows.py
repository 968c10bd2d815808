"""What the journal's tests share: a clock that is set by hand, and rows to write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ttflow.inputs import Change, Decision, Input
from ttflow.order import Fill, Leg, Order, OrderStatus
from ttflow.words import Exact, OrderType, Side

START = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def on(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class AlertRow:
    seq: int
    alert_id: str
    received_at: datetime
    strategy: str = "trend"
    symbol: str = "ES"
    action: str = "buy"
    quantity: Exact | None = Decimal("1.50")
    price: Exact | None = None
    account_group: str = "sim"


@dataclass(frozen=True)
class TicketRow:
    seq: int
    alert_id: str
    account_group: str = "sim"
    account: str = "A"
    strategy: str = "trend"
    symbol: str = "ES"
    status: str = "open"
    reason: str | None = None
    order_id: str | None = None
    plan: dict[str, str] | None = None
    trail: tuple[tuple[str, str], ...] = (("size", "1.50 of ES"),)


@dataclass(frozen=True)
class PriceRow:
    symbol: str
    seq: int
    price: Exact
    at: datetime


def order(kept: Input, **changes: Any) -> Order:
    return Order(
        **{
            "seq": kept.seq,
            "order_id": f"order_{kept.seq}",
            "alert_id": f"alert_{kept.seq}",
            "strategy": "trend",
            "account_group": "sim",
            "account": "A",
            "broker": "simulator",
            "leg": Leg.OPEN,
            "attempt": 1,
            "symbol": "ES",
            "side": Side.BUY,
            "quantity": Decimal("1.50"),
            "type": OrderType.MARKET,
            "limit_price": None,
            "stop_price": None,
            "status": OrderStatus.SUBMITTING,
            "submitted_at": kept.at,
            **changes,
        }
    )


def fill(kept: Input, **changes: Any) -> Fill:
    return Fill(
        **{
            "seq": kept.seq,
            "fill_id": f"fill_{kept.seq}",
            "order_id": f"order_{kept.seq}",
            "alert_id": f"alert_{kept.seq}",
            "strategy": "trend",
            "account_group": "sim",
            "account": "A",
            "symbol": "ES",
            "side": Side.BUY,
            "quantity": Decimal("1.50"),
            "price": Decimal("5000.25"),
            "commission": Decimal("0.10"),
            "filled_at": kept.at,
            "mode": "paper",
            **changes,
        }
    )


def decided(kept: Input, *changes: Change) -> Decision:
    return Decision(kept.seq, kept.at, changes)


def filled(kept: Input) -> Decision:
    """A decision as the desk makes them: an alert, its ticket, its order twice, its fill."""
    ticket = TicketRow(kept.seq, f"alert_{kept.seq}", status="filled", order_id=f"order_{kept.seq}")
    return decided(
        kept,
        Change("alerts", AlertRow(kept.seq, f"alert_{kept.seq}", kept.at)),
        Change("tickets", ticket),
        Change("orders", order(kept)),
        Change("fills", fill(kept)),
        Change("orders", order(kept, status=OrderStatus.FILLED, filled=Decimal("1.50"))),
    )
