"""Where each account group trades: live, on paper, or nowhere."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
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
