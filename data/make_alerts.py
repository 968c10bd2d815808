"""Write the sample alerts: two strategies on 30 days of real bars, and some of the trouble a desk meets.

    python data/make_alerts.py [OUTPUT]

OUTPUT is `ttflow/sample/alerts.jsonl` unless given. Each line is the body of one alert as TradingView would
post it, rendered from the message in `ttflow_alerts.pine`; only `{{timenow}}` is left for whoever posts it.
The same bars give the same bytes.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "ttflow" / "sample" / "alerts.jsonl"
FAST, SLOW = 20, 80
RSI_LOW, RSI_HIGH, TREND = 5, 70, 200
SYMBOL, TIMEFRAME, GROUP = "ETHUSDT.P", "15", "paper_simulator"

TROUBLE = {
    1: (GROUP, GROUP),  # the very same bytes: TradingView sends again what was not answered in time
    2: (GROUP, "topstep"),  # a group that needs a broker
    3: (GROUP, "paper_simulater"),  # a slip of the pen: there is no such group
    5: ('"action":"buy"', '"action":"hold"'),  # not an action
}
"""What follows the dip of that number: its body once more, with the first text replaced by the second."""


class Bar(NamedTuple):
    """One bar: its number, when it opened (TradingView's `{{time}}`), its close, and the close as written."""

    number: int
    time: str
    close: Decimal
    text: str


class Line(NamedTuple):
    """One alert: the number of the bar that it fired on, and its body."""

    number: int
    body: str


def read_bars(path: Path) -> list[Bar]:
    """Read the bars, oldest first; prices keep the digits of the file."""
    bars = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            opened = datetime.fromtimestamp(int(row["timestamp"]) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            bars.append(Bar(number, opened, Decimal(row["close"]), row["close"]))
    return bars


def read_message(path: Path) -> str:
    """Read the alert message, with its placeholders, out of the Pine script; one line, without blanks."""
    found = re.search(r"^//@strategy_alert_message (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{path} has no line that starts with //@strategy_alert_message")
    return compact(json.loads(found[1]))


def compact(fields: dict[str, str]) -> str:
    """Write a body on one line."""
    return json.dumps(fields, separators=(",", ":"))


class Strategy:
    """A strategy on TradingView: it remembers its position, and every order that it fills fires an alert."""

    def __init__(self, name: str, message: str) -> None:
        self.position = Decimal(0)
        self._message = message.replace("ma_cross", name)

    def fill(self, bar: Bar, position: Decimal, order_id: str, comment: str) -> Line:
        """Go to a position; like TradingView's, a reversal is one order for the close plus the open."""
        before, self.position = self.position, position
        values = {
            "ticker": SYMBOL,
            "interval": TIMEFRAME,
            "time": bar.time,
            "close": bar.text,
            "strategy.order.action": "buy" if position > before else "sell",
            "strategy.order.contracts": str(abs(position - before)),
            "strategy.order.id": order_id,
            "strategy.order.comment": comment,
            "strategy.position_size": str(position),
            "strategy.market_position": side_of(position),
            "strategy.market_position_size": str(abs(position)),
            "strategy.prev_market_position": side_of(before),
            "strategy.prev_market_position_size": str(abs(before)),
        }
        body = re.sub(r"{{([\w.]+)}}", lambda found: values.get(found[1], found[0]), self._message)
        return Line(bar.number, body)


def side_of(position: Decimal) -> str:
    """Name a position as TradingView does."""
    return "long" if position > 0 else "short" if position < 0 else "flat"


def mean(bars: Sequence[Bar]) -> Decimal:
    """Average the closes."""
    return sum((bar.close for bar in bars), Decimal(0)) / len(bars)


def ma_cross(bars: list[Bar], message: str) -> Iterator[Line]:
    """Hold 1 all the time, long above the slow average and short below; close on the last bar."""
    strategy = Strategy("ma_cross", message)
    was_above: bool | None = None
    for at in range(SLOW, len(bars)):
        above = mean(bars[at - FAST : at]) > mean(bars[at - SLOW : at])
        if was_above is not None and above != was_above:
            order_id, comment = ("Long", "fast above slow") if above else ("Short", "fast below slow")
            yield strategy.fill(bars[at - 1], Decimal(1 if above else -1), order_id, comment)
        was_above = above
    held = "Long" if strategy.position > 0 else "Short"
    yield strategy.fill(bars[-1], Decimal(0), f"Close entry(s) order {held}", "end of sample")


def rsi_dip(bars: list[Bar], message: str) -> Iterator[Line]:
    """Buy 0.5 when RSI(2) dips in an uptrend, sell it when RSI(2) recovers; never short."""
    strategy = Strategy("rsi_dip", message)
    gain = loss = Decimal(0)
    for at in range(1, len(bars)):
        change = bars[at].close - bars[at - 1].close
        gain, loss = (gain + max(change, Decimal(0))) / 2, (loss + max(-change, Decimal(0))) / 2
        if at < TREND:
            continue
        rsi = 100 * gain / (gain + loss) if gain + loss else Decimal(50)
        uptrend = bars[at].close > mean(bars[at - TREND + 1 : at + 1])
        if not strategy.position and uptrend and rsi < RSI_LOW:
            yield strategy.fill(bars[at], Decimal("0.5"), "Dip", "RSI(2) below 5")
        elif strategy.position and rsi > RSI_HIGH:
            yield strategy.fill(bars[at], Decimal(0), "Close entry(s) order Dip", "RSI(2) above 70")


def by_hand(bar: Bar, strategy: str, action: str, **more: str) -> Line:
    """Write an alert the way a person does: without TradingView's position fields."""
    head = {"strategy": strategy, "symbol": SYMBOL, "action": action}
    tail = {"price": bar.text, "time": bar.time, "timenow": "{{timenow}}", "account_group": GROUP}
    return Line(bar.number, compact(head | more | tail))


def buy_limit(bar: Bar, part: str) -> Line:
    """Ask for 0.5 at a part of the present price."""
    price = (bar.close * Decimal(part)).quantize(Decimal("0.01"))
    return by_hand(bar, "pullback", "buy", quantity="0.5", order_type="limit", limit_price=str(price))


def written_by_hand(bars: list[Bar]) -> list[Line]:
    """Two limit orders, one that a later price fills and one that is withdrawn, and an exit while flat."""
    return [
        buy_limit(bars[345], "0.99"),
        by_hand(bars[540], "pullback", "exit"),
        by_hand(bars[541], "rsi_dip", "exit"),
        buy_limit(bars[600], "0.95"),
        by_hand(bars[670], "pullback", "cancel"),
    ]


def with_trouble(lines: list[Line]) -> Iterator[Line]:
    """Follow some of the dips with what goes wrong in real life."""
    dips = 0
    for line in lines:
        yield line
        if '"order_id":"Dip"' in line.body:
            dips += 1
            if dips in TROUBLE:
                yield Line(line.number, line.body.replace(*TROUBLE[dips]))


def main(output: Path) -> None:
    """Read the bars and the message, and write the alerts in time order."""
    bars, message = read_bars(HERE / "ethusdt_15m.csv"), read_message(HERE / "ttflow_alerts.pine")
    alerts = [*ma_cross(bars, message), *rsi_dip(bars, message), *written_by_hand(bars)]
    alerts.sort(key=lambda line: line.number)
    bodies = [line.body for line in with_trouble(alerts)]
    output.write_bytes("".join(f"{body}\n" for body in bodies).encode())
    print(f"{output}: {len(bodies)} alerts")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
