"""A page of HTML that holds all it needs: its style, its figures, and plotly's own script.

The rule of this room: nothing leaves the page. Its content security policy lets the two scripts run that are
in it, by their hashes, and no request go out; text that users wrote is escaped by whoever makes the body.
"""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from plotly.offline import get_plotlyjs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plotly.graph_objects import Figure

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="figures">{figures}</script>
<script>{plotly}</script>
<script>{draws}</script>
</body>
</html>
"""


def page(title: str, body: str, figures: Mapping[str, Figure]) -> str:
    """Put a page together; `body` is HTML with a `<div class="figure" id="NAME">` for each figure."""
    plotly, draws = _plotly(), _file("report.js")
    return _PAGE.format(
        policy=_policy(plotly, draws),
        title=escape(title),
        style=_file("report.css"),
        body=body,
        figures=_data(figures),
        plotly=plotly,
        draws=draws,
    )


def framed(html: str, height: int = 900) -> str:
    """Put a whole page into a frame, so that in a notebook neither changes the look of the other."""
    return (
        f'<iframe srcdoc="{escape(html)}" sandbox="allow-scripts allow-downloads" '
        f'style="width:100%;height:{height}px;border:0"></iframe>'
    )


def _data(figures: Mapping[str, Figure]) -> str:
    """All figures as JSON in which no tag can end the script element; plotly writes < as \\u003c."""
    return "{" + ",".join(f"{json.dumps(name)}:{made.to_json()}" for name, made in figures.items()) + "}"


def _policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _plotly() -> str:
    text: str = get_plotlyjs()
    return text


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
