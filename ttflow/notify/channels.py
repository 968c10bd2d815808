"""Sending: through apprise and over HTTP, each message in a thread of its own that nobody waits for in vain.

The one rule: whatever the other side does, the caller gets an answer or a time-out, and no text that leaves
this room shows an address.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ttflow.errors import SettingsError, TtflowError
from ttflow.notify.quiet import Message, Told
from ttflow.settings import ChannelSettings

if TYPE_CHECKING:
    from datetime import datetime

Carrier = Callable[[str, str, str], Awaitable[None]]
"""Sends a title, a body and a severity; raises `Undelivered`, or whatever else it likes."""

TIMEOUT_S = 30.0
"""How long sending one message may take."""

_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}
_PIECE = 4


class Undelivered(TtflowError):
    """A message did not go out; the text says why, as far as anybody told, without the address."""


class Unanswered(Undelivered):
    """Nobody said whether a message arrived, so it is not sent again."""


class Thread:
    """Does one thing at a time in a thread that dies with the process; what hangs is left alone.

    While one hangs the next is refused, so that a dead service costs one thread, not one for each message.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._busy: threading.Thread | None = None

    async def do(self, work: Callable[[], None]) -> None:
        """Do it and wait; raises what it raises, and Undelivered while something before it still hangs."""
        if self._busy and self._busy.is_alive():
            raise Undelivered("an earlier one still hangs")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def run() -> None:
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:  # a SystemExit would end the thread, and nobody would know
                error = raised
            try:
                loop.call_soon_threadsafe(_settle, done, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        self._busy = threading.Thread(target=run, name=f"ttflow-notify-{self._name}", daemon=True)
        self._busy.start()
        await done


def _settle(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error if isinstance(error, Exception) else Undelivered(type(error).__name__))


# Through apprise


def check(name: str, channel: ChannelSettings) -> None:
    """Load a channel's service; raises SettingsError for an address that apprise can't use."""
    _service(name, channel.url.get_secret_value())


def _hush() -> None:
    """Let nobody see what apprise and its HTTP library log: it may show the address, or a token of it."""
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # its debug lines hold paths


def _service(name: str, url: str) -> Any:
    _hush()
    import apprise

    asset = apprise.AppriseAsset(app_id="ttflow", app_desc="ttflow", app_url="")
    with warnings.catch_warnings():  # the first use loads every service, and what they import is their matter
        warnings.simplefilter("ignore", DeprecationWarning)
        service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        problem = "is no address that apprise can use"
        remedy = "write it as apprise's page of that service says, such as tgram://TOKEN/CHAT"
        raise SettingsError(f"notify.channels.{name}.url", "the settings", problem, remedy)
    return service


def carrier(name: str, url: str) -> Carrier:
    """What sends to an apprise address; raises SettingsError where apprise can't use it."""
    service, thread = _service(name, url), Thread(name)

    async def carry(title: str, body: str, severity: str) -> None:
        await thread.do(lambda: _send(service, url, title, body, severity))

    return carry


def _send(service: Any, url: str, title: str, body: str, severity: str) -> None:
    heard = _Heard(threading.get_ident())
    logger = logging.getLogger("apprise")
    logger.addHandler(heard)
    try:
        sent = service.notify(body=body, title=title, notify_type=_TYPES[severity])
    except Exception as error:
        raise Undelivered(redacted(f"{type(error).__name__}: {error}", url)) from None
    finally:
        logger.removeHandler(heard)
    if not sent:
        raise Undelivered(redacted(heard.last or "the service did not take it", url))


class _Heard(logging.Handler):
    """The last thing that apprise complained of in one thread: it answers only yes or no."""

    def __init__(self, thread: int) -> None:
        super().__init__(logging.WARNING)
        self._thread, self.last = thread, ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.last = record.getMessage()


def redacted(text: str, url: str) -> str:
    """Write a text on one line with `***` for every piece of an address that is in it."""
    pieces = {part for one in (url, unquote(url)) for part in re.split(r"[/:@?&=,#\s]+", one)}
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= _PIECE:
            text = text.replace(piece, "***")
    return " ".join(text.split())[:300]


def _words(message: Message, lost: int) -> tuple[str, str]:
    """A message's title and body."""
    told, more = message.told, []
    if message.held:
        more.append(f"{message.held} more of this were held back since the last message.")
    if lost:
        more.append(f"{lost} earlier messages could not be sent; ttflow tail --since shows all notices.")
    at = f"{told.at:%Y-%m-%d %H:%M:%S} UTC" + (f", input {told.seq}" if told.seq else "")
    return f"ttflow {told.severity}: {told.kind}", "\n".join([told.text, *more, at])


async def deliver(carry: Carrier, message: Message, *, lost: int = 0, timeout_s: float = TIMEOUT_S) -> None:
    """Send a message, and say how many before it were `lost`; raises Undelivered for whatever goes wrong."""
    title, body = _words(message, lost)
    try:
        async with asyncio.timeout(timeout_s):
            await carry(title, body, message.told.severity)
    except TimeoutError:
        raise Unanswered(f"no answer within {timeout_s:g} s") from None
    except Undelivered:
        raise
    except Exception as error:  # its text may hold the address
        raise Undelivered(type(error).__name__) from None


async def send_test(name: str, channel: ChannelSettings, at: datetime) -> None:
    """Send a test message to one channel; raises Undelivered, or SettingsError for a useless address."""
    text = (
        f"This is a test of the channel {name}. Notices of severity {channel.severity} and above come here."
    )
    carry = carrier(name, channel.url.get_secret_value())
    await deliver(carry, Message(Told(kind="test", severity=channel.severity, text=text, at=at)))


# Over HTTP


def getter(url: str) -> Callable[[float], Awaitable[None]]:
    """What asks an address once within so many seconds; raises Undelivered, without the address."""
    thread = Thread("ping")

    def ask(timeout_s: float) -> None:
        request = urllib.request.Request(url, headers={"User-Agent": "ttflow"})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            raise Undelivered(f"it answered {error.code}") from None
        except Exception as error:
            raise Undelivered(redacted(f"{type(error).__name__}: {error}", url)) from None

    async def get(timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await thread.do(lambda: ask(timeout_s))
        except TimeoutError:
            raise Undelivered(f"no answer within {timeout_s:g} s") from None

    return get
