"""Routing: each group of tickets through operators of its own, in order, and back."""

import pytest
from reactivex import operators as rx
from through import entry, exit_, through

from ttflow.errors import FlowError
from ttflow.flow import Flow
from ttflow.operators import expire, route, size, tag, throttle
from ttflow.ticket import Status


def test_each_ticket_takes_its_path_and_the_others_pass_by_in_order():
    paths = route({"a": [tag(way="a")], "b": [tag(way="b")]}, by="strategy")
    out = through(paths, *(entry(strategy=name) for name in "abcab"))

    assert [t.strategy for t in out] == list("abcab")
    assert [t.tags.get("way") for t in out] == ["a", "b", None, "a", "b"]


def test_a_path_is_chosen_by_account_group_unless_told():
    out = through(route({"apex": [throttle(60, by="symbol")]}), *(entry(account_group="apex") for _ in "12"))

    assert [t.status for t in out] == [Status.OPEN, Status.DENIED]


def test_a_function_may_choose():
    out = through(route({True: [tag(big=1)]}, by=lambda t: t.asked > 1), entry(), entry(quantity=2))

    assert [t.tags for t in out] == [{}, {"big": 1}]


@pytest.mark.parametrize("by", [lambda t: 1 / 0, lambda t: []])
def test_a_choice_that_fails_costs_the_entry_and_lets_the_exit_out(by):
    out = through(route({"a": []}, by=by), entry(), exit_(), entry())

    assert [t.status for t in out] == [Status.FAILED, Status.OPEN, Status.FAILED]


def test_a_reactivex_piece_on_a_path_costs_one_ticket_when_it_fails():
    paths = route({"walker": [rx.map(lambda t: t if t.asked > 1 else 1 / 0)]}, by="strategy")
    out = through(paths, entry(), entry(quantity=2), entry(strategy="other"))

    assert [t.status for t in out] == [Status.FAILED, Status.OPEN, Status.OPEN]


def test_an_empty_path_and_a_path_inside_a_path_are_fine():
    inner = route({"AAPL": [tag(deep=True)]}, by="symbol")

    assert through(route({"walker": []}, by="strategy"), entry())[0].tags == {}
    assert through(route({"walker": [inner]}, by="strategy"), entry())[0].tags == {"deep": True}


def test_it_remembers_as_long_as_the_longest_of_its_paths():
    assert route({"a": [throttle(60, by="symbol"), size()], "b": [throttle(90, by="symbol")]}).memory == 90
    assert route({"a": [expire(5)], "b": [rx.map(id)]}).memory == 0
    assert route({}).memory == 0


def test_items_that_are_no_tickets_pass_by():
    assert through(route({"a": [size()]}), "text") == ["text"]


def test_what_cannot_stand_on_a_path_is_said_at_once():
    with pytest.raises(FlowError, match="no operator"):
        route({"a": ["size"]})
    with pytest.raises(FlowError, match="no such field"):
        route({}, by="colour")


def test_it_shows_its_paths():
    assert (
        repr(route({"a": [throttle(60, by="symbol"), size()]}))
        == "route(a: throttle(60, by='symbol') → size())"
    )


def test_the_end_of_the_source_reaches_the_paths():
    out = []
    flow = Flow()
    piped = flow.pipe(rx.take(1), route({"walker": [rx.buffer_with_count(2)]}, by="strategy"))
    piped.each(out.append)
    flow.emit(entry())

    assert [len(item) for item in out] == [1]
    assert piped.closed
