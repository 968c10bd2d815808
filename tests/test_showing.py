"""Values show themselves: a line in a terminal, plain escaped HTML in a notebook, a page for a ticket."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ttflow as tt
from ttflow import sample
from ttflow.alert import Level
from ttflow.explaining import ENDINGS
from ttflow.order import Fill, Leg, Order, OrderStatus, Trade
from ttflow.showing import Told, line, table, written
from ttflow.ticket import Plan, Reason, Status
from ttflow.words import OrderType, Side, evolve

AT = datetime(2026, 3, 2, 15, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"


class Read(HTMLParser):
    """The tags of some HTML, its texts, and its table by names."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)
        self.rows = dict(zip(self.texts[1::2], self.texts[2::2], strict=False))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def order(**given):
    usual = {
        "seq": 3, "order_id": "tt-1", "alert_id": "a-1", "strategy": "trend", "account_group": "main",
        "account": "A1", "broker": "tradovate", "leg": Leg.OPEN, "attempt": 1, "symbol": "MES1!",
        "side": Side.BUY, "quantity": Decimal(2), "type": OrderType.MARKET, "limit_price": None,
        "stop_price": None, "status": OrderStatus.FILLED, "submitted_at": AT, "filled": Decimal(2),
        "ticket_seq": 3,
    }  # fmt: skip
    return Order(**usual | given)


def fill(**given):
    usual = {
        "seq": 3, "fill_id": "f-1", "order_id": "tt-1", "alert_id": "a-1", "strategy": "trend",
        "account_group": "main", "account": "A1", "symbol": "MES1!", "side": Side.BUY, "quantity": Decimal(2),
        "price": Decimal("5000.250"), "commission": Decimal("1.24"), "filled_at": AT, "mode": "live",
    }  # fmt: skip
    return Fill(**usual | given)


def trade(**given):
    usual = {
        "seq": 4, "trade_id": "t-1", "strategy": "trend", "account_group": "main", "account": "A1",
        "symbol": "MES1!", "side": "long", "quantity": Decimal(2), "entry_at": AT,
        "exit_at": AT + timedelta(hours=1), "entry_price": Decimal("5000.25"),
        "exit_price": Decimal("5010.25"), "gross_pnl": Decimal(100),
        "commission": Decimal("2.48"), "net_pnl": Decimal("97.52"), "mode": "live",
    }  # fmt: skip
    return Trade(**usual | given)


def alert(**given):
    body = {
        "symbol": "MES1!",
        "action": "buy",
        "quantity": 2,
        "strategy": "trend",
        "id": "a-1",
        "price": 5000.25,
    }
    return tt.parse_alert(json.dumps(body | given).encode())


def ticket(made=None, **changes):
    return evolve(tt.Ticket.of(made or alert(), seq=3, now=AT), account_group="main", account="A1", **changes)


# Lines


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (alert(), "<Alert MES1! buy 2 at 5000.25 by trend, for paper_simulator>"),
        (alert(price=None, action="exit", quantity=None), "<Alert MES1! exit by trend, for paper_simulator>"),
        (ticket(), "<Ticket a-1: MES1! buy 2 by trend, for main/A1: open>"),
        (
            ticket().end(Status.DENIED, Reason.THROTTLED, "Too soon."),
            "<Ticket a-1: MES1! buy 2 by trend, for main/A1: denied (THROTTLED)>",
        ),
        (order(), "<Order tt-1 for main/A1: buy 2 MES1!, market, to open: filled>"),
        (
            order(
                leg=Leg.STOP_LOSS,
                type=OrderType.STOP_LIMIT,
                stop_price=Decimal("4990.50"),
                limit_price=Decimal(4990),
                side=Side.SELL,
                status=OrderStatus.PARTIALLY_FILLED,
                filled=Decimal(1),
            ),
            "<Order tt-1 for main/A1: sell 2 MES1!, stop limit 4990.5 4990, stop loss: "
            "partially filled, 1 filled>",
        ),
        (fill(), "<Fill f-1 in main/A1: bought 2 MES1! at 5000.25, commission 1.24, live>"),
        (
            fill(side=Side.SELL, commission=Decimal(0), mode="paper"),
            "<Fill f-1 in main/A1: sold 2 MES1! at 5000.25, paper>",
        ),
        (trade(), "<Trade trend in main/A1: long 2 MES1!, 5000.25 to 5010.25: 97.52 net, live>"),
        (tt.Settings(), "<Settings by default: 7 groups, none live, at 127.0.0.1:8000, journal ttflow.db>"),
        (tt.stats.record([]), "<Record 0 trades, 0 episodes>"),
        (
            tt.stats.record([fill(), fill(side=Side.SELL, fill_id="f-2")]),
            "<Record 1 trades, 1 episodes from 2026-03-02 15:00:00 to 2026-03-02 15:00:00>",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_value_is_a_line(value, shown):
    assert repr(value) == shown


def test_a_line_moves_no_cursor():
    assert repr(alert(strategy="trend\u2028\u202e")) == (
        r"<Alert MES1! buy 2 at 5000.25 by trend\u2028\u202e, for paper_simulator>"
    )


@given(text=st.text(max_size=40))
def test_a_line_is_one_line_whatever_is_in_it(text):
    assert line(0, text).isprintable()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (Decimal("1E+2"), "100"),
        (Decimal("0.500"), "0.5"),
        (True, "yes"),
        (AT, "2026-03-02 15:00:00"),
        (date(2026, 3, 2), "2026-03-02"),
        ((Decimal(1), None, "x"), "1, , x"),
        ({"a": Decimal("2.0"), "b": [1]}, "a: 2, b: 1"),
        (Level(offset=Decimal("5.0"), trail=True), "offset 5 trail yes"),
    ],
    ids=str,
)
def test_what_people_read(value, shown):
    assert written(value) == shown


# Tables


@pytest.mark.parametrize(
    "value",
    [
        alert(strategy=EVIL, comment=EVIL, extras={EVIL: EVIL}),
        ticket(alert(strategy=EVIL)).note(EVIL, EVIL),
        order(symbol=EVIL, reason=EVIL),
        fill(symbol=EVIL),
        trade(symbol=EVIL, strategy=EVIL),
        tt.stats.record([fill(strategy=EVIL)]),
        Told(EVIL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_in_html_everything_is_text(value):
    read = Read(value._repr_html_())

    assert set(read.tags) <= {
        "div",
        "b",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "p",
        "br",
        "small",
        "span",
    }
    assert read.texts


def test_what_is_set_stands_in_the_table_and_what_is_not_does_not():
    rows = Read(order(limit_price=Decimal("0.00"))._repr_html_()).rows

    assert rows["order id"] == "tt-1"
    assert rows["limit price"] == "0"
    assert "stop price" not in rows
    assert "broker order id" not in rows


def test_the_fields_stand_in_their_own_order():
    names = [name for name in Read(alert()._repr_html_()).rows if name != "None"]

    assert names[:3] == ["symbol", "action", "strategy"]


def test_a_table_of_nothing_is_its_title():
    assert Read(table("Empty", {})).texts == ["Empty"]


def test_settings_show_no_secret():
    settings = tt.Settings(secrets=("hunter2-hunter2",), api_token="token-token-1")
    shown = f"{settings!r}{settings}{settings._repr_html_()}"

    assert "hunter2" not in shown
    assert "token-token" not in shown
    assert Read(settings._repr_html_()).rows["secrets"] == "yes"


def test_settings_show_every_table_by_its_dotted_name():
    rows = Read(tt.Settings()._repr_html_()).rows

    assert rows["groups.paper_simulator.broker"] == "simulator"


# A ticket's page


def test_a_page_tells_what_was_asked_each_step_the_order_the_fill_and_the_end():
    told = (
        evolve(ticket(), statistics={"trades": 43, "profit_factor": 0.7142, "win_rate": None})
        .note("The ledger holds nothing.", "ledger")
        .sized(Decimal(2), "Two contracts.")
    )
    done = evolve(told, order_id="tt-1", status=Status.FILLED)
    page = done.explain([order(), order(order_id="tt-9", alert_id="other")], [fill(), fill(order_id="tt-9")])

    assert page.split("\n") == [
        "a-1: MES1! buy 2 by trend, for main/A1",
        "It asked: MES1! buy 2 with the market at 5000.25. It came at 2026-03-02 15:00:00 UTC.",
        "The strategy's statistics at that moment: trades 43, profit factor 0.71.",
        "ledger: The ledger holds nothing.",
        "Two contracts.",
        "Its size became 2, for 2 of the strategy's.",
        "Order tt-1, at 2026-03-02 15:00:00: buy 2 MES1!, market, to open: filled.",
        "Filled at 2026-03-02 15:00:00: bought 2 MES1! at 5000.25, commission 1.24, live.",
        "It was done as asked.",
    ]


def test_a_denial_is_told_with_its_code_and_its_meaning():
    page = ticket().end(Status.DENIED, Reason.NO_PRICE, "No price of MES1! is known.", "size").explain()

    assert page.split("\n")[-1] == f"It was denied. NO_PRICE: {Reason.NO_PRICE.meaning}"
    assert "size: No price of MES1! is known." in page


def test_a_code_of_ones_own_is_told_as_it_is():
    assert ticket().deny("MINE", "No.").explain().endswith("It was denied. MINE.")


def test_what_the_alert_said_of_its_position_and_its_clock_is_told():
    made = alert(position_size=0, timenow="2026-03-02T14:59:58Z", order_type="limit", limit_price=4999)
    page = evolve(ticket(made), position=Decimal(-2), ratio=Decimal("0.5")).explain()

    assert "as a limit 4999 order, to hold nothing with the market at 5000.25." in page
    assert "It came at 2026-03-02 15:00:00 UTC, and was fired at 2026-03-02 14:59:58." in page
    assert "The ledger held short 2, 0.5 of ours to one of the strategy's." in page


def test_a_clock_that_agrees_is_told_once():
    page = ticket(alert(timenow="2026-03-02T15:00:00Z")).explain()

    assert "It came at 2026-03-02 15:00:00 UTC." in page
    assert "was fired" not in page


def test_an_order_that_is_not_given_is_named():
    page = evolve(ticket(), order_id="tt-1", status=Status.ORDERED).explain(
        fills=[fill(), fill(order_id="x")]
    )

    assert "Its order is tt-1." in page
    assert page.count("Filled at") == 1


def test_what_is_still_to_be_done_is_told_until_it_is_done():
    plan = Plan(side=Side.SELL, closing=Decimal(2), opening=Decimal("1.0"))
    waiting = evolve(ticket(), plan=plan, status=Status.ORDERED)

    assert "It still closes 2 and opens 1." in waiting.explain()
    assert "still" not in evolve(waiting, status=Status.FILLED).explain()


def test_both_legs_of_a_reversal_are_told_but_no_other_accounts():
    mine = [order(order_id="close", leg=Leg.CLOSE), order(order_id="open")]
    page = evolve(ticket(), order_id="open").explain([*mine, order(order_id="far", account="A2")])

    assert "Order close" in page
    assert "Order open" in page
    assert "far" not in page


@pytest.mark.parametrize("status", Status)
def test_every_status_ends_in_a_sentence(status):
    assert evolve(ticket(), status=status).explain().endswith(ENDINGS[status])


def test_every_ticket_of_the_sample_can_be_told():
    replayed = tt.replay(sample.alerts())
    orders, fills = replayed.table("orders"), replayed.table("fills")
    pages = [one.explain(orders, fills) for one in replayed.table("tickets")]
    filled = [page for page in pages if page.endswith("It was done as asked.")]

    assert sum(page.count("Filled at") for page in pages) == len(fills)
    assert filled
    assert all("Order " in page for page in filled)


def test_a_page_shows_its_lines_and_in_a_notebook_its_paragraphs():
    page = Told.of(["head", "", "one & two"])

    assert repr(page) == str(page) == "head\none & two"
    assert page._repr_html_() == "<div><b>head</b><p>one &amp; two</p></div>"


def test_showing_needs_neither_pandas_nor_plotly():
    code = (
        "import sys, ttflow as tt\n"
        'made = tt.Ticket.of(tt.parse_alert(b\'{"symbol":"A","action":"exit"}\'))\n'
        "made._repr_html_(); made.alert._repr_html_(); tt.Settings()._repr_html_()\n"
        "print(sorted({'pandas', 'plotly', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"
