"""ttflow: TradingView alerts become trading decisions that are kept, explained and replayable."""

__version__ = "0.1.0"
