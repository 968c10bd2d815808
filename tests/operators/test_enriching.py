"""Enriching and sizing: what is added to a ticket, and how much it opens."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from through import entry, exit_, said, through

from ttflow.instrument import instrument
from ttflow.operators import enrich, size, tag
from ttflow.ticket import Reason, Status
from ttflow.words import evolve


def test_enrich_adds_figures_and_keeps_those_that_were_there():
    (out,) = through(enrich(lambda t: {"win_rate": 0.6}), evolve(entry(), statistics={"trades": 9}))

    assert out.statistics == {"trades": 9, "win_rate": 0.6}


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_figures_leave_the_ticket_as_it_is(nothing):
    before = entry()

    assert through(enrich(lambda t: nothing), before)[0] is before


def test_figures_that_fail_cost_the_entry_and_not_the_exit():
    out = through(enrich(lambda t: 1 / 0), entry(), exit_())

    assert [t.status for t in out] == [Status.FAILED, Status.OPEN]


def test_a_tag_is_a_value_or_a_function_of_the_ticket():
    (out,) = through(tag(desk="night", loud=lambda t: t.symbol.lower()), exit_().tagged(kept=1))

    assert out.tags == {"kept": 1, "desk": "night", "loud": "aapl"}


def test_size_multiplies_and_rounds_down_to_the_lot():
    (out,) = through(size(), evolve(entry(symbol="ES1!", quantity=3), multiplier=Decimal("0.5")))

    assert out.quantity == 1
    assert said(out) == "The size is 1: 3 times 0.5."


def test_while_something_is_held_the_ratio_takes_the_multipliers_place():
    held = evolve(entry(symbol="ES1!", quantity=3), multiplier=Decimal(10), ratio=Decimal(2))

    assert through(size(), held)[0].quantity == 6


def test_less_than_a_lot_is_denied():
    (out,) = through(size(), evolve(entry(symbol="ES1!"), multiplier=Decimal("0.5")))

    assert (out.status, out.reason) == (Status.DENIED, Reason.SIZED_TO_ZERO)
    assert said(out) == "1 times 0.5 is less than one lot."


def test_an_exit_is_not_sized():
    before = exit_()

    assert through(size(), before)[0] is before


amounts = st.decimals("0.000001", "1000000", places=6)


@given(st.sampled_from(["ES1!", "AAPL", "BTCUSDT", "EURUSD"]), amounts, amounts)
def test_a_size_is_whole_lots_and_never_more_than_asked(symbol, asked, multiplier):
    (out,) = through(size(), evolve(entry(symbol=symbol), asked=asked, multiplier=multiplier))
    lot = instrument(symbol).lot

    if out.status is Status.DENIED:
        assert asked * multiplier < lot
    else:
        assert out.quantity % lot == 0
        assert 0 <= asked * multiplier - out.quantity < lot
