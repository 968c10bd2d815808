"""The engine: inputs in, decisions out, in rooms that stand on each other.

base (state, ids, outcomes) · fills · orders · reports · protection · evidence (episodes) · money · floors
(prop firms) · contracts · passing (through the flow; viewing is what its operators see) · modes · judging
(their change) · turns (the ledgers' queues) · manual (what a person trades) · books (against the broker's) ·
commands · engine (the inputs).
"""

from ttflow.engine.base import Effect, Ids
from ttflow.engine.engine import Applied, Engine

__all__ = ["Applied", "Effect", "Engine", "Ids"]
