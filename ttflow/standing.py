"""The desk as it stands, as JSON rows: strategies, groups, positions, halts, the flow.

Reads, never changes.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ttflow.book.rows import EVERYWHERE
from ttflow.instrument import instrument, ticker
from ttflow.words import plain, tidy, to_dict

if TYPE_CHECKING:
    from ttflow.book.ledger import Ledger
    from ttflow.book.rows import Strategy
    from ttflow.desk import Desk

Row = dict[str, Any]


def strategies(desk: Desk) -> list[Row]:
    """Every strategy that has sent an alert, by name.

    `mode` is the one that a person chose, else `auto`; `in_force` is live, paper or halted; `progress` says
    how far it is from a change, and on what evidence; where no group is live, what its trades on paper say,
    though nothing can change. `statistics` are the figures of its trades, by the mode that they were made in.
    """
    known = desk.engine.state.strategies
    return [_strategy(desk, known[name]) for name in sorted(known)]


def _strategy(desk: Desk, row: Strategy) -> Row:
    judged = desk.engine.judged_now(row.strategy)
    lives = any(group.live for group in desk.settings.groups.values())
    pinned = row.mode if row.pinned else desk.engine.rule(row.strategy).mode
    return {
        **to_dict(row),
        "mode": pinned or "auto",
        "in_force": judged.in_force,
        "progress": str(judged.verdict.progress) if lives else _on_paper_only(desk, row.strategy),
        "statistics": {
            mode: record.figures()
            for mode in ("live", "paper", "backtest")
            if (record := desk.engine.state.record(row.strategy, mode)).live.trades
        },
    }


def _on_paper_only(desk: Desk, strategy: str) -> str:
    return f"{desk.engine.tried(strategy)}; no account group is live"


def groups(desk: Desk) -> list[Row]:
    """Every account group of the settings: what it trades with, whether it is halted, its accounts."""
    states = desk.brokers_state()
    return [
        {
            "account_group": name,
            "broker": group.broker,
            "broker_state": states.get(name, "unknown"),
            "live": group.live,
            "sides": group.sides,
            "currency": group.currency,
            "halt": halt(desk, name),
            "accounts": [_account(desk, name, account.name) for account in group.accounts],
        }
        for name, group in sorted(desk.settings.groups.items())
    ]


def _account(desk: Desk, group: str, account: str) -> Row:
    """An account with its money and its shadow's, and where each stands with the group's prop firm."""
    names = (account, f"{account}~paper")
    books = [desk.engine.state.accounts.get((group, name)) for name in names]
    firms = [_firm(desk, group, name) for name, book in zip(names, books, strict=True) if book]
    return {
        "account": account,
        "books": [to_dict(book) for book in books if book],
        "firms": [firm for firm in firms if firm],
    }


def _firm(desk: Desk, group: str, name: str) -> Row | None:
    """Where an account stands with its firm at its last input; None without a firm."""
    under = desk.engine.under(group, name)
    if under is None:
        return None
    room = None if under.equity is None else _rounded(under.standing.room(under.equity))
    return {
        "account": name,
        "state": under.verdict.state.value,
        "sentence": under.verdict.sentence,
        "equity": None if under.equity is None else _rounded(under.equity),
        "floor": _rounded(under.standing.floor),
        "room": room,
        "warnings": list(under.verdict.warnings),
    }


def halt(desk: Desk, scope: str) -> Row | None:
    """The halt that holds in a group, its own or everywhere's; None while it may open."""
    for name in (EVERYWHERE, scope):
        found = desk.engine.state.halts.get(name)
        if found and found.state == "halted":
            return to_dict(found)
    return None


def positions(desk: Desk) -> list[Row]:
    """Every ledger that holds something; `unrealised` is the account's money, null without a price."""
    held = (ledger for ledger in desk.engine.state.ledgers.values() if not ledger.flat)
    return [_position(desk, ledger) for ledger in sorted(held, key=lambda one: one.key)]


def _position(desk: Desk, ledger: Ledger) -> Row:
    symbol = ledger.contract or ledger.root
    seen = desk.engine.state.prices.get(ticker(symbol))
    unrealised = None
    if seen:
        unrealised = (seen.price - ledger.average_price) * ledger.position * instrument(symbol).point_value
    return {
        "strategy": ledger.strategy,
        "account_group": ledger.account_group,
        "account": ledger.account,
        "symbol": symbol,
        "quantity": plain(ledger.position),
        "average_price": _rounded(ledger.average_price),
        "last_price": plain(seen.price) if seen else None,
        "unrealised": None if unrealised is None else _rounded(unrealised),
    }


def graph(desk: Desk) -> list[Row]:
    """The flow's nodes, parents before their children, with what each has seen since the desk started.

    `parents` are places in this list. `each_s` is how long one item takes, sampled; null where nothing was.
    """
    nodes = desk.engine.flow.graph.nodes
    places = {node: place for place, node in enumerate(nodes)}
    return [
        {
            "name": node.name,
            "kind": node.kind,
            "detail": node.detail,
            "parents": [places[parent] for parent in node.parents if parent in places],
            "seen": node.meter.seen,
            "out": node.out,
            "denied": node.meter.denied,
            "failed": node.meter.failed,
            "dropped": node.meter.dropped,
            "each_s": node.meter.seconds / node.meter.sampled if node.meter.sampled else None,
        }
        for node in nodes
    ]


def _rounded(number: Decimal) -> str:
    """A quotient may have 28 digits; no price or amount needs more than 12 after the point."""
    return plain(tidy(round(number, 12)))


def test_group(desk: Desk) -> str | None:
    """The group that test alerts go to: the usual paper one, or the first that the simulator executes."""
    paper = [name for name, group in sorted(desk.settings.groups.items()) if group.broker == "simulator"]
    return "paper_simulator" if "paper_simulator" in paper else next(iter(paper), None)
