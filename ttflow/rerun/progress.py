"""How far a long run is: a bar on a terminal, a line in a notebook, nothing elsewhere.

The rule of this room: it is shown only to a person, goes away at the end, and costs next to nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from time import monotonic
from typing import Any

Step = Callable[[], None]

PAUSE_S = 0.2
"""How long it waits before it shows itself, and between two looks."""


@contextmanager
def bar(label: str, total: int | None, wanted: bool | None = None) -> Iterator[Step]:
    """Show a bar while the block runs; call what it gives once for each step done.

    `total` None is not known. `wanted` None shows it where a person looks: on a terminal (stderr), or in a
    notebook.
    """
    show = _shower(label, wanted)
    if show is None:
        yield lambda: None
        return
    done, looked = 0, monotonic()

    def step() -> None:
        nonlocal done, looked
        done += 1
        if monotonic() - looked >= PAUSE_S:
            looked = monotonic()
            show(done, total)

    try:
        yield step
    finally:
        show(None, total)


Show = Callable[[int | None, int | None], None]


def _shower(label: str, wanted: bool | None) -> Show | None:
    """What shows how much is done, or that all is (None); None where nobody looks."""
    if wanted is False:
        return None
    if in_notebook():
        return _Line(label)
    return _Terminal(label) if wanted or sys.stderr.isatty() else None


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class _Terminal:
    """A bar of rich's, on stderr."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._progress: Any = None
        self._task: Any = None

    def __call__(self, done: int | None, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import Progress

        if done is None:
            if self._progress:
                self._progress.stop()
            return
        if self._progress is None:
            self._progress = Progress(console=Console(stderr=True, force_terminal=True), transient=True)
            self._progress.start()
            self._task = self._progress.add_task(self._label, total=total)
        self._progress.update(self._task, completed=done, total=total)


class _Line:
    """A line of HTML in the cell that runs."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._handle: Any = None

    def __call__(self, done: int | None, total: int | None) -> None:
        shown: Any = import_module("IPython.display")
        if done is None:
            if self._handle:
                self._handle.update(shown.HTML(""))
            return
        amount = f"value='{done}' max='{total}'" if total else ""
        html = shown.HTML(
            f"{self._label} <progress {amount}></progress> {done:,}{f' of {total:,}' if total else ''}"
        )
        if self._handle is None:
            self._handle = shown.display(html, display_id=True)
        else:
            self._handle.update(html)


__all__ = ["bar", "in_notebook"]
