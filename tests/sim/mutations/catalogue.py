"""Every bug that is seeded, in the order of the table, and the places of those whose subject is not built yet."""

from __future__ import annotations

from typing import Final

from tests.sim.mutations.bug import Harmless, NotYet, SeededBug
from tests.sim.mutations.bugs import changing, leading
from tests.sim.mutations.bugs.answering import ANSWERING
from tests.sim.mutations.bugs.changing import CHANGING
from tests.sim.mutations.bugs.counting import COUNTING
from tests.sim.mutations.bugs.deciding import DECIDING
from tests.sim.mutations.bugs.files import FILES
from tests.sim.mutations.bugs.leading import LEADING

__all__ = ["BUGS", "HARMLESS", "NOT_YET"]

BUGS: Final[tuple[SeededBug, ...]] = (*COUNTING, *DECIDING, *FILES, *ANSWERING, *CHANGING, *LEADING)

HARMLESS: Final[tuple[Harmless, ...]] = (*changing.HARMLESS, *leading.HARMLESS)

NOT_YET: Final = (NotYet("lose a pause at a restart", "a pause is kept in memory only"),)
"""With the pause."""
