"""A flow's picture of itself: its nodes, what they have seen, drawn as mermaid or as plain HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ttflow.operators.core import Meter


class Node:
    """One place in a flow: a source, an operator, a branch, a listener.

    `kind` is `source`, `operator`, `reactivex`, `flow`, `split`, `merge`, `sink`, `each` or `tap`.
    """

    __slots__ = ("detail", "kind", "meter", "name", "parents")

    def __init__(self, kind: str, name: str, parents: tuple[Node, ...], detail: str = "") -> None:
        self.kind, self.name, self.parents, self.detail = kind, name, parents, detail
        self.meter = Meter()

    @property
    def label(self) -> str:
        """The name, with the arguments where there are any."""
        return f"{self.name}({self.detail})" if self.detail else self.name

    @property
    def out(self) -> int:
        """How many items have come out; an operator lets out whatever comes in."""
        return self.meter.seen if self.kind == "operator" else self.meter.out

    @property
    def told(self) -> str:
        """What the node has seen, in words: `120 in, 3 denied, 2.1 µs each`."""
        meter = self.meter
        if self.kind in ("source", "flow", "split", "merge"):
            return f"{meter.out} so far"
        parts = [f"{meter.seen} in"]
        parts += [f"{meter.out} out"] if self.kind == "reactivex" else []
        for count, what in ((meter.denied, "denied"), (meter.failed, "failed"), (meter.dropped, "dropped")):
            parts += [f"{count} {what}"] if count else []
        parts += [f"{1e6 * meter.seconds / meter.sampled:.1f} µs each"] if meter.sampled else []
        parts += ["completed"] if meter.ended else []
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<Node {self.kind} {self.label}: {self.told}>"


class Graph:
    """The nodes of a flow and of everything piped from it, in the order they were added.

    `memory` is the longest that an operator here remembers, in seconds. While `muted`, sinks, listeners and
    taps are not called: inputs are being run again to bring memory back.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.memory = 0.0
        self.muted = False

    def add(self, node: Node) -> Node:
        """Add a node and return it; a parent from another flow's graph comes with it."""
        for parent in node.parents:
            if parent not in self.nodes:
                self.add(parent)
        self.nodes.append(node)
        return node

    def remove(self, nodes: Iterable[Node]) -> None:
        """Take nodes out, and with them whatever hangs on nothing else."""
        gone, kept = set(nodes), dict[Node, None]()
        for node in self.nodes:  # parents stand before their children
            if node not in gone and (not node.parents or any(parent in kept for parent in node.parents)):
                kept[node] = None
        self.nodes = list(kept)

    def mermaid(self) -> str:
        """Draw the graph as a mermaid flowchart, from left to right."""
        names = {node: f"n{place}" for place, node in enumerate(self.nodes)}
        lines = ["flowchart LR"]
        for node, name in names.items():
            opening, closing = {"source": ("([", "])"), "operator": ("[", "]")}.get(node.kind, ("(", ")"))
            lines.append(f'    {name}{opening}"{_safe(node.label)}<br/>{_safe(node.told)}"{closing}')
            lines += [f"    {names[parent]} --> {name}" for parent in node.parents if parent in names]
        return "\n".join(lines)

    def html(self) -> str:
        """Draw the graph as HTML and CSS alone, for notebooks without widgets or a network."""
        children: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        roots: list[Node] = []
        for node in self.nodes:
            parent = next((parent for parent in node.parents if parent in children), None)
            (children[parent] if parent else roots).append(node)
        return f'<div class="ttflow-graph">{_STYLE}{"".join(_tree(root, children) for root in roots)}</div>'


def _tree(node: Node, children: dict[Node, list[Node]]) -> str:
    """One chain of nodes in a row; where it branches, the branches stand under each other."""
    row = [node]
    while len(below := children[row[-1]]) == 1:
        row.append(below[0])
    boxes = '<span class="arrow">→</span>'.join(map(_box, row))
    inner = "".join(f'<div class="branch">{_tree(child, children)}</div>' for child in below)
    return f'<div class="row">{boxes}{f"<div>{inner}</div>" if inner else ""}</div>'


def _box(node: Node) -> str:
    return (
        f'<span class="node {escape(node.kind)}"><b>{escape(node.name)}</b>'
        f"<small>{escape(node.detail)}</small><small>{escape(node.told)}</small></span>"
    )


_MERMAID = str.maketrans(
    {"#": "#35;", "&": "#amp;", "<": "#lt;", ">": "#gt;", '"': "#quot;", "`": "'", "\n": " "}
)


def _safe(text: str) -> str:
    """Keep a label's characters from being read as mermaid's own, in mermaid's way of writing them."""
    return text.translate(_MERMAID)


_STYLE = """<style>
.ttflow-graph { font: 13px/1.4 system-ui, sans-serif; overflow-x: auto; }
.ttflow-graph .row { display: flex; align-items: center; gap: 6px; margin: 4px 0; }
.ttflow-graph .node { display: inline-flex; flex-direction: column; padding: 5px 9px; border-radius: 6px;
  border: 1px solid #8888; background: #8881; white-space: nowrap; }
.ttflow-graph .source, .ttflow-graph .split { border-color: #2a7de1; }
.ttflow-graph .sink { border-color: #1a9e5c; }
.ttflow-graph .tap, .ttflow-graph .each { border-style: dashed; }
.ttflow-graph small { opacity: .65; }
.ttflow-graph .arrow { opacity: .5; }
.ttflow-graph .branch { border-left: 2px solid #8884; padding-left: 8px; margin: 4px 0; }
</style>"""
