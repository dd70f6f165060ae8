"""The table of docs/proof/mutations.md: every seeded bug, what caught it, and after how many seeds. Text only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.sim.mutations.bug import Harmless, NotYet
from tests.sim.mutations.hunt import Hunt

__all__ = ["document"]

_HEAD: Final = """# The oracle is tested by mutation

Made by `python -m tests.sim.mutations --table`; it is not edited by hand.

What watches the simulated cluster is worth only what it would notice. So bugs are seeded in cmkms, one at a time, in
the test's process only: each breaks one sentence of the promise. The simulation with its judges has to catch each of
them; no unit test is asked. **{caught} of {all} are caught** in each of {hunts} hunts over seeds of their own.
Seeds: how many were needed, the median; where one came to nothing, that is said.
The same profiles without a bug break nothing (`tests/sim/mutations/test_seeded_bugs.py`).

| seeded bug | what is broken | the sentence | under | caught by | seeds |
|---|---|---|---|---|---|
"""


def document(hunts: Sequence[Hunt], harmless: Iterable[Harmless], not_yet: Iterable[NotYet], times: int) -> str:
    """Return the whole page."""
    caught = sum(not hunt.missed for hunt in hunts)
    page = _HEAD.format(caught=caught, all=len(hunts), hunts=times) + "".join(_row(hunt, times) for hunt in hunts)
    page += "\nUnder what it happens:\n\n" + "".join(
        f"- *{profile.name}*: {profile.sentence}.\n"
        for profile in dict.fromkeys(hunt.bug.profile for hunt in hunts)
    )  # fmt: skip
    page += "\nBroken, and rightly not noticed, because nothing that is promised rests on it:\n\n"
    page += "".join(f"- *{one.name}*: {one.sentence}. {one.why}.\n" for one in harmless)
    page += "\nSeeded when what they break is built:\n\n"
    return page + "".join(f"- *{one.name}*: {one.sentence}.\n" for one in not_yet)


def _row(hunt: Hunt, times: int) -> str:
    bug = hunt.bug
    checks = "; ".join(hunt.checks) or "**nothing**"
    needed = f"{hunt.seeds_needed:g}" + (f" ({hunt.missed} hunts in vain)" if hunt.missed else "")
    if (done := len(hunt.catches) + hunt.missed) < times:
        needed += f" ({done} of {times} hunts)"
    return f"| {bug.name} | {bug.sentence} | {bug.rule} | {bug.profile.name} | {checks} | {needed} |\n"
