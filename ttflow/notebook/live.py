"""Live views for notebooks: the tape, strategies, equity, the flow's graph, latency, and a fork's book.

    tt.notebook.tape(desk)

Each is a widget where the notebook has anywidget (the extra `notebook`), and shows how things stand as plain
HTML where widgets can't run. The rule of this room: at most ten states a second leave for the page, however
much happens, and none while nobody looks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Any

from ttflow.errors import TtflowError
from ttflow.notebook.boards import Board, Books, Equity, Flowing, Latency, Strategies, Tape
from ttflow.notebook.sources import Backlog, Beside, Row, Source, source_of
from ttflow.notebook.still import html

if TYPE_CHECKING:
    from ttflow.desk import Desk
    from ttflow.notebook.attached import Attached
    from ttflow.rerun.forking import Fork

log = logging.getLogger("ttflow.notebook")

LOOKS_S = 5.0
"""How often a page says that it still shows a view; the script has the same number."""
REST = 4
"""How many times as long as it took to draw a view rests before it is drawn again."""
FORGOTTEN_S = 30.0
"""How long a view is drawn without hearing from a page, which can't be heard while a cell is at work."""


def tape(desk: Attached | Desk) -> Any:
    """Show the newest tickets as they come: what each alert asked, what became of it, and why."""
    return show(desk, Tape())


def strategies(desk: Attached | Desk) -> Any:
    """Show every strategy: the mode in force, how far it is from a change, and what it has earned."""
    return show(desk, Strategies())


def equity(desk: Attached | Desk, strategy: str | None = None) -> Any:
    """Show what was earned trade by trade, live and on paper, of one strategy or of all; and the drawdown.

    Realised results after commission, in the account's money; the highest point begins at zero.
    """
    return show(desk, Equity(strategy))


def graph(desk: Attached | Desk) -> Any:
    """Show the flow's nodes and how many tickets each has seen, denied and let out."""
    return show(desk, Flowing())


def latency(desk: Attached | Desk) -> Any:
    """Show how long each stage of an alert's way takes: to the desk, to the order, to the fill, to this page.

    The first is as exact as TradingView's time, whole seconds; the last compares this machine's clock with
    the desk's.
    """
    return show(desk, Latency())


def books(desk: Desk, fork: Fork) -> Any:
    """Show the book of a desk of this process and its fork's side by side, as `fork.compare` tells them.

    The longer both are, the longer a comparison takes, and the more seldom they are drawn.
    """
    return _shown(Beside(desk, fork), Books())


def show(desk: Attached | Desk, board: Board) -> Any:
    """A view of a desk: a widget, or a picture as of now where anywidget is not installed.

    Raises RequestError where the desk doesn't answer, and for a desk of this process outside its loop.
    """
    return _shown(source_of(desk), board)


def _shown(source: Source, board: Board) -> Any:
    panel = Panel(source, board)
    if find_spec("anywidget") is None:
        panel.close()
        return panel
    return _widget_class()(panel)


class Panel:
    """One board over one source. Shows itself as HTML, as of the moment it is shown."""

    def __init__(self, source: Source, board: Board) -> None:
        self.source, self.board = source, board
        self.news = threading.Event()
        self._backlog = Backlog(self.news)
        self._end = source.listen(self._backlog.put)
        board.begin(source)
        self._state = board.state(source)

    def refresh(self) -> Row:
        """Take in what is new and return the state; where the desk doesn't answer, the last one."""
        try:
            if self._backlog.overflowed:
                self._backlog.overflowed = False
                self.board.begin(self.source)
            for seen, changes in self._backlog.take():
                self.board.take(changes, seen)
            self._state = self.board.state(self.source)
        except TtflowError as error:
            return {**self._state, "link": self.source.state, "why": str(error)}
        return {**self._state, "link": self.source.state, "why": ""}

    def close(self) -> None:
        """Listen no more."""
        self._end()

    def _repr_html_(self) -> str:
        return html(self.board.kind, self.refresh())


class Pulse(threading.Thread):
    """Draws when there is news, at most every `every_s` seconds, while somebody looks.

    What takes long to draw rests long: a view is at work for one part of its time in `1 + REST`.
    """

    def __init__(self, news: threading.Event, every_s: float, draw: Callable[[], None]) -> None:
        super().__init__(name="ttflow-view", daemon=True)
        self._news, self._every_s, self._draw = news, every_s, draw
        self._looked = monotonic()
        self._over = threading.Event()

    def looked(self) -> None:
        """Somebody looks: draw for a while."""
        if monotonic() - self._looked > FORGOTTEN_S:
            self._news.set()
        self._looked = monotonic()

    def run(self) -> None:
        """Draw again and again."""
        rest = self._every_s
        while not self._over.wait(rest):
            self._news.wait(LOOKS_S)  # without news it still tells how the connection stands
            if self._over.is_set() or monotonic() - self._looked > FORGOTTEN_S:
                continue
            self._news.clear()
            began = monotonic()
            try:
                self._draw()
            except Exception:
                log.exception("a live view could not be drawn; it goes on")
            rest = max(self._every_s, REST * (monotonic() - began))

    def stop(self) -> None:
        """Draw no more."""
        self._over.set()
        self._news.set()


@cache
def _widget_class() -> Any:
    """The widget; made when it is first used, since anywidget is an extra and takes its time to load."""
    import anywidget
    import traitlets

    class LiveView(anywidget.AnyWidget):
        """A board on the page, drawn by `live.js` from one value that travels whole."""

        _esm = _asset("live.js")
        _css = _asset("live.css")
        kind = traitlets.Unicode().tag(sync=True)
        state = traitlets.Dict().tag(sync=True)

        def __init__(self, panel: Panel) -> None:
            super().__init__(kind=panel.board.kind, state=panel.refresh())
            self.panel = panel
            self._pulse = Pulse(panel.news, panel.board.every_s, self._draw)
            self.on_msg(self._hear)
            self._pulse.start()

        def _draw(self) -> None:
            self.state = self.panel.refresh()

        def _hear(self, widget: Any, content: Any, buffers: Any) -> None:
            self._pulse.looked()

        def close(self) -> None:
            """Take the view from the page, and listen no more."""
            self._pulse.stop()
            self.panel.close()
            super().close()

        def _repr_mimebundle_(self, **options: Any) -> Any:
            """The widget, and the same as HTML for pages that keep only what stands there."""
            made: Any = super()._repr_mimebundle_(**options)
            data, about = made
            return {**data, "text/html": self.panel._repr_html_()}, about

        def __repr__(self) -> str:
            return f"<LiveView {self.kind}: {self.panel.source.state}>"

    return LiveView


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
