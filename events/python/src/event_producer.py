"""The producer under the name that applications have imported so far; see :mod:`carbyne_events`."""

from carbyne_events import *  # noqa: F403
from carbyne_events import __all__ as __all__
