"""JupyterLab itself, in a headless browser: cells run, views move, and nothing comes from elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

import ttflow
from ttflow.notebook import boards

ROOT = Path(__file__).parents[2]
LIMIT_S = 60
CHROMIUM = shutil.which("chromium")
TOKEN = "lab"
HOSTILE = "<img src=x onerror=\"document.title='run'\">"

MOVING = f"""
import asyncio
import ttflow as tt
desk = await tt.Desk(tt.Settings(journal="moving.db", rate_limit="0")).start()
async def feed():
    number = 0
    while True:
        number += 1
        side = "buy" if number % 2 else "sell"
        await desk.send({{"symbol": "ES1!", "strategy": {HOSTILE!r}, "action": side, "quantity": 1,
                         "price": 5000 + number % 7, "comment": str(number)}})
        await asyncio.sleep(0.02)
feeding = asyncio.ensure_future(feed())
"""

A_SECOND, SECONDS = 3000, 4
BURSTING = f"""
import asyncio, json, threading, time
import ttflow as tt
from ttflow.notebook import boards, live

heard = []
async with tt.Desk(tt.Settings(journal="burst.db")) as desk:
    desk.listen(lambda seq, changes: heard.append((seq, changes)))
    await desk.send({{"symbol": "ES1!", "action": "buy", "quantity": 1, "price": 5000, "strategy": "burst"}})
    while not heard:
        await asyncio.sleep(0.01)
SEQ, TEXT = heard[-1]  # what one alert changed, as a desk tells it

class Pushed:
    state = "live"
    def listen(self, hear):
        self.hear = hear
        return lambda: None
    def recent(self, table, most):
        return []

def push():
    begun, seq = time.monotonic(), SEQ
    while seq < SEQ + {A_SECOND * SECONDS}:
        due = SEQ + min({A_SECOND * SECONDS}, int((time.monotonic() - begun) * {A_SECOND}))
        for seq in range(seq + 1, due + 1):
            source.hear(TEXT.replace(f'"seq":{{SEQ}},', f'"seq":{{seq}},'))
        time.sleep(0.01)
    took.append(time.monotonic() - begun)

source, took, sent = Pushed(), [], []
shown = live._widget_class()(live.Panel(source, boards.Tape()))
shown.observe(lambda change: sent.append(time.monotonic()), "state")
"""

WATCHED = """() => {
  window.burst = { frames: 0, draws: 0, longest: 0 };
  let last = performance.now();
  const tick = (now) => {
    burst.frames += 1;
    burst.longest = Math.max(burst.longest, now - last);
    last = now;
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
  const drawn = new MutationObserver(() => { burst.draws += 1; });
  drawn.observe(document.querySelector('.ttflow'), { childList: true });
}"""

ASKED = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const begun = performance.now();
  let told = '';
  const asked = kernel.requestExecute({ code });
  asked.onIOPub = (message) => { told += message.content.text || ''; };
  const reply = await asked.done;
  return [reply.content.status, told, performance.now() - begun];
}"""

CONNECTED = """() => {
  const session = window.jupyterapp.shell.currentWidget?.sessionContext;
  return session?.isReady && session.session?.kernel?.connectionStatus === 'connected';
}"""

# What is asked before the notebook is ready is not done: it is asked again until a cell runs.
RUNNING = """() => {
  const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
  if (prompts.some((one) => /[*\\d]/.test(one.textContent))) return true;
  window.jupyterapp.commands.execute('notebook:run-all-cells');
  return false;
}"""

FINISHED = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.toJSON().cells;
  const code = cells.filter((cell) => cell.cell_type === 'code');
  const failed = code.some((cell) => cell.outputs.some((output) => output.output_type === 'error'));
  return failed || code.every((cell) => cell.execution_count !== null);
}"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="the Debian package chromium is not installed"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on a free port of this machine; its folder and its address."""
    pytest.importorskip("jupyterlab", reason="the package jupyterlab is not installed")
    pytest.importorskip("anywidget", reason="the package anywidget is not installed")
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "PYTHONPATH": str(Path(ttflow.__file__).parents[1]),
        "IPYTHONDIR": str(folder / ".ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / ".config"),
        "JUPYTER_RUNTIME_DIR": str(folder / ".runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".lab"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".workspaces"),
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    words = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
    ]
    words += [
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
        f"--ServerApp.root_dir={folder}",
    ]
    with open(folder / "lab.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words],
            cwd=folder,
            env=os.environ | settings,
            stdout=log,
            stderr=log,
        )
    try:
        answers(f"http://127.0.0.1:{port}/api?token={TOKEN}", server)
        yield folder, f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(LIMIT_S)


def answers(url, server):
    """Wait until a server answers."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("JupyterLab does not answer")


@contextmanager
def opened(lab, notebook):
    """A notebook in the browser, its cells running; gives the page, and the addresses that it asked for."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    _, address = lab
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 2400})
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        try:
            page.goto(f"{address}/lab/tree/{notebook}?token={TOKEN}&reset")
            page.wait_for_selector(".jp-Notebook", timeout=1000 * LIMIT_S)
            page.wait_for_selector(".jp-CodeCell", timeout=1000 * LIMIT_S)
            page.wait_for_function(CONNECTED, timeout=1000 * LIMIT_S)
            page.evaluate("void window.jupyterapp.commands.execute('application:toggle-left-area')")
            page.wait_for_function(RUNNING, timeout=1000 * LIMIT_S, polling=2000)
            yield page, asked
        finally:
            shot = os.environ.get("SCREENSHOTS")
            if shot:
                page.screenshot(path=str(Path(shot, f"{Path(notebook).stem}.png")))
            browser.close()


def written(folder, name, *cells):
    """Write a notebook of code cells."""
    told = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": cell,
        }
        for i, cell in enumerate(cells)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    text = {"cells": told, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / name).write_text(json.dumps(text), encoding="utf-8")
    return name


def finished(page):
    """Wait until every cell has run; what one complains of is a failure.

    The notebook is asked, not the page, which holds only the cells in sight.
    """
    page.wait_for_function(FINISHED, timeout=1000 * LIMIT_S)
    cells = page.evaluate("window.jupyterapp.shell.currentWidget.content.model.toJSON().cells")
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"] == []


def test_the_views_move_and_show_texts_as_texts(lab):
    views = ("tape", "strategies", "equity", "graph", "latency")
    name = written(lab[0], "moving.ipynb", MOVING, *(f"tt.notebook.{view}(desk)" for view in views))

    with opened(lab, name) as (page, asked):
        page.wait_for_selector(".ttflow .pill.filled", timeout=1000 * LIMIT_S)
        page.wait_for_function("document.querySelectorAll('.ttflow').length === 5", timeout=1000 * LIMIT_S)
        page.wait_for_selector(".ttflow svg polyline", timeout=1000 * LIMIT_S)
        tape = page.locator(".ttflow").first
        before, text = tape.screenshot(), tape.inner_text()
        page.wait_for_function(
            "before => document.querySelector('.ttflow').innerText !== before",
            arg=text,
            timeout=1000 * LIMIT_S,
        )
        after = tape.screenshot()
        finished(page)

        assert before != after
        assert HOSTILE in tape.inner_text().replace("\n", "") or "<img src=x" in tape.inner_text()
        assert page.locator(".ttflow img").count() == 0
        assert page.title() != "run"
        elsewhere = [url for url in asked if not url.startswith((lab[1], "data:", "blob:"))]
        assert [url for url in elsewhere if not url.startswith(lab[1].replace("http", "ws"))] == []


def test_all_cells_of_the_notebook_on_live_views_run(lab):
    name = "02_live.ipynb"
    shutil.copy(ROOT / "notebooks" / name, lab[0])

    with opened(lab, name) as (page, _):
        finished(page)

        assert page.locator(".ttflow .pill.filled").count() > 0


def test_three_thousand_tickets_a_second_neither_freeze_the_page_nor_reach_the_message_limit(lab):
    name = written(lab[0], "burst.ipynb", BURSTING, "shown")

    with opened(lab, name) as (page, _):
        page.wait_for_selector(".ttflow", timeout=1000 * LIMIT_S)
        finished(page)

        def ask(code):
            status, told, took_ms = page.evaluate(ASKED, code)
            assert status == "ok"
            return told.strip(), took_ms

        page.evaluate(WATCHED)
        ask("pushing = threading.Thread(target=push); pushing.start()")
        answers = []
        while ask("print(pushing.is_alive())")[0] == "True":
            answers.append(ask("print(sum(range(1000)))"))
            page.wait_for_timeout(250)
        burst = page.evaluate("window.burst")
        total = A_SECOND * SECONDS
        page.wait_for_function(
            "text => document.querySelector('.ttflow').innerText.includes(text)",
            arg=f"{total:,} tickets since this view began",
            timeout=1000 * LIMIT_S,
        )
        skipped = re.search(r"([\d,]+) of them went by too fast", page.inner_text(".ttflow"))[1]
        told, _ = ask("print(json.dumps([took[0], sent, shown.state['tickets'], shown.state['skipped']]))")

    took, sent, tickets, left_out = json.loads(told)
    within = [sum(at <= one < at + 1 for one in sent) for at in sent]
    slowest = max(took_ms for _, took_ms in answers)
    print(f"{total:,} tickets in {took:.1f} s: {len(sent)} states, at most {max(within)} a second;")
    print(f"the page: {burst}; {len(answers)} cells, the slowest {slowest:.0f} ms; {left_out:,} skipped")
    assert took < 1.5 * SECONDS
    assert (tickets, f"{left_out:,}") == (total, skipped)
    assert total - len(sent) * boards.TAPE_ROWS <= left_out < total
    assert max(within) <= 10 + 1  # both ends of the second
    assert SECONDS < burst["draws"] <= 10 * took + 5
    assert burst["frames"] > 10 * took
    assert len(answers) >= 2
    assert slowest < 3000
    assert "rate exceeded" not in (lab[0] / "lab.log").read_text()
