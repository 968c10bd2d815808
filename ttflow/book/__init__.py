"""The book: what is held, what an alert asks of it, and the rows that remember it. Pure."""

from ttflow.book.ledger import Ledger, Lot
from ttflow.book.legs import Want, want
from ttflow.book.state import State

__all__ = ["Ledger", "Lot", "State", "Want", "want"]
