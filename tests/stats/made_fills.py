"""Fills for the tests of statistics: one in a line, and random walks for the laws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from ttflow.order import Fill
from ttflow.words import Side

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


def fill(side, quantity, price, hours=0.0, **fields):
    """A fill of AAPL so many hours after Monday nine, free of commission."""
    usual = {
        "seq": 1, "fill_id": "f", "order_id": "o", "alert_id": None, "strategy": "walker",
        "account_group": "g", "account": "a", "symbol": "AAPL", "commission": 0, "mode": "paper",
    }  # fmt: skip
    given = usual | fields
    given["commission"] = Decimal(str(given["commission"]))
    return Fill(
        side=Side(side),
        quantity=Decimal(str(quantity)),
        price=Decimal(str(price)),
        filled_at=MONDAY + timedelta(hours=hours),
        **given,
    )


def fills(*steps, **fields):
    """Fills an hour apart, each (signed quantity, price)."""
    return [
        fill(
            "buy" if quantity > 0 else "sell",
            abs(quantity),
            price,
            hour,
            seq=hour,
            fill_id=f"f{hour}",
            **fields,
        )
        for hour, (quantity, price) in enumerate(steps)
    ]


_steps = st.tuples(
    st.sampled_from(["buy", "sell"]),
    st.decimals("0.001", "5", places=3),
    st.decimals("90", "110", places=2),
    st.decimals("0", "3", places=2),
    st.sampled_from(["AAPL", "MES1!", "BTCUSDT"]),
    st.sampled_from([0.0, 0.5, 5.0, 20.0, 200.0, 2000.0]),
)


@st.composite
def walks(draw, *, most=40, one_symbol=False, flat=False):
    """A random walk of fills through time, of one strategy; `flat` ends it so."""
    made, hours, held = [], 0.0, {}
    for at, (side, quantity, price, paid, symbol, later) in enumerate(
        draw(st.lists(_steps, min_size=1, max_size=most)), 1
    ):
        symbol = "AAPL" if one_symbol else symbol
        hours += later
        made.append(
            fill(side, quantity, price, hours, symbol=symbol, commission=paid, seq=at, fill_id=f"f{at}")
        )
        held[symbol] = held.get(symbol, Decimal(0)) + made[-1].signed
    for symbol, position in held.items() if flat else ():
        if position:
            side = "sell" if position > 0 else "buy"
            at = len(made) + 1
            made.append(
                fill(side, abs(position), 100, hours, symbol=symbol, commission=1, seq=at, fill_id=f"f{at}")
            )
    return made
