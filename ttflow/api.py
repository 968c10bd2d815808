"""The API over HTTP: what the desk knows as JSON, and the few commands that change something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from secrets import token_hex
from typing import Any, ClassVar

from ttflow import __version__, standing
from ttflow.access import Refusal
from ttflow.alert import parse_alert
from ttflow.answering import Guarded, explained
from ttflow.book.rows import EVERYWHERE
from ttflow.journal import Reader
from ttflow.template import RECOMMENDED
from ttflow.tradingview import MOST_IMPORTED, imported

Row = dict[str, Any]

PAGE, MOST = 100, 1000
"""How many rows a list has unless told, and at most."""
MOST_PRICES = 1000
"""How many symbols one call may tell the prices of."""
WAIT_S = 10
"""How long a command waits for its decision to be on disk."""
TEST_STRATEGY, TEST_SYMBOL = "dashboard_test", "TTFLOWTEST"
"""What a test alert calls itself; no market has the symbol, so its price can't fill anything else."""
MODES = ("live", "paper", "halted", "auto")


# Lists from the journal


class Rows(Guarded):
    """A table of the journal, the newest first, page by page; the rows of one input are never parted."""

    def initialize(self, table: str) -> None:
        """Serve `table`."""
        self.table = table

    async def get(self) -> None:
        """Answer `{TABLE: [row, …], "next": seq or null}`; `next` is the `before` of the next page."""
        limit, before = self.whole("limit", PAGE, 1, MOST), self.whole("before", None, 0, 2**63 - 1)
        assert limit is not None
        with explained():
            rows, following = await self.reading.ask(partial(_page, self.table, limit, before))
        self.write_json({self.table: rows, "next": following})

    def whole(self, name: str, default: int | None, least: int, most: int) -> int | None:
        """Read a whole number of the query."""
        given = self.get_query_argument(name, None)
        if given is None:
            return default
        if not (given.isascii() and given.isdigit() and len(given) < 20 and least <= int(given) <= most):
            text = f"{name} has to be a whole number from {least} to {most}."
            raise Refusal(400, "invalid_request", text)
        return int(given)


def _page(table: str, limit: int, before: int | None, reader: Reader) -> tuple[list[Row], int | None]:
    found = reader.rows(table, limit=limit + 1, before=before, newest_first=True)
    rows = list(islice(found, limit + 1))
    following = None
    if len(rows) > limit:
        cut = rows.pop()["seq"]
        whole = [row for row in rows if row["seq"] > cut]
        rows = whole or list(reader.rows(table, seq=cut, newest_first=True))
        more = next(reader.rows(table, limit=1, before=rows[-1]["seq"], newest_first=True), None)
        following = rows[-1]["seq"] if more else None
    if table == "tickets":
        _join_alerts(rows, reader)
    return rows, following


def _join_alerts(rows: list[Row], reader: Reader) -> None:
    """Give tickets what their alert asked for."""
    seqs = {row["seq"] for row in rows}
    alerts = {row["seq"]: row for row in reader.rows("alerts", seq=seqs)} if seqs else {}
    for row in rows:
        alert = alerts.get(row["seq"], {})
        row.update({name: alert.get(name) for name in ("received_at", "action", "quantity", "price")})
        row["trail"] = told(row["trail"])


def told(trail: list[list[str]] | None) -> list[dict[str, str]]:
    """Name the parts of a trail's notes."""
    return [{"step": step, "text": text} for step, text in trail or ()]


class OneAlert(Guarded):
    """One alert, and what became of it in each account."""

    async def get(self, alert_id: str) -> None:
        """Answer `{"alert": {…}, "tickets": [{…, "trail", "order", "orders", "fills"}]}`."""
        with explained():
            found = await self.reading.ask(partial(_story, alert_id))
        if found is None:
            text = "There is no such alert, or it is not decided yet."
            raise Refusal(404, "not_found", text)
        self.write_json(found)


def _story(alert_id: str, reader: Reader) -> Row | None:
    found = reader.alert(alert_id)
    if found is None:
        return None
    orders = list(reader.rows("orders", alert_id=alert_id))
    for ticket in found["tickets"]:
        place = ticket["account_group"], ticket["account"]
        ticket["trail"] = told(ticket["trail"])
        ticket["orders"] = [row for row in orders if (row["account_group"], row["account"]) == place]
    return found


# The desk as it stands


class Live(Guarded):
    """A list made from the live book."""

    def initialize(self, name: str) -> None:
        """Serve one of `VIEWS`."""
        self.name = name

    def get(self) -> None:
        """Answer `{NAME: [row, …]}`."""
        self.write_json({self.name: _VIEWS[self.name](self.desk)})


_VIEWS = {
    "strategies": standing.strategies,
    "groups": standing.groups,
    "positions": standing.positions,
    "graph": standing.graph,
}


class Overview(Guarded):
    """What the page shows besides the lists: where to post, whether it is halted, who is looking."""

    def get(self) -> None:
        """Answer the overview; no secret is in it, only whether one is set."""
        desk = self.desk
        base = desk.settings.public_url or f"{self.request.protocol}://{self.request.host}"
        path = "" if base.endswith("/webhook/tradingview") else "/webhook/tradingview"
        self.write_json(
            {
                "version": __version__,
                "journal_id": desk.journal.journal_id,
                "recorded": desk.journal.last_seq - desk.undecided,
                "status": desk.status,
                "signed_in": self.access.knows(self.request),
                "halt": standing.halt(desk, EVERYWHERE),
                "webhook": {"url": base + path, "secret": bool(desk.settings.secrets)},
                "message": RECOMMENDED,
                "test_group": standing.test_group(desk),
            }
        )


# Commands


class Command(Guarded):
    """A call that changes something; a body of JSON may say the `reason`."""

    changes: ClassVar[bool] = True

    @property
    def strategies(self) -> Collection[str]:
        """The strategies that have sent an alert."""
        return self.desk.engine.state.strategies

    def body(self) -> Row:
        """Read the body: an object, or nothing."""
        try:
            read = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            read = None
        if not isinstance(read, dict):
            raise Refusal(400, "invalid_request", "The body has to be a JSON object.")
        return read

    def reason(self, body: Row) -> str:
        """The `reason` of a body; `through the API` where it gives none."""
        given = body.get("reason", "through the API")
        if not isinstance(given, str) or not given.isprintable() or not 0 < len(given) <= 200:
            text = "reason has to be one line of at most 200 characters."
            raise Refusal(400, "invalid_request", text)
        return given

    def done(self, seq: int) -> None:
        """Answer with the seq of the command."""
        self.write_json({"status": "ok", "seq": seq})


class Switch(Command):
    """Halt, resume or flatten, everywhere or in a group; the body may name one `strategy`."""

    async def post(self, *path: str) -> None:
        """Carry it out; `path` is the group, where there is one, and the verb."""
        *group, verb = path
        if group and group[0] not in self.desk.settings.groups:
            raise Refusal(404, "not_found", "There is no such account group.")
        body = self.body()
        scope, strategy = group[0] if group else EVERYWHERE, body.get("strategy")
        if strategy is not None and not (isinstance(strategy, str) and strategy in self.strategies):
            raise Refusal(404, "not_found", "There is no such strategy: none of that name has sent an alert.")
        reason = self.reason(body)
        with explained():
            async with asyncio.timeout(WAIT_S):
                act = getattr(self.desk, verb)
                self.done(await act(f"{scope}/{strategy}" if strategy else scope, reason))


class Prices(Command):
    """Tell the desk what the market's prices are."""

    async def post(self) -> None:
        """Take in `{"prices": {"ES1!": 5000.25, …}}` or one `{"symbol": "ES1!", "price": 5000.25}`."""
        body = self.body()
        symbol = body.get("symbol")
        prices = body.get("prices", {symbol: body.get("price")} if isinstance(symbol, str) else None)
        if not isinstance(prices, dict) or not 0 < len(prices) <= MOST_PRICES or not all(map(_named, prices)):
            text = f'Give {{"prices": {{"SYMBOL": PRICE, …}}}}, with one to {MOST_PRICES} symbols.'
            raise Refusal(400, "invalid_request", text)
        with explained():
            async with asyncio.timeout(WAIT_S):
                self.done(await self.desk.see_prices(prices))


def _named(symbol: str) -> bool:
    """Whether a symbol is one that an alert could have."""
    return 0 < len(symbol) <= 64 and symbol.isprintable()


class SetLimits(Command):
    """Put other limits in force, the desk's or a group's."""

    async def post(self, group: str | None = None) -> None:
        """Carry out `{"limits": {"quantity": 5}}`; null brings back those of the settings."""
        body = self.body()
        limits = body.get("limits", {})
        if "limits" not in body or not isinstance(limits, dict | None):
            text = 'Give {"limits": {"quantity": 5}}, or null for those of the settings.'
            raise Refusal(400, "invalid_request", text)
        if group is not None and group not in self.desk.settings.groups:
            raise Refusal(404, "not_found", "There is no such account group.")
        reason = self.reason(body)
        with explained():
            async with asyncio.timeout(WAIT_S):
                self.done(await self.desk.set_limits(limits, group or EVERYWHERE, reason))


class SettleOrder(Command):
    """Say what became of an order in doubt."""

    async def post(self, order_id: str, verb: str) -> None:
        """Carry it out: `adopt` or `absent`."""
        self.body()
        with explained():
            async with asyncio.timeout(WAIT_S):
                self.done(await self.desk.settle_order(order_id, verb))


class Mode(Command):
    """Set a strategy's mode."""

    async def post(self, strategy: str) -> None:
        """Carry out `{"mode": "live|paper|halted|auto"}`."""
        body = self.body()
        if strategy not in self.strategies:
            raise Refusal(404, "not_found", "There is no such strategy: none of that name has sent an alert.")
        if body.get("mode") not in MODES:
            raise Refusal(400, "invalid_request", f"mode has to be one of {', '.join(MODES)}.")
        reason = self.reason(body)
        with explained():
            async with asyncio.timeout(WAIT_S):
                self.done(await self.desk.set_mode(strategy, body["mode"], reason))


class Import(Command):
    """Take trades that were no orders of ours into a strategy's backtest."""

    async def post(self, strategy: str) -> None:
        """Take in `{"source": "…", "trades": [{…}, …]}`; answers how many were not there yet: `imported`."""
        body = self.body()
        given = body.get("trades")
        if not isinstance(given, list) or len(given) > MOST_IMPORTED:
            text = f"trades has to be a list of at most {MOST_IMPORTED} trades."
            raise Refusal(400, "invalid_request", text)
        try:
            trades = [imported(told, strategy, 0) for told in given]
        except (TypeError, ValueError):
            text = "A trade is not as ttflow import sends it; send the file with that command."
            raise Refusal(400, "invalid_request", text) from None
        with explained():
            async with asyncio.timeout(WAIT_S):
                added = await self.desk.import_trades(strategy, trades, str(body.get("source", "")))
                self.write_json({"status": "ok", "imported": added})


class TestAlert(Command):
    """Send an alert of our own down the real path, on paper: the first buys one, the next closes it."""

    async def post(self) -> None:
        """Keep it, and answer as the webhook would."""
        group = standing.test_group(self.desk)
        if group is None:
            text = 'A test alert needs a paper group: set broker = "simulator" in one of [groups].'
            raise Refusal(409, "no_paper_group", text)
        held = any(row["strategy"] == TEST_STRATEGY for row in standing.positions(self.desk))
        alert = {
            "id": f"test-{token_hex(8)}",
            "strategy": TEST_STRATEGY,
            "symbol": TEST_SYMBOL,
            "action": "exit" if held else "buy",
            **({} if held else {"quantity": 1}),
            "price": 100,
            "account_group": group,
            "timenow": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        text = json.dumps(alert)
        with explained():
            kept = await self.desk.keep(text, parse_alert(text.encode()))
        self.write_json({"status": "received", "alert_id": kept.alert_id, "seq": kept.seq})


def routes() -> list[tuple[Any, ...]]:
    """The rules of the API."""
    tables = ("alerts", "tickets", "orders", "fills", "trades", "episodes", "notices", "modes")
    return [
        *[(f"/api/{name}", Rows, {"table": name}) for name in tables],
        *[(f"/api/{name}", Live, {"name": name}) for name in _VIEWS],
        (r"/api/alerts/([^/]+)", OneAlert),
        (r"/api/desk", Overview),
        (r"/api/(halt|reduce|resume|flatten)", Switch),
        (r"/api/groups/([^/]+)/(halt|reduce|resume|flatten)", Switch),
        (r"/api/limits", SetLimits),
        (r"/api/groups/([^/]+)/limits", SetLimits),
        (r"/api/orders/([^/]+)/(adopt|absent)", SettleOrder),
        (r"/api/prices", Prices),
        (r"/api/strategies/([^/]+)/mode", Mode),
        (r"/api/strategies/([^/]+)/import", Import),
        (r"/api/test-alert", TestAlert),
    ]
