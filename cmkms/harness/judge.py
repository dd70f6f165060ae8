"""Judges recordings, by itself or as a command: `python -m cmkms.harness.judge FILE...`; anybody can do it again later.

It says what was seen, what promises were broken, and ends with 0 only if none was. It changes nothing that it reads.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cmkms.harness.guard_files import check_guards
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle, judge
from cmkms.harness.recorder import read_recording

__all__ = ["Verdict", "main"]

_SHOWN: Final = 10
"""So many violations are told in full; one bug makes hundreds."""

_KEPT, _BROKEN, _UNUSABLE = 0, 1, 2
"""Exit codes: every promise kept; some broken, or too little seen to say so; recordings that cannot be judged."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of some recordings. `objections` are sentences beside the oracle's violations."""

    oracle: Oracle
    recordings: int
    torn: int
    replicas: Counter[str]
    objections: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing at all stands against the signer."""
        return not (self.oracle.violations or self.objections)

    def text(self) -> str:
        """The verdict in words."""
        oracle = self.oracle
        answered = f"{self.replicas.total()} requests answered by {len(self.replicas)} replicas"
        unsigned = f"{oracle.refused} refused, {oracle.unanswered} unanswered, {oracle.unreadable} unreadable"
        lines = [
            f"{self.recordings} recordings, {self.torn} torn lines; {answered}",
            f"{oracle.signed} signed, {oracle.double_signs} double signs; {unsigned}",
            *(f"  {replica or 'unknown'}: {count}" for replica, count in sorted(self.replicas.items())),
        ]
        counts = Counter(violation.rule.name for violation in oracle.violations)
        lines += [f"broken: {rule}, {count} times" for rule, count in sorted(counts.items())]
        lines += [f"  {violation}" for violation in oracle.violations[:_SHOWN]]
        lines += [f"objection: {objection}" for objection in self.objections]
        return "\n".join([*lines, "every promise kept" if self.good else "NOT GOOD"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the recordings that a command line names; returns the exit code."""
    options = _parser().parse_args(arguments)
    if (options.liveness is None) != (not options.healed_at):
        sys.stderr.write("--liveness and --healed-at belong together\n")
        return _UNUSABLE
    try:
        verdict = _judge(options)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return _UNUSABLE
    sys.stdout.write(f"{verdict.text()}\n")
    return _KEPT if verdict.good else _BROKEN


def _judge(options: argparse.Namespace) -> Verdict:
    recordings = [read_recording(path) for path in options.recording]
    observations = [seen for recording in recordings for seen in recording.observations]
    oracle = judge(observations, options.chain or None, extensions=not options.no_extensions)
    clocks = {clock for recording in recordings for clock in recording.clocks}
    if options.healed_at and len(clocks) > 1:
        raise ValueError(f"--healed-at is a moment of one clock; these recordings have {len(clocks)}")
    for healed_at in options.healed_at:
        oracle.check_liveness(healed_at, options.liveness)
    return Verdict(
        oracle,
        recordings=len(recordings),
        torn=sum(recording.torn for recording in recordings),
        replicas=Counter(seen.replica for seen in observations if seen.reply is not None),
        objections=_objections(options, oracle, observations),
    )


def _objections(options: argparse.Namespace, oracle: Oracle, observations: Iterable[Observation]) -> list[str]:
    found: list[str] = []
    if oracle.unreadable:
        found.append(f"{oracle.unreadable} answers cannot be read, and so not be judged")
    if oracle.signed < options.at_least:
        found.append(f"{oracle.signed} signatures prove nothing: at least {options.at_least} were wanted")
    if options.guard:
        files = {str(path): path.read_bytes() if path.exists() else None for path in options.guard}
        found += check_guards(files, observations)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cmkms.harness.judge",
        description="Judge what signers answered. Exit code 0: every promise kept; 1: not; 2: cannot be judged.",
    )
    parser.add_argument("recording", nargs="+", type=Path, help="files of recorders, of one validator or several")
    parser.add_argument("--chain", action="append", default=[], metavar="ID", help="a configured chain (else any)")
    parser.add_argument("--no-extensions", action="store_true", help="the signer knows no vote extensions")
    parser.add_argument("--at-least", type=int, default=1, metavar="N", help="so many signatures, or it proves nothing")
    parser.add_argument("--liveness", type=float, metavar="SECONDS", help="a new signature within SECONDS of each ...")
    parser.add_argument(
        "--healed-at", type=float, action="append", default=[], metavar="T", help="... of these moments"
    )
    parser.add_argument("--guard", type=Path, action="append", default=[], help="the guard file of each replica")
    return parser


if __name__ == "__main__":
    sys.exit(main())
