"""What live views show, as plain values: each board takes changes in, and tells its state when asked.

The rule of this room: a state is small whatever comes in, and what it leaves out is a number in it.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from ttflow.notebook.sources import Row, Source
from ttflow.ticket import Status

TAPE_ROWS, SAID = 30, 160
"""How many tickets the tape shows, and how many characters of what was said of each."""
NAME = 60
"""How many characters of a sender's text are shown."""
STRATEGIES = 30
POINTS = 240
"""How many points a curve is drawn with."""
COMPARED = frozenset(
    {"alerts", "tickets", *Status, "orders", "fills"}
    | {"trades", "net_profit", "profit_factor", "win_rate", "max_drawdown", "commission"}
)
"""Which totals of two books are shown side by side."""
SAMPLES = 1000
"""Of how many of the last orders the latency tells."""


class Board(Protocol):
    """One view's content. `kind` names it, `every_s` is how often it may be drawn at most."""

    kind: str
    every_s: float

    def begin(self, source: Source) -> None:
        """Take in what is recorded; what comes after is given to `take`, and may overlap with it."""
        ...

    def take(self, changes: Sequence[Mapping[str, Any]], seen: float) -> None:
        """Take in what one input changed, and when that was seen here, in seconds since 1970."""
        ...

    def state(self, source: Source) -> Row:
        """What to show now, as JSON values."""
        ...


def clip(text: object, most: int = NAME) -> str:
    """A text no longer than `most` characters; empty for None."""
    told = "" if text is None else str(text)
    return told if len(told) <= most else f"{told[: most - 1]}…"


class Tape:
    """The newest tickets, each with what became of it and why."""

    kind, every_s = "tape", 0.1

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[Any, ...], Row] = OrderedDict()
        self._asked: OrderedDict[int, Row] = OrderedDict()
        self._unseen: set[tuple[Any, ...]] = set()
        self._tickets = self._skipped = 0

    def begin(self, source: Source) -> None:
        """Take in the newest tickets."""
        self._rows.clear()
        self._unseen.clear()
        for row in reversed(source.recent("tickets", TAPE_ROWS)):
            self._rows[_key(row)] = _line(row, row)

    def take(self, changes: Sequence[Mapping[str, Any]], seen: float) -> None:
        """Take in alerts, for what they asked, and tickets."""
        for change in changes:
            row = change["row"]
            if change["table"] == "alerts":
                self._asked[row["seq"]] = row
                if len(self._asked) > SAMPLES:
                    self._asked.popitem(last=False)
            elif change["table"] == "tickets":
                self._see(row)

    def _see(self, row: Row) -> None:
        key = _key(row)
        known = self._rows.get(key, {})
        self._tickets += not known
        blank = {"asked": clip(row["symbol"]), "at": None}
        self._rows[key] = {**blank, **known, **_line(row, self._asked.get(row["seq"]))}
        self._unseen.add(key)
        if len(self._rows) > TAPE_ROWS:
            gone, _ = self._rows.popitem(last=False)
            self._skipped += gone in self._unseen
            self._unseen.discard(gone)

    def state(self, source: Source) -> Row:
        """The newest first; `tickets` came since the tape began, `skipped` of them too fast to be shown."""
        self._unseen.clear()
        rows = [self._rows[key] for key in sorted(self._rows, reverse=True)]
        return {"rows": rows, "tickets": self._tickets, "skipped": self._skipped}


def _key(row: Row) -> tuple[Any, ...]:
    return row["seq"], row["account_group"], row["account"]


def _line(row: Row, alert: Mapping[str, Any] | None) -> Row:
    """A ticket's line; without its alert, it says nothing of what was asked."""
    asked = {}
    if alert is not None:
        words = (alert.get("action"), alert.get("quantity"), row["symbol"])
        asked = {"at": alert.get("received_at"), "asked": clip(" ".join(map(str, filter(None, words))))}
    last = row["trail"][-1] if row.get("trail") else None
    said = last["text"] if isinstance(last, dict) else last[1] if last else ""
    return {
        "seq": row["seq"],
        "strategy": clip(row["strategy"]),
        "place": clip(" / ".join(filter(None, (row["account_group"], row["account"])))),
        "status": row["status"],
        "reason": clip(row["reason"], 40),
        "said": clip(said, SAID),
        **asked,
    }


class Strategies:
    """Every strategy: where it trades, how far it is from a change, and what it has earned."""

    kind, every_s = "strategies", 0.5

    def begin(self, source: Source) -> None:
        """Nothing is remembered: the desk is asked as it stands."""

    def take(self, changes: Sequence[Mapping[str, Any]], seen: float) -> None:
        """Nothing is remembered."""

    def state(self, source: Source) -> Row:
        """Those with the most trades first; `more` are not shown."""
        rows = sorted(source.view("strategies"), key=lambda row: (-row["trades"], row["strategy"]))
        shown = [
            {
                "strategy": clip(row["strategy"]),
                "mode": row["mode"],
                "in_force": row["in_force"],
                "progress": clip(row["progress"], SAID),
                "stopped": clip(row["stopped"], SAID),
                "trades": row["trades"],
                "wins": row["wins"],
                "net_profit": float(row["net_profit"]),
            }
            for row in rows[:STRATEGIES]
        ]
        return {"rows": shown, "more": len(rows) - len(shown)}


class Curve:
    """A running sum of results with its highest point so far; `at` in seconds since 1970, money as float."""

    def __init__(self) -> None:
        self.at, self.equity, self.down = array("d"), array("d"), array("d")
        self._peak = 0.0

    def add(self, at: float, result: float) -> None:
        """Add a result."""
        equity = (self.equity[-1] if self.equity else 0.0) + result
        self._peak = max(self._peak, equity)
        self.at.append(at)
        self.equity.append(equity)
        self.down.append(equity - self._peak)

    def told(self) -> Row:
        """The curve with at most `POINTS` points: of each stretch its lowest and its highest."""
        count = len(self.equity)
        places = range(count) if count <= POINTS else self._ends(count)
        return {
            "at": [round(self.at[i], 3) for i in places],
            "equity": [round(self.equity[i], 2) for i in places],
            "down": [round(self.down[i], 2) for i in places],
            "trades": count,
            "net": round(self.equity[-1], 2) if count else 0.0,
            "deepest": round(min(self.down, default=0.0), 2),
        }

    def _ends(self, count: int) -> list[int]:
        step = math.ceil(count / (POINTS // 2 - 1))
        found = {0, count - 1}
        for start in range(0, count, step):
            stretch = range(start, min(start + step, count))
            found |= {min(stretch, key=self.equity.__getitem__), max(stretch, key=self.equity.__getitem__)}
        return sorted(found)


class Equity:
    """What was earned, trade by trade, live and on paper, and how far below its best that stands."""

    kind, every_s = "equity", 0.5

    def __init__(self, strategy: str | None = None) -> None:
        self.strategy = strategy
        self._curves = {"live": Curve(), "paper": Curve()}
        self._last = 0

    def begin(self, source: Source) -> None:
        """Take in every trade."""
        self._curves = {mode: Curve() for mode in self._curves}
        rows = source.recent("trades", 10**9)
        self._last = max((row["seq"] for row in rows), default=0)
        for row in reversed(rows):
            self._add(row)

    def take(self, changes: Sequence[Mapping[str, Any]], seen: float) -> None:
        """Take in the trades that are new."""
        for change in changes:
            if change["table"] == "trades" and change["row"]["seq"] > self._last:
                self._add(change["row"])

    def _add(self, row: Row) -> None:
        if row["mode"] in self._curves and self.strategy in (None, row["strategy"]):
            self._curves[row["mode"]].add(_seconds(row["exit_at"]), float(row["net_pnl"]))

    def state(self, source: Source) -> Row:
        """The curves that have a trade."""
        curves = {mode: curve.told() for mode, curve in self._curves.items() if len(curve.equity)}
        return {"strategy": clip(self.strategy) if self.strategy else None, "curves": curves}


class Flowing:
    """The flow's graph, with what each node has seen."""

    kind, every_s = "graph", 0.5

    def begin(self, source: Source) -> None:
        """Nothing is remembered: the desk is asked as it stands."""

    def take(self, changes: Sequence[Mapping[str, Any]], seen: float) -> None:
        """Nothing is remembered."""

    def state(self, source: Source) -> Row:
        """The nodes, parents first."""
        nodes = source.view("graph")
        return {
            "nodes": [
                {**node, "name": clip(node["name"]), "detail": clip(node["detail"], 32)} for node in nodes
            ]
        }


class Books:
    """A desk's book and its fork's: what either amounts to, and where they decided otherwise."""

    kind, every_s = "books", 1.0

    def begin(self, source: Source) -> None:
        """Nothing is remembered: both are asked as they stand."""

    def take(self, changes: Sequence[Mapping[str, Any]], seen: float) -> None:
        """Nothing is remembered."""

    def state(self, source: Source) -> Row:
        """The totals, and of the tickets that were decided otherwise the newest."""
        (told,) = source.view("books")
        names = told["names"]
        return {
            **told,
            "totals": [
                [name, _figure(mine), _figure(theirs)]
                for name, mine, theirs, _ in told["totals"]
                if name in COMPARED
            ],
            "newest": [
                {
                    "seq": row["seq"],
                    "strategy": clip(row["strategy"]),
                    "asked": clip(f"{row['action']} {row['symbol']}"),
                    "told": [_outcome(row, name) for name in names],
                }
                for row in told["newest"]
            ],
        }


def _outcome(row: Row, name: str) -> str:
    """What became of a ticket in one book, and what was sent; empty where it has no such ticket."""
    words = [row[f"status_{name}"], row[f"reason_{name}"]]
    if row[f"sent_{name}"]:
        words.append(f"{row[f'sent_{name}']:+,g}")
    return clip(" ".join(filter(None, words)))


def _figure(value: float | None) -> float | None:
    """A figure with two digits; None where there is none."""
    return None if value is None else round(float(value), 2)


STAGES: Mapping[str, str] = {
    "fired": "TradingView's time to kept",
    "ordered": "kept to ordered",
    "filled": "ordered to filled",
    "shown": "kept to seen here",
}
"""The stages of an alert's way, and how they are called."""


class Latency:
    """How long each stage took, of the last thousand: in the middle, of one in twenty, and at most."""

    kind, every_s = "latency", 0.5

    def __init__(self) -> None:
        self._taken: dict[str, deque[float]] = {name: deque(maxlen=SAMPLES) for name in STAGES}
        self._received: OrderedDict[str, float] = OrderedDict()
        self._submitted: OrderedDict[str, float] = OrderedDict()

    def begin(self, source: Source) -> None:
        """It tells of what comes from now on: when something recorded was seen here, nobody knows."""

    def take(self, changes: Sequence[Mapping[str, Any]], seen: float) -> None:
        """Take in the times of alerts, orders and fills."""
        for change in changes:
            table, row = change["table"], change["row"]
            if table == "alerts":
                self._remember(self._received, row["alert_id"], received := _seconds(row["received_at"]))
                self._taken["shown"].append(seen - received)
            elif table == "orders" and row["order_id"] not in self._submitted:
                self._ordered(row)
            elif table == "fills" and (submitted := self._submitted.get(row["order_id"])):
                self._taken["filled"].append(_seconds(row["filled_at"]) - submitted)

    def _ordered(self, row: Row) -> None:
        submitted = _seconds(row["submitted_at"])
        self._remember(self._submitted, row["order_id"], submitted)
        received = self._received.get(row["alert_id"] or "")
        if received is None:
            return
        self._taken["ordered"].append(submitted - received)
        if row["fired_at"]:
            self._taken["fired"].append(received - _seconds(row["fired_at"]))

    def _remember(self, times: OrderedDict[str, float], name: str, at: float) -> None:
        times[name] = at
        if len(times) > SAMPLES:
            times.popitem(last=False)

    def state(self, source: Source) -> Row:
        """Seconds by stage; a stage that nothing passed yet has none."""
        return {"stages": [_spread(name, self._taken[name]) for name in STAGES]}


def _spread(name: str, taken: Sequence[float]) -> Row:
    ordered = sorted(taken)
    told: Row = {"name": STAGES[name], "count": len(ordered)}
    if ordered:
        last = len(ordered) - 1
        told |= {
            "middle_s": ordered[last // 2],
            "slow_s": ordered[math.ceil(0.95 * last)],
            "most_s": ordered[-1],
        }
    return told


def _seconds(written: str) -> float:
    return datetime.fromisoformat(written).timestamp()
