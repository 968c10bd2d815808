"""Where each account group trades: live, on paper, or nowhere; and where opening is halted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ttflow.book.rows import Halt
    from ttflow.settings import Group, Settings

Place = Literal["live", "paper", "denied"]


def place_of(name: str, group: Group, connected: Collection[str]) -> Place:
    """Where a group's alerts go; `connected` are the groups whose broker can be reached."""
    if group.broker == "simulator":
        return "paper"
    if name not in connected:
        return "denied"
    return "live" if group.live else "paper"


def where_groups_trade(settings: Settings, connected: Collection[str]) -> dict[str, str]:
    """The groups by where they trade, in words; `live` and `paper` are always told."""
    found: dict[str, list[str]] = {"live": [], "paper": [], "denied": []}
    for name, group in settings.groups.items():
        found[place_of(name, group, connected)].append(name)
    told = {place: ", ".join(names) or "none" for place, names in found.items() if names or place != "denied"}
    if "denied" in told:
        told["denied"] += " (no broker connector configured)"
    return told


def halts_in_force(halts: Iterable[Halt]) -> Iterator[str]:
    """Every halt that a person has not ended, in words: it holds across starts."""
    from ttflow.engine.modes import where

    for halt in sorted(halts, key=lambda row: row.scope):
        if halt.state != "active":
            said = f"trading is {halt.state} {where(halt.scope)} since {halt.at:%Y-%m-%d %H:%M} UTC"
            yield f"{said} ({halt.reason}); ttflow resume ends it"
