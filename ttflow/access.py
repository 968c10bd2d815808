"""Who may ask for what: the API token, the browser's sign-in, and what a request says of where it is from.

The one rule: a request that isn't surely of this machine's own making needs the token, and one that
changes something always does. Nothing here logs or repeats what a caller gave.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest, parse_cookie, split_host_and_port
from tornado.web import HTTPError

from ttflow.errors import RequestError
from ttflow.settings import Settings, beside, is_loopback

if TYPE_CHECKING:
    from ttflow.desk import Desk

log = logging.getLogger("ttflow.access")

SIGN_IN_S = 12 * 3600
"""How long an address that signs a browser in is good."""
SESSION_S = 30 * 24 * 3600
"""How long a browser stays signed in."""

_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via")


class Refusal(HTTPError):
    """A request that isn't answered: the status, a code for programs, and a sentence for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status)
        self.code, self.message = code, message


# The token


def token_path(journal: Path) -> Path:
    """Where a journal's API token is kept: beside it."""
    return beside(journal, ".token")


def read_token(journal: Path) -> str | None:
    """Read the API token kept beside a journal; None where there is none. Raises RequestError."""
    place = token_path(journal)
    try:
        found = place.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise RequestError(f"The API token {place} can't be read ({reason}); look at its owner.") from error
    return found or None


def token_for(settings: Settings) -> str:
    """The API token: as set, else the one beside the journal, which is made where there is none yet.

    Its file is readable by its owner only. Raises RequestError where it can't be read or made.
    """
    if settings.api_token is not None:
        return settings.api_token.get_secret_value()
    found = read_token(settings.journal)
    if found is None:
        return _make_token(settings.journal)
    _keep_private(token_path(settings.journal))
    return found


def _make_token(journal: Path) -> str:
    """Write a new token whole or not at all: a start that dies half way leaves no empty one behind."""
    made, place = secrets.token_urlsafe(32), token_path(journal)
    draft = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{made}\n")
        os.replace(draft, place)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise RequestError(
            f"The API token {place} can't be made ({error.strerror}); make the folder writable, "
            "or set TTFLOW_API_TOKEN."
        ) from error
    return made


def _keep_private(place: Path) -> None:
    with contextlib.suppress(OSError):
        if place.stat().st_mode & 0o077:
            log.warning("others could read the API token %s; it is its owner's alone again", place)
            place.chmod(0o600)


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())


# What is signed with it


def _sign(token: str, purpose: str, until: int) -> str:
    """A text that proves, until a Unix time, that its bearer was let in by whoever knows the token."""
    made = hmac.new(token.encode(), f"ttflow {purpose} {until}".encode(), "sha256").hexdigest()
    return f"{until}.{made}"


def _is_signed(token: str, purpose: str, given: str, now: float) -> bool:
    until, _, _ = given.partition(".")
    if not (until.isascii() and until.isdigit() and len(until) <= 12):
        return False
    return _same(given, _sign(token, purpose, int(until))) and now < int(until)


def sign_in_url(desk: Desk, address: str | None = None) -> str:
    """The address that signs a browser in, good for 12 hours; `address` is the server's, as it listens."""
    settings = desk.settings
    base = address or address_of(settings.host, settings.port)
    return f"{base}/?token={_sign(token_for(settings), 'sign-in', int(time.time()) + SIGN_IN_S)}"


def address_of(host: str, port: int) -> str:
    """How a browser on this machine reaches a server that is bound to `host`."""
    shown = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown and not shown.startswith('[') else shown}:{port}"


# The judge of requests


class Access:
    """Judges requests for one server. `host` is what it is bound to; `journal_id` names its cookie."""

    def __init__(
        self,
        settings: Settings,
        *,
        host: str | None = None,
        journal_id: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.token = token_for(settings)
        # Cookies are shared by all ports of a host: two desks on one machine must not share theirs.
        self.cookie = f"ttflow-{journal_id[:8]}" if journal_id else "ttflow"
        self._home = is_loopback(settings.host if host is None else host)
        self._public = urlsplit(settings.public_url) if settings.public_url else None
        self._clock = clock

    def admit(self, request: HTTPServerRequest, *, changes: bool = False, query: bool = False) -> None:
        """Let a call of the API pass, or raise the Refusal; `query` takes `?token=` for an answer too."""
        self.check_host(request)
        if self.crosses(request):
            raise Refusal(403, "forbidden", "The request comes from another site; use the desk's own page.")
        if self.knows(request, query=query):
            return
        bearer = "Authorization" in request.headers
        if bearer or changes or not self.is_local(request):
            told = "Invalid API token" if bearer else "An API token is needed"
            raise Refusal(401, "unauthorized", f"{told}: send it as Authorization: Bearer TOKEN.")

    def check_host(self, request: HTTPServerRequest) -> None:
        """Refuse a name that isn't ours: a page elsewhere may have bound its own name to this machine."""
        name = _host(request)
        public = self._public.hostname if self._public else None
        if self._home and not is_loopback(name) and name != public:
            raise Refusal(
                403, "forbidden", "The Host of the request is not this desk's; use 127.0.0.1 or localhost."
            )

    def is_local(self, request: HTTPServerRequest) -> bool:
        """Whether a request comes from this machine, as far as one can know.

        A tunnel or a proxy on this machine brings the world's requests: what was forwarded is not local.
        """
        forwarded = any(name in request.headers for name in _FORWARDED)
        return self._home and not forwarded and is_loopback(_host(request))

    def knows(self, request: HTTPServerRequest, *, query: bool = False) -> bool:
        """Whether a request shows the token, or that its browser has signed in."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _same(given.strip(), self.token)
        if query and "token" in request.query_arguments:
            return self.signs_in(request.query_arguments["token"][-1].decode("utf-8", "replace"))
        return self.by_cookie(request)

    def by_cookie(self, request: HTTPServerRequest) -> bool:
        """Whether the request carries a signed-in browser's cookie."""
        found = parse_cookie(request.headers.get("Cookie", "")).get(self.cookie)
        return found is not None and _is_signed(self.token, "session", found, self._clock())

    def signs_in(self, given: str) -> bool:
        """Whether a text lets a browser in: the token itself, or what `sign_in_url` carries."""
        return _same(given, self.token) or _is_signed(self.token, "sign-in", given, self._clock())

    def session(self) -> str:
        """The cookie's value for a browser that has just signed in."""
        return _sign(self.token, "session", int(self._clock()) + SESSION_S)

    def is_own(self, origin: str, host: str) -> bool:
        """Whether a page of `origin` is this desk's, asked for by `host`."""
        try:
            netloc = urlsplit(origin).netloc.lower()
        except ValueError:  # no browser sends one that is no address
            return False
        public = self._public.netloc.lower() if self._public else None
        return bool(netloc) and netloc in (host.lower(), public)

    def crosses(self, request: HTTPServerRequest) -> bool:
        """Whether a browser says that another site's page makes the request."""
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            return True
        origin = request.headers.get("Origin")
        return origin is not None and not self.is_own(origin, request.host)


def _host(request: HTTPServerRequest) -> str:
    return split_host_and_port(request.host.lower())[0].strip("[]")
