"""Flow: a named, hot stream of tickets over a reactivex Subject. Verbs: emit, pipe, split, to, each, tap.

Why not the bare Subject: there, a listener that raises starves those after it and fails the emitter; an
exception in an operator ends the stream for good; two subscriptions run side effects twice. Here every
listener is guarded, every operator's failure costs one ticket, and each pipe is subscribed once. The raw
stream is at `.observable` for whoever wants all of reactivex.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from ttflow.alert import Alert, parse_alert
from ttflow.errors import FlowError
from ttflow.graph import Graph, Node
from ttflow.operators.core import Operator
from ttflow.operators.timing import Key, _key
from ttflow.tap import Tap
from ttflow.ticket import Reason, Status, Ticket

log = logging.getLogger("ttflow.flow")

Piece = Callable[[Observable[Any]], Observable[Any]]
Listener = Callable[[Any], object]


class Flow:
    """A named, hot stream of tickets.

    `pipe` and `split` return new flows and change nothing; a flow may have any number of children and
    listeners, and each gets every ticket once. Not thread-safe: emit from one thread (the event loop's).
    """

    def __init__(self, name: str = "alerts", *, scheduler: SchedulerBase | None = None) -> None:
        self._start(name, Graph(), Node("source", name, ()), scheduler)
        self._count = itertools.count(1)

    def _start(self, name: str, graph: Graph, node: Node, scheduler: SchedulerBase | None) -> None:
        self.name, self.graph, self.node, self.scheduler = name, graph, node, scheduler
        self._subject: Subject[Any] = Subject()
        self._recent: deque[Ticket] = deque(maxlen=1000)
        graph.add(node)
        self._subject.subscribe(self._seen)

    def _child(self, name: str, node: Node) -> Flow:
        child = object.__new__(Flow)
        child._start(name, self.graph, node, self.scheduler)
        child._count = self._count
        return child

    def _seen(self, item: Any) -> None:
        self.node.out += 1
        if isinstance(item, Ticket):
            self._recent.append(item)

    # What goes in

    def emit(self, item: object) -> None:
        """Send one item through; an alert, or the bytes or text of one, is lifted into a ticket first.

        Raises AlertError for a text that is not an alert, and nothing else: whatever listeners and
        operators do, the emitter goes on.
        """
        if isinstance(item, bytes | str):
            item = parse_alert(item.encode() if isinstance(item, str) else item)
        if isinstance(item, Alert):
            item = Ticket.of(item, seq=next(self._count))
        self._subject.on_next(item)

    # What is built

    @property
    def observable(self) -> Observable[Any]:
        """The stream for bare reactivex; a subscriber that raises is logged and harms nobody else."""

        def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
            guarded = _guard(observer.on_next, f"a subscriber of {self.name}")
            return self._subject.subscribe(guarded, observer.on_error, observer.on_completed)

        return Observable(subscribe)

    def pipe(self, *pieces: Piece, name: str | None = None) -> Flow:
        """Return the flow of what comes out of `pieces`: ttflow's operators or any of reactivex's."""
        flow = self
        for piece in pieces:
            flow = flow._through(piece)
        flow.name = name or flow.name
        return flow

    def _through(self, piece: Piece) -> Flow:
        if not callable(piece):
            raise FlowError(f"{piece!r} is no operator; give a function from Observable to Observable")
        if isinstance(piece, Operator):
            child = self._child(piece.name, Node("operator", piece.name, (self.node,), piece.detail))
            made = piece.metered(self._subject, child.node.meter)
            self.graph.memory = max(self.graph.memory, piece.memory)
            made.subscribe(child._subject.on_next, scheduler=self.scheduler)
        else:
            label = _piece_name(piece)
            child = self._child(label, Node("reactivex", label, (self.node,)))
            _Stage(self, piece, child).connect()
        return child

    def split(self, by: Key = "account_group") -> Split:
        """Return the flows of the tickets by key: `groups["topstep"]`, and `groups.rest` for the unnamed."""
        return Split(self, _key("split", by))

    def merge(self, *others: Flow) -> Flow:
        """Return the flow of this one's tickets and the others', in the order they come."""
        flows = (self, *others)
        child = self._child("merge", Node("merge", "merge", tuple(flow.node for flow in flows)))
        for flow in flows:
            flow._subject.subscribe(child._subject.on_next)
        return child

    # What comes out

    def to(self, sink: Listener, name: str | None = None) -> Flow:
        """Hand every ticket to `sink`, which acts on the world; a replay does not call it."""
        return self._listen("sink", sink, name)

    def each(self, listener: Listener, name: str | None = None) -> Flow:
        """Call `listener` with every ticket, in line; one that raises is logged, and called again."""
        return self._listen("each", listener, name)

    def _listen(self, kind: str, listener: Listener, name: str | None) -> Flow:
        label = name or str(getattr(listener, "__name__", kind))
        node = self.graph.add(Node(kind, label, (self.node,)))
        guarded = _guard(listener, label, node)

        def handle(item: Any) -> None:
            if not self.graph.muted:
                guarded(item)

        self._subject.subscribe(handle)
        return self

    def tap(self, watcher: Listener | None = None, *, size: int = 1000, name: str | None = None) -> Tap:
        """Watch from outside the ticket's path, through a queue of `size`; when full, the oldest are dropped.

        With a `watcher`, a thread of the tap's own calls it, however slow it is or whatever it raises.
        Without one, the tap keeps the last `size` items: `tap.items`, `tap.frame()`.
        """
        tap = Tap(watcher, size, name or str(getattr(watcher, "__name__", "tap")))
        tap._node = self.graph.add(Node("tap", tap.name, (self.node,)))

        def handle(item: Any) -> None:
            if not self.graph.muted:
                tap._offer(item)

        tap._subscription = self._subject.subscribe(handle)
        return tap

    # What it tells

    def explain(self, alert: Ticket | Alert | str) -> str:
        """Tell what happened to an alert here, step by step; an id will do. It knows the last 1,000."""
        found = [ticket for ticket in self._recent if _is(ticket, alert)]
        if not found:
            return f"The flow {self.name} has not seen it, or forgot it: it remembers the last 1,000 tickets."
        return "\n\n".join(explained(ticket) for ticket in found)

    def mermaid(self) -> str:
        """Draw the flow as a mermaid diagram, with what each node has seen so far."""
        return self.graph.mermaid()

    def _repr_html_(self) -> str:
        return self.graph.html()

    def __repr__(self) -> str:
        return f"<Flow {self.name}: {self.node.out} tickets so far>"


class Split:
    """The flows that `Flow.split` makes, one for each key that is asked for, and `rest`."""

    def __init__(self, flow: Flow, key: Callable[[Ticket], Hashable]) -> None:
        self._flow, self._key_of, self._flows = flow, key, dict[Hashable, Flow]()
        self.rest = flow._child("rest", Node("split", "rest", (flow.node,)))
        flow._subject.subscribe(self._hand_on)

    def _hand_on(self, item: Any) -> None:
        flow = self._flows.get(self._key_of(item)) if isinstance(item, Ticket) else None
        (flow or self.rest)._subject.on_next(item)

    def __getitem__(self, key: Hashable) -> Flow:
        """The flow of the tickets with this key; asking for it takes them out of `rest`."""
        if key not in self._flows:
            self._flows[key] = self._flow._child(str(key), Node("split", str(key), (self._flow.node,)))
        return self._flows[key]

    def __iter__(self) -> Iterator[Flow]:
        """Every branch that was asked for, and the rest."""
        return iter((*self._flows.values(), self.rest))


class _Stage:
    """A bare reactivex piece in a pipe: when it ends in an error, the ticket fails and it starts anew."""

    def __init__(self, parent: Flow, piece: Piece, child: Flow) -> None:
        self.parent, self.piece, self.child = parent, piece, child
        self.door: Subject[Any] = Subject()
        self.current: Any = None

    def connect(self) -> None:
        self._subscribe()
        self.parent._subject.subscribe(self._enter)

    def _subscribe(self) -> None:
        self.door = Subject()
        made = self.piece(self.door)
        made.subscribe(self.child._subject.on_next, self._ended, scheduler=self.parent.scheduler)

    def _enter(self, item: Any) -> None:
        self.current = item
        self.child.node.meter.seen += 1
        self.door.on_next(item)
        self.current = None

    def _ended(self, error: Exception) -> None:
        name, item = self.child.node.name, self.current
        self.child.node.meter.failed += 1
        log.warning("%s ended with %r and was started again; what it remembered is lost", name, error)
        self._subscribe()
        if isinstance(item, Ticket) and item.status is Status.OPEN:
            text = f"It raised {type(error).__name__}: {error}."
            failed = (
                item.note(text, name)
                if item.reduces
                else item.end(Status.FAILED, Reason.OPERATOR_FAILED, text, name)
            )
            self.child._subject.on_next(failed)


def explained(ticket: Ticket) -> str:
    """Tell one ticket's story in plain sentences: the alert, each step, and where it stands."""
    where = f"{ticket.account_group}/{ticket.account}".rstrip("/")
    lines = [f"{ticket.alert_id}: {ticket.alert} by {ticket.strategy}, for {where}"]
    lines += [f"  {note.step}: {note.text}" for note in ticket.trail]
    why = f" ({ticket.reason})" if ticket.reason else ""
    return "\n".join([*lines, f"  → {ticket.status}{why}"])


def _is(ticket: Ticket, alert: Ticket | Alert | str) -> bool:
    if isinstance(alert, str):
        return ticket.alert_id == alert
    return ticket.alert == alert if isinstance(alert, Alert) else ticket.key == alert.key


def _guard(listener: Listener, name: str, node: Node | None = None) -> Callable[[Any], None]:
    def call(item: Any) -> None:
        if node:
            node.meter.seen += 1
        try:
            listener(item)
        except Exception:
            if node:
                node.meter.failed += 1
            log.exception("the listener %s raised; the others get their item all the same", name)

    return call


def _piece_name(piece: Piece) -> str:
    named = getattr(piece, "__qualname__", None) or type(piece).__name__
    return named.split(".<locals>")[0].strip("_").rsplit(".", 1)[-1].rstrip("_")


__all__ = ["Flow", "Split", "Tap", "explained"]
