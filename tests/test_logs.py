"""The logs: off the loop, without secrets, one line for each thing said."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttflow import logs
from ttflow.errors import SettingsError
from ttflow.redaction import MASK, Redaction, configured_secrets, escaped
from ttflow.settings import Settings

SECRET = 'hunter2/+"x y"'
webhook = logging.getLogger("ttflow.webhook")
other = logging.getLogger("ttflow.desk")


@contextmanager
def logging_to(path, **settings):
    stream = io.StringIO()
    made = logs.set_up(Settings(log_dir=path, **settings), stream=stream)
    try:
        yield SimpleNamespace(stream=stream, logs=made, file=made.path, text=stream.getvalue)
    finally:
        made.close()


def test_the_webhooks_lines_go_to_its_file_and_the_console_and_others_to_the_console_alone(tmp_path):
    with logging_to(tmp_path) as log:
        webhook.info("received %s", "alert_1")
        other.info("started")

    assert log.file == tmp_path / "tradingview_webhooks.log"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO ttflow.webhook received alert_1\n", log.file.read_text()
    )
    assert [line.split(" ", 1)[1] for line in log.text().splitlines()] == [
        "INFO ttflow.webhook received alert_1",
        "INFO ttflow.desk started",
    ]


def test_a_quiet_console_does_not_silence_the_file(tmp_path):
    with logging_to(tmp_path, log_level="ERROR") as log:
        webhook.info("received")
        other.info("started")

    assert "received" in log.file.read_text()
    assert log.text() == ""


def test_the_folder_is_made(tmp_path):
    with logging_to(tmp_path / "a" / "b") as log:
        webhook.info("received")

    assert log.file.exists()


def test_a_folder_that_can_not_be_written_stops_the_start_with_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"TTFLOW_LOG_DIR.*name a folder that can be written") as caught:
        logs.set_up(Settings(log_dir=tmp_path / "file"), quiet=True)

    assert "\n" not in str(caught.value)


def test_the_file_rotates(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_BYTES", 500)
    monkeypatch.setattr(logs, "BACKUPS", 2)
    with logging_to(tmp_path):
        for number in range(100):
            webhook.info("line %d", number)

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [logs.WEBHOOK_FILE + end for end in ("", ".1", ".2")]
    assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())


def test_a_log_that_is_no_file_is_never_rotated(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_BYTES", 500)
    (tmp_path / logs.WEBHOOK_FILE).symlink_to("/dev/null")
    with logging_to(tmp_path):
        for number in range(100):
            webhook.info("line %d", number)

    assert [(path.name, path.is_symlink()) for path in tmp_path.iterdir()] == [(logs.WEBHOOK_FILE, True)]


def test_a_file_that_was_begun_is_filled_before_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_BYTES", 500)
    (tmp_path / logs.WEBHOOK_FILE).write_text("x" * 350 + "\n")
    with logging_to(tmp_path):
        for number in range(3):
            webhook.info("line %d", number)

    before, after = ((tmp_path / (logs.WEBHOOK_FILE + end)).read_text() for end in (".1", ""))
    assert [line[-6:] for line in before.splitlines()] == ["xxxxxx", "line 0", "line 1"]
    assert after.endswith("line 2\n")


def test_a_console_that_fails_stops_neither_the_file_nor_what_comes_after(tmp_path, capsys):
    failed = threading.Event()

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if not failed.is_set():
                failed.set()
                raise OSError(28, "No space left")
            return super().write(text)

    console = Full()
    made = logs.set_up(Settings(log_dir=tmp_path), stream=console)
    webhook.info("first")
    assert failed.wait(10)
    webhook.info("second")
    made.close()

    assert [line.split()[-1] for line in made.path.read_text().splitlines()] == ["first", "second"]
    assert console.getvalue().endswith("second\n")
    assert "No space left" in capsys.readouterr().err


def test_closing_leaves_logging_as_it_was(tmp_path):
    root = logging.getLogger()
    before = list(root.handlers), root.level, webhook.level
    with logging_to(tmp_path, log_level="DEBUG") as log:
        assert root.level == logging.DEBUG
        log.logs.close()
        log.logs.close()
        assert (list(root.handlers), root.level, webhook.level) == before


def test_no_line_shows_a_secret_however_it_is_written(tmp_path):
    ways = [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET),
        repr(SECRET),
    ]
    ways.append(quote(SECRET, safe="").lower())
    with logging_to(tmp_path, secrets=[SECRET]) as log:
        for way in ways:
            webhook.info("sent %s!", way)
        webhook.info("sent %r", SECRET)
        webhook.info(SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            webhook.exception("failed with %s", {"secret": SECRET})
        webhook.info("where", stack_info=True, extra={"x": SECRET})

    for text in (log.text(), log.file.read_text()):
        assert "hunter2" not in text
        assert text.count(MASK) >= len(ways) + 4


def test_every_secret_of_the_settings_is_known():
    settings = Settings.model_validate(
        {
            "secrets": ["one-secret", "two-secret"],
            "api_token": "api-secret",
            "credentials": {"tradovate": {"password": "pw-secret"}, "topstepx": {"api_key": "key-secret"}},
        }
    )

    assert set(configured_secrets(settings)) == {
        "one-secret",
        "two-secret",
        "api-secret",
        "pw-secret",
        "key-secret",
    }


def test_a_secret_can_be_learned_later(tmp_path):
    with logging_to(tmp_path) as log:
        log.logs.redact.add("session-4711")
        other.info("signed in with session-4711")

    assert log.text().endswith("signed in with ***\n")


def test_a_short_secret_is_hidden_where_it_stands_alone():
    hide = Redaction(["7", "bob"])

    assert hide("cid=7, user bob, at 17:07:47, bobby") == "cid=***, user ***, at 17:07:47, bobby"


def test_a_secret_within_another_leaves_nothing_of_either():
    assert Redaction(["abcd", "abcdefgh"])("abcdefgh abcd") == "*** ***"


def test_without_secrets_nothing_is_hidden():
    assert Redaction(["", ""])("as it is") == "as it is"


SECRETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*"), min_size=4)


@given(st.lists(SECRETS, min_size=1, max_size=4), st.text(), st.text())
def test_no_secret_survives_wherever_it_stands(secrets, before, after):
    hide = Redaction(secrets)
    for secret in secrets:
        for way in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), repr(secret)[1:-1]):
            shown = hide(f"{before}{way}{after}")
            assert not any(known in shown for known in secrets)
            assert hide(way) == MASK


def test_nobody_can_write_a_line_of_their_own(tmp_path):
    forged = "x\n2026-01-01T00:00:00.000Z INFO ttflow.webhook received alert_9\r\x1b[2J\u2028\u202e\x00\x85é"
    with logging_to(tmp_path) as log:
        webhook.info("refused %s", forged)
        try:
            raise ValueError(forged)
        except ValueError:
            webhook.exception("failed")

    for text in (log.text(), log.file.read_text(encoding="utf-8")):
        starts = [line for line in text.split("\n") if line and not line.startswith("  | ")]
        assert len(starts) == 2
        assert text.replace("\n", "").isprintable()
        assert r"\r\x1b[2J\u2028\u202e\x00\x85é" in text


@given(st.text(st.characters()))
def test_every_text_is_written_in_one_printable_line_and_printable_text_as_it_is(text):
    written = escaped(text)

    assert written.isprintable()
    assert written.encode() is not None
    assert written == text or not text.isprintable()


class Stuck(io.StringIO):
    """A console that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on, self.caught_up = (threading.Event() for _ in range(3))

    def write(self, text: str) -> int:
        self.entered.set()
        self.go_on.wait(10)
        written = super().write(text)
        if "line 5" in text:
            self.caught_up.set()
        return written


def test_a_console_that_nobody_reads_delays_nobody_and_what_was_dropped_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "QUEUED", 5)
    stuck = Stuck()
    made = logs.set_up(Settings(log_dir=tmp_path), stream=stuck)
    try:
        other.info("line 0")
        assert stuck.entered.wait(10)
        for number in range(1, 21):
            other.info("line %d", number)
        stuck.go_on.set()
        assert stuck.caught_up.wait(10)
        other.info("the last")
    finally:
        stuck.go_on.set()
        made.close()

    lines = [line.split(" ", 3)[3] for line in stuck.getvalue().splitlines()]
    assert lines == [
        *(f"line {number}" for number in range(6)),
        "15 lines of the log were dropped: it could not be written fast enough.",
        "the last",
    ]


def test_a_value_that_changes_is_logged_as_it_was(tmp_path):
    value = [1]
    with logging_to(tmp_path) as log:
        other.info("value %s", value)
        value.append(2)

    assert log.text().endswith("value [1]\n")
