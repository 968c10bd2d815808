"""What is installed is whole: the package's data, its metadata, its command, and what it says it needs."""

import ast
import re
import subprocess
import sys
from importlib.metadata import distribution, entry_points, packages_distributions
from importlib.resources import files
from pathlib import Path

import pytest

import ttflow
from ttflow.dashboard import _TYPES

HOUSE = Path(ttflow.__file__).parent
NAME = "traderterminal-ttflow"


@pytest.fixture(scope="module")
def installed():
    """The distribution's metadata."""
    try:
        return distribution(NAME)
    except Exception:
        pytest.skip(f"{NAME} is not installed: python -m pip install '.[test]'")


def named(requirement: str) -> str:
    """The project that a requirement names, as the metadata of projects writes it."""
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.mark.parametrize(
    "path",
    [
        "py.typed",
        "instruments.csv",
        "firms/firms.toml",
        "notebook/live.css",
        "notebook/live.js",
        "sample/alerts.jsonl",
        "plots/report.css",
        "plots/report.js",
        *(f"dashboard/{name}" for name in _TYPES),
    ],
)
def test_data_files_are_in_the_package(path):
    assert files("ttflow").joinpath(path).is_file()


def test_the_version_is_the_same_everywhere(installed):
    assert installed.version == ttflow.__version__


def test_the_command_is_installed(installed):
    (found,) = [point for point in entry_points(group="console_scripts") if point.name == "ttflow"]

    assert found.value == "ttflow.cli:main"


def test_the_module_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "ttflow", "--version"], capture_output=True, text=True, timeout=60, check=True
    )

    assert ttflow.__version__ in done.stdout


def test_the_extras_are_those_that_the_pages_name(installed):
    extras = {"dev", "notebook", "parquet", "tastytrade", "test"}
    assert set(installed.metadata.get_all("Provides-Extra")) == extras


def test_every_import_is_declared(installed):
    """What the package imports is among its own requirements, so that nothing depends on luck."""
    declared = {named(one) for one in installed.requires}
    owners = packages_distributions()
    wanted: dict[str, str] = {}
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            wanted |= {module.partition(".")[0]: str(path.relative_to(HOUSE)) for module in modules}
    ours = {"ttflow", "_typeshed", *sys.stdlib_module_names}
    undeclared = {
        module: place
        for module, place in wanted.items()
        if module not in ours
        if not {named(owner) for owner in owners.get(module, [module])} & (declared | {"pydantic-core"})
    }

    assert undeclared == {}


def test_the_runtime_needs_no_test_tool(installed):
    always = {named(one) for one in installed.requires if "extra ==" not in one}

    assert always.isdisjoint({"pytest", "hypothesis", "jupyterlab", "ipykernel", "ruff", "mypy", "pyarrow"})


def test_the_licence_is_in_the_distribution(installed):
    assert installed.metadata["License-Expression"] == "MIT"
    assert [file for file in installed.files or () if file.name == "LICENSE"] or _is_editable(installed)


def _is_editable(found) -> bool:
    return '"editable": true' in (found.read_text("direct_url.json") or "")
