"""Sweeps: many settings of one flow over the same inputs, wherever they run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ttflow
from ttflow import operators as ops
from ttflow import sample
from ttflow.errors import RequestError
from ttflow.rerun import replay, sweep, sweeping

ALERTS = sample.alerts()[:40]


def calm(alerts, desk, hours, most=10):
    if hours < 0:
        raise ValueError("no negative <hours>")
    steps = [ops.throttle(hours * 3600, by="strategy")] if hours else []
    return alerts.pipe(*steps, ops.where(lambda ticket: ticket.asked <= most), ops.size())


def here(source, flow, grid, **options):
    return sweep(source, flow, grid, workers=0, **options)


def test_a_row_is_what_a_replay_of_that_combination_comes_to():
    swept = here(ALERTS, calm, {"hours": [0, 4], "most": [1, 10]})

    assert swept.frame[["hours", "most"]].values.tolist() == [[0, 1], [0, 10], [4, 1], [4, 10]]
    for row in swept.frame.to_dict("records"):
        alone = replay(ALERTS, lambda alerts, desk, row=row: calm(alerts, desk, row["hours"], row["most"]))
        assert row["fills"] == len(alone.fills)
        assert row["net_profit"] == pytest.approx(alone.trades["net_pnl"].sum())
    assert swept.frame["net_profit"].nunique() > 1
    assert swept.frame["error"].isna().all()


def test_a_list_of_combinations_is_run_as_it_stands():
    swept = here(ALERTS, calm, [{"hours": 4}, {"hours": 0, "most": 1}])

    assert swept.parameters == ("hours", "most")
    assert swept.frame["hours"].tolist() == [4, 0]
    assert swept.frame["most"].isna().tolist() == [True, False]


def test_a_combination_that_fails_costs_its_own_row_and_says_why():
    swept = here(ALERTS, calm, {"hours": [-1, 1]})

    assert swept.frame["error"].tolist()[0] == "ValueError: no negative <hours>"
    assert swept.frame["tickets"].isna().tolist() == [True, False]
    assert "no negative &lt;hours&gt;" in swept._repr_html_()
    assert "<hours>" not in swept._repr_html_()


def test_it_says_plainly_that_it_is_no_backtest():
    swept = here(ALERTS, calm, {"hours": [0]})

    assert "It is no backtest" in repr(swept)
    assert "It is no backtest" in swept._repr_html_()


def test_the_best_come_first_and_those_without_the_figure_last():
    swept = here(ALERTS, calm, {"hours": [-1, 0, 1, 4]})

    best = swept.best("net_profit")
    profits = best["net_profit"].tolist()[:3]
    assert profits == sorted(profits, reverse=True)
    assert best["hours"].tolist()[-1] == -1
    with pytest.raises(RequestError, match="no figure 'luck'"):
        swept.best("luck")


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"hours": "12"}, "give a list"),
        ({"hours": 3}, "give a list"),
        (["hours"], "no mapping"),
        ({"trades": [1]}, "name of a figure"),
        ({"error": [1]}, "name of a figure"),
    ],
)
def test_a_grid_that_is_none_is_refused_before_anything_runs(grid, told):
    with pytest.raises(RequestError, match=told):
        here(ALERTS, calm, grid)


def test_a_grid_without_combinations_gives_an_empty_frame_with_all_columns():
    swept = here(ALERTS, calm, [])

    assert len(swept.frame) == 0
    assert {"tickets", "net_profit", "error"} <= set(swept.frame.columns)
    assert len(here(ALERTS, lambda alerts, desk: calm(alerts, desk, 1), {}).frame) == 1


def test_there_are_no_fewer_than_no_workers():
    with pytest.raises(RequestError, match="-1 workers"):
        sweep(ALERTS, calm, {"hours": [1]}, workers=-1)


# How a flow travels


def test_a_flow_of_a_module_travels_by_its_name():
    assert sweeping.pack(calm) == f"{__name__}:calm"
    assert sweeping.pack("ttflow.builtin:flow") == "ttflow.builtin:flow"


def test_a_flow_without_a_name_travels_by_its_code_where_cloudpickle_is():
    pytest.importorskip("cloudpickle", reason="the package cloudpickle is not installed")
    least = 2

    def inner(alerts, desk):
        return calm(alerts, desk, least)

    packed = sweeping.pack(inner)

    assert isinstance(packed, bytes)
    assert sweeping._unpacked(packed).__name__ == "inner"


def test_without_cloudpickle_it_is_said_what_to_do(monkeypatch):
    def missing(name, *rest, **more):
        raise ImportError(name)

    monkeypatch.setattr(sweeping.importlib, "import_module", missing)

    with pytest.raises(RequestError, match=r"no module has it.*workers=0"):
        sweeping.pack(lambda alerts, desk: alerts)
    assert sweeping.pack(lambda alerts, desk: alerts, here=True) == b""


@pytest.mark.parametrize("flow", ["nowhere:flow", "json:nothing", "json", 3])
def test_what_is_no_flow_is_refused(flow):
    with pytest.raises(RequestError, match="no flow"):
        here(ALERTS, flow, {"hours": [1]})


# Where it runs


@pytest.mark.slow
def test_processes_find_what_one_finds(tmp_path, monkeypatch):
    (tmp_path / "sweptflow.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    grid = {"hours": [-1, 0, 4]}

    apart = sweep(ALERTS, "sweptflow:calm", grid, workers=2, progress=False)

    assert apart.frame.equals(here(ALERTS, calm, grid).frame)


@pytest.mark.slow
def test_a_cluster_finds_what_one_process_finds():
    distributed = pytest.importorskip("dask.distributed", reason="the package distributed is not installed")
    grid = {"hours": [-1, 0, 4]}

    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ) as client:
        apart = sweep(ALERTS, calm, grid, client=client, progress=False)

    assert apart.frame.equals(here(ALERTS, calm, grid).frame)


SCRIPT = """
import ttflow as tt
from ttflow import builtin
tt.sweep([], builtin.flow, {}, workers=1)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_about_it(tmp_path):
    (tmp_path / "unguarded.py").write_text(SCRIPT, encoding="utf-8")
    home = str(Path(ttflow.__file__).parent.parent)

    done = subprocess.run(
        [sys.executable, "unguarded.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": home},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr.strip().splitlines()[-1]
