"""Graph: a flow draws itself, as mermaid and as HTML, with what each node has seen."""

import html.parser

import pytest
from reactivex import operators as rx

from ttflow import operators as ops
from ttflow.flow import Flow
from ttflow.graph import Graph, Node
from ttflow.testing import NINE, ticket


@pytest.fixture
def flow():
    """A small desk that has seen two tickets."""
    flow = Flow("alerts")
    gated = flow.pipe(ops.allow(symbols=["ES"]), rx.filter(lambda t: True))
    groups = gated.split("account_group")
    groups["apex"].pipe(ops.size()).to(id, name="broker")
    groups.rest.each(id, name="paper")
    for symbol in ("ES", "NQ"):
        flow.emit(ticket(symbol=symbol))
    return flow


def test_mermaid_shows_every_node_and_what_it_has_seen(flow):
    assert flow.mermaid().splitlines() == [
        "flowchart LR",
        '    n0(["alerts<br/>2 so far"])',
        """    n1["allow(symbols=['ES'])<br/>2 in, 1 denied"]""",
        "    n0 --> n1",
        '    n2("filter<br/>2 in, 2 out")',
        "    n1 --> n2",
        '    n3("rest<br/>2 so far")',
        "    n2 --> n3",
        '    n4("apex<br/>0 so far")',
        "    n2 --> n4",
        '    n5["size<br/>0 in"]',
        "    n4 --> n5",
        '    n6("broker<br/>0 in")',
        "    n5 --> n6",
        '    n7("paper<br/>2 in")',
        "    n3 --> n7",
    ]


class Reader(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.most = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "b":
            self.names.append(data)


def test_html_shows_the_same_nodes_in_tags_that_match(flow):
    read = Reader(flow._repr_html_())

    assert read.open == []
    assert sorted(read.names) == sorted(node.name for node in flow.graph.nodes)


def test_html_needs_nothing_from_outside(flow):
    assert not {"<script", "http", "src=", "url("} & set(flow._repr_html_().split('"'))
    assert "http" not in flow._repr_html_()


def test_a_name_is_text_in_both_pictures_whatever_it_holds():
    flow = Flow('<img src=x> "quoted" & #1; `tick`')
    flow.pipe(ops.tag(a="<b>bold</b>"))

    assert "<img" not in flow._repr_html_()
    assert "<b>bold" not in flow._repr_html_()
    label = flow.mermaid().splitlines()[1]
    assert label == "    n0([\"#lt;img src=x#gt; #quot;quoted#quot; #amp; #35;1; 'tick'<br/>0 so far\"])"


def test_a_merge_names_its_branches_and_is_drawn_once():
    flow = Flow()
    groups = flow.split("symbol")
    groups["ES"].merge(groups.rest)

    assert flow._repr_html_().count("<b>merge</b>") == 1
    assert '"merge(ES, rest)<br/>0 so far"' in flow.mermaid()
    assert flow.mermaid().count("--> n3") == 2


def test_a_long_flow_is_drawn():
    flow = Flow()
    flow.pipe(*(ops.tag(n=n) for n in range(100)))

    assert flow._repr_html_().count("<b>tag</b>") == 100
    assert flow.mermaid().count("-->") == 100


@pytest.mark.parametrize(
    ("kind", "counts", "told"),
    [
        ("source", {"out": 3}, "3 so far"),
        ("operator", {"seen": 3}, "3 in"),
        ("operator", {"seen": 3, "denied": 1, "failed": 2}, "3 in, 1 denied, 2 failed"),
        ("operator", {"seen": 64, "sampled": 2, "seconds": 4.2e-6}, "64 in, 2.1 µs each"),
        ("reactivex", {"seen": 3, "out": 1, "ended": True}, "3 in, 1 out, completed"),
        ("tap", {"seen": 3, "dropped": 1}, "3 in, 1 dropped"),
        ("sink", {"seen": 3}, "3 in"),
    ],
)
def test_a_node_tells_what_it_has_seen_in_words(kind, counts, told):
    node = Node(kind, "x", ())
    for name, count in counts.items():
        setattr(node.meter, name, count)

    assert node.told == told
    assert repr(node) == f"<Node {kind} x: {told}>"


def test_whatever_goes_into_an_operator_comes_out():
    node = Node("operator", "x", ())
    node.meter.seen = 3

    assert node.out == 3


def test_removing_a_node_takes_what_hangs_on_nothing_else():
    graph = Graph()
    root = graph.add(Node("source", "root", ()))
    left, right = (graph.add(Node("operator", name, (root,))) for name in ("left", "right"))
    both = graph.add(Node("merge", "both", (left, right)))
    only = graph.add(Node("each", "only", (left,)))
    graph.remove([left])

    assert graph.nodes == [root, right, both]
    assert only.name not in graph.html()
    graph.remove([right])
    assert graph.nodes == [root]


def test_time_is_sampled_and_shown():
    flow = Flow()
    flow.pipe(ops.size())
    for _ in range(64):
        flow.emit(ticket(NINE))

    assert "µs each" in flow.mermaid()
