"""The fuzzing campaign: every decoder on the list under mutated inputs, the same in every run.

For hours, and with other seeds: `python -m tests.fuzz --minutes 60`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pytest

from tests.fuzz.decoders import DECODERS
from tests.fuzz.kept import FOLDER, kept_for
from tests.fuzz.trial import Decoder, Verdict, judge, run

INPUTS: Final = 5000
"""For a decoder of common speed; all together take some 40 s of one processor."""

SEED: Final = 1


@pytest.mark.proof
@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_whatever_comes_it_reads_it_or_refuses_it_as_it_says(
    decoder: Decoder, record_property: Callable[[str, object], None]
) -> None:
    verdict = run(decoder, SEED, int(INPUTS * decoder.share))
    record_property("inputs", verdict.inputs)
    record_property("outcomes", len(verdict.outcomes))
    assert [(failure.why, failure.data) for failure in verdict.failures] == []
    assert len(verdict.outcomes) > 1, "all inputs ended in one way: it is not tried at all"


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_what_once_found_something_finds_nothing_any_more(decoder: Decoder) -> None:
    verdict = Verdict()
    for data in kept_for(decoder):
        judge(decoder, data, verdict)
    assert [(failure.why, failure.data) for failure in verdict.failures] == []


def test_every_kept_input_has_its_sentence() -> None:
    kept = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*")}
    told = set(re.findall(r"^\| `([^`]+)` \|", (FOLDER / "README.md").read_text(), flags=re.MULTILINE))
    assert told == kept
    assert {path.partition("/")[0] for path in kept} <= {decoder.name for decoder in DECODERS}
