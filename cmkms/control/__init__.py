"""How an operator's command reaches the replica that runs with a home: a socket in that home, for its owner only.

Everything that changes something goes this way; HTTP only tells.
"""

from __future__ import annotations

__all__: list[str] = []
