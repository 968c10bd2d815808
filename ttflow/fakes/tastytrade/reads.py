"""What is only read at a fake tastytrade: the account, positions, money, orders that stand, hours, quotes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ttflow.fakes.server import utc_now
from ttflow.fakes.tastytrade import answers, lists
from ttflow.fakes.tastytrade.base import Handler
from ttflow.fakes.tastytrade.broker import Tastytrade
from ttflow.instrument import root
from ttflow.words import plain


class ReadHandler(Handler):
    """Everything that is only read: `what` says which call it is."""

    def initialize(self, fake: Tastytrade, what: Callable[[ReadHandler], Any]) -> None:  # type: ignore[override]
        """Remember what to read."""
        super().initialize(fake)
        self._what = what

    def get(self, number: str = "") -> None:
        """Answer with it."""
        if number:
            self.check_account(number)
        self.data(self._what(self))


class LiveHandler(Handler):
    """`/accounts/N/orders/live`: those that stand, and those of today, in pages."""

    def get(self, number: str) -> None:
        """List them, all or those of some statuses."""
        self.check_account(number)
        found = lists.live(self.query, tuple(self.fake.exchange.orders.values()))
        items, pages = lists.page(self.query, found, 100)
        self.data({"items": [self.fake.shown(one) for one in items]}, pagination=pages)


class QuoteTokenHandler(Handler):
    """`/api-quote-tokens`: a token for quotes, and where they are."""

    def get(self) -> None:
        """Grant one, unless it is to be refused."""
        if self.fake.faults.take("no_quote_token"):
            told = "You must be a customer to access a quote stream."
            return self.refuse("quote_streamer.customer_not_found_error", told, 403)
        now, ends = utc_now(), timedelta(seconds=self.fake.quotes.lives_s)
        granted = {
            "token": self.fake.quotes.token(),
            "dxlink-url": f"ws://{self.request.host}/dxlink",
            "level": self.fake.quotes.level,
            "issued-at": answers.stamp(now),
            "expires-at": answers.stamp(now + ends),
        }
        return self.data(granted)


def _complex_live(handler: ReadHandler) -> Any:
    return {"items": [handler.fake.whole(one) for one in handler.fake.complexes]}


def _positions(handler: ReadHandler) -> Any:
    closed = handler.get_argument("include-closed-positions", "false").lower() == "true"
    items = handler.fake.positions()
    return {"items": [one for one in items if closed or one["quantity-direction"] != "Zero"]}


def _account(handler: ReadHandler) -> Any:
    return answers.account(handler.fake.account)


def _accounts(handler: ReadHandler) -> Any:
    return {"items": [{"account": _account(handler), "authority-level": "owner"}]}


def _balances(handler: ReadHandler) -> Any:
    return answers.balance(handler.fake.exchange, handler.fake.account, utc_now())


def _trading(handler: ReadHandler) -> Any:
    return answers.trading_status(handler.fake.account, utc_now())


def _fees(handler: ReadHandler) -> Any:
    done = handler.fake.exchange.executions
    told = answers.fees(handler.fake.fee * sum(one.quantity for one in done))
    return {name: told[name] for name in ("total-fees", "total-fees-effect")}


def _sessions(handler: ReadHandler) -> Any:
    return {"items": [handler.fake.market]}


def _quotes(handler: ReadHandler) -> Any:
    """What was told of each symbol that is asked for; a fake has no spread."""
    names = [name for values in handler.request.arguments.values() for name in values]
    return {"items": [_quote(handler.fake, name.decode()) for name in names]}


def _quote(fake: Tastytrade, name: str) -> dict[str, Any]:
    price: Decimal | None = fake.exchange.prices.get(root(name))
    if price is None:
        return {"symbol": name}
    return {"symbol": name, **dict.fromkeys(("bid", "ask", "last"), plain(price))}


READS: Iterable[tuple[str, Callable[[ReadHandler], Any]]] = (
    (r"/customers/me/accounts", _accounts),
    (r"/customers/me/accounts/(\w+)", _account),
    (r"/accounts/(\w+)/complex-orders/live", _complex_live),
    (r"/accounts/(\w+)/positions", _positions),
    (r"/accounts/(\w+)/balances(?:/USD)?", _balances),
    (r"/accounts/(\w+)/trading-status", _trading),
    (r"/accounts/(\w+)/transactions/total-fees", _fees),
    (r"/market-time/sessions/current", _sessions),
    (r"/market-data/by-type", _quotes),
)
