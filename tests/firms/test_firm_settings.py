"""Firms in the settings: what is shipped is whole, the user's goes over it, what is wrong is refused."""

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from ttflow.errors import SettingsError
from ttflow.firms import Standing, opt_in_sentence, rules_of
from ttflow.settings import Settings, load
from ttflow.settings.firms import FirmRules, merged, names, shipped

PAGE = (Path(__file__).parents[2] / "docs" / "firms.md").read_text(encoding="utf-8")
PROGRAMS = {
    "topstep": ("combine", "express_funded", "live_funded"),
    "apex": ("evaluation_eod", "evaluation_intraday", "performance_eod", "performance_intraday", "legacy"),
    "tradeday": ("intraday", "eod", "static"),
}
SIZED = [name for name in shipped() if name.count("-") == 2]


@pytest.fixture
def start(tmp_path):
    """Load settings from a text of `ttflow.toml`."""

    def start(toml, **environ):
        (tmp_path / "ttflow.toml").write_text(toml, encoding="utf-8")
        return load({}, environ=environ, cwd=tmp_path)

    return start


@pytest.fixture
def refused(start):
    """The line that refuses settings."""

    def refused(toml):
        with pytest.raises(SettingsError) as caught:
            start(toml)
        return str(caught.value)

    return refused


# ── What is shipped ──


def test_the_firms_are_shipped_with_all_their_programs():
    found = {firm: [] for firm in PROGRAMS}
    for firm, program, _ in (name.split("-") for name in SIZED):
        if program not in found[firm]:
            found[firm].append(program)

    assert {firm: tuple(programs) for firm, programs in found.items()} == PROGRAMS
    assert {name.split("-")[0] for name in shipped()} == set(PROGRAMS)


@pytest.mark.parametrize("name", SIZED)
def test_every_row_has_its_source_its_date_and_all_that_a_floor_needs(name):
    firm, program, size = name.split("-")
    row = merged({}, firm, program, size)

    # The page of the firms gives the firm's sources for all of its rows.
    assert row.source == merged({}, firm).source != ()
    assert date(2026, 1, 1) <= row.verified <= date(2026, 11, 22)
    assert row.automation in {"conditional", "forbidden"}
    assert (row.drawdown and row.trail and row.session_start and row.tz and row.flat_at) is not None
    starts = {"express_funded": 0, "live_funded": None}.get(program, int(size.removesuffix("K")) * 1000)
    assert row.start_balance == starts
    assert row.daily_loss is None or (0 < row.daily_loss < row.drawdown and row.daily_loss_action)
    assert (row.contracts is None) is (firm == "tradeday")
    assert (row.lock is None) is (firm == "apex" and not program.startswith("performance"))


@pytest.mark.parametrize(
    ("row", "drawdown", "daily_loss", "contracts"),
    [
        (("topstep", "combine", "50K"), 2000, 1000, 5),
        (("topstep", "combine", "100K"), 3000, 2000, 10),
        (("topstep", "express_funded", "150K"), 4500, 3000, 15),
        (("apex", "evaluation_eod", "25K"), 1000, 500, 4),
        (("apex", "evaluation_eod", "150K"), 4000, 2000, 12),
        (("apex", "evaluation_intraday", "100K"), 3000, None, 8),
        (("apex", "performance_eod", "100K"), 3000, 1750, 6),
        (("apex", "performance_intraday", "150K"), 4000, 2500, 10),
        (("apex", "legacy", "50K"), 2500, None, 10),
        (("apex", "legacy", "250K"), 6500, None, 27),
        (("tradeday", "static", "150K"), 4500, None, None),
    ],
)
def test_the_figures_are_those_of_the_sources(row, drawdown, daily_loss, contracts):
    told = merged({}, *row)

    assert (told.drawdown, told.daily_loss, told.contracts) == (drawdown, daily_loss, contracts)


def test_tables_are_named_from_the_firm_down_as_far_as_is_said():
    assert names("apex", "legacy", "50K") == ("apex", "apex-legacy", "apex-legacy-50K")
    assert names("apex", None, "50K") == ("apex",)
    assert names(None, "legacy", "50K") == ()
    assert merged({}, "nobody") == FirmRules()


# ── What a group says ──


def test_the_usual_groups_have_their_firms_and_no_floor_before_program_and_size_are_said():
    groups = load({}, environ={}).groups

    assert {name: group.firm for name, group in groups.items() if group.firm} == {
        "topstep": "topstep", "apex": "apex", "tradeday": "tradeday",
    }  # fmt: skip
    assert [rules_of(group, "main", {}) for group in groups.values()] == [None] * 7
    assert load({}, environ={}) == Settings()


def test_accounts_have_their_own_size_start_and_peak(start):
    settings = start(
        """
        [groups.topstep]
        program = "combine"
        size = "50k"
        warn_at = [10, 60, 10]
        accounts = [
            { name = "a" }, { name = "b", size = "100K" },
            { name = "c", start_balance = 50500, peak_balance = 51750.5 },
        ]
        """
    )
    rules = {
        name: rules_of(settings.groups["topstep"], name, settings.firms) for name in ("a", "b", "c", "gone")
    }

    assert {name: (rule.size, rule.start_balance) for name, rule in rules.items()} == {
        "a": ("50K", 50_000), "b": ("100K", 100_000), "c": ("50K", 50_500), "gone": ("50K", 50_000),
    }  # fmt: skip
    assert Standing.begin(rules["c"]).floor == Decimal("49750.5")
    assert rules["a"].warn_at == (60, 10)
    assert rules_of(settings.groups["topstep"], "b~paper", settings.firms) == rules["b"]
    assert rules["a"].name == "Topstep combine 50K"


def test_an_empty_firm_takes_the_usual_one_away(start):
    assert start("[groups.apex]\nfirm = ''\n").groups["apex"].firm is None


def test_what_the_user_writes_goes_over_all_that_is_shipped(start):
    settings = start(
        """
        [groups.topstep]
        program = "combine"
        size = "50K"
        [firms.topstep]
        contracts = 4
        flat_at = 15:05:00
        last_entry = "15:00"
        [firms.topstep-combine-50K]
        daily_loss = 0
        caps = { cl = 1 }
        """
    )
    rules = rules_of(settings.groups["topstep"], "main", settings.firms)

    # The firm's own table says 5 for this size; the user's less specific one goes over it.
    assert (rules.contracts, rules.flat_at, rules.last_entry) == (4, "15:05", "15:00")
    assert (rules.daily_loss, rules.caps, rules.drawdown) == (0, (("CL", 1),), 2000)


def test_a_firm_that_nobody_knows_is_described_in_the_same_way(start):
    settings = start(
        """
        [groups.mine]
        broker = "tradovate"
        firm = "my_firm"
        program = "one"
        size = "10K"
        [firms.my_firm]
        session_start = "18:00"
        tz = "America/New_York"
        [firms.my_firm-one-10K]
        start_balance = 10000
        drawdown = 500
        trail = "static"
        """
    )
    rules = rules_of(settings.groups["mine"], "main", settings.firms)

    assert rules.name == "my_firm one 10K"
    assert Standing.begin(rules).floor == 9_500
    assert (rules.flat_at, rules.contracts, rules.daily_loss) == (None, None, None)


def test_the_firms_are_journaled_with_the_start_and_come_back_the_same(start):
    settings = start(
        "[groups.apex]\nprogram='legacy'\nsize='50K'\n[firms.apex-legacy]\nnote='x'\n"
        "[firms.apex]\ncaps={ES=2}\nverified=2026-11-01\n"
    )

    back = Settings.from_public(json.loads(json.dumps(settings.deciding())))
    assert back.firms == settings.firms
    assert rules_of(back.groups["apex"], "main", back.firms) == rules_of(
        settings.groups["apex"], "main", settings.firms
    )


# ── What is refused ──

FLOORLESS = """
[groups.mine]
broker = "simulator"
firm = "mine"
program = "one"
size = "10K"
[firms.mine-one-10K]
"""


@pytest.mark.parametrize(
    ("toml", "key", "number", "problem", "remedy"),
    [
        (
            "[groups.apex]\nfirm = 'apx'\n",
            "groups.apex.firm",
            2,
            "is no firm whose rules are known",
            "did you mean apex?",
        ),
        (
            "[groups.apex]\nfirm = 'my-firm'\n",
            "groups.apex.firm",
            2,
            "is not the name of a firm, a program or a size",
            "use letters, digits and _ only",
        ),
        (
            "[groups.apex]\nprogram = 'legasy'\n",
            "groups.apex.program",
            2,
            "is no program whose rules are known",
            "did you mean legacy?",
        ),
        (
            "[groups.tradeday]\nprogram = 'combine'\n",
            "groups.tradeday.program",
            2,
            "is no program whose rules are known",
            "known are eod, intraday, static",
        ),
        (
            "[groups.apex]\nprogram = 'evaluation_eod'\nsize = '250K'\n",
            "groups.apex.size",
            3,
            "is no size whose rules are known",
            "known are 25K, 50K, 100K, 150K",
        ),
        (
            "[groups.apex]\nsize = '50K'\n",
            "groups.apex.size",
            2,
            "means nothing without a program",
            "give the program as well",
        ),
        (
            "[groups.main]\nprogram = 'eod'\n",
            "groups.main.program",
            2,
            "means nothing without a firm",
            "give the firm as well",
        ),
        (
            "[groups.main]\nsize = '50K'\n",
            "groups.main.size",
            2,
            "means nothing without a firm",
            "give the firm as well",
        ),
        (
            "[groups.apex]\nprogram = 'legacy'\n[[groups.apex.accounts]]\nname = 'a'\nsize = '75K'\n",
            "groups.apex.accounts[0].size",
            3,
            "is no size whose rules are known",
            "known are 25K, 50K, 100K, 150K, 250K, 300K",
        ),
        (
            "[[groups.main.accounts]]\nname = 'a'\nstart_balance = 1\n",
            "groups.main.accounts[0].start_balance",
            1,
            "means nothing without a firm's rules",
            "give firm, program and size as well",
        ),
        (
            "[groups.topstep]\nprogram = 'live_funded'\nsize = '50K'\n",
            "groups.topstep.size",
            3,
            "the firm's start_balance is not known for it",
            "add start_balance to the account or [firms.topstep-live_funded-50K]",
        ),
        (
            FLOORLESS + "drawdown = 1\n",
            "groups.mine.size",
            6,
            "the firm's start_balance is not known for it",
            "add start_balance to the account or [firms.mine-one-10K]",
        ),
        (
            FLOORLESS + "start_balance = 1\ndrawdown = 1\ntrail = 'eod'\ntz = 'UTC'\n",
            "groups.mine.size",
            6,
            "the firm's session_start is not known for it",
            "add session_start to [firms.mine-one-10K]",
        ),
        (
            "[groups.topstep]\nprogram = 'combine'\nsize = '50K'\n[firms.topstep]\nlast_entry = '15:11'\n",
            "groups.topstep.size",
            3,
            "its last entry is not before a flat-by time",
            "correct [firms.topstep-combine-50K]",
        ),
        (
            "[firms.apex-legasy-50K]\ndrawdown = 1\n",
            "firms.apex-legasy-50K",
            1,
            "no account has these rules",
            "did you mean apex-legacy-50K? A group's firm, program and size make its name",
        ),
        (
            "[firms.apex]\ndrawdown = 0\n",
            "firms.apex.drawdown",
            2,
            "is too small",
            "give more than 0",
        ),
        (
            "[firms.apex]\ndrawdwn = 1\n",
            "firms.apex.drawdwn",
            2,
            "unknown key",
            "did you mean drawdown?",
        ),
    ],
)
def test_what_no_rules_can_be_made_of_is_refused_with_its_place_and_a_remedy(
    refused, toml, key, number, problem, remedy
):
    assert refused(toml) == f"{key} (from ttflow.toml line {number}): {problem}; {remedy}"


def test_the_settings_that_the_page_shows_are_accepted(start):
    shown = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)

    assert len(shown) == 2
    settings = start("[groups.topstep]\nprogram='combine'\nsize='50K'\n" + "".join(shown))
    first, second = (rules_of(settings.groups["apex"], name, settings.firms) for name in ("first", "second"))
    assert (first.size, Standing.begin(second).floor) == ("50K", 101_250 - 3_000)
    rules = rules_of(settings.groups["topstep"], "main", settings.firms)
    assert (rules.flat_at, rules.daily_loss) == ("15:05", 0)


@pytest.mark.parametrize(
    ("firm", "program"), [("apex", None), ("tradeday", None), ("topstep", None), ("topstep", "live_funded")]
)
def test_the_page_tells_the_sentences_that_are_wanted(firm, program):
    assert f"| `{opt_in_sentence(firm, program)}` |" in PAGE


def test_a_live_funded_account_needs_its_start_and_then_has_a_floor(start):
    settings = start(
        "[groups.topstep]\nprogram='live_funded'\nsize='50K'\naccounts=[{name='a', start_balance=10000}]\n"
    )

    assert Standing.begin(rules_of(settings.groups["topstep"], "a", settings.firms)).floor == 8_000


def test_a_live_group_whose_floor_is_not_kept_is_warned_of(start):
    secret = {"TRADINGVIEW_WEBHOOK_SECRET": "a-long-secret"}
    whole = "program = 'legacy'\nsize = '50K'\n"

    (warning,) = start("[groups.apex]\nlive = true\n", **secret).warnings()
    assert warning == "the floor of apex is not kept for account 1 of apex; give it a program and a size"
    assert start(f"[groups.apex]\nlive = true\n{whole}", **secret).warnings() == ()
    assert start("[groups.apex]\n", **secret).warnings() == ()
