"""How three processes are born together, whatever happens to them meanwhile, or say exactly what has to be done.

Machines are started seconds apart here, minutes apart in life: nothing in a birth knows the difference. What a birth
waits for is read where an operator reads it: at `/status`, and in the log.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from typing import Final

import pytest

from cmkms.harness.errors import RemoteSignerError
from cmkms.harness.node import SimulatedNode
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_cluster import CmkmsCluster
from tests.faults.cluster.replicas import CHAIN, READY, eventually, pin, pin_of, vote, warnings

APART: Final = 1.0
"""Seconds between two starts."""

RESTART: Final = "cmkms cluster birth --restart"


def state_of(cluster: CmkmsCluster, member: str) -> str:
    """The state of its guard by its own word; empty while nobody answers."""
    status = cluster.replica(member).status()
    return status.chains[0].guard_state if status is not None else ""


async def waits_for(cluster: CmkmsCluster, member: str, *words: str) -> None:
    """Wait until this replica says at `/status` that it waits, in these words."""

    def says() -> bool:
        status = cluster.replica(member).status()
        return status is not None and all(word in status.waiting_for for word in words)

    await eventually(says, cluster.logs)


async def in_a_state(cluster: CmkmsCluster, member: str, *states: str) -> None:
    await eventually(lambda: state_of(cluster, member) in states, cluster.logs)


async def born(cluster: CmkmsCluster, node: SimulatedNode, height: int = 10) -> None:
    """All three are armed, and sign."""
    await asyncio.to_thread(cluster.wait_ready, READY)
    for member in cluster.members:
        await in_a_state(cluster, member, "armed")
    assert (await node.sign_vote(vote(height))).reply.vote.signature


def wipe(cluster: CmkmsCluster, member: str) -> None:
    """A new disk: the replica's home is made anew, with another identity; its key is put there again."""
    replica, other = cluster.replica(member), cluster.replica(cluster.others(member)[0])
    assert not replica.alive
    shutil.rmtree(replica.home)
    replica.make_home()
    replica.take_key(other.key_file)


def kill_at(cluster: CmkmsCluster, victim: str, moment: str) -> None:
    """Kill it within a millisecond or two of what it, or the first replica, says in its log."""
    logs = [cluster.replica(member).log_file for member in ("node-0", victim)]
    deadline = time.monotonic() + READY
    while not any(moment in log.read_text() for log in logs if log.exists()):
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.001)
    cluster.kill(victim)


def settled(cluster: CmkmsCluster) -> bool:
    """Whether every replica can sign, or says that something has to be done."""
    statuses = cluster.statuses()
    said = ("change of generation", RESTART)
    return len(statuses) == len(cluster.members) and all(
        status.can_sign or any(words in status.waiting_for for words in said) for status in statuses.values()
    )


def restart_birth(cluster: CmkmsCluster) -> None:
    """What the replicas say that has to be done, where they say it: those that are bound begin anew."""
    bound = [member for member in cluster.members if state_of(cluster, member) == "bound"]
    assert bound
    assert all(member in cluster.statuses()["node-2"].waiting_for for member in bound)
    for member in bound:
        cluster.terminate(member)
        replica = cluster.replica(member)
        replica.command("cluster", "birth", "--restart", "--home", str(replica.home), "--confirm", CHAIN, CHAIN)
        replica.start(never_signed=True)


class TestWhatMayHappenBeforeABirth:
    async def test_three_started_one_after_the_other(self, unborn: CmkmsCluster, node: SimulatedNode) -> None:
        unborn.start("node-0")
        await waits_for(unborn, "node-0", "node-1", "node-2")
        await asyncio.sleep(APART)
        unborn.start("node-1")
        await waits_for(unborn, "node-0", "node-2")
        await waits_for(unborn, "node-1", "node-2")
        await asyncio.sleep(APART)
        unborn.start("node-2")
        await born(unborn, node)

    async def test_a_node_is_told_its_key_and_kept_waiting_for_its_vote(
        self, unborn: CmkmsCluster, node: SimulatedNode
    ) -> None:
        unborn.start("node-0")
        assert await node.boot() == unborn.replica("node-0").pub_key()
        asking = asyncio.create_task(node.sign_vote(vote(10)))
        unborn.start("node-1")
        await waits_for(unborn, "node-0", "node-2")
        assert not asking.done()
        unborn.start("node-2")
        assert (await asking).reply.vote.signature

    async def test_one_is_restarted_in_the_middle(self, unborn: CmkmsCluster, node: SimulatedNode) -> None:
        unborn.start("node-0")
        unborn.start("node-1")
        await waits_for(unborn, "node-0", "node-2")
        unborn.kill("node-1")
        await waits_for(unborn, "node-0", "node-1", "node-2")
        unborn.start("node-1")
        unborn.start("node-2")
        await born(unborn, node)

    async def test_one_is_made_anew_before_anything_is_bound(self, unborn: CmkmsCluster, node: SimulatedNode) -> None:
        unborn.start("node-0")
        unborn.start("node-1")
        await waits_for(unborn, "node-0", "node-2")
        unborn.kill("node-1")
        await asyncio.to_thread(wipe, unborn, "node-1")
        unborn.replica("node-1").start(never_signed=True)
        unborn.start("node-2")
        await born(unborn, node)

    @pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
    async def test_all_are_killed_again_and_again(
        self, unborn: CmkmsCluster, node: SimulatedNode, seed: int, oracle: Oracle
    ) -> None:
        rng = random.Random(seed)
        unborn.start_all()
        for _ in range(5):
            await asyncio.sleep(rng.uniform(0.2, 1.5))
            victim = rng.choice(unborn.members)
            await asyncio.to_thread(unborn.kill, victim)
            # Whether it was born, its operator cannot know: a supervisor gives the same word at each start.
            unborn.replica(victim).start(never_signed=True)
        await born(unborn, node)
        assert oracle.violations == []

    async def test_the_word_that_the_key_never_signed_is_enough_from_one(
        self, unborn: CmkmsCluster, node: SimulatedNode
    ) -> None:
        unborn.start_all(never_signed=["node-1"])
        await born(unborn, node)

    async def test_without_anybodys_word_they_say_which_is_missing(self, unborn: CmkmsCluster) -> None:
        unborn.start_all(never_signed=[])
        await waits_for(unborn, "node-0", "--never-signed", "priv_validator_state.json")

    async def test_the_highest_state_that_any_replica_was_given_holds_for_all(
        self, unborn: CmkmsCluster, node: SimulatedNode
    ) -> None:
        for member, height in {"node-0": 100, "node-2": 120}.items():
            state = unborn.replica(member).key_file.with_name("priv_validator_state.json")
            state.write_text(json.dumps({"height": str(height), "round": 0, "step": 3}))
            state.chmod(0o600)
        unborn.start_all(never_signed=[])
        await asyncio.to_thread(unborn.wait_ready, READY)
        with pytest.raises(RemoteSignerError):
            await node.sign_vote(vote(119))
        assert (await node.sign_vote(vote(121))).reply.vote.signature


class TestAReplicaThatLostItsGuard:
    """After a birth nothing that lost its guard may join again by itself: the others know it by its guard's nonce."""

    async def test_made_anew_it_is_named_and_the_others_go_on(
        self, cluster: CmkmsCluster, node: SimulatedNode, oracle: Oracle
    ) -> None:
        await born(cluster, node)
        cluster.kill("node-2")
        await asyncio.to_thread(wipe, cluster, "node-2")
        cluster.replica("node-2").start(never_signed=True)
        for height in range(11, 15):
            assert (await node.sign_vote(vote(height))).reply.vote.signature
        await waits_for(cluster, "node-2", "the guard file of node-2", "made anew", "change of generation")
        assert state_of(cluster, "node-2") == "unborn"
        for member in ("node-0", "node-1"):
            (line,) = warnings(cluster.replica(member), "node-2", "does not count")
            assert "made anew" in line["why"]
        assert oracle.violations == []

    async def test_without_its_guards_file_it_says_so_and_only_forwards(
        self, cluster: CmkmsCluster, node: SimulatedNode
    ) -> None:
        await born(cluster, node)
        cluster.kill("node-2")
        (guard,) = (cluster.replica("node-2").home / "data").rglob("guard")
        guard.unlink()
        cluster.start("node-2")
        await eventually(lambda: warnings(cluster.replica("node-2"), "is lost", "cmkms cluster change"), cluster.logs)
        await in_a_state(cluster, "node-2", "refused")
        for member in ("node-0", "node-1"):
            (line,) = warnings(cluster.replica(member), "node-2", "does not count")
            assert "is lost" in line["why"]
        assert (await node.sign_vote(vote(11))).reply.vote.signature

    @pytest.mark.parametrize(
        "moment",
        [
            pytest.param("peer connected", marks=pytest.mark.slow),
            "agree on generation",
            "bound to generation",
            pytest.param('"born"', marks=pytest.mark.slow),
        ],
    )
    async def test_made_anew_in_the_middle_of_a_birth(
        self, unborn: CmkmsCluster, node: SimulatedNode, moment: str, oracle: Oracle
    ) -> None:
        # How far the birth goes on from there is the machine's choice. Nothing may be bound yet; the others may be
        # armed, and go on without it; or the birth cannot be finished, and then they say what has to be done.
        unborn.start("node-0")
        unborn.start("node-1")
        await waits_for(unborn, "node-0", "node-2")
        unborn.start("node-2")
        await asyncio.to_thread(kill_at, unborn, "node-2", moment)
        await asyncio.to_thread(wipe, unborn, "node-2")
        unborn.replica("node-2").start(never_signed=True)
        await eventually(lambda: settled(unborn), unborn.logs)
        stuck = [member for member in unborn.members if RESTART in unborn.statuses()[member].waiting_for]
        if stuck:
            await asyncio.to_thread(restart_birth, unborn)
            await born(unborn, node)
        assert (await node.sign_vote(vote(11))).reply.vote.signature
        assert oracle.violations == []


class TestReplicasThatDoNotAgree:
    """What differs is named by each side that can see it, at once and once, and nobody signs before it is mended."""

    async def test_another_key(self, unborn: CmkmsCluster) -> None:
        replica = unborn.replica("node-2")
        replica.key_file.unlink()
        replica.command("key", "generate", "--home", str(replica.home))
        unborn.start_all()
        for member, other in (("node-0", "node-2"), ("node-2", "node-0")):
            await self._named_once(unborn, member, other, "key")
        assert state_of(unborn, "node-0") == state_of(unborn, "node-2") == "unborn"

    async def test_another_chain(self, unborn: CmkmsCluster) -> None:
        config = unborn.replica("node-2").home / "config.toml"
        config.write_text(config.read_text().replace(f'"{CHAIN}"', '"testnet-2"'))
        for member in unborn.members:
            unborn.replica(member).start(never_signed=False)
        await self._named_once(unborn, "node-0", "node-2", "testnet-2")
        await self._named_once(unborn, "node-2", "node-0", CHAIN)
        assert state_of(unborn, "node-0") == "unborn"

    async def test_unequal_lists(self, unborn: CmkmsCluster) -> None:
        replica = unborn.replica("node-2")
        replica.peers = (*replica.peers, "node-3=127.0.0.1:1", "node-4=127.0.0.1:2")
        unborn.start_all()
        await self._named_once(unborn, "node-0", "node-2", "node-3", "node-4")
        await self._named_once(unborn, "node-2", "node-0", "node-3", "node-4")
        assert state_of(unborn, "node-0") == "unborn"

    async def test_a_wrong_pin(self, unborn: CmkmsCluster) -> None:
        pins = {member: pin_of(unborn.replica(member)) for member in unborn.members}
        for member in unborn.members:
            pin(unborn, member, pins if member == "node-2" else pins | {"node-2": "ab" * 32})
        unborn.start_all()
        await self._named_once(unborn, "node-0", "node-2", "pin")
        assert state_of(unborn, "node-0") == "unborn"

    async def _named_once(self, cluster: CmkmsCluster, member: str, *words: str) -> None:
        replica = cluster.replica(member)
        await eventually(lambda: warnings(replica, *words), cluster.logs)
        await asyncio.sleep(2.0)
        found = warnings(replica, *words)
        # One line for the difference, and at most one more for what follows from it: not one for each try.
        assert len(found) <= 3, found
