"""What a source and all flows piped from it share: the picture, the clock, and the order of delivery."""

from __future__ import annotations

import itertools
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

from reactivex.abc import SchedulerBase

from ttflow.clock import InputClock
from ttflow.graph import Graph, Node
from ttflow.ticket import Ticket

if TYPE_CHECKING:
    from ttflow.flow import Flow


class Hub:
    """What a source and all flows piped from it share; `flows` are those that have not been closed."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        self.graph, self.scheduler = Graph(), scheduler
        self.flows: list[Flow] = []
        self.count = itertools.count(1)
        self._clock = scheduler if isinstance(scheduler, InputClock) else None
        self._waiting: deque[tuple[Flow, Any]] = deque()
        self._busy = Lock()

    def add(self, flow: Flow) -> None:
        """Add a flow and its nodes."""
        for node in flow._nodes:
            self.graph.add(node)
        self.flows.append(flow)

    def remove(self, nodes: list[Node]) -> None:
        """Forget nodes, what hangs on nothing else, and the flows that end there."""
        self.graph.remove(nodes)
        self.flows = [flow for flow in self.flows if flow.node in self.graph.nodes]

    def send(self, flow: Flow, item: Any) -> None:
        """Deliver one item after another: a listener that emits would else turn their order around."""
        self._waiting.append((flow, item))
        while self._waiting and self._busy.acquire(blocking=False):
            try:
                while self._waiting:
                    self._deliver(*self._waiting.popleft())
            finally:
                self._busy.release()

    def _deliver(self, flow: Flow, item: Any) -> None:
        clock = self._clock
        if clock and type(item) is Ticket and item.now > clock.now:
            clock.advance(item.now)
        flow._take(item)
        if clock:
            clock.settle()  # what a piece put off without a delay belongs to this item

    def path(self, flow: Flow, ticket: Ticket) -> tuple[list[Node], int]:
        """The nodes by which a ticket came to `flow`, and how many notes it had when it set out."""
        ends = {each.node: each for each in self.flows}
        nodes, first = list(flow._nodes), ticket
        while nodes[0].parents:
            above = [ends[parent] for parent in nodes[0].parents if parent in ends]
            through = [(each, seen) for each in above if (seen := each._sighting(ticket))]
            if not through:
                break
            each, first = through[0]
            nodes = [*each._nodes, *nodes]
        return nodes, len(first.trail)
