"""TradingView's log of alerts against the journal: what fired and never came, came late, again, or in vain.

The rule of this room: an alert is known by what it says, since TradingView's own id belongs to all that one
alert ever fires; of those that say the same, an arrival belongs to the last that had fired by then.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ttflow.alert import parse_alert
from ttflow.errors import AlertError
from ttflow.journal import Reader
from ttflow.masking import mask_secrets
from ttflow.settings import Settings
from ttflow.terminal import clean, json_line, say, table
from ttflow.tradingview import LoggedAlert, read_alert_log

SKEW = timedelta(seconds=5)
"""How far TradingView's clock and ours may be apart: an arrival may seem to come before its alert."""

UNDONE = frozenset({"denied", "rejected", "failed"})
"""The statuses of tickets that led to nothing."""

OUTCOMES = ("missed", "refused", "late", "repeated", "before", "ok")
"""What an alert of the log can be, the worst first; one is told."""

Row = Mapping[str, Any]


@dataclass
class Compared:
    """One alert of the log, with the inputs that it came as, oldest first, and the tickets of the first."""

    logged: LoggedAlert
    text: str
    arrivals: list[Row] = field(default_factory=list)
    tickets: list[Row] = field(default_factory=list)
    problem: str = ""
    early: bool = False

    @property
    def took_s(self) -> float | None:
        """How long it was on its way, in seconds; None where it never came."""
        if not self.arrivals:
            return None
        return (datetime.fromisoformat(self.arrivals[0]["at"]) - self.logged.at).total_seconds()

    def outcome(self, late_s: float) -> str:
        """What became of it, one of `OUTCOMES`."""
        if not self.arrivals:
            return "before" if self.early else "refused" if self.problem else "missed"
        if self.tickets and all(row["status"] in UNDONE for row in self.tickets):
            return "refused"
        if (self.took_s or 0) > late_s:
            return "late"
        return "repeated" if len(self.arrivals) > 1 or self.arrivals[0]["kind"] == "repeat" else "ok"

    def told(self, late_s: float) -> dict[str, Any]:
        """The alert as an object of JSON; times ISO 8601 UTC."""
        first = self.arrivals[0] if self.arrivals else None
        return {
            "outcome": self.outcome(late_s),
            "at": self.logged.at.isoformat().replace("+00:00", "Z"),
            "ticker": self.logged.ticker,
            "name": self.logged.name,
            "seq": (first["of"] if first["kind"] == "repeat" else first["seq"]) if first else None,
            "took_s": self.took_s,
            "arrivals": len(self.arrivals),
            "tickets": [
                {name: row[name] for name in ("account_group", "account", "status", "reason")}
                for row in self.tickets
            ],
            "problem": self.problem or None,
            "webhook_status": self.logged.status,
            "line": self.logged.line,
        }


def run(text: str, settings: Settings, late_s: float, as_json: bool) -> bool:
    """Compare, print, and return whether an alert was missed."""
    secrets = [secret.get_secret_value() for secret in settings.secrets]
    with Reader.open(settings.journal) as reader:
        compared, others = compare(read_alert_log(text), reader, secrets)
    counts = Counter(one.outcome(late_s) for one in compared)
    if as_json:
        for one in compared:
            json_line(one.told(late_s))
    else:
        _print(compared, late_s)
    told = ", ".join(f"{counts[name]} {_WORDS[name]}" for name in OUTCOMES if counts[name])
    say(f"{len(compared)} in the log: {told or 'nothing to compare'}.")
    if others:
        say(f"{others} more were kept in that time and are not in the log.")
    return counts["missed"] > 0


_WORDS = {
    "missed": "missed",
    "refused": "refused",
    "late": "late",
    "repeated": "repeated",
    "before": "before the journal began",
    "ok": "as they should be",
}


def compare(
    log: Sequence[LoggedAlert], reader: Reader, secrets: Sequence[str] = ()
) -> tuple[list[Compared], int]:
    """Find what each alert of the log came as; and how many others were kept while the log was written.

    `secrets` are the webhook's, which the journal has masked.
    """
    compared = [Compared(one, mask_secrets(one.message.encode(), secrets)[0]) for one in log]
    if not compared:
        return [], 0
    by_body: dict[str, list[Compared]] = defaultdict(list)
    for one in compared:
        by_body[_body(one.text)].append(one)
    others = 0
    for row in _arrivals(reader, log[0].at - SKEW):
        meant = _meant(by_body.get(_body(row["raw"]), ()), datetime.fromisoformat(row["at"]))
        if meant:
            meant.arrivals.append(row)
        elif row["kind"] == "alert" and datetime.fromisoformat(row["at"]) <= log[-1].at:
            others += 1
    for same in by_body.values():
        _share(same)
    _explain(compared, reader)
    return compared, others


def _body(text: str) -> str:
    """What makes two messages the same: JSON in any layout, other text by its words."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return " ".join(text.split())


def _arrivals(reader: Reader, since: datetime) -> list[Row]:
    """The alerts and repeats that came since a time, oldest first; a repeat has the text that it repeats."""
    found: list[dict[str, Any]] = []
    for row in reader.rows("inputs", kind=("alert", "repeat"), newest_first=True):
        if datetime.fromisoformat(row["at"]) < since:
            break
        found.append(row)
    texts = {row["seq"]: row["raw"] for row in found}
    earlier = sorted({row["of"] for row in found if row["kind"] == "repeat"} - texts.keys())
    texts |= {row["seq"]: row["raw"] for row in _by_seq(reader, "inputs", earlier)}
    return [{**row, "raw": texts[row["of"]]} if row["kind"] == "repeat" else row for row in reversed(found)]


def _meant(same: Sequence[Compared], at: datetime) -> Compared | None:
    """The last of those that say the same that had fired by then."""
    return next((one for one in reversed(same) if one.logged.at - SKEW <= at), None)


def _share(same: Sequence[Compared]) -> None:
    """Where several fired at nearly the same time, leave the last arrival alone to the last of them."""
    for one, following in zip(reversed(same[:-1]), reversed(same[1:]), strict=True):
        if not one.arrivals and following.logged.at - one.logged.at <= SKEW:
            one.arrivals, following.arrivals = following.arrivals[:-1], following.arrivals[-1:]


def _explain(compared: Sequence[Compared], reader: Reader) -> None:
    """Bring the tickets of those that came; of the others, say why they can't have been kept."""
    began = next((datetime.fromisoformat(row["at"]) for row in reader.rows("inputs", limit=1)), None)
    came = {one.arrivals[0]["seq"]: one for one in compared if one.arrivals}
    for row in _by_seq(reader, "tickets", list(came)):
        came[row["seq"]].tickets.append(row)
    for one in compared:
        if not one.arrivals:
            one.early = began is None or one.logged.at < began - SKEW
            one.problem = _problem(one.text)


def _by_seq(reader: Reader, name: str, seqs: Sequence[int]) -> Iterator[Row]:
    for start in range(0, len(seqs), 500):
        yield from reader.rows(name, seq=seqs[start : start + 500])


def _problem(text: str) -> str:
    """Why a message is no alert; empty where it is one."""
    try:
        parse_alert(text.encode())
    except AlertError as error:
        return str(error)
    return ""


def _print(compared: Sequence[Compared], late_s: float) -> None:
    wrong = [one for one in compared if one.outcome(late_s) not in ("ok", "before")]
    if not wrong:
        return
    rows = map(partial(_line, late_s=late_s), wrong)
    table(("fired (UTC)", "ticker", "name", "outcome", "why"), rows)


def _line(one: Compared, late_s: float) -> tuple[str, ...]:
    outcome = one.outcome(late_s)
    cells = (one.logged.ticker, one.logged.name, outcome, _WHY[outcome](one))
    return f"{one.logged.at:%Y-%m-%d %H:%M:%S}", *map(clean, cells)


def _undone(tickets: Iterable[Row]) -> str:
    told = (
        f"{row['account_group']}/{row['account']}: {row['status']} {row['reason'] or ''}" for row in tickets
    )
    return ", ".join(text.strip() for text in told)


def _repeated(one: Compared) -> str:
    if len(one.arrivals) > 1:
        return f"it came {len(one.arrivals)} times and counted once"
    return f"it was taken for a repeat of input {one.arrivals[0]['of']}; put {{{{timenow}}}} into the message"


_WHY: Mapping[str, Callable[[Compared], str]] = {
    "missed": lambda one: f"TradingView: {one.logged.status}" if one.logged.status else "it never came",
    "refused": lambda one: one.problem or _undone(one.tickets),
    "late": lambda one: f"{one.took_s or 0:.1f} s",
    "repeated": _repeated,
}
