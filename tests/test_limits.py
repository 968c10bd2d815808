"""The settings of limits and sizing: what they take, what they refuse and how, what is journaled."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ttflow.errors import SettingsError
from ttflow.order import Leg
from ttflow.settings import Limits, Settings, Sizing, load
from ttflow.settings.limits import for_root
from ttflow.testing import Walk
from ttflow.ticket import Reason, Status


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Load settings from a `ttflow.toml` of this text."""
    monkeypatch.chdir(tmp_path)

    def read(toml):
        (tmp_path / "ttflow.toml").write_text(toml, encoding="utf-8")
        return load(environ={}, cwd=tmp_path)

    return read


def test_a_quantity_is_one_number_or_one_for_each_root():
    limits = Limits.model_validate({"quantity": 5, "position": {"CME_MINI:ES1!": 2, "nq": 1, "*": 9}})

    assert for_root(limits.quantity, "AAPL") == 5
    assert [for_root(limits.position, name) for name in ("ESZ2026", "NQ1!", "AAPL")] == [2, 1, 9]
    assert for_root({"ES": Decimal(2)}, "AAPL") is None
    assert for_root(None, "ES1!") is None


def test_nothing_is_set_by_default():
    assert Limits() == Limits.model_validate({})
    assert not [
        name for name, value in Limits() if value not in (None, (), False, 60.0, 300.0, 3600.0, "account")
    ]


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (
            "[limits]\nquantity = 0",
            "limits.quantity (from ttflow.toml line 2): is too small; give more than 0",
        ),
        (
            '[limits]\nposition = { ES = 1, "ES1!" = 2 }',
            "limits.position (from ttflow.toml line 2): names one root twice; give each root once",
        ),
        (
            "[limits]\nquantity = {}",
            "limits.quantity (from ttflow.toml line 2): names no root; give a number",
        ),
        ("[limits]\norders_per_day = 1.5", "is not a whole number"),
        ("[limits]\nrepeats_s = 4000", "give 3600"),
        ('[limits]\nsides = "up"', "is none of the possible values"),
        ('[limits]\nflat_by = { at = "15:55" }', "limits.flat_by.until"),
        ("[limits]\nnews = {}", 'names no news; give file = "news.csv", or events'),
        ('[limits.news]\nfile = "none.csv"', "names a file that can't be read (No such file or directory)"),
        ("[limits.news]\nevents = [{ at = 2026-12-04T13:30:00 }]", "is not a time with its zone"),
        (
            '[groups.main.sizing]\nmethod = "fixed"',
            "the method fixed needs an amount; add amount, in contracts",
        ),
        ("[groups.main.sizing]\namount = 2", "is not used by the method alert"),
        ('[strategies.a.sizing]\nmethod = "kelly"\namount = 1', "is too large; give 0.5 or less for kelly"),
        ('[strategies.a.sizing]\nmethod = "risk_percent"\namount = 101', "give 100 or less for risk_percent"),
        ('[strategies.a.sizing]\nmethod = "all_in"', "is none of the possible values"),
        ("[strategies.a.sizing]\nmax_risk_pct = 101", "give 100 or less"),
    ],
)
def test_what_makes_no_sense_stops_the_start_with_one_line(start, toml, told):
    with pytest.raises(SettingsError) as caught:
        start(toml)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("when,what\n2026-12-04T13:30:00Z,report\n", "names a file without the column at"),
        ("at,title\n2026-12-04T13:30:00,report\n", "whose line 2 has no time with its zone"),
        ("at,title\n2026-12-04T13:30:00Z,report\nsoon,more\n", "whose line 3 has no time with its zone"),
        ("", "names a file without the column at"),
    ],
)
def test_a_file_of_news_that_can_not_be_read_is_told_with_its_line(start, tmp_path, text, told):
    (tmp_path / "news.csv").write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError, match=told):
        start('[limits.news]\nfile = "news.csv"')


NEWS = "\ufeffat,title,symbols\n2026-12-04T08:30:00-05:00,employment report,ES nq\n2026-12-09T19:00Z,,\n"


def test_a_file_of_news_is_read_when_the_desk_starts(start, tmp_path):
    (tmp_path / "news.csv").write_text(NEWS, encoding="utf-8")
    first, second = start('[limits.news]\nfile = "news.csv"\nbefore_s = 60').limits.news.events

    assert (first.at, first.title, first.symbols) == (
        datetime(2026, 12, 4, 13, 30, tzinfo=UTC),
        "employment report",
        ("ES", "NQ"),
    )
    assert (second.at, second.title, second.symbols) == (datetime(2026, 12, 9, 19, tzinfo=UTC), "", ())


def test_a_replay_knows_the_news_without_the_file(start, tmp_path):
    (tmp_path / "news.csv").write_text(NEWS, encoding="utf-8")
    settings = start('[limits.news]\nfile = "news.csv"')
    written = json.dumps(settings.deciding())
    (tmp_path / "news.csv").unlink()

    assert Settings.from_public(json.loads(written)).limits == settings.limits


def test_limits_and_sizing_are_journaled_and_read_back_alike():
    given = Settings.model_validate(
        {
            "limits": {"position": {"ES": 2}, "collar_pct": "1.5", "delayed": True, "per": "group"},
            "groups": {
                "main": {"broker": "simulator", "limits": {"notional": 5}, "sizing": {"max_quantity": 3}}
            },
            "strategies": {"a": {"limits": {"sides": "long"}, "sizing": {"method": "kelly"}}},
        }
    )
    back = Settings.from_public(json.loads(json.dumps(given.deciding())))

    assert (back.limits, back.groups["main"], back.strategies["a"]) == (
        given.limits,
        given.groups["main"],
        given.strategies["a"],
    )
    assert back.groups["main"].sizing == Sizing.model_validate({"max_quantity": {"*": 3}})


# Through a whole desk


def walk(**settings):
    return Walk(Settings.model_validate(settings))


def test_the_built_in_flow_sizes_and_limits_as_the_settings_say():
    desk = walk(
        limits={"quantity": 5},
        groups={"paper_simulator": {"broker": "simulator", "sizing": {"method": "fixed", "amount": 3}}},
        strategies={"big": {"sizing": {"method": "fixed", "amount": 6}}},
    )
    (small,) = desk.alert(quantity=100)
    (large,) = desk.alert(quantity=100, strategy="big")

    assert (small.status, desk.position()) == (Status.FILLED, 3)
    assert (large.status, large.reason) == (Status.DENIED, Reason.QUANTITY_EXCEEDS_MAX)
    assert [note.text for note in small.trail if note.step == "order_size"] == [
        "The order is for 3; at most 5."
    ]


def test_an_exit_goes_out_whatever_the_limits_have_become():
    desk = walk()
    desk.alert(symbol="ES1!", quantity=3, price=5000)
    desk.settings = Settings.model_validate({"limits": {"symbols": ["NQ"], "quantity": 1, "collar_pct": 1}})
    desk.start()
    (leaving,) = desk.alert(symbol="ES1!", action="exit", quantity=None, price=4000)

    assert (leaving.status, desk.position()) == (Status.FILLED, 0)
    assert {note.step for note in leaving.trail} >= {"limits", "collar"}
    assert [order.quantity for order in desk.orders(leg=Leg.CLOSE)] == [1, 1, 1]


def test_a_reversal_keeps_its_closing_leg_and_loses_the_opening_one_to_a_limit():
    desk = walk(limits={"sides": "long"})
    desk.alert(quantity=2)
    (turned,) = desk.alert(action="sell", quantity=4, position_size=-2)

    assert (turned.status, turned.reason, desk.position()) == (Status.FILLED, Reason.NOT_ALLOWED, 0)


def test_a_restart_decides_as_no_restart_does():
    given = {"limits": {"quantity": 5}, "strategies": {"walker": {"sizing": {"max_quantity": 4}}}}
    one, other = walk(**given), walk(**given)
    for desk in (one, other):
        desk.start()
        desk.alert(quantity=9)
    other.restart()

    assert [(t.status, t.trail) for t in one.alert(quantity=1)] == [
        (t.status, t.trail) for t in other.alert(quantity=1)
    ]
