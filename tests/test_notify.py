"""Notices out: one fault is one message, and a channel that is slow, broken or gone costs only itself."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import re
import selectors
import threading
import time
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from serving import visit
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from ttflow import desk as desk_module
from ttflow import vigil
from ttflow.cli import main as cli
from ttflow.cli.tailing import lines
from ttflow.desk import Desk
from ttflow.errors import RequestError, SettingsError
from ttflow.gate import Call, Gate
from ttflow.inputs import Kind
from ttflow.journal import Journal, Reader
from ttflow.logs import set_up
from ttflow.notify import (
    Notifier,
    Ping,
    Quiet,
    Refusals,
    Silence,
    Told,
    Undelivered,
    check,
    send_test,
    subject,
)
from ttflow.notify.channels import Thread, getter
from ttflow.notify.notifier import AGAIN_S, DRAIN_S, QUEUED
from ttflow.notify.watch import MOST, QUIET_S, began
from ttflow.redaction import configured_secrets
from ttflow.rerun import verify
from ttflow.server import serve
from ttflow.settings import ChannelSettings, Session, Settings, load
from ttflow.testing import NINE, Clock, Walk, body

SECRET = "a-token-that-must-not-be-told"
URL = f"json://127.0.0.1:9/{SECRET}"
DEADLINE_S = 20


def told(text="apex/PA-1: an order was rejected", kind="rejected", severity="warning", **more):
    return Told(kind=kind, severity=severity, text=text, at=NINE, **more)


def channel(**rules):
    return ChannelSettings(url=URL, **rules)


# Quiet periods


def heard(quiet, *events):
    """Let notices come at their times, and what is due be sent in between; returns (time, text, held)."""
    sent = []
    for at, text in events:
        while quiet.due is not None and quiet.due <= at:
            due = quiet.due
            sent += [(due, message.told.text, message.held) for message in quiet.release(due)]
        message = quiet.hear(told(text), at)
        if message:
            sent.append((at, text, message.held))
    return sent


def test_the_next_message_says_how_many_were_held_back():
    sent = heard(Quiet(300), (0, "a"), (10, "a"), (299, "a"), (300, "a"), (301, "a"), (900, "a"))

    assert sent == [(0, "a", 0), (300, "a", 2), (900, "a", 1)]


def test_what_says_something_else_is_told_when_the_quiet_period_ends():
    lost, back = "apex: the connection is lost", "apex: the connection is back"
    quiet = Quiet(300)

    assert heard(quiet, (0, lost), (5, back), (6, lost), (7, back)) == [(0, lost, 0)]
    assert quiet.due == 300
    assert [(one.told.text, one.held) for one in quiet.release(300)] == [(back, 2)]
    assert quiet.due is None


def test_where_the_last_word_is_what_was_said_nothing_more_is_said():
    lost, back = "apex: the connection is lost", "apex: the connection is back"
    quiet = Quiet(300)
    heard(quiet, (0, lost), (5, back), (6, lost))

    assert quiet.due is None
    assert quiet.release(10_000) == []


def test_no_quiet_period_holds_nothing_back():
    assert len(heard(Quiet(0), *[(0, "a")] * 5)) == 5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("live/PA-12: buy ES was rejected: no margin", "live/PA-12: sell NQ was rejected: closed"),
        ("Order tt-0a1b is in doubt", "Order tt-99ff is in doubt"),
        ("A trade of 2 ES in a/b was not ours", "A trade of -1.5 ES in a/b was not ours"),
        ("The desk failed on input 7: KeyError: 1", "The desk failed on input 12: KeyError: 2"),
    ],
)
def test_what_differs_in_numbers_or_behind_the_colon_is_about_the_same(one, other):
    assert subject(one) == subject(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("live/PA-12: buy ES was rejected", "live/PA-13: buy ES was rejected"),
        ("apex: the connection is lost", "topstep: the connection is lost"),
        ("A trade of 2 ESZ6 in a/b", "A trade of 2 ESH7 in a/b"),
        ("trend is set to paper: by hand", "scalp is set to paper: by hand"),
    ],
)
def test_names_make_another_subject(one, other):
    assert subject(one) != subject(other)


def test_a_channel_remembers_so_many_subjects_and_no_more():
    quiet = Quiet(300, size=10)
    for number in range(100):
        quiet.hear(told(f"account-{number}: rejected"), number)

    assert len(quiet) == 10
    assert quiet.hear(told("account-99: rejected"), 100) is None
    assert quiet.hear(told("account-0: rejected"), 100) is not None


times = st.lists(st.integers(0, 2000), min_size=1, max_size=60).map(sorted)


@given(times, st.integers(1, 500))
def test_one_fault_is_one_message_in_a_quiet_period_and_none_is_forgotten(at, quiet_s):
    quiet = Quiet(quiet_s)
    sent = heard(quiet, *[(one, "a") for one in at])

    moments = [moment for moment, _, _ in sent]
    assert all(later - sooner >= quiet_s for sooner, later in pairwise(moments))
    assert moments[0] == at[0]
    quiet_until = moments[-1] + quiet_s
    (last,) = [quiet.hear(told("a"), max(quiet_until, at[-1]))]
    assert sum(1 + held for _, _, held in sent) + last.held == len(at)


@given(st.lists(st.tuples(st.integers(0, 2000), st.sampled_from("abc")), min_size=1, max_size=60).map(sorted))
def test_within_a_quiet_period_the_last_word_is_told(events):
    """Whatever comes in whatever order: when it has been quiet, the person knows what was said last."""
    events = [(at, f"apex: {text}") for at, text in events]
    quiet = Quiet(100)
    sent = heard(quiet, *events)
    end = events[-1][0] + 100
    sent += [(end, one.told.text, one.held) for one in quiet.release(end)]

    assert sent[-1][1] == events[-1][1]
    assert quiet.due is None
    moments = [moment for moment, _, _ in sent]
    assert all(later - sooner >= 100 for sooner, later in pairwise(moments))


# The notifier, in virtual time


class Skipping(selectors.DefaultSelector):
    """Waits by moving the loop's clock; where nothing can ever happen it says so."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "nothing will ever happen in this loop"
        self.now += max(0.0, timeout)
        return super().select(0)


def in_virtual_time(work):
    """Run a coroutine function in a loop that skips every wait."""
    selector = Skipping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now
    try:
        return loop.run_until_complete(work())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class Fake:
    """A fake of what sends to one channel: does what its script says, then takes everything.

    `fail` raises, `hang` never answers; `sent` has what arrived as (time, title, body, severity).
    """

    def __init__(self, *script):
        self.script, self.sent, self.tried = list(script), [], []

    async def __call__(self, title, body, severity):
        self.tried.append(asyncio.get_running_loop().time())
        what = self.script.pop(0) if self.script else "take"
        if what == "fail":
            raise ConnectionError(f"no route to {URL}")
        if what == "refuse":
            raise Undelivered("error=503")
        if what == "hang":
            await asyncio.Event().wait()
        self.sent.append((asyncio.get_running_loop().time(), title, body, severity))

    @property
    def texts(self):
        return [body.split("\n")[0] for _, _, body, _ in self.sent]


class Sending:
    """A notifier with fakes, in virtual time: `Sending(phone=Fake()).run(work)`."""

    def __init__(self, rules=None, **fakes):
        self.rules, self.fakes = rules or {}, fakes

    def run(self, work):
        async def main():
            channels = {name: channel(**self.rules.get(name, {})) for name in self.fakes}
            notifier = Notifier(channels, make=lambda name, url: self.fakes[name])
            notifier.start()
            await work(notifier)
            await notifier.stop()

        in_virtual_time(main)


def test_a_message_tells_what_happened_how_bad_it_is_and_when():
    fake = Fake()

    async def work(notifier):
        notifier.tell(told("apex: the connection is lost.", "connection", "critical", seq=17))

    Sending(phone=fake).run(work)

    assert fake.sent == [
        (
            0,
            "ttflow critical: connection",
            "apex: the connection is lost.\n2026-03-02 09:00:00 UTC, input 17",
            "critical",
        )
    ]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, ["halt info", "halt warning", "silence warning", "failure critical"]),
        ({"severity": "warning"}, ["halt warning", "silence warning", "failure critical"]),
        ({"severity": "critical"}, ["failure critical"]),
        ({"kinds": ("halt",)}, ["halt info", "halt warning"]),
        ({"kinds": ("halt", "failure"), "severity": "warning"}, ["halt warning", "failure critical"]),
    ],
)
def test_a_channel_gets_what_it_asked_for(rules, expected):
    fake = Fake()

    async def work(notifier):
        for kind, severity in (
            ("halt", "info"),
            ("halt", "warning"),
            ("silence", "warning"),
            ("failure", "critical"),
        ):
            notifier.tell(told(f"{kind} {severity}", kind, severity))

    Sending({"phone": rules}, phone=fake).run(work)

    assert fake.texts == expected


def test_a_storm_is_one_message_and_the_next_says_how_big_it_was():
    fake = Fake()

    async def work(notifier):
        for _ in range(50):
            notifier.tell(told())
            await asyncio.sleep(1)
        await asyncio.sleep(300)
        notifier.tell(told())

    Sending(phone=fake).run(work)

    assert [at for at, *_ in fake.sent] == [0, 350]
    assert "49 more of this were held back since the last message." in fake.sent[1][2]


def test_what_was_held_back_and_says_something_new_comes_by_itself():
    fake = Fake()

    async def work(notifier):
        notifier.tell(told("apex: lost"))
        await asyncio.sleep(1)
        notifier.tell(told("apex: back"))
        await asyncio.sleep(1000)

    Sending({"phone": {"quiet_s": 60}}, phone=fake).run(work)

    assert [(at, body.split("\n")[0]) for at, _, body, _ in fake.sent] == [
        (0, "apex: lost"),
        (60, "apex: back"),
    ]


def test_a_message_that_failed_is_tried_again_with_growing_pauses():
    fake = Fake("fail", "refuse")

    async def work(notifier):
        notifier.tell(told("a"))
        await asyncio.sleep(1000)

    Sending(phone=fake).run(work)

    assert fake.tried == [0, 5, 35]
    assert fake.texts == ["a"]


def test_a_message_that_is_lost_is_told_with_the_next_one():
    fake = Fake(*["fail"] * (len(AGAIN_S) + 1))

    async def work(notifier):
        notifier.tell(told("a"))
        await asyncio.sleep(1000)
        notifier.tell(told("b"))
        await asyncio.sleep(1)
        notifier.tell(told("c"))

    Sending(phone=fake).run(work)

    assert fake.texts == ["b", "c"]
    assert "1 earlier messages could not be sent" in fake.sent[0][2]
    assert "earlier" not in fake.sent[1][2]


def test_a_message_without_an_answer_is_not_sent_again_for_it_may_have_come():
    fake = Fake("hang")

    async def work(notifier):
        notifier.tell(told("a"))
        await asyncio.sleep(1000)
        notifier.tell(told("b"))

    Sending(phone=fake).run(work)

    assert fake.tried == [0, 1000]
    assert "1 earlier messages could not be sent" in fake.sent[0][2]


def test_a_channel_that_hangs_holds_up_no_other():
    stuck, well = Fake(*["hang"] * 1000), Fake()

    async def work(notifier):
        for number in range(3):
            notifier.tell(told(f"fault-{number}"))
            await asyncio.sleep(0.1)

    Sending(stuck=stuck, well=well).run(work)

    assert well.texts == ["fault-0", "fault-1", "fault-2"]
    assert max(at for at, *_ in well.sent) < 1


def test_a_dead_channel_fills_no_memory_and_what_it_missed_is_counted():
    fake = Fake("hang")

    async def work(notifier):
        for number in range(QUEUED + 50):
            notifier.tell(told(f"fault-x{number}"))
            await asyncio.sleep(0)
        assert len(notifier.lines[0]._queue) == QUEUED
        await asyncio.sleep(1000)

    Sending(phone=fake).run(work)

    assert len(fake.sent) == QUEUED  # the newest: the oldest made room
    assert fake.texts[-1] == f"fault-x{QUEUED + 49}"
    assert "50 earlier messages could not be sent" in fake.sent[0][2]


def test_failures_are_logged_once_in_a_quiet_period_and_without_the_address(caplog):
    fake = Fake(*["fail"] * 1000)

    async def work(notifier):
        for number in range(5):
            notifier.tell(told(f"fault-x{number}"))
        await asyncio.sleep(3 * 300)

    with caplog.at_level(logging.DEBUG):
        Sending(phone=fake).run(work)

    said = [
        record.getMessage() for record in caplog.records if "did not take a message" in record.getMessage()
    ]
    assert len(said) == 3
    assert "phone" in said[0]
    assert SECRET not in caplog.text


def test_a_stop_sends_what_waits_but_waits_for_nobody_for_long():
    well, stuck, took = Fake(), Fake("hang"), []

    async def main():
        notifier = Notifier(
            {"well": channel(), "stuck": channel()}, make=lambda name, url: well if name == "well" else stuck
        )
        notifier.start()
        notifier.tell(told("a"))
        await notifier.stop()
        took.append(asyncio.get_running_loop().time())

    in_virtual_time(main)

    assert well.texts == ["a"]
    assert stuck.sent == []
    assert took == [DRAIN_S]


def test_a_fault_of_the_notifier_itself_does_not_end_it(monkeypatch, caplog):
    fake = Fake()

    async def work(notifier):
        line = notifier.lines[0]
        broken = iter([RuntimeError("a bug")])
        whole = line._quiet.release
        line._quiet.release = lambda now: (
            (_ for _ in ()).throw(error) if (error := next(broken, None)) else whole(now)
        )
        notifier.tell(told("a"))
        await asyncio.sleep(1)

    Sending(phone=fake).run(work)

    assert fake.texts == ["a"]
    assert "a bug" in caplog.text


# What really sends


class Inbox(RequestHandler):
    """Takes what apprise posts; answers with the status that it was given."""

    def initialize(self, taken, status):
        self.taken, self.status = taken, status

    def post(self, *path):
        self.taken.append((self.request.path, json.loads(self.request.body)))
        self.set_status(self.status[0])

    def get(self, *path):
        self.taken.append((self.request.uri, None))
        self.set_status(self.status[0])


def at_inbox(work, *, status=200):
    """Run `work(base, taken, status)` beside a server that takes everything."""

    async def main():
        taken, given = [], [status]
        server = HTTPServer(
            Application(
                [("/(.*)", Inbox, {"taken": taken, "status": given})], log_function=lambda handler: None
            )
        )
        socket, port = bind_unused_port(address="127.0.0.1")
        server.add_socket(socket)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await work(f"127.0.0.1:{port}", taken, given)
        finally:
            server.stop()
            await server.close_all_connections()

    asyncio.run(main())


def test_apprise_really_sends_it():
    async def work(place, taken, status):
        rule = ChannelSettings(url=f"json://{place}/{SECRET}")
        notifier = Notifier({"phone": rule})
        notifier.start()
        notifier.tell(told("apex/PA-1: buy 2 ES was rejected.", severity="critical", seq=4))
        await notifier.stop()

        ((path, sent),) = taken
        assert path == f"/{SECRET}"
        assert (sent["title"], sent["type"]) == ("ttflow critical: rejected", "failure")
        assert sent["message"] == "apex/PA-1: buy 2 ES was rejected.\n2026-03-02 09:00:00 UTC, input 4"

    at_inbox(work)


def test_a_test_message_arrives_or_says_why_not_without_the_address(capfd, caplog):
    async def work(place, taken, status):
        rule = ChannelSettings(url=f"json://{place}/{SECRET}")
        await send_test("phone", rule, NINE)
        assert "test of the channel phone" in taken[0][1]["message"]
        status[0] = 403
        with pytest.raises(Undelivered, match="403") as caught:
            await send_test("phone", rule, NINE)
        assert SECRET not in str(caught.value)

    with caplog.at_level(logging.DEBUG):
        at_inbox(work)

    out, err = capfd.readouterr()
    assert SECRET not in out + err + caplog.text


def test_an_address_that_apprise_does_not_know_stops_the_start_and_is_not_shown(tmp_path, capfd):
    settings = Settings.model_validate(
        {"journal": tmp_path / "x.db", "notify": {"channels": {"phone": {"url": f"nonsense://{SECRET}"}}}}
    )

    async def main():
        async with Desk(settings):
            pass

    with pytest.raises(SettingsError, match=r"notify\.channels\.phone\.url") as caught:
        asyncio.run(main())
    with pytest.raises(SettingsError):
        check("phone", settings.notify.channels["phone"])

    out, err = capfd.readouterr()
    assert SECRET not in str(caught.value) + out + err
    assert not (tmp_path / "x.db").exists()


def test_a_service_that_hangs_costs_one_thread_however_much_is_sent():
    async def main():
        go, started = threading.Event(), []

        def work():
            started.append(threading.current_thread())
            assert go.wait(DEADLINE_S)

        thread = Thread("phone")
        for _ in range(5):
            with pytest.raises((TimeoutError, Undelivered)):
                async with asyncio.timeout(0.05):
                    await thread.do(work)
        assert len(started) == 1
        assert started[0].daemon
        go.set()
        started[0].join(DEADLINE_S)
        await thread.do(lambda: started.append("again"))
        assert started[1:] == ["again"]

    asyncio.run(main())


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("x")], ids=repr)
def test_whatever_a_thread_raises_is_an_ordinary_error_to_the_loop(error):
    def work():
        raise error

    async def main():
        with pytest.raises((Undelivered, ValueError)):
            await Thread("phone").do(work)

    asyncio.run(main())


def test_a_ping_really_asks_and_an_answer_of_500_is_none():
    async def work(place, taken, status):
        await getter(f"http://{place}/ping/{SECRET}?status=up")(5)
        assert taken == [(f"/ping/{SECRET}?status=up", None)]
        status[0] = 500
        for address in (f"http://{place}/{SECRET}", f"http://127.0.0.1:1/{SECRET}"):
            with pytest.raises(Undelivered) as caught:
                await getter(address)(5)
            assert SECRET not in str(caught.value)

    at_inbox(work)


# The ping


def test_the_ping_comes_every_so_often_while_the_desk_is_well_and_not_otherwise():
    asked, well = [], [True]

    async def get(timeout_s):
        assert timeout_s == 10
        asked.append(asyncio.get_running_loop().time())

    async def work():
        task = asyncio.create_task(Ping("http://x", 60, lambda: well[0], get).run())
        await asyncio.sleep(130)
        well[0] = False
        await asyncio.sleep(600)
        well[0] = True
        await asyncio.sleep(60)
        task.cancel()

    in_virtual_time(work)

    assert asked == [0, 60, 120, 780]


def test_a_ping_that_fails_or_is_slow_goes_on_at_its_pace_and_is_logged_once(caplog):
    asked = []

    async def get(timeout_s):
        asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(timeout_s)
        raise Undelivered("no answer")

    async def work():
        task = asyncio.create_task(Ping("http://x", 60, lambda: True, get).run())
        await asyncio.sleep(250)
        task.cancel()

    in_virtual_time(work)

    assert asked == [0, 60, 120, 180, 240]
    assert caplog.text.count("did not get through") == 1


# Silence

DAY = Session(start="09:30", end="16:00", tz="America/New_York", days="mon-fri")
NIGHT = Session(start="18:00", end="17:00", tz="America/New_York", days="sun-thu")


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("session", "now", "expected"),
    [
        (DAY, "2026-03-02T14:29", None),  # a Monday, 09:29 in New York
        (DAY, "2026-03-02T14:30", "2026-03-02T14:30"),
        (DAY, "2026-03-02T20:59", "2026-03-02T14:30"),
        (DAY, "2026-03-02T21:00", None),
        (DAY, "2026-03-07T15:00", None),  # a Saturday
        (DAY, "2026-03-09T13:30", "2026-03-09T13:30"),  # summer time has begun
        (NIGHT, "2026-03-02T15:00", "2026-03-01T23:00"),  # since Sunday evening
        (NIGHT, "2026-03-06T20:00", "2026-03-05T23:00"),  # Thursday's goes into Friday
        (NIGHT, "2026-03-06T23:30", None),
    ],
)
def test_a_session_began_when_its_own_clocks_say(session, now, expected):
    found = began(session, utc(now))

    assert (found and found.astimezone(UTC)) == (expected and utc(expected))


def test_silence_is_told_once_until_an_alert_comes():
    clock = Clock(utc("2026-03-02T14:00"))
    silence, said = Silence(1800, None, clock()), []

    for minute in range(120):
        if minute == 60:
            silence.hear(clock())
        if text := silence.check(clock.advance(60)):
            said.append((minute + 1, text))

    assert [minute for minute, _ in said] == [30, 90]
    assert "for 30 min, since 14:00 UTC" in said[0][1]


def test_silence_counts_within_the_session_only():
    clock = Clock(utc("2026-03-02T12:00"))
    silence, said = Silence(3600, DAY, clock()), []

    while clock() < utc("2026-03-03T23:00"):
        if silence.check(clock.advance(60)):
            said.append(clock())
            silence.hear(clock())

    assert said[0] == utc("2026-03-02T15:30")  # an hour after the bell, not after the last alert
    assert all(began(DAY, at) for at in said)
    assert utc("2026-03-03T15:30") in said


# Refused senders


class Pages:
    """Takes what is told, and goes by a clock of its own."""

    def __init__(self):
        self.now, self.told = 0.0, []
        self.refusals = Refusals(lambda *given: self.told.append(given), lambda: self.now)


def test_many_refusals_from_one_address_are_one_notice_in_a_quiet_period():
    pages = Pages()
    for _ in range(1000):
        pages.refusals.seen("203.0.113.9", "Invalid webhook token")
    pages.now = QUIET_S
    pages.refusals.seen("203.0.113.9", "Invalid webhook token")

    (first, second) = [text for _, _, text in pages.told]
    assert "203.0.113.9" in first
    assert "Invalid webhook token" in first
    assert "999 more were refused" in second


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 60)), max_size=300))
def test_no_crowd_of_strangers_can_make_many_notices(visits):
    pages = Pages()
    for number, later in visits:
        pages.now += later
        pages.refusals.seen(str(number), "Invalid webhook token")

    assert len(pages.told) <= MOST * (1 + pages.now // 3600)
    untold = sum(int(found[1]) for _, _, text in pages.told if (found := re.search(r"(\d+) more were", text)))
    assert len(pages.told) + untold + pages.refusals._untold == len(visits)
    assert len(pages.refusals._quiet_until) <= MOST * (1 + pages.now // 3600)


class Nobody:
    settings = Settings(secrets=("a-webhook-secret",), rate_limit="1000/minute")


@pytest.mark.parametrize(
    ("secret", "data", "hears"),
    [
        ("wrong", body(), "Invalid webhook token"),
        ("a-webhook-secret", b"buy!", "JSON"),
        ("a-webhook-secret", b'{"symbol": "ES"}', "action"),
    ],
)
def test_the_gate_tells_of_every_alert_that_is_lost_because_it_was_refused(secret, data, hears):
    async def main():
        gate, heard = Gate(Nobody()), []
        gate.on_refused = lambda *given: heard.append(given)
        call = Call(data, "203.0.113.9", {}, ((secret.encode(),),))
        gate.note(call, await gate.answer(call), gate.clock())
        return heard

    ((address, message),) = asyncio.run(main())

    assert address == "203.0.113.9"
    assert hears in message


def test_refused_senders_become_few_notices_of_a_served_desk(tmp_path):
    async def work(visitor):
        for _ in range(30):
            await visitor.ask("/webhook/tradingview/wrong", {"symbol": "ES", "action": "buy"})
        await until(lambda: notices(visitor.desk))
        inputs = visitor.desk.journal.last_seq
        (notice,) = notices(visitor.desk)
        assert (notice["kind"], notice["severity"]) == ("refused", "warning")
        assert "127.0.0.1 was refused: Invalid webhook token" in notice["text"]
        assert inputs == 2  # the start and this notice

    visit(tmp_path, work, secrets=("a-webhook-secret",))


# The desk


def notices(desk):
    return list(desk.reader.rows("notices"))


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0.001)


def settings_of(place, **given):
    return Settings.model_validate(
        {
            "journal": place / "ttflow.db",
            "rate_limit": "0",
            "groups": {"paper": {"broker": "simulator"}, "far": {"broker": "elsewhere"}},
            **given,
        }
    )


PHONE = {"channels": {"phone": {"url": URL, "quiet_s": 0}}}


@pytest.fixture
def using(tmp_path, monkeypatch):
    """Start a desk whose channel is a fake, give it to a coroutine function, stop it."""

    def use(work, fake=None, **given):
        made = partial(Notifier, make=lambda name, url: fake or Fake())
        monkeypatch.setattr(desk_module, "Notifier", made)

        async def main():
            async with Desk(settings_of(tmp_path, **{"notify": PHONE, **given})) as desk:
                return await asyncio.wait_for(work(desk), DEADLINE_S)

        return asyncio.run(main())

    return use


def test_a_notice_from_outside_is_an_input_a_row_and_a_message(using, tmp_path):
    fake = Fake()

    async def work(desk):
        return await desk.notice("silence", "warning", "No alert\nhas come.")

    seq = using(work, fake)

    with Reader.open(tmp_path / "ttflow.db") as reader:
        (row,) = reader.rows("notices")
        (given,) = reader.rows("inputs", kind="command")
    assert (row["seq"], row["kind"], row["severity"], row["text"]) == (
        seq,
        "silence",
        "warning",
        "No alert has come.",
    )
    assert json.loads(given["raw"])["command"] == "notice"
    assert fake.texts == ["No alert has come."]
    assert verify(tmp_path / "ttflow.db") is None


@pytest.mark.parametrize(
    "given",
    [("", "warning", "x"), ("a", "warning", " \n"), ("a", "loud", "x")],
    ids=["kind", "text", "severity"],
)
def test_a_notice_needs_a_kind_a_text_and_a_known_severity(using, given):
    async def work(desk):
        with pytest.raises(RequestError, match="info, warning, critical"):
            await desk.notice(*given)

    using(work)


def test_what_the_engine_notices_is_sent_too(using):
    fake = Fake()

    async def work(desk):
        await desk.halt(reason="news")
        await desk.send(body(account_group="paper", id="x"))
        await desk.send(body(account_group="paper", id="x", quantity=2))

    using(work, fake)

    assert fake.texts[0] == "Trading is halted everywhere: news."
    assert "was used before" in fake.texts[1]


def test_nothing_of_an_earlier_life_is_sent_again(using):
    first, second = Fake(), Fake()

    async def work(desk):
        await desk.notice("silence", "warning", "the first life")

    async def nothing(desk):
        await desk.decided(desk.journal.last_seq)

    using(work, first)
    using(nothing, second)

    assert first.texts == ["the first life"]
    assert second.texts == []


def test_what_was_kept_before_a_crash_and_not_decided_is_told_by_the_next_life_once(using, tmp_path):
    async def crashed():
        async with await Journal.open(tmp_path / "ttflow.db") as journal:
            given = {
                "command": "notice",
                "kind": "silence",
                "severity": "warning",
                "text": "kept",
            }
            await journal.keep(Kind.COMMAND, json.dumps(given))

    async def nothing(desk):
        await desk.decided(desk.journal.last_seq)

    asyncio.run(crashed())
    second, third = Fake(), Fake()
    using(nothing, second)
    using(nothing, third)

    assert second.texts == ["kept"]
    assert third.texts == []


def alerts_and_commands():
    """A small day: fills, a refused id, a halt, a flatten."""
    yield from (body(account_group="paper", symbol=symbol, id=symbol) for symbol in ("AAPL", "ES1!", "NQ1!"))
    yield body(account_group="paper", symbol="AAPL", id="AAPL", quantity=7)
    yield body(account_group="paper", symbol="AAPL", action="exit", id="out")
    yield body(account_group="nowhere", id="lost")


def decisions(place, carry, clock):
    """What a desk decides on that day with such a channel, its ids taken out, and how long a turn took."""

    async def main():
        desk = Desk(settings_of(place, notify=PHONE if carry else {}), clock=clock)
        async with desk:
            for one in alerts_and_commands():
                clock.advance(1)
                await desk.send(one)
            await desk.halt(reason="news")
            await desk.flatten(reason="enough")
            return [(row.seq, row.changes) for row in desk.reader.decisions()]

    return [(seq, re.sub(r"tt-[0-9a-f]+|alert_[0-9a-f]+", "ID", text)) for seq, text in asyncio.run(main())]


@pytest.mark.parametrize("how", ["hang", "fail", "refuse", "block"])
def test_a_channel_that_hangs_fails_or_blocks_its_thread_changes_no_decision(tmp_path, monkeypatch, how):
    go, thread = threading.Event(), Thread("blocked")

    async def blocked(title, text, severity):
        await thread.do(lambda: go.wait(DEADLINE_S))

    carry = blocked if how == "block" else Fake(*[how] * 1000)
    monkeypatch.setattr("ttflow.notify.notifier.DRAIN_S", 0.05)
    monkeypatch.setattr(desk_module, "Notifier", partial(Notifier, make=lambda name, url: carry))
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()

    without = decisions(tmp_path / "without", None, Clock())
    began_at = time.monotonic()
    with_it = decisions(tmp_path / "with", carry, Clock())
    took_s = time.monotonic() - began_at
    go.set()

    assert with_it == without
    assert len(with_it) == 9
    assert took_s < DEADLINE_S / 2  # a time-out of the channel is 30 s


def test_a_connection_that_was_lost_is_told_once_and_so_is_its_return(using):
    fake = Fake()

    async def work(desk):
        desk.link("far", True)
        for _ in range(3):
            desk.link("far", False, "the server closed it.")
        await until(lambda: len(notices(desk)) == 1)
        desk.link("far", True)
        desk.link("far", True)
        desk.link("nobody", False)
        await until(lambda: len(notices(desk)) == 2)
        return [(row["kind"], row["severity"], row["text"]) for row in notices(desk)]

    lost, back = using(work, fake)

    assert lost[:2] == back[:2] == ("connection", "warning")
    assert lost[2].startswith("far: the connection to elsewhere is lost (the server closed it).")
    assert back[2].startswith("far: the connection to elsewhere is back; it was lost at ")
    assert subject(lost[2]) == subject(back[2])


def test_a_lost_connection_of_a_live_group_is_critical(using):
    live = {"far": {"broker": "elsewhere", "live": True}}

    async def work(desk):
        desk.link("far", False)
        await until(lambda: notices(desk))
        return notices(desk)[0]["severity"]

    assert using(work, groups=live, secrets=("a-webhook-secret",)) == "critical"


def test_notices_that_nobody_waits_for_are_bounded(using, caplog):
    async def work(desk):
        for number in range(1000):
            desk.tell("test", "info", f"number {number}")
        await until(lambda: not desk._telling)
        return len(notices(desk))

    assert using(work) == 100
    assert "a notice is not kept: number 999" in caplog.text


def test_a_desk_that_stops_for_good_still_tells_it(using):
    fake = Fake()

    async def work(desk):
        desk._stopped(RuntimeError("the disk is gone."))

    using(work, fake)

    assert fake.texts == ["The desk stopped: the disk is gone. No alert is kept until it is started again."]


def test_silence_is_noticed_by_a_served_desk_and_not_again_after_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(vigil, "LOOK_S", 0.01)

    async def work(visitor):
        await until(lambda: notices(visitor.desk))
        await asyncio.sleep(0.1)
        return [row["kind"] for row in notices(visitor.desk)]

    given = {"notify": {"silence_s": 0.05}}

    async def again(visitor):
        await visitor.alert(account_group="paper_simulator")
        await until(lambda: len(notices(visitor.desk)) == 2)

    assert visit(tmp_path, work, **given) == ["silence"]
    assert visit(tmp_path, work, **given) == ["silence"]
    visit(tmp_path, again, **given)


def test_a_desk_that_can_keep_nothing_is_not_well_and_asks_nobody(tmp_path, monkeypatch):
    given = []

    class Recorded(Ping):
        def __init__(self, url, every_s, well):
            given.append((url, every_s, well))
            super().__init__(url, every_s, lambda: False)

    monkeypatch.setattr(vigil, "Ping", Recorded)

    async def work(visitor):
        ((url, every_s, well),) = given
        assert (url, every_s, well()) == ("https://x.example/p", 60, True)
        visitor.desk.fatal = RuntimeError("the disk is gone")
        assert not well()

    visit(tmp_path, work, notify={"ping_url": "https://x.example/p"})


def test_a_served_desk_pings_while_it_is_well(tmp_path):
    def work(place, taken, status):
        async def served():
            settings = settings_of(
                tmp_path, notify={"ping_url": f"http://{place}/p", "ping_every_s": 1}, port=0
            )
            async with Desk(settings) as desk:
                server = await serve(desk)
                try:
                    await until(lambda: taken)
                finally:
                    await server.close()
                assert taken[0][0] == "/p"

        return served()

    at_inbox(work)


# What is seen of it


def changes_of(applied):
    return json.loads(applied.decision.to_json())


def test_tail_shows_every_notice_and_none_twice():
    walk = Walk()
    applied = walk.command("notice", kind="silence", severity="warning", text="No alert has come.")
    (line,) = lines(1, changes_of(applied))
    assert line.endswith("warning: No alert has come.")

    halted = changes_of(walk.command("halt"))
    extra = {**halted[-1], "row": {**halted[-1]["row"], "kind": "rejected", "text": "apex/PA-1: rejected"}}
    assert halted[-1]["table"] == "notices"
    shown = list(lines(2, [*halted, extra]))
    assert len([line for line in shown if "halted" in line]) == 1
    assert [line for line in shown if "apex/PA-1: rejected" in line]


# Settings

CHANNEL = "[notify.channels.phone]\n"


def load_in(place, toml, dotenv="", **environ):
    (place / "ttflow.toml").write_text(toml)
    (place / ".env").write_text(dotenv)
    return load(environ=environ, cwd=place)


def address(settings, name):
    return settings.notify.channels[name].url.get_secret_value()


def test_an_address_may_come_from_a_variable_or_from_the_environment_alone(tmp_path):
    toml = '[notify.channels.phone]\nurl = "env:MY_PHONE"\n[notify.channels.mail]\nurl = "env:MY_MAIL"\n'
    settings = load_in(
        tmp_path,
        toml + "[notify.channels.home]\nquiet_s = 5\n",
        f"MY_MAIL=json://mail/{SECRET}\nMY_PHONE=json://dotenv/x\n",
        MY_PHONE=URL,
        TTFLOW_NOTIFY_HOME=URL,
        TTFLOW_PING_URL=f"https://x.example/{SECRET}?a=b",
    )

    assert address(settings, "phone") == address(settings, "home") == URL
    assert address(settings, "mail") == f"json://mail/{SECRET}"
    assert settings.notify.channels["home"].quiet_s == 5
    assert settings.notify.ping_url.get_secret_value() == f"https://x.example/{SECRET}?a=b"


@pytest.mark.parametrize(
    ("toml", "environ", "says"),
    [
        (f"{CHANNEL}url = '{SECRET}'", {}, "notify.channels.phone.url (from ttflow.toml line 2): is not an"),
        (f"{CHANNEL}url = 'env:P'", {"P": SECRET}, "P (from environment): is not an address of apprise"),
        (f"{CHANNEL}url = 'env:P'", {}, "P is set neither in the environment nor in .env; set P"),
        (f"{CHANNEL}url = 'env:{SECRET}'", {}, "names no variable; write env: and the name"),
        ("", {"TTFLOW_NOTIFY_PHONE": SECRET}, "TTFLOW_NOTIFY_PHONE (from environment): is not an address"),
        ("", {"ttflow_notify_phone": SECRET}, "names are in capitals"),
        ("", {"TTFLOW_PING_URL": f"ftp://{SECRET}"}, "TTFLOW_PING_URL (from environment): is not an address"),
        ("[notify]\nping_every_s = 0.5", {}, "is too small; give 1 or more"),
        (f"{CHANNEL}quiet_s = 5", {}, "notify.channels.phone.url (from ttflow.toml line 1): is missing"),
        (f"{CHANNEL}url = '{URL}'\nseverity = 'loud'", {}, "use 'info', 'warning' or 'critical'"),
    ],
)
def test_a_wrong_address_is_refused_with_its_key_and_a_remedy_and_not_shown(tmp_path, toml, environ, says):
    with pytest.raises(SettingsError) as caught:
        load_in(tmp_path, toml, **environ)

    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_no_text_of_the_settings_shows_an_address(tmp_path):
    settings = load_in(
        tmp_path,
        f"[notify]\nping_url = 'https://x.example/{SECRET}'\n{CHANNEL}url = '{URL}'\nkinds = ['halt']",
    )

    shown = [
        repr(settings), str(settings.notify), settings.model_dump_json(), str(settings.model_dump()),
        json.dumps(settings.public()), json.dumps(settings.deciding()),
    ]  # fmt: skip
    assert not [text for text in shown if SECRET in text]
    assert settings.public()["notify"]["channels"]["phone"]["url"] is True
    assert settings.public()["notify"]["ping_url"] is True
    assert "notify" not in settings.deciding()
    back = Settings.from_public(settings.public())
    assert back.public() == settings.public()
    assert SECRET not in back.notify.channels["phone"].url.get_secret_value()


def test_addresses_are_taken_out_of_the_logs(tmp_path, capsys):
    given = {**PHONE, "ping_url": f"https://x.example/{SECRET}"}
    settings = settings_of(tmp_path, notify=given, log_dir=tmp_path / "logs")
    assert {URL, f"https://x.example/{SECRET}"} <= set(configured_secrets(settings))

    with set_up(settings):
        logging.getLogger("ttflow").error("sent to %s", URL)

    assert SECRET not in capsys.readouterr().err


# What the page says

PAGE = Path(__file__).parent.parent / "docs" / "notices.md"
HOUSE = Path(desk_module.__file__).parent


def kinds_in_the_code():
    """The first argument of every notice that is given, where it is a plain text."""
    for file in HOUSE.rglob("*.py"):
        if "fakes" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) != 3:
                continue
            name = getattr(node.func, "attr", "")
            if name in ("notice", "tell", "_tell") and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


def test_every_kind_of_notice_is_in_the_page_and_no_other():
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert set(listed) == {*kinds_in_the_code(), "halt", "reduce", "resume", "stopped"}
    assert listed == sorted(listed)


def test_the_settings_in_the_page_are_accepted(tmp_path):
    toml, dotenv = (
        re.search(rf"```{name}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
        for name in ("toml", "sh")
    )

    notify = load_in(tmp_path, toml, dotenv).notify

    assert set(notify.channels) == {"phone", "mail"}
    assert notify.ping_url


# doctor


def doctor(place, monkeypatch, *arguments, toml):
    (place / "ttflow.toml").write_text(f"port = 0\n{toml}")
    monkeypatch.chdir(place)
    return CliRunner().invoke(cli, ["doctor", *arguments])


def test_doctor_names_the_channels_and_shows_no_address(tmp_path, monkeypatch):
    toml = f"{CHANNEL}url = '{URL}'\nseverity = 'critical'\nkinds = ['halt']\n"
    told = doctor(tmp_path, monkeypatch, toml=toml)

    assert told.exit_code == 0
    assert "phone: critical notices, only halt" in told.output
    assert SECRET not in told.output
    bad = doctor(tmp_path, monkeypatch, toml=f"{CHANNEL}url = 'nonsense://{SECRET}'\n")
    assert bad.exit_code == 1
    assert "notify.channels.phone.url" in bad.output
    assert SECRET not in bad.output


def test_doctor_sends_a_test_message_to_every_channel_and_fails_where_one_is_gone(tmp_path, monkeypatch):
    async def work(place, taken, status):
        toml = f"{CHANNEL}url = 'json://{place}/{SECRET}'\n[notify.channels.gone]\nurl = '{URL}'\n"
        told = await asyncio.to_thread(doctor, tmp_path, monkeypatch, "--notify", toml=toml)
        assert [sent["title"] for _, sent in taken] == ["ttflow info: test"]
        assert told.exit_code == 1
        assert "phone took the test message" in told.output
        assert "gone did not take the test message" in told.output
        assert SECRET not in told.output

    at_inbox(work)


# What the engine says


def walk_at_a_broker():
    """A walk with a live group at a broker, where `walker` may trade."""
    group = {"broker": "scripted", "live": True, "strategies": ("walker",)}
    given = {"secrets": ("a-webhook-secret",), "groups": {"desk": group}}
    return Walk(Settings.model_validate(given), connected=("desk",))


def test_what_a_trader_must_know_is_said_in_a_sentence_with_its_severity():
    walk = walk_at_a_broker()
    walk.alert(account_group="desk", symbol="AAPL", quantity=2)
    (order,) = walk.orders()
    walk.report(order, "unknown", call="submit")
    walk.report(order, "not_found", call="find")
    walk.alert(account_group="desk", symbol="MSFT", quantity=3)
    walk.report(walk.orders()[-1], "refused", reason="Not enough margin.")
    walk.command("halt", reason="news")
    walk.command("resume")
    walk.command("mode", strategy="walker", mode="paper", reason="by hand")

    assert [(row.kind, row.severity, row.text) for row in walk.rows("notices")] == [
        (
            "unknown_order",
            "critical",
            f"desk/main: buy 2 AAPL (order {order.order_id}) is in doubt, and the broker does not know it. "
            "Look there: a person must decide.",
        ),
        ("rejected", "warning", "desk/main: buy 3 MSFT was rejected: Not enough margin."),
        ("halt", "warning", "Trading is halted everywhere: news."),
        ("resume", "warning", "Trading is active everywhere: a test."),
        ("mode", "info", "walker is set to paper: by hand."),
    ]
