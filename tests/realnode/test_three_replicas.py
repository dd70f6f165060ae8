"""A sole validator's chain under three replicas: killed, restarted, cut off; the chain goes on and signs nothing twice.

Every test ends with the verdict of the chain: each commit verified from RPC, no evidence, and a majority of the guards
on disk not behind the last commit. Rounds that were lost are counted and printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice, pairwise
from statistics import median

import pytest

from tests.realnode.binaries import COMETBFT_0_38, COMETBFT_0_40, Program
from tests.realnode.clusters import ClusterChain, MakeClusterChain
from tests.realnode.node import Transport

pytestmark = pytest.mark.realnode

# Seconds for blocks to come after a kill. The design wants half a second, on a machine with nothing else to do.
_AFTER_A_KILL = 20.0

# Seconds for a restarted replica to be one of the cluster again.
_BACK = 30.0

# Seconds between two blocks that a rolling restart may cost: no round is lost, only patience.
_LONGEST_BLOCK = 1.5

# Seconds until a node whose replica was cut off is served by another: one by design, the rest is for a busy machine.
# A replica that did not let go would cost the node's own five.
_SERVED_AGAIN = 3.0

# A round outlasts whatever else runs on the machine: only a request that was lost could cost one.
_NO_ROUND_IS_LOST_BY_CHANCE = {"timeout_propose": "1s", "timeout_prevote": "1s", "timeout_precommit": "1s"}

_TWO_OF_FOUR = [
    pytest.param(COMETBFT_0_38, Transport.TCP, id="v0.38.25-tcp"),
    pytest.param(COMETBFT_0_40, Transport.UNIX, id="v0.40.0-unix"),
]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("program", "transport"),
    [
        *_TWO_OF_FOUR,
        pytest.param(COMETBFT_0_38, Transport.UNIX, id="v0.38.25-unix", marks=pytest.mark.slow),
        pytest.param(COMETBFT_0_40, Transport.TCP, id="v0.40.0-tcp", marks=pytest.mark.slow),
    ],
)
def test_the_lease_holder_and_the_nodes_own_replica_are_killed_in_turn_every_ten_blocks(
    make_cluster_chain: MakeClusterChain, program: Program, transport: Transport, figure: Callable[[str], None]
) -> None:
    # Not as fast as it can be: a chain that takes all of both cores leaves none for a replica to start on.
    chain = make_cluster_chain(program, transport, consensus={"timeout_commit": "100ms"})
    cluster = chain.cluster
    chain.start()
    pauses: list[float] = []
    # The chain also grows while a replica starts: a hundred blocks are reached long before the tenth kill.
    for victim in islice(_in_turn(chain), 10):
        cluster.kill(victim)
        pauses.append(chain.grow(2, _AFTER_A_KILL))
        cluster.start(victim)
        chain.grow(8)
        cluster.wait_ready(_BACK)
    assert chain.node.height() >= 100
    figure(
        f"{chain.check()}; kill -9 of {len(pauses)} replicas to the next block: "
        f"median {median(pauses):.2f} s, most {max(pauses):.2f} s"
    )


@pytest.mark.parametrize(("program", "transport"), _TWO_OF_FOUR)
def test_a_rolling_restart_of_all_three_loses_no_block(
    make_cluster_chain: MakeClusterChain, program: Program, transport: Transport, figure: Callable[[str], None]
) -> None:
    chain = make_cluster_chain(program, transport, consensus=_NO_ROUND_IS_LOST_BY_CHANCE)
    cluster = chain.cluster
    chain.start(height=5)
    stops: list[float] = []
    for member in cluster.members:
        chain.grow(5)
        stops.append(cluster.terminate(member))
        assert cluster.replica(member).exit_code == 0
        cluster.start(member)
        home = str(cluster.replica(member).home)
        cluster.replica(member).command("cluster", "wait", "--home", home)
    chain.grow(5)
    # The first block bears the time of the genesis.
    made = chain.node.block_times(2, chain.node.height())
    longest = max(later - earlier for earlier, later in pairwise(made))
    checked = chain.check()
    figure(f"{checked}; stopped within {max(stops):.2f} s, longest block {longest:.2f} s")
    assert checked.late == 0
    assert longest <= _LONGEST_BLOCK


def test_a_replica_that_is_cut_off_lets_its_node_go_to_another(
    make_cluster_chain: MakeClusterChain, figure: Callable[[str], None]
) -> None:
    chain = make_cluster_chain(COMETBFT_0_40, Transport.TCP, peer_proxies=True)
    chain.start(height=10)
    pauses: list[float] = []
    for _ in range(3):
        server = chain.server()
        chain.cluster.proxies.isolate(server)
        pauses.append(chain.grow(10))
        assert chain.server() != server
        chain.cluster.proxies.heal_all()
        chain.cluster.wait_ready(_BACK)
    figure(f"{chain.check()}; cut off to the next block: {', '.join(f'{pause:.2f}' for pause in pauses)} s")
    assert min(pauses) <= _SERVED_AGAIN


@pytest.mark.parametrize(
    "outage",
    [20, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(240)])],
    ids=lambda outage: f"{outage}s",
)
def test_chains_go_on_after_there_was_no_majority(
    make_cluster_chain: MakeClusterChain, outage: int, figure: Callable[[str], None]
) -> None:
    chains = [make_cluster_chain(COMETBFT_0_38, Transport.TCP), make_cluster_chain(COMETBFT_0_40, Transport.UNIX)]
    for chain in chains:
        chain.start(height=10)
    for chain in chains:
        # Whoever stays holds the node's connection: it has to keep the node waiting, without an error, all the time.
        for member in chain.cluster.others(chain.server()):
            chain.cluster.kill(member)
    heights = [chain.node.height() for chain in chains]
    time.sleep(outage)
    for chain, height in zip(chains, heights, strict=True):
        # One block may have been signed, and not yet made, when the majority ended.
        assert chain.node.height() <= height + 1, "somebody signed without a majority"
        chain.signer.start()
    for chain, height in zip(chains, heights, strict=True):
        chain.cluster.wait_ready(_BACK)
        back = chain.node.wait_for_height(height + 3, _BACK)
        chain.grow(10)
        figure(f"{chain.check()}; {outage} s without a majority, blocks at most {back:.2f} s after there was one again")


def _in_turn(chain: ClusterChain) -> Iterator[str]:
    """Who is killed next: the lease holder, then whoever holds the node's connection, and so on."""
    for roles in cycle([chain.holder, chain.server]):
        yield roles()
