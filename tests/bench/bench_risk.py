"""What limits cost: one ticket through a flow with all of them, as a ratio to the same flow without any.

    PYTHONPATH=. python tests/bench/bench_risk.py

Run by hand. Time is that of the processor. The flows take turns in one run, in short rounds; what is printed
are medians over the rounds, and the medians of each round's own ratio. The book is one given by hand, so what
an engine needs to look things up comes on top.
"""

from datetime import timedelta
from statistics import median
from time import process_time

from ttflow import operators as ops
from ttflow.flow import Flow
from ttflow.settings import Settings
from ttflow.testing import NINE, ticket
from ttflow.ticket import Status
from ttflow.view import Opening, View
from ttflow.words import ONE, Side, evolve

ITEMS, ROUNDS = 500, 40
NOW = NINE + timedelta(hours=5, minutes=30)  # the morning in New York
LIMITS = {
    "quantity": 5,
    "notional": 10**6,
    "collar_pct": 2,
    "orders_per_second": 50,
    "orders_per_day": 500,
    "repeats": 20,
    "position": 9,
    "gross": 10**7,
    "net": 10**7,
    "day_loss": 1000,
    "drawdown": 2000,
    "stop_fits_room": True,
    "losses_in_a_row": 5,
    "symbols": ["ES", "NQ"],
    "sides": "long",
    "session": {"start": "08:00", "end": "20:00", "tz": "America/New_York"},
    "flat_by": {"at": "15:55", "until": "18:00", "tz": "America/New_York"},
    "news": {"events": [{"at": NOW + timedelta(days=n)} for n in range(1, 200)]},
    "quote_s": 10,
}
BOOK = View.of(
    now=NOW,
    price={"ES1!": 5000, "ES": 5000, "NQ": 20_000, "CL": 70},
    reference={"ES1!": 5001},
    quoted_at={"ES1!": NOW},
    positions={"ES": 1, "NQ": -2, "CL": 3},
    openings={"ES": (1, 0), "NQ": (0, 1)},
    equity=100_000,
    equity_at=NOW,
    peak_equity=100_500,
    day_profit=-200,
    room=5000,
    orders_today=12,
    last_orders=[Opening(NOW - timedelta(seconds=s), "other", "ES", Side.BUY, ONE) for s in range(60, 0, -5)],
)


def flows():
    """The same flow without limits, with limits of which none is set, and with all of them."""
    everything = Settings.model_validate({"limits": LIMITS})
    pieces = {
        "bare": [ops.size()],
        "none set": [ops.size(), ops.limits(Settings())],
        "all set": [ops.size(), ops.limits(everything)],
    }
    made, out = {}, []
    for name, path in pieces.items():
        flow = Flow(name)
        flow.pipe(*path).each(out.append)
        flow.emit(ITEM)
        # A denied ticket would be spared the rest, and the figure flattering.
        assert out[-1].status is Status.OPEN, out[-1].trail[-1]
        made[name] = flow.emit, out
    return made


ITEM = evolve(ticket(NOW, symbol="ES1!", price=5000, stop_loss=4990), book=BOOK)


def main():
    contestants, taken = flows(), {}
    for _ in range(ROUNDS):
        for name, (send, out) in contestants.items():
            begun = process_time()
            for _ in range(ITEMS):
                send(ITEM)
            taken.setdefault(name, []).append(1e6 * (process_time() - begun) / ITEMS)
            out.clear()
    print(f"one ticket, µs, medians of {ROUNDS} rounds\n")
    for name, times in taken.items():
        ratio = median(own / base for own, base in zip(times, taken["bare"], strict=True))
        print(f"  {name:<9} {median(times):7.1f} µs  {ratio:5.1f} x bare")


if __name__ == "__main__":
    main()
