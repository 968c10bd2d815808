"""An outside broker, in a process of its own, that outlives every desk: it remembers each order that arrived.

It refuses no repeated id, as a broker does that takes our id for a mere tag. What it does with an order
derives from the order's id and the kinds of trouble it was started with: `lose` (the order arrives, its
answer doesn't), `drop` (the line is cut before), `error` (arrived, answered 500), `sick` (500, and nothing
arrived), `refuse`, `part` (filled in two parts, the second when it is asked about).
"""

from __future__ import annotations

import asyncio
import json
import sys
from hashlib import sha256
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, url

TROUBLE = ("lose", "drop", "error", "sick", "refuse", "part")
"""What happens to about one order in two; the others are taken and filled at once."""


class Book:
    """Every order that arrived: how often, and how it stands."""

    def __init__(self, trouble: tuple[str, ...]) -> None:
        self.trouble = trouble
        self.orders: dict[str, dict[str, Any]] = {}

    def fate(self, order_id: str) -> str:
        """What becomes of an order: the same for the same id, whoever asks."""
        number = int(sha256(order_id.encode()).hexdigest()[:8], 16)
        place = number % (2 * len(self.trouble) or 1)
        return self.trouble[place] if place < len(self.trouble) else "take"

    def take(self, order: dict[str, Any]) -> dict[str, Any]:
        """Count an arrival and fill it, in one part or in two."""
        known = self.orders.setdefault(order["order_id"], {**order, "arrived": 0, "fills": []})
        known["arrived"] += 1
        if known["arrived"] > 1:  # a second order with the same tag is a second order
            known["fills"].append(self._fill(known, order["quantity"]))
            return known
        fate = self.fate(order["order_id"])
        if fate == "refuse":
            known["outcome"] = "refused"
        elif fate == "part" and int(order["quantity"]) > 1:
            known["outcome"] = "accepted"
            known["fills"].append(self._fill(known, "1"))
        else:
            known["outcome"] = "filled"
            known["fills"].append(self._fill(known, order["quantity"]))
        return known

    def complete(self, order: dict[str, Any]) -> None:
        """Fill what is left of an order that was filled in part."""
        if order["outcome"] == "accepted":
            left = int(order["quantity"]) - 1
            order["fills"].append(self._fill(order, str(left)))
            order["outcome"] = "filled"

    def _fill(self, order: dict[str, Any], quantity: str) -> dict[str, str]:
        number = len(order["fills"]) + 1
        return {"fill_id": f"{order['order_id']}.{number}", "quantity": quantity, "price": "100.25"}


class Orders(RequestHandler):
    """`POST /orders`."""

    def initialize(self, book: Book) -> None:
        self.book = book

    def post(self) -> None:
        order = json.loads(self.request.body)
        fate = self.book.fate(order["order_id"])
        if fate == "drop":
            self.detach().close()
            return
        if fate == "sick":
            self.set_status(500)
            self.finish()
            return
        known = self.book.take(order)
        if fate == "lose":
            self.detach().close()
        elif fate == "error":
            self.set_status(500)
            self.finish()
        else:
            self.finish(known)


class Order(RequestHandler):
    """`GET /orders/ID`."""

    def initialize(self, book: Book) -> None:
        self.book = book

    def get(self, order_id: str) -> None:
        known = self.book.orders.get(order_id)
        if known is None:
            self.set_status(404)
            self.finish()
            return
        self.book.complete(known)
        self.finish(known)


class State(RequestHandler):
    """`GET /state`: all that arrived."""

    def initialize(self, book: Book) -> None:
        self.book = book

    def get(self) -> None:
        self.finish({"orders": self.book.orders})


async def main(trouble: tuple[str, ...]) -> None:
    """Serve on a free port, say which, until the other side of stdin closes."""
    given = {"book": Book(trouble)}
    routes = [url("/orders", Orders, given), url("/orders/(.*)", Order, given), url("/state", State, given)]
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(Application(routes, log_function=lambda handler: None)).add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(tuple(filter(None, sys.argv[1].split(",")))))
