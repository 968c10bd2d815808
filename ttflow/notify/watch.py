"""What is noticed outside the engine: silence, refused senders; and the ping that says that all is well.

The one rule: whoever is not authenticated can't make it tell more than a few notices an hour.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from zoneinfo import ZoneInfo

from ttflow.book.rows import Severity
from ttflow.notify.channels import Undelivered, getter
from ttflow.settings import Session
from ttflow.settings.fields import DAYS

log = logging.getLogger("ttflow.notify")

Tell = Callable[[str, Severity, str], None]
"""Takes a notice's kind, severity and text, and never waits."""

QUIET_S = 300.0
"""For so many seconds the refusals of one address are one notice, and failing pings one line of the log."""

MOST, HOUR_S = 10, 3600.0
"""How many notices of refused senders there are in an hour, whoever sends."""

ADDRESSES = 1000
PING_TIMEOUT_S = 10.0


def began(session: Session, now: datetime) -> datetime | None:
    """When the session that holds at `now` began, in its zone; None outside of it."""
    local = now.astimezone(ZoneInfo(session.tz))
    for day in (local.date(), local.date() - timedelta(days=1)):
        opens, closes = _span(session, day)
        if day.weekday() in _weekdays(session.days) and opens <= local.replace(tzinfo=None) < closes:
            return opens.replace(tzinfo=local.tzinfo)
    return None


def _span(session: Session, day: date) -> tuple[datetime, datetime]:
    """The session of a day, by its own clocks: an end at or before the start is the next day's."""
    opens = datetime.combine(day, clock_time.fromisoformat(session.start))
    closes = datetime.combine(day, clock_time.fromisoformat(session.end))
    return opens, closes if closes > opens else closes + timedelta(days=1)


def _weekdays(days: str) -> set[int]:
    found: set[int] = set()
    for part in days.split(","):
        first, _, last = part.partition("-")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return found


class Silence:
    """Notices when no alert has come for `silence_s` seconds of the session, once for each silence.

    It counts from the last alert, the session's beginning or `since`, the desk's start, whichever is last.
    `told`: the silence that holds at the start was told in an earlier life of the desk.
    """

    def __init__(
        self, silence_s: float, session: Session | None, since: datetime, *, told: bool = False
    ) -> None:
        self._limit, self._session = timedelta(seconds=silence_s), session
        self._since, self._told = since, told

    def hear(self, at: datetime) -> None:
        """An alert came."""
        self._since, self._told = at, False

    def check(self, now: datetime) -> str | None:
        """What to tell now, if anything."""
        opened = began(self._session, now) if self._session else self._since
        if self._told or opened is None or now - max(self._since, opened) < self._limit:
            return None
        self._told = True
        since = max(self._since, opened).astimezone(now.tzinfo)
        length = _said(now - since)
        return (
            f"No alert has come for {length}, since {since:%H:%M} UTC. Look whether TradingView's alerts are "
            "active, and whether the webhook's address can be reached."
        )


def _said(length: timedelta) -> str:
    """Say a length of time: `90 s`, `45 min`, `3 h 5 min`."""
    seconds = int(length.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Refusals:
    """Turns what the webhook refused into a few notices: strangers may knock, but not fill the journal.

    The refusals of one address are one notice in `QUIET_S`, and of all addresses together there are `MOST`
    in an hour; what is not told is counted, and told with the next. `clock` gives seconds that never go back.
    """

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._quiet_until: OrderedDict[str, float] = OrderedDict()
        self._told: deque[float] = deque(maxlen=MOST)
        self._untold = 0

    def seen(self, address: str, message: str) -> None:
        """A request from an address was refused, and told so with a message."""
        now = self._clock()
        spent = len(self._told) == MOST and now - self._told[0] < HOUR_S
        if spent or now < self._quiet_until.get(address, now):
            self._untold += 1
            return
        self._told.append(now)
        self._quiet_until[address] = now + QUIET_S
        self._quiet_until.move_to_end(address)
        if len(self._quiet_until) > ADDRESSES:
            self._quiet_until.popitem(last=False)
        more = f" {self._untold} more were refused since the last notice of this." if self._untold else ""
        self._untold = 0
        text = f"An alert from {address} was refused: {message}. If it was yours, it is lost; see the log."
        self._tell("refused", "warning", text + more)


class Ping:
    """Asks an address every `every_s` seconds while `well()` is true: who misses it knows that it isn't.

    `get` asks once, within so many seconds, and raises Undelivered; by default over HTTP.
    """

    def __init__(
        self,
        url: str,
        every_s: float,
        well: Callable[[], bool],
        get: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._every_s, self._well = every_s, well
        self._get = get or getter(url)
        self._grumbled = float("-inf")

    async def run(self) -> None:
        """Ask until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            next_at = loop.time() + self._every_s
            if self._well():
                await self._ask(loop.time())
            await asyncio.sleep(max(0.0, next_at - loop.time()))

    async def _ask(self, now: float) -> None:
        try:
            await self._get(min(PING_TIMEOUT_S, self._every_s))
        except Undelivered as error:
            if now >= self._grumbled:
                self._grumbled = now + QUIET_S
                log.warning("the ping that says that the desk is well did not get through: %s", error)
