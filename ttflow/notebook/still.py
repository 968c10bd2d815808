"""A view's state as HTML and CSS alone, for pages on which no script runs.

The rule of this room: every text is escaped, since strategies are called what their senders call them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

Row = Mapping[str, Any]
BARS = 480
"""How wide a curve is drawn, in pixels."""


def html(kind: str, state: Row) -> str:
    """The view of a kind as HTML; raises KeyError for a kind that there is none of."""
    link, why = state.get("link", "live"), state.get("why", "")
    told = "" if link == "live" and not why else f"<p><b>{escape(str(link))}</b> {escape(str(why))}</p>"
    return f'<div class="ttflow-still">{told}{_KINDS[kind](state)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of texts, escaped."""
    head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: object) -> str:
    return f'<td style="text-align:left">{escape(_text(cell))}</td>'


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:,.2f}" if isinstance(cell, float) else str(cell)


def _tape(state: Row) -> str:
    rows = state["rows"]
    if not rows:
        return "<p>No tickets yet.</p>"
    heads = ("received (UTC)", "strategy", "asked", "account", "outcome", "why", "said")
    cells = [
        (
            (row["at"] or "")[:19].replace("T", " "),
            *(row[name] for name in ("strategy", "asked", "place", "status", "reason", "said")),
        )
        for row in rows
    ]
    return table(heads, cells) + _skipped(state)


def _skipped(state: Row) -> str:
    if not state["skipped"]:
        return ""
    return f"<p>{state['skipped']} of {state['tickets']} tickets went by too fast to be shown.</p>"


def _strategies(state: Row) -> str:
    names = ("strategy", "in_force", "mode", "progress", "trades", "wins", "net_profit")
    rows = [[row[name] for name in names] for row in state["rows"]]
    more = f"<p>{state['more']} more are not shown.</p>" if state["more"] else ""
    heads = ("strategy", "in force", "set to", "progress", "trades", "wins", "net profit")
    return (table(heads, rows) if rows else "<p>No strategy has sent an alert yet.</p>") + more


def _equity(state: Row) -> str:
    of = f" of {state['strategy']}" if state["strategy"] else ""
    if not state["curves"]:
        return f"<p>No closed trades{escape(of)} yet.</p>"
    return "".join(_curve(f"{mode}{of}", curve) for mode, curve in state["curves"].items())


def _curve(name: str, curve: Row) -> str:
    deepest = f"deepest drawdown {curve['deepest']:,.2f}"
    told = f"{name}: {curve['net']:,.2f} after {curve['trades']} trades, {deepest}"
    values = curve["equity"]
    low, high = min(0.0, *values), max(0.0, *values)
    across, up = BARS / max(1, len(values) - 1), 78 / ((high - low) or 1)
    points = " ".join(f"{i * across:.1f},{79 - (value - low) * up:.1f}" for i, value in enumerate(values))
    return (
        f"<p>{escape(told)}</p>"
        f'<svg width="{BARS}" height="80"><polyline points="{points}" fill="none" stroke="#0f766e"/></svg>'
    )


def _graph(state: Row) -> str:
    heads = ("node", "after", "in", "out", "denied", "failed", "dropped", "each, µs")
    nodes = state["nodes"]
    rows = [
        (
            f"{node['name']}({node['detail']})" if node["detail"] else node["name"],
            ", ".join(nodes[place]["name"] for place in node["parents"]),
            *(node[name] for name in ("seen", "out", "denied", "failed", "dropped")),
            None if node["each_s"] is None else 1e6 * node["each_s"],
        )
        for node in nodes
    ]
    return table(heads, rows)


def _latency(state: Row) -> str:
    heads = ("stage", "count", "middle, ms", "one in twenty over, ms", "most, ms")
    rows = [
        (one["name"], one["count"], *(_ms(one.get(name)) for name in ("middle_s", "slow_s", "most_s")))
        for one in state["stages"]
    ]
    return table(heads, rows)


def _books(state: Row) -> str:
    names = state["names"]
    told = f"{state['different']} of {state['different'] + state['same']} tickets were decided otherwise"
    late = f"; the fork is {state['behind']} inputs behind" if state["behind"] else ""
    newest = [[row["strategy"], row["asked"], *row["told"]] for row in state["newest"]]
    first = table(("strategy", "asked", *names), newest) if newest else ""
    return table(("", *names), state["totals"]) + f"<p>{escape(told + late)}.</p>" + first


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


_KINDS: Mapping[str, Callable[[Row], str]] = {
    "tape": _tape,
    "strategies": _strategies,
    "equity": _equity,
    "graph": _graph,
    "latency": _latency,
    "books": _books,
}
