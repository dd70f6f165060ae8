"""The Compose sample: no two replicas share a home, each is shut in, and its own instructions can be followed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.docs.test_commands import complaint

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "configs" / "compose.yaml").read_text()
HOME = "/var/lib/cmkms"


def block(name: str) -> str:
    """What stands below a key at the margin, comments left out."""
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    found = re.search(rf"^{re.escape(name)}:.*\n((?:(?: .*)?\n)*)", "\n".join(lines) + "\n", re.MULTILINE)
    assert found, name
    return found[1]


def replicas() -> dict[str, str]:
    """Each service by its name."""
    parts = re.split(r"(?m)^  (\S+):\n", block("services"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def instructions() -> str:
    """The comment at the top, without its marks and with continued lines joined."""
    comment = "\n".join(line.lstrip("# ") for line in TEXT.splitlines() if line.startswith("#"))
    return comment.replace("\\\n", " ")


def test_there_are_as_many_replicas_as_can_lose_one() -> None:
    assert list(replicas()) == ["node-0", "node-1", "node-2"]


def test_every_replica_has_a_home_of_its_own() -> None:
    for name, service in replicas().items():
        assert f'volumes: ["./homes/{name}:{HOME}"]' in service
    assert TEXT.count(f":{HOME}") == len(replicas())


def test_every_replica_is_shut_in() -> None:
    assert all("<<: *replica" in service for service in replicas().values())
    for promise in ("read_only: true", "cap_drop: [ALL]", '"no-new-privileges:true"', "core: 0", "restart: always"):
        assert promise in block("x-replica")


def test_no_replica_ever_swaps() -> None:
    common = block("x-replica")
    [memory] = re.findall(r"\bmem_limit: (\S+)", common)
    assert f"memswap_limit: {memory}" in common


def test_status_is_shown_to_this_machine_only() -> None:
    ports = re.findall(r"ports: \[(.*)\]", TEXT)
    assert len(ports) == len(replicas())
    assert all(re.fullmatch(r'"127\.0\.0\.1:\d+:8080"', port) for port in ports)


def test_the_homes_are_made_by_a_command_that_exists_for_the_services_that_exist() -> None:
    [line] = re.findall(r"docker run .*? cmkms (cluster init .*)", instructions())
    words = shlex.split(line)
    assert complaint(words) == ""
    nodes = [word for word in words if "=" in word]
    assert nodes == [f"{name}={name}:9430" for name in replicas()]


def test_the_cluster_is_waited_for_by_a_command_that_exists() -> None:
    [line] = re.findall(r"exec node-0 cmkms (.*)", instructions())
    assert complaint(shlex.split(line)) == ""
