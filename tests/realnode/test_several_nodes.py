"""Several nodes at one cluster: two of one validator, which ask for the same heights, and one validator of four."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.realnode.binaries import COMETBFT_0_40, NODES, Program
from tests.realnode.commits import Flag
from tests.realnode.networks import MakeNetwork, one_of_four, two_of_one

pytestmark = pytest.mark.realnode

# Seconds for a killed replica to be one of the cluster again.
_BACK = 30.0

# Precommits of ours that one kill of the lease holder may cost, with blocks a third of a second apart.
_MISSED_BY_KILL = 3


@pytest.mark.parametrize("program", NODES, ids=lambda program: program.tag)
def test_two_nodes_of_one_validator_are_signed_for_as_one(
    make_network: MakeNetwork, program: Program, figure: Callable[[str], None]
) -> None:
    network = make_network(two_of_one, program)
    network.start()
    network.grow(15)
    network.signer.cluster.kill(network.signer.cluster.wait_holder(_BACK))
    network.grow(15)
    commits = network.check()
    network.check_watermark(commits[-1])
    late = sum(commit.round > 0 for commit in commits)
    figure(f"{len(commits)} commits verified at both nodes, {late} of them in a later round")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("program", [COMETBFT_0_40], ids=lambda program: program.tag)
def test_one_validator_of_four_keeps_voting_while_its_lease_holders_are_killed(
    make_network: MakeNetwork, program: Program, figure: Callable[[str], None]
) -> None:
    network = make_network(one_of_four, program)
    cluster = network.signer.cluster
    network.start()
    kills = 0
    while network.nodes[0].height() < 50:
        network.grow(12)
        holder = cluster.wait_holder(_BACK)
        cluster.kill(holder)
        kills += 1
        network.grow(3)
        cluster.start(holder)
        cluster.wait_ready(_BACK)
    ours = network.nodes[0].validator_address()
    commits = network.check()
    missed = [commit.height for commit in commits if commit.flags[ours] is not Flag.COMMIT]
    late = sum(commit.round > 0 for commit in commits)
    figure(
        f"{len(commits)} commits of four validators verified, {late} in a later round; {kills} lease holders killed, "
        f"{len(missed)} precommits of ours missed, at {missed}"
    )
    assert len(missed) <= _MISSED_BY_KILL * kills
