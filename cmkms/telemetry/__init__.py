"""What a replica tells its operator: log lines and metrics.

Nothing here may slow down, stop or fail a signature: a line that cannot be written is lost and counted. This package
imports nothing by itself, so that commands which only print do not pay for structlog and prometheus_client.
"""

from __future__ import annotations

__all__: list[str] = []
