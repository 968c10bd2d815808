"""The sample alerts that the demo posts: two strategies on 30 days of real bars, and some trouble.

Each is a body as TradingView would send it, with `{{timenow}}` still in place: a stamp put in here makes it
an alert of the present. The bars are Binance's ETH-USDT perpetual, from the GitHub repository
pineforge-4pass/pineforge-corpus (copyright 2026 PineForge contributors, Apache License 2.0); ttflow's own
repository tells the rest in `data/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.resources import files

TIMENOW = "{{timenow}}"
"""TradingView's placeholder for the time at which an alert fires."""


def alerts() -> list[str]:
    """Read the bodies in time order, `{{timenow}}` still in place; one of them is no valid alert."""
    return files(__name__).joinpath("alerts.jsonl").read_text(encoding="utf-8").splitlines()


def stamp(body: str, now: datetime) -> bytes:
    """Put an aware `now` into a body as TradingView writes it: UTC, whole seconds."""
    return body.replace(TIMENOW, now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")).encode()


def bodies(now: datetime) -> list[bytes]:
    """Give all bodies as if they fired at an aware `now`, ready to post."""
    return list(stream(lambda: now))


def stream(clock: Callable[[], datetime]) -> Iterator[bytes]:
    """Give the bodies one by one, each stamped with the clock's time when it is taken.

    A body that stands there twice is a resend: it keeps the bytes that it had the first time.
    """
    sent: dict[str, bytes] = {}
    for body in alerts():
        if body not in sent:
            sent[body] = stamp(body, clock())
        yield sent[body]
