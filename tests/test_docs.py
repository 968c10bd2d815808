"""The documentation can't lag: what it lists is compared with the code, and what it shows is run.

What stands between `<!-- generated: NAME -->` and `<!-- end -->` is written by `python tests/test_docs.py`.
"""

import importlib
import inspect
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

import ttflow as tt
from ttflow import api, dashboard, gate, sample, server, settings, stream, template, webhook
from ttflow.alert import ACTIONS, ALIASES
from ttflow.cli import main
from ttflow.inputs import Kind
from ttflow.journal.schema import TABLES
from ttflow.operators.core import Operator
from ttflow.order import OrderStatus
from ttflow.settings.firms import FirmRules, merged, shipped
from ttflow.settings.sources import ENVIRONMENT
from ttflow.ticket import MEANINGS, Reason, Status

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str | None = None) -> list[str]:
    """The blocks of code in a page, of one language or all, set in by a list or not."""
    found = re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [
        re.sub(rf"(?m)^{match[1]}", "", match[3])
        for match in found
        if language is None or match[2] == language
    ]


def prose(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


# What is generated


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, in the order of the help."""

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            with click.Context(command, info_name=name) as context:
                for part in command.list_commands(context):
                    found = command.get_command(context, part)
                    assert found is not None
                    yield from walk(f"{name} {part}", found)
        else:
            yield name, command

    return walk("ttflow", main)


def _command_table() -> str:
    rows = (f"| `{name}` | {command.get_short_help_str(200)} |" for name, command in commands())
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def _command_pages() -> str:
    parts = []
    above = click.Context(main, info_name="ttflow", terminal_width=100, **main.context_settings)
    for name, command in commands():
        with click.Context(command, above, info_name=name.removeprefix("ttflow ")) as context:
            parts.append(f"## {name}\n\n```text\n{command.get_help(context).strip()}\n```")
    return "\n\n".join(parts)


def _reason_table() -> str:
    rows = (f"| `{reason.value}` | {MEANINGS[reason]} |" for reason in Reason)
    return "\n".join(["| code | what it means |", "|---|---|", *rows])


def _table_columns() -> str:
    def shown(table: Any) -> str:
        names = (f"`{name}`" + ("*" if name in table.key else "") for name in table.names)
        return f"| `{table.name}` | {', '.join(names)} |"

    return "\n".join(["| table | columns, the key's with * |", "|---|---|", *map(shown, TABLES.values())])


def operators() -> dict[str, Callable[..., Any]]:
    """Every operator by its name."""
    named = {name: getattr(tt.operators, name) for name in tt.operators.__all__}
    return {name: made for name, made in named.items() if made is not Operator and name != "operator"}


def _operator_table() -> str:
    rows = (
        f"| [`{name}`](#{name}) | {(inspect.getdoc(made) or '').splitlines()[0]} |"
        for name, made in operators().items()
    )
    return "\n".join(["| operator | what it does |", "|---|---|", *rows])


def _statuses() -> str:
    def listed(name: str, statuses: type[Status] | type[OrderStatus]) -> str:
        return f"| {name} | {', '.join(f'`{status}`' for status in statuses)} |"

    rows = [listed("ticket", Status), listed("order", OrderStatus)]
    return "\n".join(["| of a | statuses |", "|---|---|", *rows])


def _firm_pages() -> str:
    """Every firm with the rows of its programs and sizes, where they were read, and what is not confirmed."""
    return "\n\n".join(_firm(name) for name in shipped() if "-" not in name)


def _firm(name: str) -> str:
    firm = merged({}, name)
    around = ", ".join(firm.news_symbols or ["all"])
    told = [
        (
            "Automated trading",
            f"{firm.automation}{' on these: ' if firm.conditions else ''}{firm.conditions or ''}",
        ),
        ("A day begins", f"{firm.session_start} {firm.tz}, on the evening before"),
        ("Last entry", firm.last_entry),
        ("Flat by", firm.flat_at),
        ("On a day of early close flat", _before_close(firm.early_flat_s)),
        ("Micros that count as one mini", firm.micro_ratio),
        ("News", firm.news),
        (
            "The window around them",
            firm.news_window_s and f"{firm.news_window_s} seconds before and after, for {around}",
        ),
        ("Most trades a day", firm.trades_a_day),
    ]
    facts = [f"- {what}: {value}." for what, value in told if value is not None]
    notes = [
        f"- `{table}`: {rules.note}"
        for table, rules in shipped().items()
        if _is_of(table, name) and rules.note
    ]
    sources = [f"- {place}" for place in firm.source or ()]
    parts = (
        f"### {firm.title}",
        "\n".join(facts).replace("..", "."),
        _firm_rows(name),
        "Notes:",
        "\n".join(notes),
    )
    return "\n\n".join((*parts, "Sources:", "\n".join(sources)))


def _is_of(table: str, firm: str) -> bool:
    return table.split("-")[0] == firm


def _before_close(seconds: int | None) -> str:
    return f"{seconds // 60} minutes before the exchange closes" if seconds else "when the exchange closes"


def _stops(row: FirmRules) -> bool:
    return row.trail != "static" and row.lock is not None and row.start_balance is not None


def _firm_rows(firm: str) -> str:
    heads = "rules | automation | start | maximum loss | trails | stops at | daily loss | minis | caps | read"
    rows = [f"| {heads} |", "|" + "---|" * 10]
    for table in shipped():
        if _is_of(table, firm) and table.count("-") == 2:
            row = merged({}, *table.split("-"))
            stops = row.start_balance + row.lock if _stops(row) else None
            caps = ", ".join(f"{root} {most}" for root, most in (row.caps or {}).items())
            daily = row.daily_loss and f"{row.daily_loss} ({row.daily_loss_action})"
            cells = (
                row.start_balance,
                row.drawdown,
                row.trail,
                stops,
                daily,
                row.contracts,
                caps,
                row.verified,
            )
            shown = ["" if cell is None else str(cell) for cell in (row.automation, *cells)]
            rows.append(f"| `{table}` | {' | '.join(shown)} |")
    return "\n".join(rows)


GENERATED: Mapping[str, Callable[[], str]] = {
    "commands": _command_table,
    "firms": _firm_pages,
    "help": _command_pages,
    "operators": _operator_table,
    "reasons": _reason_table,
    "statuses": _statuses,
    "tables": _table_columns,
}
_BLOCK = re.compile(r"<!-- generated: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def filled(text: str) -> str:
    """A page with what is generated put in anew."""
    return _BLOCK.sub(
        lambda found: f"<!-- generated: {found[1]} -->\n\n{GENERATED[found[1]]()}\n\n<!-- end -->", text
    )


@each_page
def test_what_is_generated_is_fresh(page):
    text = page.read_text(encoding="utf-8")

    assert filled(text) == text, "python tests/test_docs.py writes it anew"


def test_all_that_can_be_generated_is_used():
    used = {name for page in PAGES for name, _ in _BLOCK.findall(page.read_text(encoding="utf-8"))}

    assert used == set(GENERATED)


# What is public


@pytest.mark.parametrize("name", ["ttflow", "brokers", "flow", "operators", "settings", "testing"])
def test_all_names_what_is_there(name):
    module = importlib.import_module(name if name == "ttflow" else f"ttflow.{name}")

    assert [public for public in module.__all__ if not hasattr(module, public)] == []


def test_the_package_sorts_what_it_names():
    assert list(tt.__all__) == sorted(tt.__all__)


def test_the_package_offers_what_it_names():
    assert set(tt.__all__) <= set(dir(tt))
    assert [name for name in tt.__all__ if not inspect.getdoc(getattr(tt, name))] == []


@pytest.mark.parametrize("name", tt.__all__)
def test_every_public_name_is_in_the_python_page(name):
    assert f"tt.{name}" in read("docs/python.md")


def test_the_methods_of_a_desk_are_those_of_the_python_page():
    named = set(re.findall(r"`(?:await )?desk\.(\w+)\(", read("docs/python.md")))

    assert sorted(name for name in named if not callable(getattr(tt.Desk, name, None))) == []


def test_the_python_page_names_nothing_that_is_not_there():
    named = set(re.findall(r"\btt\.(\w+)", read("docs/python.md")))

    assert sorted(named - set(tt.__all__)) == []


@pytest.mark.parametrize("name", sorted(operators()))
def test_every_operator_has_a_section_with_its_signature_and_an_example(name):
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", read("docs/operators.md"), re.DOTALL | re.M))
    signature = f"{name}{_signature(operators()[name])}"

    assert signature in sections[name]
    assert f"ops.{name}(" in "".join(blocks(sections[name], "python"))


def _signature(made: Callable[..., Any]) -> str:
    """The parameters with their defaults, without types."""
    given = inspect.signature(made).parameters.values()
    parts = [str(one.replace(annotation=inspect.Parameter.empty)) for one in given]
    first = next((i for i, one in enumerate(given) if one.kind is one.KEYWORD_ONLY), None)
    if first is not None:
        parts.insert(first, "*")
    return re.sub(r"<function .*?>|<[\w.]+: ('\w+')>", r"\1", f"({', '.join(parts)})").replace("=)", "=…)")


# Settings


def keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the settings, dotted, with NAME for a free name and [] for a list of tables."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}", field
        for inner, mark in _models(field.annotation):
            yield from keys(inner, f"{above}{name}{mark}.")


def _models(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    text = str(annotation)
    mark = ".NAME" if "Mapping" in text else "[]" if "tuple" in text else ""
    waiting = [annotation]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            yield one, mark
        else:
            waiting += getattr(one, "__args__", ())


# A rate is written as N/minute, an account's costs as its group's, limits as the desk's, sizing as a group's.
_NOT_TABLES = (
    "rate_limit.",
    "groups.NAME.accounts[].commission.",
    "groups.NAME.accounts[].slippage.",
    "groups.NAME.limits.",
    "strategies.NAME.limits.",
    "strategies.NAME.sizing.",
)
SETTINGS = [key for key, _ in keys(settings.Settings) if not key.startswith(_NOT_TABLES)]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of all tables in a page by the name in their first cell; dotted with the heading's table."""
    found, table = {}, ""
    for line in prose(text).splitlines():
        if heading := re.match(r"#+ .*?`\[(\[?)([\w.]+)\]+`", line):
            table = heading[2] + ("[]." if heading[1] else ".")
        elif line.startswith("#"):
            table = ""
        elif cell := re.match(r"\| `([\w.]+)` \|(.*)\|$", line):
            found[table + cell[1]] = [part.strip() for part in cell[2].split("|")]
    return found


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_is_documented(key):
    text = read("docs/settings.md")

    assert key in rows(text) or re.search(rf"^#+ .*`\[+{re.escape(key)}(\.\w+)?\]+`", text, re.MULTILINE)


def test_no_setting_is_documented_that_is_not_there():
    known = {*SETTINGS, *ENVIRONMENT}

    assert sorted(key for key in rows(read("docs/settings.md")) if key not in known) == []


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_every_environment_name_is_documented(name):
    key = ".".join(ENVIRONMENT[name])

    assert f"`{name}`" in " ".join(rows(read("docs/settings.md"))[key])


def test_defaults_are_as_documented():
    written = rows(read("docs/settings.md"))
    fresh = settings.Settings()
    plain = {
        f"{above}{name}": value
        for above, model in (("", fresh), ("flow.", fresh.flow))
        for name, value in model
        if isinstance(value, str | int | float | Path) and f"{above}{name}" in written
    }

    assert {key: f"`{_toml(value)}`" for key, value in plain.items()} == {
        key: cells[-2] for key, cells in written.items() if key in plain
    }


def _toml(value: Any) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value).removesuffix(".0")


# HTTP


def addresses() -> list[tuple[str, str]]:
    """Every rule of the server as the class that answers and the pattern of its path."""
    rules: list[Any] = [*webhook.routes(None, gate=True), *server.health_routes(), *api.routes()]
    rules += [*stream.routes(), *dashboard.routes()]
    return [
        (rule[1].__name__, rule[0])
        if isinstance(rule, tuple)
        else (rule.name, rule.matcher.regex.pattern.rstrip("$"))
        for rule in rules
    ]


@pytest.mark.parametrize(("handler", "pattern"), addresses())
def test_every_address_is_documented(handler, pattern):
    paths = {path.partition("?")[0] for path in re.findall(r"(/[\w/.*-]*[\w]|/)[?`\s]", read("docs/http.md"))}

    assert [path for path in paths if re.fullmatch(pattern, path)]


def test_every_error_of_the_webhook_is_documented():
    codes = set(re.findall(r'_refusal\(\s*\d+,\s*"(\w+)"', inspect.getsource(gate)))

    assert codes
    assert [code for code in codes if f"`{code}`" not in read("docs/http.md")] == []


@pytest.mark.parametrize("word", [*ALIASES, *ACTIONS])
def test_every_word_of_an_alert_is_documented(word):
    assert f"`{word}`" in read("docs/http.md")


# The journal


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """A journal that holds the sample, as the pages' examples expect it: `ttflow.db`."""
    place = tmp_path_factory.mktemp("journal") / "ttflow.db"
    tt.replay(sample.alerts(), out=place)
    return place


@pytest.mark.parametrize("sql", blocks(read("docs/journal.md"), "sql"))
def test_the_examples_in_sql_run(sql, journal):
    connection = sqlite3.connect(journal)
    try:
        found = connection.execute(sql).fetchall()
    finally:
        connection.close()

    assert found


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_input_is_documented(kind):
    assert f"`{kind}`" in read("docs/journal.md")


# Reasons


@pytest.mark.parametrize("name", ["docs/positions.md", "docs/operators.md", "README.md", "docs/http.md"])
def test_reason_codes_in_the_text_exist(name):
    codes = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", read(name)))

    assert sorted(codes - set(Reason) - set(ENVIRONMENT) - {"NO_COLOR"}) == []


# What is shown is run


@each_page
def test_python_in_the_pages_runs(page, journal, monkeypatch, capsys):
    monkeypatch.chdir(journal.parent)
    text = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {}

    for code in blocks(text, "python"):
        exec(compile(code, page.name, "exec"), names)


def test_the_first_pipeline_prints_what_the_readme_says():
    code, said = blocks(read("README.md"), "python")[0], blocks(read("README.md"), "text")[0]

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.stdout, done.stderr) == (said, "")
    assert len([line for line in code.splitlines() if line]) <= 10


def test_the_two_commands_come_first():
    assert [block.strip() for block in blocks(read("README.md"))[:2]] == [
        "python -m pip install . && ttflow demo",
        "python -m pip install '.[test]' && python -m pytest",
    ]


@pytest.mark.parametrize("body", blocks(read("docs/http.md"), "json") + blocks(read("README.md"), "json"))
def test_json_in_the_pages_is_json(body):
    assert json.loads(body)


def test_the_message_to_paste_is_the_one_that_is_recommended():
    assert blocks(read("README.md"), "json")[0] == template.RECOMMENDED
    assert template.check(template.RECOMMENDED).clean


# What is named is there


@each_page
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        place, _, part = link.partition("#")
        if link.startswith("http"):
            continue
        other = page if not place else (page.parent / place)
        if not other.exists() or (part and part not in _anchors(other)):
            wrong.append(link)

    assert wrong == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_commands_in_the_pages_exist(page):
    text = page.read_text(encoding="utf-8")
    known = {name.split()[1] for name, _ in commands()}
    shown = "\n".join([*blocks(text, "sh"), *re.findall(r"`([^`\n]+)`", prose(text))])
    used = re.findall(r"(?:^|&& )ttflow ([a-z]+)", shown, re.MULTILINE)

    assert sorted(set(used) - known) == []


@each_page
def test_nobody_is_sent_to_the_wrong_package(page):
    """`ttflow` in the registry is somebody else's."""
    assert not re.search(r"pip install (-\S+ )*ttflow", page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
