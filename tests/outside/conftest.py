"""Every test here runs with short intervals: only a calm broker or a person needs the long ones."""

import pytest

from outside.scene import hurry


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch):
    hurry(monkeypatch.setattr)
