"""What docs/SAFETY.md and docs/LIVENESS.md say that campaigns have come to is what the files of those campaigns say."""

from __future__ import annotations

import json
from statistics import median
from typing import Any, Final

import pytest

from tests.docs.markdown import repository

PROOF: Final = repository() / "docs" / "proof"

QUOTED: Final = {
    "simulation": ("seeds", "simulated_hours", "faults_in_all", "places_signed", "violations"),
    "kills": ("kills", "signatures", "condemned"),
    "power": ("cuts", "signatures", "violations"),
    "disks": ("cases", "faults"),
    "partitions": ("cycles", "signatures", "violations"),
    "fuzzing": ("decoders", "inputs", "failures"),
}
"""The fields of each file whose number, or how many they hold, stands in its row."""


def shown(value: Any) -> str:
    """A number as the tables write it: 16 064 254."""
    count = value if isinstance(value, int | float) else len(value)
    return f"{count:,}".replace(",", " ")


def missing(row: str, fields: dict[str, Any], quoted: tuple[str, ...]) -> list[str]:
    """The quoted fields whose number the row does not have."""
    words = f" {row} ".replace(",", " ,")
    return [name for name in quoted if f" {shown(fields[name])} " not in words]


@pytest.mark.parametrize("name", QUOTED)
def test_the_row_of_a_campaign_quotes_its_file(name: str) -> None:
    rows = [line for line in (PROOF.parent / "SAFETY.md").read_text().splitlines() if f"(proof/{name}.json)" in line]
    assert len(rows) == 1, f"one row of docs/SAFETY.md links to proof/{name}.json"
    assert missing(rows[0], json.loads((PROOF / f"{name}.json").read_text()), QUOTED[name]) == []


def test_each_silence_is_that_of_its_file() -> None:
    measured = json.loads((PROOF / "liveness.json").read_text())
    page = (PROOF.parent / "LIVENESS.md").read_text()
    for name, blows in measured.items():
        silence, afterwards = (
            f"{median(each):.2f} / {max(each):.2f}"
            for each in ([blow[field] for blow in blows] for field in ("silence", "afterwards"))
        )
        assert f"| `{name}` | {silence} | {afterwards} |" in page


def test_a_row_with_another_number_is_noticed() -> None:
    assert missing("5 000 kills, 0 violations", {"kills": 5000, "condemned": []}, ("kills", "condemned")) == []
    assert missing("15 000 kills, 10 violations", {"kills": 5000, "condemned": []}, ("kills", "condemned")) == [
        "kills",
        "condemned",
    ]
