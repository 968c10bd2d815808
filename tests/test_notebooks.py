"""Every notebook and every example runs offline, from a clean checkout, on the package that is tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ttflow

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
EXAMPLES = sorted(ROOT.glob("examples/*.py"))


@pytest.fixture
def this_package(monkeypatch, tmp_path):
    """Let child processes import the very package that these tests import, from a directory of their own."""
    monkeypatch.setenv("PYTHONPATH", str(Path(ttflow.__file__).parent.parent))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path


def test_there_is_something_to_run():
    assert {path.name for path in NOTEBOOKS} >= {
        "01_first_pipeline.ipynb",
        "02_live.ipynb",
        "03_performance.ipynb",
        "04_own_parts.ipynb",
        "05_replay_and_what_if.ipynb",
    }


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, this_package):
    pytest.importorskip("ipykernel", reason="the package ipykernel is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the package nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="the package nbformat is not installed")
    notebook = nbformat.read(path, as_version=4)

    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(this_package)}}
    ).execute()

    complaints = [
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.get("name") == "stderr"
    ]
    assert complaints == []
    assert [path.name for path in this_package.iterdir() if path.name != "ipython"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]

    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert [cell["id"] for cell in cells if cell["outputs"] or cell["execution_count"]] == []
    assert [cell["id"] for cell in notebook["cells"] if cell["metadata"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, this_package):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=this_package,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout
