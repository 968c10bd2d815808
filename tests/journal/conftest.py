"""A journal for each test, with a clock that is set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from journal_rows import Clock

from ttflow.journal import Journal


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ttflow.db"


@pytest.fixture
def using(path: Path, clock: Clock) -> Callable[[Callable[[Journal], Coroutine[Any, Any, Any]]], Any]:
    """Open the journal, give it to a coroutine function, close it; returns what that returned."""

    def use(work: Callable[[Journal], Coroutine[Any, Any, Any]]) -> Any:
        async def main() -> Any:
            async with await Journal.open(path, clock=clock) as journal:
                return await asyncio.wait_for(work(journal), 60)

        return asyncio.run(main())

    return use
