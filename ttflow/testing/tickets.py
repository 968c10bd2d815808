"""Tickets by chance, the same ones for the same seed: ordinary, odd and hostile, entries and exits mixed.

Their times only go forward, in bursts and with long pauses, so that what an operator remembers is put to the
test; their books know everything, something or nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from ttflow.order import Leg
from ttflow.testing.making import NINE, alert
from ttflow.ticket import Ticket
from ttflow.view import NOTHING_KNOWN, Opening, View
from ttflow.words import Side, evolve

_PRICES = {"ES1!": 5000, "CME_MINI:NQ1!": 20_000, "AAPL": 100, "BTCUSDT": 60_000, "GBPJPY": 200}
_GAPS_S = (0, 0.1, 1, 7, 30, 59, 60, 61, 600, 3600, 86_400, 3 * 86_400)
_QUANTITIES = ("1", "2", "3", "0.5", "0.000001", "100000")


def tickets(count: int = 400, seed: int = 0) -> list[Ticket]:
    """Make so many tickets, in the order of their time; none for a count of 0.

    Two account groups of two accounts each, three strategies, five symbols; two in five are exits.
    """
    chance, now = Random(seed), NINE
    made = []
    for number in range(1, count + 1):
        now += timedelta(seconds=chance.choice(_GAPS_S) * chance.random())
        made.append(_ticket(chance, number, now))
    return made


def _ticket(chance: Random, seq: int, now: datetime) -> Ticket:
    told = _alert_fields(chance)
    lifted = Ticket.of(alert(**told), seq=seq, now=now)
    reduces = chance.random() < 0.4
    position = Decimal(chance.choice(("0", "0", "2", "-3", "0.5")))
    return evolve(
        lifted,
        account=f"{lifted.account_group}-{chance.choice('12')}",
        leg=Leg.CLOSE if reduces else Leg.OPEN,
        side=chance.choice(tuple(Side)),
        asked=Decimal(chance.choice(_QUANTITIES)),
        quantity=Decimal(chance.choice(_QUANTITIES)) if reduces or chance.random() < 0.5 else None,
        position=position or Decimal(1) if reduces else position,
        ratio=chance.choice((None, Decimal(2), Decimal("0.5"))),
        multiplier=Decimal(chance.choice(("1", "1", "0.5", "3"))),
        statistics=_statistics(chance),
        tags=chance.choice(({}, {"desk": "night"})),
        book=_view(chance, now),
    )


def _alert_fields(chance: Random) -> dict[str, Any]:
    symbol = chance.choice(tuple(_PRICES))
    fields: dict[str, Any] = {
        "symbol": symbol,
        "action": chance.choice(("buy", "sell", "buy", "sell", "reverse", "exit")),
        "strategy": chance.choice(("trend", "walker", "night watch")),
        "account_group": chance.choice(("main", "topstep")),
        "price": chance.choice((None, _PRICES[symbol], _PRICES[symbol] * 2)),
        "quantity": chance.choice((1, 2, 7)),
        "stop_loss": chance.choice((None, {"percent": 1}, {"price": _PRICES[symbol]})),
        "exchange": chance.choice((None, "NASDAQ", "CME_DL")),
        "atr": chance.choice((None, 2, "wide")),
        "quantity_type": chance.choice((None, None, "cash", "lots")),
        "comment": chance.choice((None, "", "ümlaut 😀")),
    }
    if fields["price"] is not None and chance.random() < 0.2:
        fields |= {"order_type": "limit", "limit_price": fields["price"]}
    return fields


def _statistics(chance: Random) -> dict[str, Any]:
    nothing: dict[str, Any] = {"trades": 0, "win_rate": None, "net_profit": 0.0}
    some = {"trades": 60, "win_rate": chance.random(), "net_profit": chance.uniform(-900, 900), "payoff": 2.0}
    return chance.choice(({}, nothing, some))


def _view(chance: Random, now: datetime) -> View:
    if chance.random() < 0.3:
        return NOTHING_KNOWN
    seen = now - timedelta(seconds=chance.choice((0, 5, 500)))
    roots = {"ES": 5000, "NQ": 20_000, "USDJPY": 125}
    prices = {symbol: (price, seen) for symbol, price in (_PRICES | roots).items() if chance.random() < 0.9}
    return View.of(
        now=now,
        price=prices,
        reference=prices,
        quoted_at=dict.fromkeys(prices, seen),
        positions={"ES": chance.randint(-3, 3), "AAPL": chance.randint(-90, 90)},
        openings={"ES": (chance.randint(0, 3), chance.randint(0, 3))},
        equity=chance.choice((None, 0, 50_000)),
        equity_at=chance.choice((None, seen)),
        peak_equity=chance.choice((None, 51_000)),
        day_profit=chance.choice((None, -800, 300)),
        room=chance.choice((None, 0, 2000)),
        state=chance.choice(("active", "active", "reducing", "halted")),
        last_orders=[Opening(seen, "trend", "ES", Side.BUY, Decimal(1))] * chance.randint(0, 3),
        losses_in_a_row=chance.randint(0, 4),
        last_loss_at=chance.choice((None, seen)),
    )
