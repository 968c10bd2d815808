"""`GET /performance`: the track record of every strategy, as `ttflow stats --html` writes it.

It is made in a process of its own, since figures of a long history take seconds that no alert may wait for.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from ttflow.access import Refusal

FRESH_S = 60.0
PATIENCE_S = 120.0


class Performance:
    """The page of one journal, made again when it is older than `FRESH_S`; one is made at a time."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self._page, self._at, self._making = b"", 0.0, asyncio.Lock()

    async def page(self) -> bytes:
        """The page; raises Refusal where it can't be made."""
        async with self._making:
            if not self._page or time.monotonic() - self._at > FRESH_S:
                self._page, self._at = await self._made(), time.monotonic()
            return self._page

    async def _made(self) -> bytes:
        with tempfile.TemporaryDirectory() as place:
            page = Path(place) / "performance.html"
            command = ("-m", "ttflow", "stats", "--journal", str(self.journal), "--html", str(page))
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            try:
                async with asyncio.timeout(PATIENCE_S):
                    told = (await process.communicate())[1]
            except TimeoutError:
                process.kill()
                raise Refusal(
                    503, "unavailable", "The track record takes too long; use ttflow stats."
                ) from None
            if process.returncode or not page.exists():
                last = told.decode(errors="replace").strip().splitlines()[-1:]
                raise Refusal(503, "unavailable", f"The track record can't be made: {' '.join(last)}")
            return page.read_bytes()
