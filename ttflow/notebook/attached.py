"""Attached: a running desk seen from outside: flows that are live, frames that grow, and the controls.

The rule of this room: one thread follows the desk; what it learns is handed to flows in that thread, and may
be asked for from any other. Nothing here runs in the desk.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from ttflow.client import Client, Unauthorized, client_for
from ttflow.errors import RequestError
from ttflow.notebook.controls import BEHIND_S, Controls
from ttflow.notebook.following import Hear, Row
from ttflow.notebook.line import Find, Line
from ttflow.settings import Settings, is_loopback, load

if TYPE_CHECKING:
    import pandas as pd


def attach(
    url: str | None = None,
    *,
    token: str | None = None,
    journal: str | Path | None = None,
    since: int | None = None,
) -> Attached:
    """Look into a running desk, in a notebook as in a script; returns once its stream stands.

    `url` is its address, by default that of the desk that has the journal. `token` is its API token; where
    the desk is on this machine, the one beside the journal is taken, as the commands take it. `journal` is
    that journal, by default the settings'. The flows begin now, or after the input `since`. Raises
    RequestError, one line, where no desk answers at the address, the token is not its own, or `since` is
    beyond its end.
    """
    find = _finder(url, token, journal)
    line = Line(find, checked=_checked(find(), token), since=since)
    line.start()
    try:
        line.wait_live()
    except BaseException:
        line.stop()
        raise
    return Attached(line)


def _finder(url: str | None, token: str | None, journal: str | Path | None) -> Find:
    """What gives a client of the desk, anew: started again, it may be elsewhere with another token."""
    near = url is None or is_loopback(urlsplit(url if "//" in url else f"http://{url}").hostname or "")
    given = None if journal is None else Path(journal)
    last: str | None = None

    def find() -> Client:
        nonlocal last
        if url is not None and (token is not None or not near):
            return Client(url, token)
        settings = Settings(journal=given) if given else load()
        found = client_for(settings, url, last)
        last = found.base
        return found if token is None else Client(found.base, token)

    return find


def _checked(client: Client, token: str | None) -> Row:
    """What the desk says of itself; raises RequestError where it is none, or doesn't know a given token."""
    try:
        told = client.get("/api/desk")
    except Unauthorized as error:
        shown = "does not know this token" if token else "wants its API token"
        raise RequestError(
            f"The desk at {client.base} {shown}; give token=, the TTFLOW_API_TOKEN that it was started with, "
            "or what stands in the file beside its journal whose name ends in .token."
        ) from error
    except RequestError as error:
        hint = " A desk in this very kernel needs no attaching: use it itself." if _in_loop() else ""
        raise RequestError(f"{error}{hint}" if "timed out" in str(error) else str(error)) from error
    if told is None:
        raise RequestError(f"{client.base} is no desk of ttflow: it has no /api/desk; look at the address.")
    if token and not told["signed_in"]:
        raise RequestError(
            f"The desk at {client.base} does not know this token; give its own, "
            "or leave token= away to read only."
        )
    return dict(told)


def _in_loop() -> bool:
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


class Attached(Controls):
    """A running desk seen from outside; made by `attach`, and closed by `close` or by the end of a `with`.

    `tickets`, `fills`, `orders`, `trades`, `modes`, `notices` and `prices` are flows of everything recorded,
    in the order of its seq, each thing once, across restarts of the desk. Listeners are called in a thread of
    its own; one that is slow makes the others late and nothing else.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self.tickets, self.fills, self.orders = (line.flows[name] for name in ("tickets", "fills", "orders"))
        self.trades, self.modes = line.flows["trades"], line.flows["modes"]
        self.notices, self.prices = line.flows["notices"], line.flows["prices"]
        self._finalize = weakref.finalize(self, line.stop)  # at the end of the process too

    # How it stands

    @property
    def url(self) -> str:
        """The desk's address."""
        return self._line.client.base

    @property
    def seq(self) -> int:
        """The last input that was seen: frames and flows are as of it."""
        return self._line.seq

    @property
    def state(self) -> str:
        """How the connection stands.

        `live`; `reconnecting`; `lost`, where another desk answers or the token is no good any more; `closed`.
        """
        return self._line.state

    @property
    def reason(self) -> str:
        """Why it is not live; empty while it is."""
        return self._line.reason

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and came back."""
        return self._line.reconnects

    def wait(self, seq: int | None = None, timeout: float = BEHIND_S) -> bool:
        """Wait until input `seq` is decided and seen here, by default the last one kept so far.

        False after `timeout` seconds.

        Raises RequestError where the desk doesn't answer, and once it is closed or lost.
        """
        self._line.check()
        last: int = self._line.get("/healthz")["last_seq"] if seq is None else seq
        return self._line.wait(last, timeout)

    def close(self) -> None:
        """Follow no more; what was learned stays, and flows get nothing more. A second call does nothing."""
        self._finalize()
        self._line.join(5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What it knows

    def frame(self, table: str) -> pd.DataFrame:
        """A table as a pandas frame, as of `seq`: columns, types and order as `Reader.frame` gives them.

        One of `alerts`, `tickets`, `orders`, `fills`, `trades`, `episodes`, `modes`, `notices`. It is asked
        for once and then grows with the stream. Raises RequestError for another name, where the desk doesn't
        answer, and once it is lost; once it is closed, for what was not asked for before.
        """
        self._load(table)
        return self._line.tables.frame(table)

    def _load(self, table: str) -> None:
        if self.state == "closed" and self._line.tables.has(table):
            return
        self._line.check()
        if self._line.tables.load(table) and not self.wait():
            raise RequestError(
                f"The stream of {self.url} is {BEHIND_S:.0f} s behind ({self.state}); "
                "ask again when it has caught up."
            )

    def statistics(self, **options: Any) -> pd.DataFrame:
        """What each strategy is worth in each mode: the figures of `ttflow stats`, a row each.

        From the fills, with TradingView's own results where they were imported. `options` are those of
        `tt.stats.by`: `capital`, `calendar`. Computed here, not in the desk.
        """
        from ttflow import stats
        from ttflow.order import Trade
        from ttflow.words import decode

        self._load("fills")
        self._load("trades")
        trades = self._line.tables.rows("trades")
        imported = [decode(Trade, row) for row in trades if row["mode"] == "backtest"]
        record = stats.record(self._line.tables.rows("fills")) + stats.of_trades(imported)
        return stats.by(record, "strategy", "mode", **options)

    def positions(self) -> pd.DataFrame:
        """What every ledger holds now, by the desk's own prices; `unrealised` in the account's money."""
        return _frame(self._line.get("/api/positions")["positions"], POSITIONS)

    def strategies(self) -> pd.DataFrame:
        """Every strategy with its `mode` as set, the one `in_force`, and its `progress` to a change."""
        return _frame(self._line.get("/api/strategies")["strategies"], STRATEGIES)

    def explain(self, alert_id: str) -> str:
        """What became of an alert, step by step in each account.

        Raises RequestError for one that is not there.
        """
        found = self._line.get(f"/api/alerts/{quote(alert_id, safe='')}")
        if found is None:
            raise RequestError(f"There is no alert {alert_id}, or it is not decided yet.")
        return "\n\n".join(map(_told, found["tickets"]))

    # What widgets ask

    def listen(self, listener: Hear) -> Callable[[], None]:
        """Call `listener(seq, changes)` for every input that is seen, in the following thread.

        Returns what ends it.
        """
        listeners = self._line.listeners
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None

    def ask(self, path: str, **query: object) -> Any:
        """Read `path` of the API as JSON; None where there is no such thing. Raises RequestError."""
        return self._line.get(path, **query)

    def __repr__(self) -> str:
        why = f" ({self.reason.rstrip('.')})" if self.reason else ""
        return f"<Attached to {self.url}: {self.state}{why}, input {self.seq}>"

    def _repr_html_(self) -> str:
        counts = ", ".join(
            f"{flow.node.out} {name}" for name, flow in self._line.flows.items() if flow.node.out
        )
        told = f"Attached to <b>{escape(self.url)}</b>: {escape(self.state)}"
        why = f" ({escape(self.reason.rstrip('.'))})" if self.reason else ""
        return f"<div>{told}{why}. Input {self.seq}; since then {escape(counts or 'nothing')}.</div>"


POSITIONS: Mapping[str, str] = {
    **dict.fromkeys(("strategy", "account_group", "account", "symbol"), "str"),
    **dict.fromkeys(("quantity", "average_price", "last_price", "unrealised"), "float64"),
}
STRATEGIES: Mapping[str, str] = {
    **dict.fromkeys(("strategy", "mode", "in_force", "progress"), "str"),
    **dict.fromkeys(("trades", "wins"), "int64"),
    **dict.fromkeys(("net_profit", "live_net"), "float64"),
    "first_seen_at": "datetime64[us, UTC]",
}
"""The columns of the lists that the API makes of the live book, with their types in a frame."""


def _frame(rows: list[Row], columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    made = {}
    for name, kind in columns.items():
        values = pd.Series([row[name] for row in rows], dtype="object")
        made[name] = pd.to_datetime(values, utc=True, format="ISO8601") if "time" in kind else values
    return pd.DataFrame(made).astype(dict(columns))


def _told(ticket: Mapping[str, Any]) -> str:
    """One ticket's trail, a line a step, and its outcome."""
    place = " / ".join(filter(None, (ticket["account_group"], ticket["account"])))
    steps = [f"{note['step'] or '·':>9}  {note['text']}" for note in ticket["trail"]]
    ended = ticket["status"] + (f" ({ticket['reason']})" if ticket["reason"] else "")
    return "\n".join([f"{ticket['strategy']} in {place}: {ended}", *steps])
