"""Sweeping: one flow with many settings over the same inputs, side by side in processes or on a cluster.

The rule of this room: a combination that fails costs its own row, which says why. What comes out is no
backtest: a changed strategy would have sent other alerts.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from html import escape
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from ttflow.errors import RequestError
from ttflow.flow import Flow
from ttflow.rerun.comparing import Book, totals
from ttflow.rerun.progress import Step, bar
from ttflow.rerun.running import Pace, Run
from ttflow.rerun.sources import Lifted, Opened, Source, TradeList, opened
from ttflow.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from ttflow.desk import Desk

NOTE = (
    "A sweep runs recorded alerts through changed rules. It is no backtest: the strategy itself stays as it "
    "was, and the best of many settings on one record is partly luck. Try it on other days first."
)
"""What every sweep says of itself."""

FlowWithParameters = Callable[..., Flow]
Combination = Mapping[str, Any]
Grid = Mapping[str, Sequence[Any]] | Iterable[Combination]
Row = dict[str, Any]

_CAPITAL = 100_000.0


class Client(Protocol):
    """A cluster's client, such as `dask.distributed.Client`."""

    def get_executor(self) -> Executor:
        """An executor of `concurrent.futures`' kind, whose `submit` resolves what was scattered."""
        ...

    def scatter(self, data: Any, *, broadcast: bool) -> Any:
        """Bring data to the workers once."""
        ...


@dataclass(frozen=True)
class Swept:
    """The results of a sweep: `frame` has one row for each combination, in the order of the grid.

    Its columns are the parameters, what the run amounted to (as the totals of `compare`), and `error`,
    missing where the run went well.
    """

    frame: pd.DataFrame = field(repr=False)
    parameters: tuple[str, ...]
    note: str = NOTE

    def best(self, by: str = "net_profit", count: int = 10) -> pd.DataFrame:
        """The rows that have most of a figure, the best first; rows without it come last."""
        if by not in self.frame.columns:
            raise RequestError(f"There is no figure {by!r}; there are {', '.join(self.frame.columns)}.")
        return self.frame.sort_values(by, ascending=False, na_position="last", kind="stable").head(count)

    def _shown(self) -> pd.DataFrame:
        columns = [*self.parameters, *(name for name in _SHOWN if name in self.frame.columns)]
        return self.frame[list(dict.fromkeys(columns))]

    def __repr__(self) -> str:
        return f"{self.note}\n\n{self._shown().to_string(na_rep='')}"

    def _repr_html_(self) -> str:
        return (
            f"<div><p>{escape(self.note)}</p>{self._shown().to_html(border=0, na_rep='', escape=True)}</div>"
        )


_SHOWN = ("tickets", "filled", "denied", "failed", "net_profit", "profit_factor", "max_drawdown", "error")


@dataclass(frozen=True)
class Material:
    """What every worker gets once: the inputs, whose they are, the settings, and the packed flow."""

    inputs: tuple[Lifted, ...]
    journal_id: str
    groups: frozenset[str]
    settings: Settings | None
    flow: str | bytes
    capital: float


def sweep(
    source: Source,
    flow: FlowWithParameters | str,
    grid: Grid,
    *,
    settings: Settings | None = None,
    workers: int | None = None,
    client: Client | None = None,
    capital: float = _CAPITAL,
    progress: bool | None = None,
    strategy: str = "",
    symbol: str = "",
    tz: str = "UTC",
) -> Swept:
    """Run the same inputs through a flow with many settings, every account simulated.

    `flow(alerts, desk, **parameters)` is a function, or its name `module:function`. `grid` gives the values
    of each parameter, all of whose combinations are run, or the combinations themselves as mappings. `source`
    and the last three are those of `replay`. `workers` is how many processes run them, one a core by
    default; 0 runs them here. With `client`, a `dask.distributed.Client`, they run on its cluster instead.

    A function of a notebook or inside another one travels only where the package cloudpickle is installed.
    Raises RequestError for such a function without it, for a source or a grid that is none, and where the
    processes can't be started.
    """
    combinations = _combinations(grid)
    parameters = _parameters(combinations)
    if workers is not None and workers < 0:
        raise RequestError(f"There can't be {workers} workers; give 0 to run everything in this process.")
    with opened(source, TradeList(strategy, symbol, tz)) as given:
        packed = pack(flow, here=workers == 0 and client is None)
        material = _material(given, settings, packed, capital)
    with bar("sweep", len(combinations), progress) as step:
        if client is None and workers == 0:
            found = _named(flow) if isinstance(flow, str) else flow
            run = partial(_run, flow=found, material=material)
            rows = [_counted(step, run, one) for one in combinations]
        else:
            rows = _in_parallel(material, combinations, workers, client, step)
    return _swept(combinations, parameters, rows)


def _combinations(grid: Grid) -> list[dict[str, Any]]:
    if isinstance(grid, Mapping):
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise RequestError(f"The grid's {name} is {values!r}; give a list of the values to try.")
        return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    found = list(grid)
    wrong = next((one for one in found if not isinstance(one, Mapping)), None)
    if wrong is not None:
        raise RequestError(f"The combination {wrong!r} is no mapping of parameters to values.")
    return [dict(one) for one in found]


def _material(given: Opened, settings: Settings | None, packed: str | bytes, capital: float) -> Material:
    """Read a source once, so that every combination meets the same inputs, also of a desk that runs."""
    return Material(tuple(given.inputs()), given.journal_id, given.connected(), settings, packed, capital)


# What a flow travels as


def pack(flow: FlowWithParameters | str, *, here: bool = False) -> str | bytes:
    """Make of a flow what a worker can read: its name, or its code by cloudpickle.

    `here` is for no worker: what has no name then stays empty. Raises RequestError for what can't travel.
    """
    if isinstance(flow, str):
        _named(flow)
        return flow
    if not callable(flow):
        raise RequestError(f"{flow!r} is no flow; give a function of alerts, desk and parameters.")
    module, name = getattr(flow, "__module__", ""), getattr(flow, "__qualname__", "")
    if module not in ("", None, "__main__") and name.isidentifier():
        found = f"{module}:{name}"
        if _is(found, flow):
            return found
    if here:
        return b""
    try:
        pickled: bytes = importlib.import_module("cloudpickle").dumps(flow)
    except ImportError:
        raise RequestError(
            f"The flow {name or flow!r} can't be sent to other processes: no module has it. Put it into "
            "a file and give 'module:function', install cloudpickle, or run it here with workers=0."
        ) from None
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise RequestError(f"The flow {name or flow!r} can't be sent to other processes: {error}.") from None
    return pickled


def _is(named: str, flow: object) -> bool:
    try:
        return _named(named) is flow
    except RequestError:
        return False


def _named(named: str) -> Any:
    module, _, name = named.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(
            f"There is no flow {named} ({error}); write module:function, of a module that Python finds."
        ) from None


def _unpacked(packed: str | bytes) -> FlowWithParameters:
    found: FlowWithParameters = _named(packed) if isinstance(packed, str) else pickle.loads(packed)
    return found


# In a worker


class _Kept(Opened):
    """Inputs that were read before, in another process."""

    def __init__(self, material: Material) -> None:
        super().__init__(None)
        self._material = material

    @property
    def journal_id(self) -> str:
        return self._material.journal_id

    def inputs(self) -> Iterator[Lifted]:
        return iter(self._material.inputs)

    def connected(self) -> frozenset[str]:
        return self._material.groups


def _run(combination: Combination, *, flow: FlowWithParameters, material: Material) -> Row:
    """Run one combination: its totals, or the error that it ended with."""

    def built(alerts: Flow, desk: Desk) -> Flow:
        return flow(alerts, desk, **combination)

    try:
        replayed = Run(_Kept(material), built, material.settings).whole("simulated", Pace())
        return dict(totals(Book(replayed.rows_of), material.capital))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _at_work(combination: Combination, material: Material) -> Row:
    """Run one combination in a worker that got the material with it."""
    try:
        flow = _unpacked(material.flow)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return _run(combination, flow=flow, material=material)


_given: list[Material] = []
"""What this worker process was given when it began."""


def _begin(material: Material) -> None:
    _given.append(material)


def _again(combination: Combination) -> Row:
    return _at_work(combination, _given[0])


# Around the workers


def _in_parallel(
    material: Material,
    combinations: Sequence[Combination],
    workers: int | None,
    client: Client | None,
    step: Step,
) -> list[Row]:
    try:
        with _submitting(material, workers, client, len(combinations)) as submit:
            futures = [submit(one) for one in combinations]
            for _ in as_completed(futures):
                step()
            return [_result(future) for future in futures]
    except BrokenProcessPool:
        raise RequestError(
            "A process of the sweep ended at once. In a script, call sweep under "
            "`if __name__ == '__main__':`; processes begin by importing the script. Else there may be too "
            "little memory: use fewer workers."
        ) from None


@contextmanager
def _submitting(
    material: Material, workers: int | None, client: Client | None, count: int
) -> Iterator[Callable[[Combination], Future[Row]]]:
    """What starts a combination somewhere: on a cluster, or in a process that got the material once."""
    if client is not None:
        shared = client.scatter(material, broadcast=True)
        with client.get_executor() as cluster:
            yield lambda one: cluster.submit(_at_work, one, shared)
        return
    many = max(1, min(workers or os.cpu_count() or 1, count))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(many, context, initializer=_begin, initargs=(material,)) as pool:
        yield lambda one: pool.submit(_again, one)


def _result(future: Future[Row]) -> Row:
    try:
        return future.result()
    except BrokenProcessPool:
        raise
    except Exception as error:  # what can't be sent, or a worker that was lost
        return {"error": f"{type(error).__name__}: {error}"}


def _counted(step: Step, run: Callable[[Combination], Row], one: Combination) -> Row:
    row = run(one)
    step()
    return row


def _parameters(combinations: Sequence[Combination]) -> tuple[str, ...]:
    """The names of the parameters; they stand beside the figures in one frame."""
    names = tuple(dict.fromkeys(name for one in combinations for name in one))
    clash = next((name for name in names if name in (*_figures(), "error")), None)
    if clash:
        raise RequestError(f"The parameter {clash} has the name of a figure; call it otherwise.")
    return names


def _figures() -> tuple[str, ...]:
    return tuple(totals(Book(lambda table: ())))


def _swept(combinations: Sequence[Combination], parameters: tuple[str, ...], rows: Sequence[Row]) -> Swept:
    import pandas as pd

    columns: dict[str, Any] = {
        name: pd.Series([one.get(name) for one in combinations], dtype="object").infer_objects()
        for name in parameters
    }
    for name in _figures():
        columns[name] = pd.array([row.get(name) for row in rows], dtype="Float64")
    columns["error"] = pd.array([row.get("error") for row in rows], dtype="str")
    return Swept(pd.DataFrame(columns), parameters)


__all__ = ["NOTE", "Material", "Swept", "pack", "sweep"]
