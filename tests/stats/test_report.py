"""The report: one page that loads nothing, where users' words are text and every figure is explained."""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import pandas as pd
import pytest
from made_fills import MONDAY, fills

from ttflow import stats
from ttflow.errors import RequestError
from ttflow.plots.report import _of_trades
from ttflow.stats.figures import KEYS
from ttflow.stats.meanings import MEANINGS

EVIL = "</script><script>document.title='taken'</script><img src=http://evil.example/x>"


class Page(HTMLParser):
    """A page as a browser reads it: elements with their attributes, scripts, tables, and the visible text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.scripts, self.rows, self.text = [], [], [], []
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag in ("script", "style", "td", "th"):
            self._open = ""

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open != "style":
            self.text.append(data)
            if self._open in ("td", "th", "small", "br", "span") and self.rows:
                self.rows[-1][-1] += data


def made(*, strategy="trend", mode="paper", count=40):
    """Fills of round trips that win twice and lose once."""
    steps = [step for at in range(count) for step in ((1, 100), (-1, (103, 98, 102)[at % 3]))]
    return fills(*steps, strategy=strategy, mode=mode)


def modes(strategy, reason="It loses: 93 % sure <b>"):
    return pd.DataFrame(
        {
            "seq": [1],
            "at": [pd.Timestamp(MONDAY)],
            "strategy": [strategy],
            "mode": ["paper"],
            "reason": [reason],
        }
    )


@pytest.fixture(scope="module")
def several():
    """A report of two strategies, one of them also live, with names and reasons that try to break out."""
    rows = [*made(), *made(strategy=EVIL, mode="live"), *made(mode="live")]
    return stats.report(rows, capital=1000, modes=modes(EVIL, EVIL), title=f"Record {EVIL}")


@pytest.fixture(scope="module")
def page(several):
    return Page(several.html)


def figures_of(page):
    return json.loads(page.scripts[0])


def test_nothing_on_the_page_is_loaded_from_anywhere(page):
    loading = [
        (tag, name, value)
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster", "background")
    ]

    assert loading == []
    assert not {"link", "base", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.elements}


def test_the_style_loads_nothing(several):
    style = re.search(r"<style>(.*?)</style>", several.html, re.DOTALL)[1]

    assert "url(" not in style
    assert "@import" not in style


def test_the_page_forbids_every_request_and_every_script_but_its_own(page):
    (policy,) = (
        one["content"] for tag, one in page.elements if tag == "meta" and one.get("http-equiv") is not None
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    hashes = [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in page.scripts[1:]]

    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == hashes
    assert "http" not in policy


def test_names_and_reasons_are_text_wherever_they_stand(page, several):
    assert len(page.scripts) == 3
    assert "img" not in {tag for tag, _ in page.elements}
    assert several.html.count(EVIL) == 0
    assert "".join(page.text).count(EVIL) >= 4  # the title, the table, its own part, the reason


def test_what_users_wrote_is_no_markup_in_the_figures_either(page):
    told = json.dumps(figures_of(page))

    assert "taken" in told  # the reason at its mark
    assert "<script" not in told
    assert "<img" not in told


def test_every_place_for_a_figure_has_one(page):
    places = [one["id"] for tag, one in page.elements if one.get("class") == "figure"]

    assert places == list(figures_of(page))
    assert len(places) == len(set(places)) > 8
    assert all(figure["data"] for figure in figures_of(page).values())


def test_every_figure_is_called_and_explained(page):
    text = "".join(page.text)

    assert list(MEANINGS) == list(KEYS)
    assert [key for key, one in MEANINGS.items() if one.label not in text or one.text not in text] == []


def test_the_table_has_the_figures_of_all_the_long_and_the_short():
    rows = made(count=7)
    found = Page(stats.report(rows, capital=1000).html).rows
    table = {row[0]: row[1:] for row in found}
    sides = stats.sides(rows, capital=1000)
    expected = {
        f"{one.label}{one.text}": [one.written(sides.loc[key, side]) or "–" for side in sides]
        for key, one in MEANINGS.items()
    }

    assert table["figure"] == ["all", "long", "short"]
    assert {key: table[key] for key in expected} == expected
    assert table["net profit" + MEANINGS["net_profit"].text][0] == "9.00"


def test_modes_are_never_added_together(page):
    live = [row for row in page.rows if row and row[0] == "trades" + MEANINGS["trades"].text]
    heads = [one for tag, one in page.elements if tag == "details" and one.get("class") == "chapter"]

    assert [row[1] for row in live] == ["80", "40", "40", "40"]  # live, its two strategies, paper
    assert ["open" in one for one in heads] == [True, False]


def test_one_strategy_has_no_part_of_its_own():
    page = Page(stats.report(made()).html)

    assert "Strategies" not in "".join(page.text)
    assert len(figures_of(page)) == 5


def test_a_strategy_is_marked_by_its_own_changes_alone():
    page = Page(stats.report([*made(), *made(strategy="other")], modes=modes("other")).html)
    marked = [
        name
        for name, figure in figures_of(page).items()
        if len(figure["data"]) == 2 and "marker" in figure["data"][1]
    ]

    assert len(marked) == 2  # all together, and the other by itself
    assert "It loses: 93 % sure <b>" in "".join(page.text)


def test_excursions_are_drawn_where_prices_are_known():
    prices = pd.DataFrame({"symbol": "AAPL", "at": [MONDAY], "price": [99.0]})
    page = Page(stats.report(made(), prices=prices).html)

    assert [f["layout"]["title"]["text"] for f in figures_of(page).values()][-1] == "Excursions"


@pytest.mark.parametrize(("count", "window"), [(29, 30), (40, 30), (700, 70), (3000, 250)])
def test_the_rolling_profit_factor_goes_over_a_tenth_of_the_trades_within_bounds(count, window):
    net = pd.DataFrame({"net_pnl": [1.0, -1.0] * count, "exit_at": pd.Timestamp(MONDAY)})[:count]

    assert list(_of_trades(net))[1].layout.title.text == f"Profit factor of the last {window} trades"


@pytest.mark.parametrize("given", [{"capital": 0}, {"calendar": "moons"}, {"method": "best"}])
def test_what_cannot_be_reckoned_is_refused_when_it_is_asked_for(given):
    with pytest.raises(RequestError):
        stats.report(made(), **given)


def test_no_fills_give_a_page_that_says_so():
    report = stats.report([])

    assert "No fills yet." in "".join(Page(report.html).text)
    assert repr(report) == "<Report no fills yet; write(path) makes a page of it>"


def test_fills_without_a_closed_trade_give_a_page_too():
    page = Page(stats.report(fills((1, 100))).html)

    assert "No trade is closed yet." in json.dumps(figures_of(page))


def test_a_report_is_written_where_it_is_told(tmp_path):
    report = stats.report(made())
    place = tmp_path / "record.html"

    assert report.write(place) == place
    assert place.read_text(encoding="utf-8") == report.html
    assert report.html == stats.report(made()).html
    with pytest.raises(RequestError, match=r"can't be written"):
        report.write(tmp_path / "nowhere" / "record.html")


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(several):
    framed = several._repr_html_()
    ((tag, attributes),) = Page(framed).elements

    assert tag == "iframe"
    assert attributes["srcdoc"] == several.html
    assert "allow-same-origin" not in attributes["sandbox"]
    assert unescape(framed).startswith("<iframe")


def test_a_summary_is_a_dict_that_shows_itself():
    shown = stats.summary(made(count=3), capital=1000)
    rows = {row[0]: row[1] for row in Page(shown._repr_html_()).rows}

    assert list(shown) == list(KEYS)
    assert isinstance(shown, dict)
    assert rows["win rate" + MEANINGS["win_rate"].text] == "66.7%"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's package chromium")
def test_a_browser_draws_the_page_and_runs_nothing_of_a_users(several, tmp_path):
    """Chromium reads the page from a disk, and finds no name of any server."""
    place = several.write(tmp_path / "record.html")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom")
    private = (f"--user-data-dir={tmp_path / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND")
    done = subprocess.run(
        ["chromium", *options, *private, place.as_uri()], capture_output=True, text=True, timeout=120
    )
    page = Page(done.stdout)
    drawn = [one for tag, one in page.elements if tag == "svg" and "main-svg" in one.get("class", "")]

    assert "document.title" in "".join(page.text)
    assert "<title>taken" not in done.stdout
    assert len(drawn) >= 5
    assert "plotly.com" not in "".join(one.get("href", "") or "" for _, one in page.elements)
