"""What each figure is called, how it is written, and what it means in one sentence: for tables and reports.

The rule of this room: one entry for each of `figures.KEYS`, in their order; docs/statistics.md says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Literal, NamedTuple

from ttflow.stats.figures import Figures

Kind = Literal["count", "money", "ratio", "part", "percent"]


class Meaning(NamedTuple):
    """A figure's name, the kind of its value, and what it is; `undefined` says when it is null."""

    label: str
    kind: Kind
    text: str
    undefined: str = ""

    def written(self, value: float | None) -> str:
        """Write a value as a table has it: `1,234.50`, `71.0%`; empty where it is undefined."""
        return "" if value is None else _WRITTEN[self.kind].format(value)


_WRITTEN: Mapping[Kind, str] = {
    "count": "{:,.0f}",
    "money": "{:,.2f}",
    "ratio": "{:.2f}",
    "part": "{:.1%}",
    "percent": "{:.2f}%",
}

_BOTH = "unless there are wins and losses"
_WIN, _LOSS, _TRADE = "without a winner", "without a loser", "without a trade"
_TWO = "for less than two trades, or results all the same"
_DAYS = "for less than three days, or returns all the same"

MEANINGS: Mapping[str, Meaning] = {
    "trades": Meaning("trades", "count", "Round trips that were closed."),
    "episodes": Meaning("episodes, flat to flat", "count", "Times from flat to flat, or across zero."),
    "net_profit": Meaning("net profit", "money", "The sum of all results, net of commission."),
    "gross_profit": Meaning("gross profit", "money", "The sum of the wins."),
    "gross_loss": Meaning("gross loss", "money", "The sum of the losses, positive."),
    "profit_factor": Meaning("profit factor", "ratio", "Gross profit / gross loss.", _LOSS),
    "win_rate": Meaning("win rate", "part", "Wins / all trades, even ones included.", _TRADE),
    "avg_trade": Meaning("average trade", "money", "Net profit / trades: the expectancy.", _TRADE),
    "avg_win": Meaning("average win", "money", "Gross profit / wins.", _WIN),
    "avg_loss": Meaning("average loss", "money", "The mean loss, negative.", _LOSS),
    "payoff": Meaning("average win / average loss", "ratio", "How much a win is worth in losses.", _BOTH),
    "largest_win": Meaning("largest win", "money", "The best result of a trade.", _WIN),
    "largest_loss": Meaning("largest loss", "money", "The worst result of a trade, negative.", _LOSS),
    "max_consecutive_wins": Meaning(
        "wins in a row, at most", "count", "The longest run of wins; an even trade ends it."
    ),
    "max_consecutive_losses": Meaning(
        "losses in a row, at most", "count", "The longest run of losses; an even trade ends it."
    ),
    "commission": Meaning("commission", "money", "The commission of the trades that were closed."),
    "max_drawdown": Meaning(
        "deepest drawdown",
        "money",
        "The deepest fall of the equity from its peak, trade close to trade close.",
    ),
    "max_drawdown_pct": Meaning(
        "deepest drawdown of its peak", "percent", "The deepest fall in percent of the peak it fell from."
    ),
    "recovery_factor": Meaning(
        "net profit / deepest drawdown",
        "ratio",
        "How often the deepest fall was earned.",
        "without a drawdown",
    ),
    "sqn": Meaning(
        "system quality number",
        "ratio",
        "√trades · mean / standard deviation of the results: the t statistic of their mean.",
        _TWO,
    ),
    "kelly": Meaning("Kelly fraction", "ratio", "Win rate - (1 - win rate) / payoff.", _BOTH),
    "sharpe": Meaning(
        "Sharpe ratio",
        "ratio",
        "Mean / standard deviation of daily returns, for a year.",
        "for less than two days, or returns all the same",
    ),
    "sortino": Meaning(
        "Sortino ratio",
        "ratio",
        "Mean of daily returns / root of the mean squared losing ones, for a year.",
        "without a losing day",
    ),
    "calmar": Meaning(
        "Calmar ratio",
        "ratio",
        "Yearly growth / deepest fall of the daily equity.",
        "without such a fall",
    ),
    "sharpe_tradingview": Meaning(
        "Sharpe ratio, TradingView's",
        "ratio",
        "As TradingView describes it: of monthly returns less 2 % a year, not for a year.",
        _DAYS,
    ),
    "sortino_tradingview": Meaning(
        "Sortino ratio, TradingView's",
        "ratio",
        "As TradingView describes it: of monthly returns less 2 % a year, not for a year.",
        "for less than three days, or without a shortfall",
    ),
    "prob_profitable": Meaning(
        "how sure it earns", "part", "How sure the trades make one that it earns: Student's t.", _TWO
    ),
}
"""Every figure of `figures.KEYS`, in their order."""

UNDEFINED = "–"


class Summary(Figures):
    """Figures by their keys, as a plain dict that shows itself in a notebook with what each one means."""

    def _repr_html_(self) -> str:
        return figures_table({"": self})


def figures_table(columns: Mapping[str, Mapping[str, float | int | None]]) -> str:
    """Write figures as an HTML table, a column for each name, each row with what it means.

    Texts are escaped; nothing is loaded. What is undefined is a dash that tells when that is.
    """
    heads = "".join(f'<th class="number">{escape(name)}</th>' for name in columns)
    rows = "".join(
        _row(key, one, [figures[key] for figures in columns.values()]) for key, one in MEANINGS.items()
    )
    return (
        f'<table class="figures"><thead><tr><th>figure</th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _row(key: str, one: Meaning, values: list[float | int | None]) -> str:
    cells = "".join(f'<td class="number">{_cell(one, value)}</td>' for value in values)
    name = f'{escape(one.label)}<br><small title="{key}">{escape(one.text)}</small>'
    return f'<tr><td style="text-align:left">{name}</td>{cells}</tr>'


def _cell(one: Meaning, value: float | None) -> str:
    told = one.written(value)
    return told or f'<span title="undefined {escape(one.undefined)}">{UNDEFINED}</span>'
