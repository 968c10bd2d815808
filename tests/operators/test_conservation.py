"""What goes in comes out: through any pipe of any operators, once, in order; and exits always open."""

from datetime import timedelta
from decimal import Decimal

import reactivex
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as rx
from through import entry, exit_

from ttflow import operators as ops
from ttflow.flow import Flow
from ttflow.ticket import Status
from ttflow.words import evolve


@ops.operator
def meddle(change):
    """Does to every ticket what it is told."""
    return lambda ticket, now: change(ticket)


def fail(ticket):
    raise RuntimeError("on purpose")


def fail_sometimes(ticket):
    return fail(ticket) if ticket.asked % 3 == 1 else ticket


def forge(ticket):
    """Make another ticket of it: no operator may, and a bare piece that does has let this one go."""
    return evolve(ticket, seq=7)


CHANGES = [
    fail,
    fail_sometimes,
    lambda t: None,
    lambda t: t.deny("NO", "No."),
    lambda t: t.note("seen"),
    lambda t: t.sized(Decimal(7), "seven"),
    lambda t: evolve(t, status=Status.FILLED),
    forge,
    lambda t: evolve(t, trail=()),
    lambda t: evolve(t, quantity=Decimal(0), status=Status.DENIED, reason="NO"),
]
seconds = st.floats(0.001, 100_000)
keys = st.sampled_from(["symbol", "strategy", "seq", lambda t: t.symbol, lambda t: [], fail])
hours = st.times().map(lambda t: f"{t:%H:%M}")
words = st.lists(st.sampled_from(["ES", "NQ", "walker", "paper_simulator"]), max_size=2)

guarded = st.one_of(
    st.builds(ops.where, st.sampled_from([fail, lambda t: True, lambda t: False, lambda t: t.asked % 2])),
    st.builds(ops.allow, symbols=words, strategies=words, groups=words, sides=st.just(["buy"])),
    st.builds(ops.session, hours, hours, tz=st.sampled_from(["UTC", "Asia/Tokyo"]), days=st.just("mon")),
    st.builds(ops.expire, seconds),
    st.builds(ops.throttle, seconds, by=keys),
    st.builds(ops.dedupe, seconds),
    st.builds(ops.enrich, st.sampled_from([fail, lambda t: {"a": 1}, lambda t: None, lambda t: 3])),
    st.builds(ops.tag, a=st.sampled_from([1, fail])),
    st.builds(ops.size),
    st.builds(meddle, st.sampled_from(CHANGES)),
)
one_to_one = st.one_of(
    st.builds(rx.map, st.sampled_from([fail, fail_sometimes, lambda t: t, lambda t: t.note("mapped")])),
    st.builds(rx.map, st.sampled_from([change for change in CHANGES[3:] if change is not forge])),
    st.builds(rx.do_action, st.sampled_from([fail, fail_sometimes, id])),
    st.builds(lambda: rx.scan(lambda before, t: fail_sometimes(t), None)),
    st.builds(lambda: rx.flat_map(lambda t: reactivex.of(fail_sometimes(t)))),
)
routed = st.builds(
    lambda path, by: ops.route({"ES": path, 1: path, "walker": path}, by=by),
    st.lists(st.one_of(guarded, one_to_one), max_size=3),
    keys,
)
pipes = st.lists(st.one_of(guarded, one_to_one, routed), max_size=12)
dropping = st.sampled_from(
    [rx.filter(lambda t: t.asked % 2), rx.take(3), rx.skip(2), rx.debounce(5), rx.delay(7), rx.sample(3)]
)


@st.composite
def arriving(draw):
    """Entries and exits, some denied already, each with a seq of its own, in the order of their time."""
    items, now = [], 0.0
    for seq in range(draw(st.integers(0, 12))):
        now += draw(st.sampled_from([0, 0.5, 5, 100]))
        make = draw(st.sampled_from([entry, exit_]))
        item = make(now, symbol=draw(st.sampled_from(["ES", "NQ"])), quantity=draw(st.integers(1, 9)))
        item = evolve(item, seq=seq, now=item.now + timedelta())
        items.append(item.deny("BEFORE", "Denied before.") if draw(st.integers(0, 5)) == 0 else item)
    return items


def run(flow, piped, items):
    out = []
    piped.each(out.append)
    for item in items:
        flow.emit(item)
    return out


@given(pipes, arriving())
def test_every_ticket_comes_out_exactly_once_and_in_order(pieces, items):
    flow = Flow()
    out = run(flow, flow.pipe(*pieces), items)

    assert [t.seq for t in out] == [t.seq for t in items]
    assert all(t.trail[: len(item.trail)] == item.trail for t, item in zip(out, items, strict=True))


@given(pipes, arriving())
def test_no_operator_stops_changes_or_loses_an_exit(pieces, items):
    flow = Flow()
    exits = [t for t in items if t.reduces]
    out = [t for t in run(flow, flow.pipe(*pieces), items) if t.reduces]

    assert [t.status for t in out] == [Status.OPEN] * len(exits)
    untouched = {"trail": (), "tags": {}, "statistics": {}}
    assert [evolve(t, **untouched) for t in out] == [evolve(t, **untouched) for t in exits]


@given(pipes, arriving())
def test_what_is_no_longer_open_says_why(pieces, items):
    flow = Flow()

    for ticket in run(flow, flow.pipe(*pieces), items):
        assert ticket.status in (Status.OPEN, Status.DENIED, Status.FAILED)
        assert (ticket.status is Status.OPEN) == (ticket.reason is None)


@given(pipes, dropping, pipes, arriving())
def test_a_piece_that_drops_or_holds_is_the_only_one_that_does(before, piece, after, items):
    flow = Flow()
    upstream = flow.pipe(*before)
    dropped = upstream.pipe(piece)
    left = [(t.seq, t.reduces) for t in run(flow, dropped, [])]
    seen, out = [], []
    dropped.each(lambda t: seen.append(t.seq))
    dropped.pipe(*after).each(lambda t: out.append(t.seq))
    for item in items:
        flow.emit(item)

    assert left == []
    assert out == seen
    assert set(out) <= {item.seq for item in items}


@given(pipes, arriving())
def test_a_second_pipe_on_the_same_flow_changes_nothing_for_the_first(pieces, items):
    alone, shared = Flow(), Flow()
    expected = run(alone, alone.pipe(*pieces), items)
    shared.pipe(meddle(fail)).pipe(rx.take(1))
    shared.each(fail)

    assert run(shared, shared.pipe(*pieces), items) == expected


@given(pipes, arriving())
def test_the_same_tickets_give_the_same_decisions(pieces, items):
    first, second = Flow(), Flow()

    assert run(first, first.pipe(*pieces), items) == run(second, second.pipe(*pieces), items)


@given(pipes, arriving())
def test_splitting_and_merging_loses_nothing(pieces, items):
    flow, out = Flow(), []
    groups = flow.split("symbol")
    groups["ES"].pipe(*pieces).merge(groups["NQ"], groups.rest).each(out.append)
    for item in items:
        flow.emit(item)

    assert [t.seq for t in out] == [t.seq for t in items]
