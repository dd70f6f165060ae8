"""What a replica tells over HTTP: health, status and metrics. Nothing asked for here changes anything.

This package imports nothing by itself: FastAPI takes a quarter of a second, which only the daemon should pay.
"""

from __future__ import annotations

__all__: list[str] = []
