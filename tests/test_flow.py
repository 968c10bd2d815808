"""Flow: what goes in, what is built, what comes out, and what it tells."""

import subprocess
import sys
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import reactivex
from reactivex import Subject
from reactivex import operators as rx

from ttflow import operators as ops
from ttflow.errors import AlertError, FlowError
from ttflow.flow import Flow
from ttflow.testing import NINE, alert, body, ticket
from ttflow.ticket import Status
from ttflow.words import evolve


def entry(seconds=0, **fields):
    return ticket(NINE + timedelta(seconds=seconds), **fields)


def exit_(**fields):
    return entry(action="exit", quantity=None, **fields)


def gather(flow):
    out = []
    flow.each(out.append)
    return out


def broken(item):
    raise RuntimeError("on purpose")


# What goes in


@pytest.mark.parametrize("given", [body(symbol="ES"), body(symbol="ES").decode(), alert(symbol="ES")])
def test_an_alert_or_its_text_is_lifted_into_a_ticket(given):
    flow = Flow()
    out = gather(flow)
    flow.emit(given)
    flow.emit(given)

    assert [(t.seq, t.alert_id, t.symbol) for t in out] == [(1, "alert_1", "ES"), (2, "alert_2", "ES")]


def test_a_ticket_or_anything_else_goes_in_as_it_is():
    flow, item = Flow(), object()
    out = gather(flow)
    flow.emit(one := entry())
    flow.emit(item)

    assert out == [one, item]


def test_a_text_that_is_no_alert_is_said_to_the_emitter_and_reaches_nobody():
    flow = Flow()
    out = gather(flow)
    with pytest.raises(AlertError):
        flow.emit("not an alert")

    assert out == []


def test_what_a_listener_emits_waits_its_turn():
    """On a bare Subject it overtakes: the second listener sees [2, 1] where the first saw [1, 2]."""
    flow, first, second = Flow(), [], []
    flow.each(lambda n: (first.append(n), flow.emit(2) if n == 1 else None))
    flow.each(second.append)
    flow.emit(1)

    assert (first, second) == ([1, 2], [1, 2])


def test_a_bare_subject_lets_it_overtake():
    subject, first, second = Subject(), [], []
    subject.subscribe(lambda n: (first.append(n), subject.on_next(2) if n == 1 else None))
    subject.subscribe(second.append)
    subject.on_next(1)

    assert (first, second) == ([1, 2], [2, 1])


def test_threads_that_emit_take_turns():
    flow, busy, most, out = Flow(), [], [], []

    def listen(item):
        busy.append(item)
        most.append(len(busy))
        out.append(item)
        busy.pop()

    flow.each(listen)
    threads = [threading.Thread(target=lambda: [flow.emit(n) for n in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) == 1
    assert len(out) == 2000


def test_after_an_interrupt_the_next_item_goes_through():
    flow = Flow()
    out = gather(flow)
    flow.each(lambda item: (_ for _ in ()).throw(KeyboardInterrupt) if item == 1 else None)
    with pytest.raises(KeyboardInterrupt):
        flow.emit(1)
    flow.emit(2)

    assert out == [1, 2]


# What is built


def test_pipe_returns_a_new_flow_and_changes_nothing():
    flow = Flow("alerts")
    piped = flow.pipe(ops.size(), name="sized")

    assert piped is not flow
    assert (flow.name, piped.name) == ("alerts", "sized")
    assert flow.pipe(ops.size()).name == "size"


def test_a_pipe_of_nothing_is_a_new_flow_too_and_leaves_the_name_alone():
    flow = Flow("alerts")
    same = flow.pipe(name="gated")
    out = gather(same)
    flow.emit(1)

    assert (flow.name, same.name, flow.pipe().name) == ("alerts", "gated", "alerts")
    assert out == [1]


def test_a_pipe_of_more_than_seven_operators_is_fine():
    flow = Flow()
    out = gather(flow.pipe(*(ops.tag(**{f"t{n}": n}) for n in range(20))))
    flow.emit(entry())

    assert out[0].tags == {f"t{n}": n for n in range(20)}


def test_a_pipe_runs_once_however_many_listen():
    """Trap 3: a piped Subject runs its side effects once for each subscriber."""
    runs, flow = [], Flow()
    piped = flow.pipe(rx.do_action(runs.append))
    piped.each(id)
    piped.to(id)
    piped.tap()
    piped.observable.subscribe(id)
    flow.emit(entry())

    assert len(runs) == 1


def test_a_bare_subject_runs_it_twice():
    runs, subject = [], Subject()
    piped = subject.pipe(rx.do_action(runs.append))
    piped.subscribe(id)
    piped.subscribe(id)
    subject.on_next(1)

    assert runs == [1, 1]


def test_a_listener_that_raises_starves_nobody_and_the_emitter_goes_on(caplog):
    """Trap 1: on a bare Subject the emitter gets the error and the third misses the item."""
    flow, calls = Flow(), []
    before = gather(flow)
    flow.each(lambda item: (calls.append(item), broken(item)), name="clumsy")
    flow.to(broken)
    flow.observable.subscribe(broken)
    flow.pipe(ops.where(broken))
    flow.split(broken)
    after = gather(flow)
    for n in range(3):
        flow.emit(entry(quantity=n + 1))

    assert before == after
    assert len(after) == len(calls) == 3
    assert "the listener clumsy raised" in caplog.text


def test_a_bare_subject_starves_those_after_it():
    subject, after = Subject(), []
    subject.subscribe(broken)
    subject.subscribe(after.append)
    with pytest.raises(RuntimeError):
        subject.on_next(1)

    assert after == []


def test_split_gives_each_key_its_flow_and_the_rest_the_others():
    flow = Flow()
    groups = flow.split("account_group")
    topstep, rest = gather(groups["topstep"]), gather(groups.rest)
    for name in ("topstep", "apex", "topstep"):
        flow.emit(entry(account_group=name))
    flow.emit(7)

    assert [t.account_group for t in topstep] == ["topstep", "topstep"]
    assert [getattr(t, "account_group", t) for t in rest] == ["apex", 7]
    assert groups["topstep"] is groups["topstep"]
    assert [branch.name for branch in groups] == ["topstep", "rest"]


def test_a_key_that_is_asked_for_late_leaves_the_rest_from_then_on():
    flow = Flow()
    groups = flow.split("symbol")
    rest = gather(groups.rest)
    flow.emit(entry(symbol="ES"))
    late = gather(groups["ES"])
    flow.emit(entry(symbol="ES", quantity=2))

    assert [int(t.asked) for t in rest] == [1]
    assert [int(t.asked) for t in late] == [2]


@pytest.mark.parametrize("by", [lambda t: 1 / 0, lambda t: []])
def test_a_key_that_fails_sends_the_ticket_to_the_rest_failed_and_the_exit_open(by):
    flow = Flow()
    rest = gather(flow.split(by).rest)
    flow.emit(entry())
    flow.emit(exit_())

    assert [t.status for t in rest] == [Status.FAILED, Status.OPEN]


def test_branches_come_together_again_in_the_order_of_the_tickets():
    flow = Flow()
    groups = flow.split("symbol")
    merged = groups["ES"].pipe(ops.tag(way="ES")).merge(groups["NQ"], groups.rest)
    out = gather(merged)
    for name in ("ES", "NQ", "YM", "ES"):
        flow.emit(entry(symbol=name))

    assert [(t.symbol, t.tags.get("way")) for t in out] == [
        ("ES", "ES"),
        ("NQ", None),
        ("YM", None),
        ("ES", "ES"),
    ]


def test_a_merge_of_two_sources_draws_both():
    left, right = Flow("left"), Flow("right")
    out = gather(left.pipe(ops.size()).merge(right))
    left.emit(entry())
    right.emit(entry())

    assert len(out) == 2
    assert "right" in left.mermaid()
    assert "right" in left._repr_html_()


def test_a_flow_is_not_merged_with_itself():
    flow = Flow()
    with pytest.raises(FlowError, match="twice"):
        flow.merge(flow)


def test_memory_is_that_of_the_operator_that_remembers_longest():
    flow = Flow()
    flow.pipe(ops.throttle(60, by="symbol"), ops.size()).pipe(ops.dedupe(90))

    assert flow.graph.memory == 90


def test_a_closed_flow_gets_nothing_more_and_neither_does_what_hangs_on_it():
    flow = Flow()
    kept = gather(flow)
    first = flow.pipe(ops.size())
    out, below = gather(first), gather(first.pipe(ops.tag(a=1)).split("symbol").rest)
    tap = first.tap()
    flow.emit(entry())
    first.close()
    first.close()
    flow.emit(entry())

    assert (len(kept), len(out), len(below), len(tap.items)) == (2, 1, 1, 1)
    assert [node.name for node in flow.graph.nodes] == ["alerts", "append"]
    assert first.closed
    assert not flow.closed


def test_a_cell_that_is_run_again_leaves_nothing_behind():
    flow, piped = Flow(), None
    for _ in range(100):
        if piped:
            piped.close()
        piped = flow.pipe(ops.size(), rx.map(id))
        piped.each(print)

    assert len(flow._subject.observers) == 1
    assert len(flow.graph.nodes) == 4
    assert len(flow._hub.flows) == 2


def test_a_branch_that_is_closed_gives_its_tickets_back_to_the_rest():
    flow = Flow()
    groups = flow.split("symbol")
    rest = gather(groups.rest)
    groups["AAPL"].close()
    flow.emit(entry())
    again = gather(groups["AAPL"])
    flow.emit(entry())

    assert (len(rest), len(again)) == (1, 1)


def test_a_merge_outlives_one_of_its_branches():
    flow = Flow()
    one, two = flow.pipe(ops.size()), flow.pipe(ops.tag(a=1))
    out = gather(one.merge(two))
    one.close()
    flow.emit(entry())

    assert len(out) == 1
    assert "merge" in flow.mermaid()


def test_a_source_is_not_closed_and_nothing_goes_into_what_has_ended():
    flow = Flow()
    ended = flow.pipe(ops.size())
    ended.close()
    with pytest.raises(FlowError, match="source"):
        flow.close()
    with pytest.raises(FlowError, match="has ended"):
        ended.emit(entry())


# What comes out


def test_while_muted_sinks_listeners_and_taps_are_not_called_and_operators_are():
    flow = Flow()
    piped = flow.pipe(ops.throttle(60, by="symbol"))
    sink, each, raw = [], [], []
    piped.to(sink.append).each(each.append)
    piped.observable.subscribe(raw.append)
    tap = piped.tap()
    flow.graph.muted = True
    flow.emit(entry())
    flow.graph.muted = False
    flow.emit(entry(1))

    assert (
        [t.status for t in sink]
        == [t.status for t in each]
        == [t.status for t in tap.items]
        == [Status.DENIED]
    )
    assert len(raw) == 2


def test_what_cannot_listen_is_said_at_once():
    with pytest.raises(FlowError, match="can't listen"):
        Flow().each("print")


def test_the_raw_stream_takes_all_of_reactivex_and_the_flows_clock():
    flow, out = Flow(), []
    last = flow.observable.pipe(rx.filter(lambda t: t.asked > 1), rx.debounce(5))
    last.subscribe(out.append, scheduler=flow.scheduler)
    for seconds, quantity in ((0, 1), (1, 2), (10, 1)):
        flow.emit(entry(seconds, quantity=quantity))

    assert [int(t.asked) for t in out] == [2]


def test_a_subscriber_that_a_timer_calls_harms_nobody_either():
    flow = Flow()
    out = gather(flow)
    flow.observable.pipe(rx.debounce(5)).subscribe(broken, scheduler=flow.scheduler)
    for seconds in (0, 10, 20):
        flow.emit(entry(seconds))

    assert len(out) == 3


def test_a_subscriber_of_the_raw_stream_can_leave_and_is_told_the_end():
    flow, out = Flow(), []
    piped = flow.pipe(rx.take(2))
    leaving = piped.observable.subscribe(out.append, on_completed=lambda: out.append("left"))
    piped.observable.subscribe(on_completed=lambda: out.append("end"))
    flow.emit(1)
    leaving.dispose()
    flow.emit(2)

    assert out == [1, "end"]


# What it tells


def desk():
    flow = Flow()
    gates = flow.pipe(ops.allow(symbols=["ES"]), ops.throttle(60, by="symbol"))
    return flow, gates, gates.pipe(ops.size())


def test_explain_tells_step_by_step_what_happened():
    flow, _, sized = desk()
    flow.emit(alert(symbol="ES1!", quantity=2))

    assert sized.explain("alert_1") == (
        "alert_1: ES1! buy 2 by walker, for paper_simulator\n"
        "  allow(symbols=['ES']): It passed.\n"
        "  throttle(60, by='symbol'): It passed.\n"
        "  size(): The size is 2: 2 times 1.\n"
        "  → open"
    ).replace("size():", "size:")


def test_explain_tells_who_denied_it_and_who_was_not_asked_any_more():
    flow, _, sized = desk()
    flow.emit(alert(symbol="NQ1!"))

    assert sized.explain("alert_1").splitlines()[1:] == [
        "  allow(symbols=['ES']): The symbol NQ1! is not on the list.",
        "  throttle(60, by='symbol'): It was not asked any more.",
        "  size: It was not asked any more.",
        "  → denied (NOT_ALLOWED)",
    ]


def test_explain_tells_an_exits_notes():
    flow, _, sized = desk()
    flow.emit(alert(symbol="NQ1!", action="exit"))

    told = sized.explain("alert_1").splitlines()
    assert told[1].endswith("This would deny an entry (NOT_ALLOWED); an exit goes on.")
    assert told[-1] == "  → open"


def test_explain_takes_an_id_an_alert_or_a_ticket_and_tells_the_same_from_anywhere():
    flow, gates, sized = desk()
    asked = alert(symbol="ES1!", id="mine")
    flow.emit(asked)

    (one,) = sized._recent
    told = sized.explain("mine")
    assert told.startswith("mine: ES1! buy 1")
    assert told == sized.explain(asked) == sized.explain(one) == flow.explain(asked) == gates.explain("mine")


def test_explain_says_where_a_ticket_is_held_or_was_let_go():
    flow = Flow()
    flow.pipe(ops.size(), rx.debounce(60))
    flow.emit(alert())

    assert "  debounce: It has not come out of this; it is held there, or was let go." in flow.explain(
        "alert_1"
    )


def test_explain_tells_both_branches_and_the_way_through_a_merge():
    flow = Flow()
    flow.pipe(ops.tag(a=1)).merge(flow.pipe(ops.size())).pipe(ops.where(lambda t: True))
    flow.pipe(ops.expire(60))
    flow.emit(alert())

    assert flow.explain("alert_1").count("→ open") == 2
    assert "expire(60): It passed." in flow.explain("alert_1")


def test_explain_tells_each_leg_of_a_reversal():
    flow, _, sized = desk()
    closing = evolve(exit_(symbol="ES1!"), trail=())
    flow.emit(closing)
    flow.emit(entry(symbol="ES1!").note("The close is confirmed.", "ledger"))

    told = sized.explain("alert_1").split("\n\n")
    assert len(told) == 2
    assert "  ledger: The close is confirmed." in told[1]


def test_explain_says_when_it_does_not_know():
    flow = Flow("alerts")
    for n in range(1001):
        flow.emit(alert(quantity=n + 1))

    assert flow.explain("alert_1") == (
        "The flow alerts has not seen it, or forgot it: it remembers the last 1,000 tickets."
    )
    assert "→ open" in flow.explain("alert_2")


def test_a_flow_says_what_it_is():
    flow, _, sized = desk()
    flow.emit(alert())

    assert repr(sized) == "<Flow size: 1 so far>"
    assert "<Flow alerts" in repr(flow)


def test_a_failure_in_a_merge_is_one_tickets():
    flow = Flow()
    out = gather(flow.pipe(rx.map(lambda t: reactivex.of(t) if t.asked > 1 else 1 / 0)))
    flow.emit(entry())
    flow.emit(entry(quantity=Decimal(2)))

    assert out[0].status is Status.FAILED
    assert len(out) == 2


def test_the_first_pipeline_of_the_examples_runs_and_prints_a_table():
    example = Path(__file__).parent.parent / "examples" / "first_pipeline.py"
    done = subprocess.run([sys.executable, example], capture_output=True, text=True, check=True, timeout=60)

    lines = done.stdout.splitlines()
    assert lines[0].split() == ["alert", "status", "what", "was", "said"]
    assert any("denied" in line for line in lines)
    assert any("an exit goes on" in line for line in lines)
    assert done.stderr == ""
