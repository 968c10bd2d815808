"""A fake Tradovate in a process of its own, which outlives every desk, with trouble at random.

It says its port, and serves until the other side of stdin closes. Now and then one of the kinds
of trouble that it was started with is asked for, one at a time: a desk that was dead for a while must not
find so many that it is still connecting when its harness gives up.
"""

from __future__ import annotations

import asyncio
import random
import sys

from ttflow.fakes.server import serve
from ttflow.fakes.tradovate import TradovateFake

EVERY_S = 0.4
TROUBLE = ("lose_answer", "drop", "server_error", "duplicate_fill", "fill_before_answer", "late_fill")


async def main(trouble: tuple[str, ...]) -> None:
    """Serve on a free port, say which, and make trouble."""
    served = await serve(TradovateFake(late_s=0.05))
    print(served.address.rpartition(":")[2], flush=True)
    ends = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    chosen = random.Random(1)
    while not ends.done():
        await asyncio.wait((ends,), timeout=EVERY_S)
        kind = chosen.choice(TROUBLE)
        if kind in trouble and not any(served.fake.faults.left.values()):
            served.fake.faults.ask(kind)
    await served.close()


if __name__ == "__main__":
    asyncio.run(main(tuple(filter(None, sys.argv[1].split(",")))))
