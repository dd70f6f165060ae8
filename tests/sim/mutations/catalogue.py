"""Every bug that is seeded, in the order of the table, and the places of those whose subject is not built yet."""

from __future__ import annotations

from typing import Final

from tests.sim.mutations.bug import NotYet, SeededBug
from tests.sim.mutations.bugs.answering import ANSWERING
from tests.sim.mutations.bugs.counting import COUNTING
from tests.sim.mutations.bugs.deciding import DECIDING
from tests.sim.mutations.bugs.files import FILES
from tests.sim.mutations.bugs.leading import HARMLESS, LEADING

__all__ = ["BUGS", "HARMLESS", "NOT_YET"]

BUGS: Final[tuple[SeededBug, ...]] = (*COUNTING, *DECIDING, *FILES, *ANSWERING, *LEADING)

NOT_YET: Final = (
    NotYet("a seal that is not strict", "the bytes held before the seal are accepted once more"),
    NotYet("count an acknowledgement of an older generation", "answers are counted whatever generation they name"),
    NotYet("lose a pause at a restart", "a pause is kept in memory only"),
)
"""With the change of generation, and with the pause."""
