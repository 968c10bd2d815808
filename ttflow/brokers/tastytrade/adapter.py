"""tastytrade's adapter: what `ttflow.brokers.base.Broker` asks for, in tastytrade's words.

The rule of this room: the stream and the calls may tell the same thing, in any order; nothing is held back to
keep them apart, since every report can be told twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import urlsplit

from ttflow.brokers.base import Capabilities, Link, Moved, SignInError, Snapshot, Tell, Told
from ttflow.brokers.budget import Budget
from ttflow.brokers.tastytrade.accounts import Accounts
from ttflow.brokers.tastytrade.events import Events
from ttflow.brokers.tastytrade.hours import Hours
from ttflow.brokers.tastytrade.orders import Orders
from ttflow.brokers.tastytrade.prices import Pace, Prices
from ttflow.brokers.tastytrade.records import Records
from ttflow.brokers.tastytrade.session import Session
from ttflow.brokers.tastytrade.streamer import PAUSES_S, Streamer
from ttflow.brokers.tastytrade.wire import TIMES, Data
from ttflow.settings import Settings

BROKER = "tastytrade"

STREAMERS: Mapping[str, str] = {
    "api.tastyworks.com": "wss://streamer.tastyworks.com",
    "api.cert.tastyworks.com": "wss://streamer.cert.tastyworks.com",
}
"""Where the account streamer of each interface is; a fake serves its own at `/streamer`."""

SANDBOX = "api.cert.tastyworks.com"


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


def connect(settings: Settings, group_name: str) -> Tastytrade:
    """Make the adapter of a group; it signs in when it is opened.

    Raises SignInError where credentials are missing, with their names.
    """
    group = settings.groups[group_name]
    if missing := settings.credentials.missing(BROKER):
        raise SignInError(f"tastytrade can't be signed in to: set {' and '.join(missing)}")
    address = group.reached(group_name)
    session = Session(address, settings.credentials.tastytrade, versioned=is_live(address))
    names = [account.name for account in group.accounts]
    made = Tastytrade(session, streamer_of(address), names, currency=group.currency)
    session.wire.budget = Budget(made.capabilities.requests_per_minute, monotonic)
    return made


def is_live(address: str) -> bool:
    """Whether an address is that of tastytrade's real accounts."""
    host = urlsplit(address).hostname
    return host in STREAMERS and host != SANDBOX


def streamer_of(address: str) -> str:
    """The account streamer's address that belongs to an interface's."""
    parsed = urlsplit(address)
    known = STREAMERS.get(parsed.hostname or "")
    secure = "wss" if parsed.scheme == "https" else "ws"
    return known or f"{secure}://{parsed.netloc}/streamer"


class Tastytrade(Orders):
    """One group's accounts at tastytrade.

    `names` are the accounts as the settings name them, `clock` tells the time, UTC. `heartbeat_s` and
    `pauses_s` are the streamer's, `quotes` is the pace of the prices; that a position or the money has moved
    is told `settle_s` seconds after the stream said so, so that the fills that moved it are heard first.
    """

    capabilities = Capabilities(
        times_in_force=frozenset(TIMES),
        brackets=True,
        modifies=True,
        repeated_id="accepted",
        # The broker publishes no number; this one is ours, to stay a guest that nobody minds.
        requests_per_minute=120,
    )

    def __init__(
        self,
        session: Session,
        streamer: str,
        names: Iterable[str],
        *,
        currency: str = "USD",
        clock: Callable[[], datetime] = utc_now,
        heartbeat_s: float = 20.0,
        pauses_s: tuple[float, ...] = PAUSES_S,
        settle_s: float = 10.0,
        quotes: Pace | None = None,
    ) -> None:
        records = Records(session, clock)
        accounts = Accounts(session, records, names, currency, clock)
        events = Events(accounts, self._say, self._look_soon)
        super().__init__(session, accounts, records, events, Hours(session, clock))
        self._clock, self._settle_s = clock, settle_s
        self._streamer = Streamer(
            streamer,
            session,
            hear=self._hear,
            sync=self._sync,
            link=lambda up, reason: self._say(Link(up=up, reason=reason)),
            heartbeat_s=heartbeat_s,
            pauses_s=pauses_s,
        )
        self._prices = Prices(session, clock, self._say, quotes or Pace(pauses_s=pauses_s))
        self._tell: Tell = lambda told: None
        self._heard_at: datetime | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def budget(self) -> Budget | None:
        """What counts the requests that leave; None for an adapter that was not made for a group."""
        return self._session.wire.budget

    # Coming and going

    async def open(self, tell: Tell) -> None:
        """Sign in, learn the accounts, subscribe to what happens; returns when in sync."""
        self._tell = tell
        self._session.open()
        try:
            await self._accounts.open()
            await self._streamer.open(self._accounts.numbers)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close what is open; a second call does nothing."""
        await self._prices.close()
        await self._costs.close()
        await self._streamer.close()  # from here on nothing is heard that would lead to another look
        looking, self._looking = self._looking, None
        if looking:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await self._session.close()

    def _say(self, told: Told) -> None:
        self._tell(told)

    def _hear(self, kind: str, data: Data) -> None:
        self._heard_at = self._clock()
        self._events.hear(kind, data)

    async def _sync(self) -> None:
        """Tell what happened to our orders while nobody listened: those that stand, stood, or came meanwhile.

        The first time only orders that stand are told: of those that ended the desk knows, or asks.
        """
        since = self._heard_at
        for account in self._accounts.numbers:
            orders = await self._records.standing(account)
            orders += await self._records.since(account, since) if since else []
            stood = [number for number, at in self._events.standing.items() if at == account]
            self._events.catch_up(await self._records.linked(account, stood, orders))
        await self._accounts.snapshots()  # what is held decides whether a close is sent strictly
        self._heard_at = self._clock()

    def _look_soon(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="tastytrade's positions")

    async def _look(self) -> None:
        await asyncio.sleep(self._settle_s)
        self._say(Moved())

    # What it holds

    async def snapshot(self) -> tuple[Snapshot, ...]:
        """Say what each of the group's accounts holds, now."""
        return await self._accounts.snapshots()

    async def watch(self, symbols: frozenset[str]) -> None:
        """Tell a `Quote` for each trade in one of the symbols; returns at once, and never raises.

        A sandbox gives no prices; a symbol that tastytrade doesn't know has none.
        """
        self._prices.watch(symbols)
