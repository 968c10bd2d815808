"""The controls of a desk that one is attached to.

The rule of this room: each call is a command of the API, kept and decided by the desk as anybody's. It
returns the command's seq once what it did is in the flows and frames here, unless the stream is late; it
raises RequestError where the desk refuses or doesn't answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ttflow.book.rows import EVERYWHERE
from ttflow.notebook.line import Line

BEHIND_S = 10.0
"""How long is waited for the stream to tell what was recorded, unless told otherwise."""
WHY = "from a notebook"


class Controls:
    """What can be done to a desk. A scope is `*`, a group, or either with a strategy, as in `*/ma_cross`."""

    _line: Line

    def halt(self, scope: str = EVERYWHERE, reason: str = WHY) -> int:
        """Stop opening, and withdraw entries that wait."""
        return self._switch("halt", scope, reason)

    def reduce(self, scope: str = EVERYWHERE, reason: str = WHY) -> int:
        """Stop opening, and leave orders that work already."""
        return self._switch("reduce", scope, reason)

    def resume(self, scope: str = EVERYWHERE, reason: str = WHY) -> int:
        """Let opening go on."""
        return self._switch("resume", scope, reason)

    def flatten(self, scope: str = EVERYWHERE, reason: str = WHY) -> int:
        """Halt, and close what is held in the scope until it is flat."""
        return self._switch("flatten", scope, reason)

    def set_mode(self, strategy: str, mode: str, reason: str = WHY) -> int:
        """Set a strategy to `live`, `paper`, `halted` or `auto`."""
        return self._post(
            f"/api/strategies/{_quoted(strategy)}/mode",
            {"mode": mode, "reason": reason},
        )

    def set_limits(self, limits: Mapping[str, Any] | None, scope: str = EVERYWHERE, reason: str = WHY) -> int:
        """Put limits in force in place of the settings' own, the whole desk's (`*`) or a group's.

        They hold across restarts; None brings back the settings'. The keys are those of `[limits]`.
        """
        path = "/api/limits" if scope == EVERYWHERE else f"/api/groups/{_quoted(scope)}/limits"
        return self._post(path, {"limits": limits, "reason": reason})

    def settle_order(self, order_id: str, verb: str) -> int:
        """Say what became of an order in doubt: `adopt`, the broker has it, or `absent`, it never arrived."""
        return self._post(f"/api/orders/{_quoted(order_id)}/{_quoted(verb)}", {})

    def _switch(self, verb: str, scope: str, reason: str) -> int:
        group, _, strategy = scope.partition("/")
        path = f"/api/{verb}" if group == EVERYWHERE else f"/api/groups/{_quoted(group)}/{verb}"
        return self._post(path, {"reason": reason, **({"strategy": strategy} if strategy else {})})

    def _post(self, path: str, body: Mapping[str, Any]) -> int:
        self._line.check()
        seq: int = self._line.client.post(path, body)["seq"]
        self._line.wait(seq, BEHIND_S)
        return seq


def _quoted(name: str) -> str:
    return quote(name, safe="")
