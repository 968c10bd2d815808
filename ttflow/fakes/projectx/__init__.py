"""A fake of ProjectX's gateway, as TopstepX has it: REST calls and SignalR hubs around one account, id 465.

The one rule: what ProjectX documents is enforced, what it leaves open is done in the way that is hardest for
a client (a rejection without a reason, a close that names no order, no brackets).
"""

from __future__ import annotations

from typing import Any

from ttflow.fakes.projectx.broker import ProjectX
from ttflow.fakes.projectx.calls import Ping, Rest
from ttflow.fakes.projectx.entities import ACCOUNT, ACCOUNT_ID, NAME
from ttflow.fakes.projectx.hub import Hub, Negotiate

__all__ = ["ACCOUNT", "ACCOUNT_ID", "NAME", "ProjectXFake", "make"]


class ProjectXFake(ProjectX):
    """The fake with the calls that it is asked with."""

    def routes(self) -> list[Any]:
        """The hubs, and every call under `/api`."""
        given = {"fake": self}
        return [
            (r"/hubs/(user|market)", Hub, given),
            (r"/hubs/(?:user|market)/negotiate", Negotiate, given),
            (r"/api/Status/ping", Ping, given),
            (r"/api/([A-Za-z]+/[A-Za-z]+)", Rest, given),
        ]


def make() -> ProjectXFake:
    """Make one, as `ttflow fake projectx` serves it."""
    return ProjectXFake()
