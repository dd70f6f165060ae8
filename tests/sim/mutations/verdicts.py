"""By which check a bug was caught, in words; and what is no catch at all: an experiment that breaks by itself."""

from __future__ import annotations

import re
from typing import Final

from cmkms.harness.oracle import Rule

__all__ = ["BrokenExperimentError", "caught_by"]

_BROKEN: Final = re.compile(r"^(Attribute|Type|Name|Key|Index|Import|NotImplemented|Refused\w*|GuardRefused)Error\b")
"""What a bug ends by whose place in the product has changed. It would be caught by anything, and proves nothing."""

_CHECKS: Final = (
    ("two messages are signed", "two messages are signed at one place"),
    ("disks behind it", "a signature without a majority of disks behind it"),
    ("accepted two messages", "a guard keeps two messages for one place"),
    ("answers for generation", "a guard answers for the next generation below what was signed"),
    ("answers one request twice", "one request is answered twice"),
    ("connection that is gone", "an answer on a connection that is gone"),
    ("what no node has asked for", "a signature over what no node has asked for"),
    ("where no precommit for a block", "an extension is signed where no precommit for a block is"),
    ("which could still be signed", "a node is refused what could still be signed"),
    (" is told ", "a node is told of trouble that passes"),
    (" still waits", "a vote is not signed though a majority is up"),
    ("up and connected for", "a vote is not signed though a majority is up"),
    ("TwoHoldersError", "two replicas hold the lease at one moment"),
    ("ToldOfTroubleError", "a node is told of trouble that passes"),
    ("UnservedError", "a vote is not signed though a majority is up"),
    ("NotBornError", "a birth that nobody can finish"),
    ("BrokenInvariantError", "the product's second lock ends the process"),
)


class BrokenExperimentError(Exception):
    """A seeded bug does not fit the product any more."""


def caught_by(violation: str) -> str:
    """Return the check that speaks in a violation. Raises BrokenExperimentError."""
    if _BROKEN.match(violation):
        raise BrokenExperimentError(violation)
    rules = [rule for rule in Rule if re.search(rf"\b{rule.name}\b", violation)]
    if rules:
        return f"the validator's oracle: {rules[0].value}"
    return next((words for sign, words in _CHECKS if sign in violation), f"the campaign: {violation.splitlines()[0]}")
