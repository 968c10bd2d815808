"""Outside brokers: what an adapter must do, and the worker around it, written once for all."""

from ttflow.brokers.base import Broker, NotSent, Report
from ttflow.brokers.worker import Worker

__all__ = ["Broker", "NotSent", "Report", "Worker"]
