"""How many connections a desk may hold."""

from __future__ import annotations

import subprocess
import sys

import pytest

TELL = """
import resource
from ttflow.cli.serving import allow_connections

resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_connections()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [(64, 512, (512, 512)), (512, 512, (512, 512))],
    ids=["raised to what is allowed", "left where it is allowed already"],
)
def test_a_desk_may_open_as_many_files_as_the_system_allows(soft, hard, then):
    code = TELL.format(soft=soft, hard=hard)

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(then)
