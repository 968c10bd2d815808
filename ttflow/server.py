"""The server: the webhook, the API, the stream, the page and the health checks, bound and stopped as one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from ttflow import __version__, access, api, dashboard, standing, stream, webhook
from ttflow.access import Access, Refusal
from ttflow.answering import Answering, Guarded, Reading
from ttflow.desk import Desk
from ttflow.errors import RequestError
from ttflow.vigil import Vigil

log = logging.getLogger("ttflow.server")

BACKLOG = 1024
DRAIN_S = 2.0
"""How long a stop waits for the answers that are being made."""


class App(Application):
    """The application; it knows which requests are being answered, and since when it runs."""

    def __init__(self, desk: Desk, host: str | None = None) -> None:
        self.desk = desk
        self.started = time.monotonic()
        self.stopping = False
        self.answers: dict[str, int] = {}
        self.busy: weakref.WeakSet[HTTPServerRequest] = weakref.WeakSet()
        self._idle = asyncio.Event()
        self.gate = webhook.Gate(desk)
        self.hub = stream.Hub(desk)
        self.reading = Reading(desk.journal)
        super().__init__(
            [
                *webhook.routes(desk, self.gate, self._answered),
                *health_routes(),
                *api.routes(),
                *stream.routes(),
                *dashboard.routes(),
            ],
            default_handler_class=Nothing,
            desk=desk,
            hub=self.hub,
            reading=self.reading,
            access=Access(desk.settings, host=host, journal_id=desk.journal.journal_id),
            websocket_ping_interval=20,
            websocket_ping_timeout=20,
            websocket_max_message_size=1024,
        )

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Remember the request until it is answered."""
        self.busy.add(request)
        self._idle.clear()
        return super().find_handler(request, **kwargs)

    async def idle(self) -> None:
        """Wait until nothing is being answered."""
        if self.busy:
            await self._idle.wait()

    def log_request(self, handler: RequestHandler) -> None:
        """Log an answer by its path alone, which may hold a secret where there is nothing."""
        path = "(unknown path)" if isinstance(handler, Nothing) else handler.request.path
        self._answered(handler.request, handler.get_status(), path)

    def _answered(self, request: HTTPServerRequest, status: int, path: str = "(webhook)") -> None:
        """Count an answer and log it; the webhook's without its path, which may hold a secret."""
        self.busy.discard(request)
        if not self.busy:
            self._idle.set()
        kind = f"{status // 100}xx"
        self.answers[kind] = self.answers.get(kind, 0) + 1
        level = logging.ERROR if status >= 500 else logging.DEBUG
        log.log(level, "%s %s %d %.1f ms", request.method, path, status, 1000 * request.request_time())


def make_app(desk: Desk, host: str | None = None) -> App:
    """The application for a started desk; `host` is what it is bound to, by default the settings'."""
    return App(desk, host)


class Nothing(Answering):
    """What is at no address: JSON for programs, a plain page for people."""

    def prepare(self) -> None:
        """Answer 404, whatever the method."""
        self.set_status(404)
        if "text/html" in self.request.headers.get("Accept", ""):
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(dashboard.plain_page("Nothing here", "There is nothing at this address."))
            return
        raise Refusal(404, "not_found", "There is nothing at this address.")


# Health


class Health(Answering):
    """The base of the checks: no token, GET and HEAD."""

    @property
    def app(self) -> App:
        """The application."""
        assert isinstance(self.application, App)
        return self.application

    def head(self) -> None:
        """Answer as GET does, without the body."""
        self.get()

    def answer(self, good: bool, status: str) -> None:
        """Answer 200 or 503 with a status."""
        if not good:
            self.set_status(503)
            self.set_header("Retry-After", "5")
        self.write_json({"status": status})


class Livez(Health):
    """Whether the process is worth keeping: the loop turns, and the desk has not stopped for good."""

    def get(self) -> None:
        """Answer 200, or 503 where only a restart can help."""
        good = self.desk.fatal is None
        self.answer(good, "alive" if good else "stopped")


class Readyz(Health):
    """Whether alerts can be kept, whatever the brokers' state."""

    def get(self) -> None:
        """Answer 200 or 503."""
        good = self.desk.fatal is None and self.desk.journal.healthy and not self.app.stopping
        self.answer(good, "ready" if good else "not ready")


class Healthz(Health):
    """A summary."""

    def get(self) -> None:
        """Answer the summary, always 200: `status` tells."""
        desk = self.desk
        self.write_json(
            {
                "status": "stopping" if self.app.stopping else desk.status,
                "undecided": desk.undecided,
                "unknown": desk.unknown,
                "brokers": desk.brokers_state(),
                "version": __version__,
                "last_seq": desk.journal.last_seq,
                "uptime_s": round(time.monotonic() - self.app.started, 3),
            }
        )


class Metrics(Guarded):
    """The same for Prometheus."""

    def get(self) -> None:
        """Answer in the text format."""
        assert isinstance(self.application, App)
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish("".join(exposition(self.application)))


def exposition(app: App) -> Iterator[str]:
    """The metrics, in Prometheus' text format; their labels are groups, statuses and our own words only."""
    desk = app.desk
    state = desk.engine.state
    orders: dict[str, float] = {}
    for order in state.orders.values():
        orders[order.status] = orders.get(order.status, 0) + 1
    halts: dict[str, float] = {
        name: standing.halt(desk, name) is not None for name in sorted(desk.settings.groups)
    }
    held = sum(not ledger.flat for ledger in state.ledgers.values())
    metrics: list[tuple[str, str, str, str, Mapping[str, float]]] = [
        ("build_info", "gauge", "The version that runs.", "version", {__version__: 1}),
        ("uptime_seconds", "gauge", "Since the server started.", "", {"": time.monotonic() - app.started}),
        ("journal_healthy", "gauge", "Whether alerts can be kept.", "", {"": desk.journal.healthy}),
        ("journal_queued", "gauge", "Inputs and decisions that wait.", "", {"": desk.journal.queued}),
        ("inputs_total", "counter", "Inputs in the journal.", "", {"": desk.journal.last_seq}),
        ("undecided", "gauge", "Inputs without a recorded decision.", "", {"": desk.undecided}),
        ("orders_unknown", "gauge", "Orders in doubt.", "", {"": desk.unknown}),
        ("orders_open", "gauge", "Orders that have not ended.", "status", orders),
        ("tickets_open", "gauge", "Tickets without an outcome.", "", {"": len(state.tickets)}),
        ("positions", "gauge", "Ledgers that hold something.", "", {"": held}),
        ("halted", "gauge", "Whether opening is halted.", "group", halts),
        ("stream_clients", "gauge", "Open streams.", "", {"": len(app.hub.clients)}),
        (
            "stream_thinned_total",
            "counter",
            "Decisions left out for slow readers.",
            "",
            {"": app.hub.thinned},
        ),
        ("alerts_answered_total", "counter", "The webhook's answers.", "result", app.gate.counters.results),
        (
            "alerts_answer_seconds_total",
            "counter",
            "Time spent on them.",
            "",
            {"": app.gate.counters.seconds},
        ),
        ("http_answers_total", "counter", "Answers by class of status.", "status", app.answers),
    ]
    for name, kind, text, label, values in metrics:
        yield f"# HELP ttflow_{name} {text}\n# TYPE ttflow_{name} {kind}\n"
        for value, number in values.items():
            yield f"ttflow_{name}{_label(label, value)} {float(number):g}\n"


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{{name}="{escaped}"}}' if name else ""


def health_routes() -> list[tuple[Any, ...]]:
    """The rules of the health checks."""
    return [("/livez", Livez), ("/readyz", Readyz), ("/healthz", Healthz), ("/metrics", Metrics)]


# Binding


class Server:
    """A bound server; see `serve`. `host` and `port` are those that it really has."""

    def __init__(self, app: App, http: HTTPServer, host: str, port: int) -> None:
        self.app, self.host, self.port = app, host, port
        self._http = http
        self._vigil = Vigil(app.desk, app.gate)

    @property
    def address(self) -> str:
        """How this machine reaches it: `http://127.0.0.1:8000`."""
        return access.address_of(self.host, self.port)

    @property
    def sign_in_url(self) -> str:
        """The address that signs a browser in, good for 12 hours."""
        return access.sign_in_url(self.app.desk, self.address)

    async def close(self) -> None:
        """Take no more connections, finish what is being answered (2 s at most), and let everyone go."""
        if self.app.stopping:
            return
        self.app.stopping = True
        await self._vigil.stop()
        self._http.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self.app.idle()
        await self.app.hub.close()
        await self._http.close_all_connections()
        await self.app.reading.close()


async def serve(desk: Desk, host: str | None = None, port: int | None = None) -> Server:
    """Serve a started desk until the Server is closed; host and port are by default the settings'.

    Port 0 takes a free one. Raises RequestError, one line, where the address can't be had.
    """
    host = desk.settings.host if host is None else host
    port = desk.settings.port if port is None else port
    bound = _bind(host, port)
    app = make_app(desk, host)
    http = HTTPServer(app, **webhook.server_options(desk.settings))
    http.add_socket(bound)
    return Server(app, http, host, bound.getsockname()[1])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"port {port} is in use; stop the program that has it, or give another --port",
            errno.EACCES: f"port {port} is not for this user; give one above 1023 with --port",
            errno.EADDRNOTAVAIL: f"this machine has no address {host}; give another --host",
        }
        told = reasons.get(error.errno or 0, f"{error.strerror or error}; give another --host or --port")
        raise RequestError(f"Can't serve on {host}:{port}: {told}.") from error
    bound.setblocking(False)
    return bound
