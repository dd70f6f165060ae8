"""What an operator asks of a running replica: plan a change of generation, begin it, and watch it. Pure.

Answers are plain values, fit for JSON; a request that makes no sense is answered with what is wrong with it.
"""

from __future__ import annotations

import json
from typing import Any, Final, cast

from cmkms.guard.change import Change
from cmkms.guard.change_plan import NoPlan, Plan, plan_change, plan_lowering
from cmkms.guard.claims import GuardClaim, GuardPhase
from cmkms.guard.founding import Candidate
from cmkms.guard.hrs import MAX_HEIGHT, end_of
from cmkms.peers.change_codec import MAX_GENERATION_MEMBERS
from cmkms.replica.chain import ReplicaChain
from cmkms.replica.member import Replica

__all__ = ["operate"]

Answer = dict[str, Any]

_MAX_SHOWN: Final = 80
"""Characters of what was asked, which may be as long as a line."""


def operate(replica: Replica, request: dict[str, Any]) -> Answer:
    """Do what is asked, and answer: `ok`, and `why` where it is refused."""
    chain_id = request.get("chain")
    if chain_id is None and len(replica.chains) == 1:
        (chain_id,) = replica.chains
    chain = replica.chains.get(chain_id) if isinstance(chain_id, str) else None
    if chain is None:
        asked = "which chain?" if chain_id is None else f"chain {_as_json(chain_id)} is not served here:"
        return _refused(f"{asked} this replica serves {', '.join(replica.chains)}")
    match request.get("do"):
        case "progress":
            return _progress(replica, chain)
        case "plan":
            plan = _plan(replica, chain, request)
            return _refused(plan) if isinstance(plan, str) else _shown(replica, chain, plan)
        case "change" if _knows(chain, request.get("to_hash")):
            return _progress(replica, chain)
        case "change":
            plan = _plan(replica, chain, request)
            return _refused(plan) if isinstance(plan, str) else _begin(replica, chain, plan.change, request)
        case other:
            return _refused(f"{_as_json(other)} is nothing that this release does")


def _knows(chain: ReplicaChain, to_hash: object) -> bool:
    """Whether this very change is under way or done; it is lowered by the word of this replica's operator as well."""
    known, electorate = chain.changing.change, chain.electorate
    if known is not None and known.after.hash.hex() == to_hash:
        chain.changing.consent(known.after.hash)
        return True
    return electorate is not None and electorate.generation.hash.hex() == to_hash


def _begin(replica: Replica, chain: ReplicaChain, change: Change, request: dict[str, Any]) -> Answer:
    if change.after.hash.hex() != request.get("to_hash"):
        return _refused("the guards are not as they were when this was planned; look at it once more")
    if change.lowers_to is not None:
        chain.changing.consent(change.after.hash)
    why = replica.propose(change)
    return _refused(why) if why else _progress(replica, chain)


def _plan(replica: Replica, chain: ReplicaChain, request: dict[str, Any]) -> Plan | str:
    """Return the plan, or why there is none."""
    members, lower_to = request.get("members"), request.get("lower_to")
    if chain.electorate is None:
        others = replica.neighbours.candidates(chain.chain_id)
        armed = [member for member, one in others.items() if one.claim.phase is GuardPhase.ARMED]
        if armed:
            return f"this replica is no member yet, and cannot tell who is: run this on {' or '.join(armed)}"
        return f"the guards of chain {chain.chain_id} are not born yet: {chain.waiting_for}"
    if chain.changing.under_way:
        return f"a change is under way already: {chain.changing.why}"
    candidates = _candidates(replica, chain)
    if lower_to is not None:
        if members is not None or not isinstance(lower_to, int) or not 0 <= lower_to <= MAX_HEIGHT:
            return "expected a height to lower to, and no members: all guards that there are begin again at once"
        plan = plan_lowering(chain.electorate, chain.previous, end_of(lower_to), candidates)
        return plan.why if isinstance(plan, NoPlan) else plan
    wanted = replica.neighbours.members if members is None else _ids(members)
    if wanted is None:
        return "expected a list of replica ids, each once"
    strangers = sorted(set(wanted) - set(replica.neighbours.members))
    if strangers:
        return f"{', '.join(strangers)}: not in the peer list ({', '.join(replica.neighbours.members)})"
    plan = plan_change(chain.electorate, chain.previous, wanted, candidates)
    return plan.why if isinstance(plan, NoPlan) else plan


def _ids(members: object) -> tuple[str, ...] | None:
    if not isinstance(members, list):
        return None
    told = cast("list[object]", members)
    found = tuple(one for one in told if isinstance(one, str))
    return found if 0 < len(found) <= MAX_GENERATION_MEMBERS and len(found) == len(told) == len(set(found)) else None


def _candidates(replica: Replica, chain: ReplicaChain) -> dict[str, Candidate]:
    return replica.neighbours.candidates(chain.chain_id) | {replica.neighbours.me: chain.candidate}


def _shown(replica: Replica, chain: ReplicaChain, plan: Plan) -> Answer:
    highest = max(one.claim.hrs for one in _candidates(replica, chain).values())
    return {
        "ok": True,
        "from": plan.change.number,
        "to": plan.change.after.number,
        "to_hash": plan.change.after.hash.hex(),
        "members": [member.id for member in plan.change.members],
        "before": [member.id for member in plan.change.leaving],
        "kept": list(plan.kept),
        "new": list(plan.new),
        "away": list(plan.away),
        "dropped": list(plan.dropped),
        "drains": not (why := chain.waiting_for),
        "undrained": why,
        "at": str(highest),
        "lowers_to": None if plan.change.lowers_to is None else str(plan.change.lowers_to),
    }


def _progress(replica: Replica, chain: ReplicaChain) -> Answer:
    changing, electorate, known = chain.changing, chain.electorate, chain.changing.change
    guards = {member: _words(one.claim) for member, one in _candidates(replica, chain).items()}
    lowered = None if known is None else known.lowers_to
    return {
        "ok": True,
        "chain": chain.chain_id,
        "under_way": changing.under_way,
        "why": changing.why or changing.forgotten,
        "generation": 0 if electorate is None else electorate.generation.number,
        "members": [] if electorate is None else [member.id for member in electorate.members],
        "left_behind": changing.left_behind,
        "guards": guards,
        "lower_to": None if lowered is None else lowered.height,
        "to_hash": "" if known is None else known.after.hash.hex(),
    }


def _words(claim: GuardClaim) -> str:
    return f"{claim.phase.name.lower()}, generation {claim.generation.number}, at {claim.hrs}"


def _as_json(value: object) -> str:
    return json.dumps(value)[:_MAX_SHOWN]


def _refused(why: str) -> Answer:
    return {"ok": False, "why": why}
