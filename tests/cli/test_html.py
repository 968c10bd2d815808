"""`ttflow stats --html`: the page of a track record, from the journal or from a file of fills."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ttflow.cli import main
from ttflow.journal import Reader

FILLS = """\
strategy,symbol,side,quantity,price,commission,filled_at
<i>trend</i>,MES1!,buy,1,5000,0.62,2026-03-02T15:00:00Z
<i>trend</i>,MES1!,sell,1,5010,0.62,2026-03-02T16:00:00Z
"""


@pytest.fixture
def run(here):
    """Run a command in this process."""
    runner = CliRunner()
    return lambda *arguments: runner.invoke(main, [*map(str, arguments)])


def test_the_page_of_the_journal_holds_its_trades_and_changes_of_mode(run, journal, here):
    done = run("stats", "--html", "record.html")
    text = (here / "record.html").read_text(encoding="utf-8")

    assert (done.exit_code, done.stdout) == (0, "")
    assert "record.html" in done.stderr
    assert "1 trade of trend" in text
    assert "375.00" in text  # 100 shares, 3.75 each
    with Reader.open(journal) as reader:
        assert ("Changes of mode" in text) == bool(list(reader.rows("modes")))


def test_the_page_of_a_file_needs_no_journal(run, here):
    (here / "fills.csv").write_text(FILLS, encoding="utf-8")
    done = run("stats", "--fills", "fills.csv", "--capital", 5000, "--html", "record.html")
    text = (here / "record.html").read_text(encoding="utf-8")

    assert done.exit_code == 0
    assert "&lt;i&gt;trend&lt;/i&gt;" in text
    assert "<i>trend" not in text
    assert "5,000.00" in text
    assert "48.76" in text


@pytest.mark.parametrize("other", ["--json", "--trades"])
def test_a_page_is_not_asked_for_together_with_what_is_printed(run, journal, here, other):
    done = run("stats", "--html", "record.html", other)

    assert done.exit_code == 2
    assert "--html" in done.stderr
    assert not (here / "record.html").exists()


def test_a_page_that_cannot_be_written_is_said_in_one_line(run, journal):
    done = run("stats", "--html", "nowhere/record.html")

    assert done.exit_code == 1
    assert "nowhere/record.html can't be written" in done.stderr
    assert done.stderr.count("\n") == 1
