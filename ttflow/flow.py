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

import reactivex
from reactivex import Observable, Subject
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable

from ttflow.alert import Alert, parse_alert
from ttflow.clock import InputClock
from ttflow.errors import FlowError
from ttflow.graph import Graph, Node
from ttflow.hub import Hub
from ttflow.operators.bare import guarded
from ttflow.operators.core import Meter, Piece, failed
from ttflow.operators.timing import Key, key_function
from ttflow.story import explained, is_about, pass_of, stepwise
from ttflow.tap import Listener, Tap
from ttflow.ticket import Ticket

log = logging.getLogger("ttflow.flow")

_RECENT = 1000  # tickets that each flow remembers, for `explain`


class Flow:
    """A named, hot stream of tickets.

    `pipe` and `split` return new flows and change nothing; a flow may have any number of children and
    listeners, and each gets every ticket once. Items go through one after another: what is emitted from
    inside a listener, or from another thread, waits for the one before it.

    `scheduler` is the time of reactivex's own operators, `debounce` and the like. By default it is the
    tickets' own: it stands at the `now` of the newest ticket, so a replay agrees, and nothing runs between
    tickets. For a live view on fills or prices give reactivex's `AsyncIOScheduler`.
    """

    def __init__(self, name: str = "alerts", *, scheduler: SchedulerBase | None = None) -> None:
        self._begin(name, [Node("source", name, ())], Hub(scheduler or InputClock()))

    def _begin(self, name: str, nodes: list[Node], hub: Hub) -> None:
        self.name, self.node, self.graph, self.scheduler = name, nodes[-1], hub.graph, hub.scheduler
        self._nodes, self._hub = nodes, hub
        self._counted = Meter() if self.node.kind == "reactivex" else self.node.meter  # it counts by itself
        self._subject: Subject[Any] = Subject()
        self._recent: deque[Ticket] = deque(maxlen=_RECENT)
        self._upstream = SerialDisposable()
        hub.add(self)

    def _child(self, name: str, *nodes: Node) -> Flow:
        child = object.__new__(Flow)
        child._begin(name, list(nodes), self._hub)
        return child

    def _take(self, item: Any) -> None:
        """Let one item out to everything that hangs here."""
        self._counted.out += 1
        if type(item) is Ticket:
            self._recent.append(item)
        if self._subject.observers:
            self._subject.on_next(item)

    def _follow(self, source: Observable[Any], scheduler: SchedulerBase | None = None) -> Flow:
        done = self._subject.on_completed
        try:
            self._upstream.disposable = source.subscribe(self._take, None, done, scheduler=scheduler)
        except Exception:
            self._hub.remove(self._nodes)
            raise
        return self

    # What goes in

    def emit(self, item: object) -> None:
        """Send one item through; an alert, or the bytes or text of one, is lifted into a ticket first.

        Raises AlertError for a text that is not an alert, FlowError once the flow has ended, and nothing
        else: whatever listeners and operators do, the emitter goes on.
        """
        if self._subject.is_stopped:
            raise FlowError(f"the flow {self.name} has ended; emit into the flow that it was piped from")
        self._hub.send(self, item if type(item) is Ticket else self._lifted(item))

    def _lifted(self, item: object) -> object:
        if isinstance(item, bytes | str):
            item = parse_alert(item.encode() if isinstance(item, str) else item)
        return Ticket.of(item, seq=next(self._hub.count)) if isinstance(item, Alert) else item

    # What is built

    @property
    def observable(self) -> Observable[Any]:
        """The stream for bare reactivex; a subscriber that raises is logged and harms nobody else.

        Give time operators this flow's clock: `flow.observable.pipe(...).subscribe(f,
        scheduler=flow.scheduler)`; without one, reactivex starts a thread for each item.
        """

        def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
            safe = _safe(observer.on_next, f"a subscriber of {self.name}")
            return self._subject.subscribe(safe, observer.on_error, observer.on_completed)

        return Observable(subscribe)

    def pipe(self, *pieces: Piece, name: str | None = None) -> Flow:
        """Return the flow of what comes out of `pieces`: ttflow's operators or any of reactivex's.

        A reactivex operator sees every item, denied tickets too, and decides what comes out, and when; its
        clock is the flow's. An error in it costs one ticket, and what it remembered. Raises FlowError for
        what is no operator, and leaves the flow as it was.
        """
        operators = [guarded(piece) for piece in pieces]
        source: Observable[Any] = self._subject
        nodes = [] if operators else [Node("flow", name or self.name, (self.node,))]
        for one in operators:
            node = Node(one.kind, one.name, (nodes[-1] if nodes else self.node,), one.detail)
            nodes.append(node)
            source = one.metered(source, node.meter)
        child = self._child(name or nodes[-1].name, *nodes)._follow(source, self.scheduler)
        self.graph.memory = max([self.graph.memory, *(one.memory for one in operators)])
        return child

    def split(self, by: Key = "account_group") -> Split:
        """Return the flows of the tickets by key: `groups["topstep"]`, and `groups.rest` for the unnamed.

        `by` is a field of the ticket or a function of it. A ticket on which it raises goes to `rest`, failed;
        an exit, with a note.
        """
        return Split(self, key_function("split", by))

    def merge(self, *others: Flow) -> Flow:
        """Return the flow of this one's tickets and the others', in the order they come.

        Made for the branches of a split. Branches that carry the same ticket carry it twice.
        """
        flows = (self, *others)
        if len({id(flow) for flow in flows}) < len(flows):
            raise FlowError("merge: the same flow stands there twice, so each ticket would come out twice")
        detail = ", ".join(flow.name for flow in flows)
        child = self._child("merge", Node("merge", "merge", tuple(flow.node for flow in flows), detail))
        return child._follow(reactivex.merge(*(flow._subject for flow in flows)))

    @property
    def closed(self) -> bool:
        """Whether nothing comes out any more: closed, or completed by a piece such as `take`."""
        return self._subject.is_stopped

    def close(self) -> None:
        """End this flow and all that was piped from it, for a notebook's cell that is run again.

        Listeners and taps get nothing more, and their nodes leave the picture. Raises FlowError for a
        source, since others may hang on it.
        """
        if self.node.kind == "source":
            raise FlowError(f"{self.name} is a source; close what was piped from it")
        self._upstream.dispose()
        self._subject.on_completed()
        self._hub.remove(self._nodes)

    # What comes out

    def to(self, sink: Listener, name: str | None = None) -> Flow:
        """Hand every ticket to `sink`, which acts on the world; a replay does not call it."""
        return self._listen("sink", sink, name)

    def each(self, listener: Listener, name: str | None = None) -> Flow:
        """Call `listener` with every ticket, in line; one that raises is logged, and called again."""
        return self._listen("each", listener, name)

    def _listen(self, kind: str, listener: Listener, name: str | None) -> Flow:
        if not callable(listener):
            raise FlowError(f"{listener!r} can't listen; give a function of the ticket")
        label = name or str(getattr(listener, "__name__", kind))
        node = self.graph.add(Node(kind, label, (self.node,)))
        self._subject.subscribe(_safe(listener, label, node, self.graph))
        return self

    def tap(self, watcher: Listener | None = None, *, size: int = 1000, name: str | None = None) -> Tap:
        """Watch from outside the ticket's path, through a queue of `size`; when full, the oldest are dropped.

        With a `watcher`, a thread of the tap's own calls it, however slow it is or whatever it raises.
        Without one, the tap keeps the last `size` items: `tap.items`, `tap.frame()`.
        """
        label = name or str(getattr(watcher, "__name__", "tap"))
        tap = Tap(watcher, size, label, Node("tap", label, (self.node,)), self.graph)
        tap.watch(self._subject)
        return tap

    # What it tells

    def explain(self, alert: Ticket | Alert | str) -> str:
        """Tell what happened to an alert from here on, step by step; a ticket or an alert's id will do.

        Each flow knows its last 1,000 tickets.
        """
        found = [ticket for ticket in self._recent if is_about(ticket, alert)]
        if not found:
            return f"The flow {self.name} has not seen it, or forgot it: it remembers the last 1,000 tickets."
        told = {pass_of(ticket): self._tell(ticket) for ticket in found}
        return "\n\n".join(dict.fromkeys(itertools.chain.from_iterable(told.values())))

    def _tell(self, ticket: Ticket) -> list[str]:
        """One story for each flow in which the ticket was seen last."""
        below = [flow for flow in self._hub.flows if self.node in flow._nodes[0].parents]
        stories = [story for flow in below if (seen := flow._sighting(ticket)) for story in flow._tell(seen)]
        if stories:
            return stories
        missing = [node.name for flow in below for node in flow._nodes if node.kind == "reactivex"]
        path, known = self._hub.path(self, ticket)
        return [stepwise(ticket, path, known, missing)]

    def _sighting(self, ticket: Ticket) -> Ticket | None:
        return next((seen for seen in reversed(self._recent) if pass_of(seen) == pass_of(ticket)), None)

    def mermaid(self) -> str:
        """Draw the flow as a mermaid diagram, with what each node has seen so far."""
        return self.graph.mermaid()

    def _repr_html_(self) -> str:
        return self.graph.html()

    def __repr__(self) -> str:
        return f"<Flow {self.name}: {self.node.out} so far>"


class Split:
    """The flows that `Flow.split` makes, one for each key that is asked for, and `rest`."""

    def __init__(self, flow: Flow, key: Callable[[Ticket], Hashable]) -> None:
        self._flow, self._key_of, self._flows = flow, key, dict[Hashable, Flow]()
        self.rest = flow._child("rest", Node("split", "rest", (flow.node,)))
        flow._subject.subscribe(self._hand_on, None, self._end)

    def _hand_on(self, item: Any) -> None:
        branch = None
        try:
            branch = self._flows.get(self._key_of(item)) if isinstance(item, Ticket) else None
        except Exception as error:
            item = failed("split", item, error, self.rest.node.meter)
        (self.rest if branch is None or branch.closed else branch)._take(item)

    def _end(self) -> None:
        for flow in self:
            flow._subject.on_completed()

    def __getitem__(self, key: Hashable) -> Flow:
        """The flow of the tickets with this key; asking for it takes them out of `rest` from then on."""
        if key not in self._flows or self._flows[key].closed:
            self._flows[key] = self._flow._child(str(key), Node("split", str(key), (self._flow.node,)))
        return self._flows[key]

    def __iter__(self) -> Iterator[Flow]:
        """Every branch that was asked for, and the rest."""
        return iter((*self._flows.values(), self.rest))


def _safe(
    listener: Listener, name: str, node: Node | None = None, graph: Graph | None = None
) -> Callable[[Any], None]:
    def call(item: Any) -> None:
        if graph and graph.muted:
            return
        if node:
            node.meter.seen += 1
        try:
            listener(item)
        except Exception:
            if node:
                node.meter.failed += 1
            log.exception("the listener %s raised; the others get their item all the same", name)

    return call


__all__ = ["Flow", "Split", "Tap", "explained"]
