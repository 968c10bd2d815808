"""The journal: what reached the desk and what was decided, in one SQLite file.

`inputs` is the append-only truth; `decisions` says what each input changed; every other table follows
from the decisions and can be read with any SQL tool while the desk runs. Only the desk writes.
"""

from ttflow.journal.journal import Journal
from ttflow.journal.reader import Reader, Recorded

__all__ = ["Journal", "Reader", "Recorded"]
