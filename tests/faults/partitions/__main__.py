"""`python -m tests.faults.partitions`: a campaign of cuts in network namespaces, which it makes for itself.

Outside it only starts itself again inside new namespaces, and ends that when it ends itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from tests.faults.partitions.campaign import Campaign, Plan, run
from tests.faults.partitions.faults import FAULTS
from tests.faults.partitions.namespaces import again_inside, is_inside
from tests.faults.partitions.scratch import scratch


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.partitions", description=__doc__)
    parser.add_argument("--cycles", type=int, default=5, help="how many faults (5)")
    parser.add_argument("--cut", type=float, default=4.0, help="seconds that a fault lasts (4)")
    parser.add_argument("--heal", type=float, default=5.0, help="seconds between two faults (5)")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this one; repeat for more")
    parser.add_argument("--replicas", type=int, default=3, help="replicas of the cluster (3)")
    parser.add_argument(
        "--slack", type=float, default=1.0, help="seconds more for every budget, if others use this (1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws faults, moments and what is asked for (0)")
    parser.add_argument("--sabotage", metavar="NAME", help="break the signer on purpose, to see it caught")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to this file")
    parser.add_argument("--every-cycle", action="store_true", help="every cycle into that file, not only the sums")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave homes, logs and the recording here")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Run inside, or start it there; returns the exit code: 0, 1 for a broken promise."""
    wanted = arguments(argv)
    if is_inside():
        return _campaign(wanted, argv)
    return again_inside("tests.faults.partitions", argv)


def _campaign(wanted: argparse.Namespace, argv: list[str]) -> int:
    plan = replace(
        Plan.drawn(wanted.cycles, wanted.seed, wanted.fault or (), cut=wanted.cut, heal=wanted.heal),
        replicas=wanted.replicas,
        slack=wanted.slack,
        programs={f"node-{number}": _program(wanted.sabotage) for number in range(wanted.replicas)},
    )
    with scratch() as here:
        directory = wanted.keep or here
        directory.mkdir(parents=True, exist_ok=True)
        campaign = asyncio.run(run(directory, plan))
    report = {"command": " ".join(["python -m tests.faults.partitions", *argv]), **summary(plan, campaign)}
    if wanted.every_cycle:
        report["every_cycle"] = [asdict(cycle) for cycle in campaign.cycles]
    text = json.dumps(report, indent=2) + "\n"
    print(text)  # noqa: T201 - a command speaks
    if wanted.json is not None:
        wanted.json.write_text(text)
    return 1 if campaign.violations else 0


def _program(sabotage: str | None) -> tuple[str, ...]:
    altered = ("tests.faults.partitions.altered", sabotage) if sabotage else ("cmkms",)
    return (sys.executable, "-m", *altered)


def summary(plan: Plan, campaign: Campaign) -> dict[str, Any]:
    """The campaign in numbers."""
    kinds = sorted({cycle.fault for cycle in campaign.cycles})
    return {
        "seed": plan.seed,
        "replicas": plan.replicas,
        "seconds_cut": plan.cut_seconds,
        "seconds_healed": plan.heal_seconds,
        "seconds_of_slack": plan.slack,
        "cycles": len(campaign.cycles),
        "signatures": campaign.signatures,
        "refused": campaign.refused,
        "asked": {outcome.value: count for outcome, count in campaign.outcomes.items()},
        "highest": campaign.highest,
        "packets": dict(sorted(campaign.packets.items())),
        "faults": {kind: _of_kind(kind, campaign, plan.replicas) for kind in kinds},
        "violations": campaign.violations,
    }


def _of_kind(kind: str, campaign: Campaign, replicas: int) -> dict[str, float | int | None]:
    cycles = [cycle for cycle in campaign.cycles if cycle.fault == kind]
    budget = FAULTS[kind].budget(replicas)
    return {
        "cycles": len(cycles),
        "signatures_during": sum(cycle.during for cycle in cycles),
        "silence_median_s": round(median(cycle.silence for cycle in cycles), 2),
        "silence_longest_s": round(max(cycle.silence for cycle in cycles), 2),
        "first_signature_after_healing_longest_s": round(max(cycle.recovered for cycle in cycles), 2),
        "whole_after_healing_longest_s": round(max(cycle.whole for cycle in cycles), 2),
        "budget_s": None if budget is None else round(budget, 2),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
