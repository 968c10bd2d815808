"""Does an adapter keep what it promises? `check_broker` sends orders through it and says which promise broke.

    def test_my_adapter_keeps_its_promises():
        tt.testing.check_broker(make, price=5000)

The one rule: an adapter is judged by what it answers, tells and shows, never by how it does it; so the same
suite serves one against a fake and one against a broker's sandbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from ttflow.brokers.base import Broker
from ttflow.symbols import resolve
from ttflow.testing.line import Faults, Line, Terms
from ttflow.testing.promises import PROMISES, Promise

Make = Callable[[], AbstractAsyncContextManager[Broker]]

FAULTS: Mapping[str, str] = {
    "refuse": "the broker refuses the next order",
    "lose_answer": "the next order arrives, and its answer is lost",
    "drop": "the next order is lost before it arrives",
    "server_error": "the next order is answered with a server's error, and not taken",
    "rate_limit": "the next order is answered with 429, and not taken",
    "cut_stream": "the stream breaks now",
    "duplicate_fill": "the next fill is told twice",
    "fill_before_answer": "the next order's fill is told before its answer",
    "late_fill": "the next order is filled a while after its answer",
    "out_of_order_fills": "the next order is filled in two parts, the second of which is told first",
}
"""What `check_broker` can have go wrong, where its caller says how."""


@dataclass(frozen=True)
class Checked:
    """What `check_broker` found: the promises that are `kept`, and those `skipped`, each with the reason."""

    adapter: str
    kept: tuple[str, ...]
    skipped: Mapping[str, str]

    def __str__(self) -> str:
        """One promise a line."""
        lines = [f"{self.adapter} keeps {len(self.kept)} promises:", *(f"  {one}" for one in self.kept)]
        lines += [f"  not checked: {one} ({why})" for one, why in self.skipped.items()]
        return "\n".join(lines)


def check_broker(
    make: Make,
    *,
    price: object,
    symbol: str | None = None,
    account: str = "main",
    faults: Faults | None = None,
    refused: Make | None = None,
    patience_s: float = 10.0,
) -> Checked:
    """Hold an adapter to what `ttflow.brokers.base.Broker` promises, one promise after another.

    `make` gives an async context manager whose value is the adapter, not yet opened; it is entered anew for
    each promise, in the suite's own event loop, so it may serve a fake. `account` must be flat there, without
    orders; each check leaves it so as far as it can. `symbol` is what is traded, by default the front month
    of the micro S&P future, and `price` about what it trades at now: a limit a tenth below rests.

    `faults` are functions that make the broker of an adapter go wrong, by the names in `FAULTS`; they may be
    coroutines. `refused` makes an adapter with wrong credentials. What was not given is not checked, and is
    named in the result. `patience_s` bounds each wait for news.

    Raises AssertionError with the promise that broke and what was seen instead.
    """
    on = datetime.now(UTC).date()
    terms = Terms(symbol or resolve("MES1!", on), Decimal(str(price)), account, patience_s)
    kept: list[str] = []
    skipped: dict[str, str] = {}
    given = dict(faults or {})
    if unknown := sorted(given.keys() - FAULTS):
        raise ValueError(f"check_broker knows no fault {', '.join(unknown)}; it knows {', '.join(FAULTS)}")
    name = ""
    for promise in PROMISES:
        maker = refused if promise.wants_refused else make
        if maker is None:
            skipped[promise.text] = "`refused` was not given"
        elif missing := sorted(set(promise.faults) - given.keys()):
            skipped[promise.text] = f"no fault {', '.join(missing)} was given"
        else:
            name, why = asyncio.run(_check(promise, maker, terms, given))
            if why:
                skipped[promise.text] = why
            else:
                kept.append(promise.text)
    return Checked(name, tuple(kept), skipped)


async def _check(promise: Promise, make: Make, terms: Terms, faults: Faults) -> tuple[str, str]:
    """Check one promise; returns the adapter's name, and why it was not checked where it wasn't."""
    async with make() as broker:
        name = type(broker).__name__
        if promise.capability and not getattr(broker.capabilities, promise.capability):
            return name, f"{name} has no {promise.capability}"
        line = Line(broker, terms, faults, promise.text)
        try:
            await promise.check(line)
        except AssertionError:
            raise
        except Exception as error:
            raise line.broken(f"this was raised: {error!r}", "an adapter answers with a Report") from error
        finally:
            await line.end()
    return name, ""
