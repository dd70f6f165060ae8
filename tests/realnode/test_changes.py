"""A sole validator's chain through changes of generation: it goes on, loses no round to a planned one, and signs once.

A guard is lost as it is in life, with its disk, while the replica's identity and key are well; what is done about it is
done by the command line. Every test ends with the verdict of the chain.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from threading import Thread

import pytest

from cmkms.harness.signer_cluster import CmkmsCluster
from cmkms.harness.signer_process import SignerProcessError
from tests.faults.cluster.changes import all_armed, all_connected, change, lose
from tests.realnode.binaries import COMETBFT_0_38, COMETBFT_0_40, Program
from tests.realnode.clusters import MakeClusterChain
from tests.realnode.node import Transport

pytestmark = [pytest.mark.realnode, pytest.mark.timeout(300)]

_BACK = 30.0
"""Seconds for a restarted replica to be seen by all."""

_FINISHED = 60.0
"""Seconds for an interrupted change to be finished, restarts and all."""

_NO_ROUND_IS_LOST_BY_CHANCE = {"timeout_propose": "1s", "timeout_prevote": "1s", "timeout_precommit": "1s"}

_STEPS = ("a change of generation", "this guard left its generation", "this guard answers for")
"""What a replica's log says at each step of a change."""


def lose_and_restart(cluster: CmkmsCluster, member: str) -> None:
    """Stop it, take its guard away, start it again."""
    cluster.terminate(member)
    lose(cluster, member)
    cluster.start(member)
    wait_for(lambda: all_connected(cluster), cluster)


def wait_for(holds: Callable[[], bool], cluster: CmkmsCluster, seconds: float = _BACK) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("program", "transport"),
    [
        pytest.param(COMETBFT_0_38, Transport.TCP, id="v0.38.25-tcp"),
        pytest.param(COMETBFT_0_40, Transport.UNIX, id="v0.40.0-unix"),
    ],
)
def test_planned_changes_lose_no_round(
    make_cluster_chain: MakeClusterChain, program: Program, transport: Transport, figure: Callable[[str], None]
) -> None:
    chain = make_cluster_chain(program, transport, consensus=_NO_ROUND_IS_LOST_BY_CHANCE)
    cluster = chain.cluster
    chain.start(height=5)
    for victim in cluster.members:
        lose_and_restart(cluster, victim)
        assert "the node misses nothing" in change(cluster, cluster.others(victim)[0])
        assert all_armed(cluster)
        chain.grow(5)
    checked = chain.check()
    figure(f"{checked}; three guards replaced, one after the other")
    assert checked.late == 0


@pytest.mark.parametrize("moment", _STEPS)
def test_interrupted_at_any_step_a_change_is_finished_and_the_chain_goes_on(
    make_cluster_chain: MakeClusterChain, moment: str, figure: Callable[[str], None]
) -> None:
    chain = make_cluster_chain(COMETBFT_0_38, Transport.TCP)
    cluster = chain.cluster
    chain.start(height=5)
    victim = cluster.others(chain.holder())[0]
    lose_and_restart(cluster, victim)
    driver = chain.holder()
    command = Thread(target=_change_or_not, args=(cluster, driver))
    command.start()
    kill_at(cluster, driver, moment)
    command.join()
    cluster.start(driver)
    deadline = time.monotonic() + _FINISHED
    while not all_armed(cluster):
        assert time.monotonic() < deadline, cluster.logs()
        _change_or_not(cluster, cluster.others(victim)[0])
    chain.grow(10)
    figure(f"{chain.check()}; the driver killed when it said {moment!r}")


def kill_at(cluster: CmkmsCluster, member: str, moment: str) -> None:
    """Kill it as soon as its log says so."""
    log = cluster.replica(member).log_file
    deadline = time.monotonic() + _BACK
    while moment not in log.read_text():
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.001)
    cluster.kill(member)


def _change_or_not(cluster: CmkmsCluster, member: str) -> None:
    """What an operator does whose command was cut short: run it again."""
    with contextlib.suppress(SignerProcessError):
        change(cluster, member)
