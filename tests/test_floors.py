"""The floors of the house: a module imports from its own floor or below, and every module has its place."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

import ttflow

HOUSE = Path(ttflow.__file__).parent

# Words: frozen values and how they are read; no I/O but the package's own tables and the settings' files.
# Stream and reckoning: pure; the same inputs, the same results.
# Edges: each touches one outside thing.
# Views: read only.
# Door: what starts, joins and commands all of the others.
FLOORS = {
    0: "alert contracts errors expiry explaining inputs instrument masking order readers sample settings "
    "showing strict_json symbols template ticket tradingview view words",
    1: "book calendars clock engine firms flow frames graph hub operators simulator sizing stats story tap",
    2: "brokers gate guard journal logs notify prices redaction webhook",
    3: "access answering client dashboard notebook plots standing",
    4: "__main__ api builtin cli controls deciding demo desk fakes outside recovery rerun server stream "
    "terminal testing vigil",
}
PLACES = {name: floor for floor, names in FLOORS.items() for name in names.split()}

EDGES = {
    "brokers": "brokers",
    "journal": "journal",
    "notify": "notify",
    "prices": "prices",
    "gate": "webhook",
    "guard": "webhook",
    "logs": "webhook",
    "redaction": "webhook",
    "webhook": "webhook",
}
"""The modules of floor 2, and the edge that each belongs to."""

OUTSIDE = {
    0: {"pydantic", "pydantic_core", "msgspec"},
    1: {"pydantic", "reactivex", "pandas", "exchange_calendars"},
}
"""What the lower floors may import beside the standard library; the others may import what they need."""

ALSO = {"settings": {"dotenv"}}
HEAVY = ("pandas", "plotly", "numpy", "IPython", "jupyter_core", "jupyterlab", "scipy", "exchange_calendars")


class Import(NamedTuple):
    """One import: where it stands, the module named, and the name taken from it, if any."""

    file: Path
    line: int
    module: str
    name: str | None

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(HOUSE.parent)}:{self.line}"


def files() -> list[Path]:
    return sorted(path for path in HOUSE.rglob("*.py") if "__pycache__" not in path.parts)


def room(file: Path) -> str:
    """The top-level module or package that a file is or belongs to; empty for the package itself."""
    first = file.relative_to(HOUSE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(file: Path, *, top: bool = False) -> Iterator[Import]:
    """The imports of a file, but those for the type checker alone; with `top`, only what loads at once."""
    package = ".".join(("ttflow", *file.relative_to(HOUSE).parts[:-1]))
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield from (Import(file, node.lineno, module, alias.name) for alias in node.names)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting += node.orelse
        elif not (top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            waiting += ast.iter_child_nodes(node)


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def target(found: Import) -> str | None:
    """The room of ours that an import leads to; empty for the package itself, None for what is not ours."""
    parts = found.module.split(".")
    if parts[0] != "ttflow":
        return None
    if len(parts) > 1:
        return parts[1]
    return found.name if found.name in PLACES else ""


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(HOUSE)))
def test_a_module_imports_from_its_own_floor_or_below(file):
    here = room(file)
    floor = PLACES.get(here, 0)
    wrong = [
        f"{found.place}: {here or 'ttflow'} (floor {floor}) imports {led} (floor {PLACES.get(led)})"
        for found in imports(file)
        if (led := target(found)) and PLACES.get(led, 99) > floor
    ]

    assert not wrong, "\n".join(wrong)


def test_every_module_has_a_floor():
    homeless = sorted({room(file) for file in files()} - {""} - set(PLACES))

    assert homeless == [], f"give them a floor in {Path(__file__).name}"


def test_the_edges_are_those_of_the_second_floor():
    assert set(EDGES) == set(FLOORS[2].split())


def test_edges_never_import_each_other():
    wrong = [
        f"{found.place}: {EDGES[here]} imports {led}"
        for file in files()
        if (here := room(file)) in EDGES
        for found in imports(file)
        if (led := target(found)) in EDGES and EDGES[led] != EDGES[here]
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("floor", sorted(OUTSIDE))
def test_the_lower_floors_need_few_libraries(floor):
    wrong = [
        f"{found.place}: {found.module}"
        for file in files()
        if PLACES.get(here := room(file), 0) == floor
        for found in imports(file)
        if (led := found.module.partition(".")[0]) not in {"ttflow", *sys.stdlib_module_names}
        if led not in OUTSIDE[floor] | ALSO.get(here, set())
    ]

    assert not wrong, "\n".join(wrong)


def test_the_package_itself_loads_nothing_of_ours_at_once():
    assert [found.place for found in imports(HOUSE / "__init__.py") if target(found) is not None] == []


def test_below_the_edges_nobody_asks_for_the_time_or_for_chance():
    """Decisions depend on inputs alone (law 4); the settings are read before there is an input."""
    asked = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}
    asked |= {("time", name) for name in ("time", "time_ns", "monotonic", "sleep")}
    wrong = [
        f"{file.relative_to(HOUSE.parent)}:{node.lineno}"
        for file in files()
        if PLACES.get(here := room(file), 0) <= 1 and here not in {"", "settings"}
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        if isinstance(node.value, ast.Name) and (node.value.id, node.attr) in asked
    ]
    wrong += [
        found.place
        for file in files()
        if PLACES.get(here := room(file), 0) <= 1 and here not in {"", "settings"}
        for found in imports(file)
        if found.module in {"random", "uuid", "secrets", "socket", "sqlite3", "subprocess"}
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["ttflow", "ttflow.cli", "ttflow.flow", "ttflow.template"])
def test_what_is_heavy_waits_until_it_is_needed(name):
    """A frame costs a third of a second, which neither a webhook nor a help text should wait for."""
    code = f"import sys, {name}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split() == []


def test_the_check_sees_what_it_should(tmp_path, monkeypatch):
    """A gate that nobody saw fail is no gate."""
    monkeypatch.setattr(sys.modules[__name__], "HOUSE", tmp_path)
    (tmp_path / "book").mkdir()
    file = tmp_path / "book" / "legs.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from ttflow.desk import Desk\n"
        "from ..journal import Reader\n"
        "def late():\n    from ttflow import desk, __version__\n"
    )

    seen = {target(found) for found in imports(file)}
    at_once = {target(found) for found in imports(file, top=True)}

    assert room(file) == "book"
    assert seen == {None, "journal", "desk", ""}
    assert at_once == {None, "journal"}
