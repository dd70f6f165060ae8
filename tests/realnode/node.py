"""One real CometBFT node, by itself the sole validator of its own chain, with fast blocks and its key taken away.

It listens for its signer at `laddr`; everything about the chain is asked over its RPC. Loopback only.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx

from tests.realnode.binaries import Program, binary
from tests.realnode.commits import Committed, check_commit
from tests.realnode.process import Child, quiet_port, wait_until

__all__ = ["Node", "Transport"]

# Seconds. A node that has its signer answers its RPC well within one; the rest is for a machine with other work.
_START_SECONDS = 30.0

# Seconds for one answer of the RPC on loopback.
_RPC_SECONDS = 5.0

# Seconds between two looks at the height, where a pause between blocks is measured.
_HEIGHT_POLL = 0.01

# As /proc/net/tcp writes it (include/net/tcp_states.h).
_TCP_LISTEN = "0A"

# Blocks about as fast as the node can make them: a sole validator waits for nobody but its signer.
_CONFIG: dict[str, dict[str, str]] = {
    "": {"log_level": "info"},
    "p2p": {"pex": "false", "addr_book_strict": "false", "allow_duplicate_ip": "true"},
    "consensus": {
        # Between nodes: how long a vote lies before it is passed on.
        "peer_gossip_sleep_duration": "10ms",
        "timeout_propose": "200ms",
        "timeout_prevote": "100ms",
        "timeout_precommit": "100ms",
        "timeout_commit": "20ms",
    },
}


class Transport(StrEnum):
    """How node and signer speak."""

    TCP = "tcp"
    UNIX = "unix"


class Node:
    """A chain of one validator that keeps everything in `directory`; nothing runs before `start`.

    `consensus` are settings of that section other than the fast ones. A node that `keeps_its_key` signs by itself.
    """

    def __init__(
        self,
        directory: Path,
        program: Program,
        transport: Transport,
        chain_id: str,
        *,
        consensus: Mapping[str, str] | None = None,
        keeps_its_key: bool = False,
    ) -> None:
        self.chain_id = chain_id
        self.transport = transport
        self._keeps_its_key = keeps_its_key
        self._p2p_port = quiet_port()
        self.key_file = directory / "handed-over" / "priv_validator_key.json"
        self._home = directory / "node"
        self._executable = binary(program)
        self._privval_port = quiet_port()
        # Not in `directory`: the path of a Unix socket has 107 bytes at most.
        self._socket_folder = tempfile.TemporaryDirectory(prefix="cmkms-node-")
        self._socket = Path(self._socket_folder.name) / "privval.sock"
        rpc_port = quiet_port()
        self._rpc = httpx.Client(base_url=f"http://127.0.0.1:{rpc_port}", timeout=_RPC_SECONDS)
        self._child = Child(
            [str(self._executable), "node", "--home", str(self._home), "--proxy_app=persistent_kvstore"],
            directory / "node.log",
        )
        self._initialise()
        self._configure(rpc_port, consensus or {})
        if not keeps_its_key:
            self._hand_over_the_key()

    @property
    def laddr(self) -> str:
        """Where the node listens for its signer, as both sides' configurations write it."""
        return f"unix://{self._socket}" if self.transport is Transport.UNIX else f"tcp://127.0.0.1:{self._privval_port}"

    def genesis(self) -> dict[str, Any]:
        """The genesis of its own chain."""
        made: dict[str, Any] = json.loads(self._genesis_file.read_text())
        return made

    def join(self, genesis: Mapping[str, Any], peers: Iterable[Node]) -> None:
        """Be a node of this chain, and dial these others of it; before the first start."""
        self._genesis_file.write_text(json.dumps(genesis))
        dialled = ",".join(f"{peer.node_id()}@127.0.0.1:{peer._p2p_port}" for peer in peers)
        self._set("p2p", "persistent_peers", dialled)

    def node_id(self) -> str:
        """By what its peers know it."""
        argv = [str(self._executable), "show-node-id", "--home", str(self._home)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def start(self) -> None:
        """Start it. Without a signer it ends by itself after three seconds."""
        # The socket file stays behind when a node ends, and v0.38 then refuses to start.
        self._socket.unlink(missing_ok=True)
        self._child.start()

    def kill_9(self) -> None:
        """End it as a crash would."""
        self._child.kill_9()

    def stop(self) -> None:
        """End it in good order."""
        self._child.stop()

    def close(self) -> None:
        """End it for good, at the end of a test."""
        self._child.kill_9()
        self._rpc.close()
        self._socket_folder.cleanup()

    def logs(self) -> str:
        """The end of its log."""
        return self._child.tail()

    def wait_until_it_listens_for_a_signer(self) -> None:
        """Wait without connecting: the node would take a connection for its signer's."""
        wait_until(self._listens, _START_SECONDS, f"the node listens at {self.laddr}", self.logs)

    def wait_for_height(self, height: int, seconds: float) -> float:
        """Wait until the chain has reached `height`; the seconds it took."""
        return wait_until(lambda: self.height() >= height, seconds, f"height {height}", self._height_and_logs)

    def longest_pause_until(self, height: int, seconds: float) -> float:
        """Wait for `height` like `wait_for_height`; the longest time from now on in which no block came, in seconds."""
        deadline = time.monotonic() + seconds
        longest, last, seen = 0.0, time.monotonic(), self.height()
        while seen < height:
            now, current = time.monotonic(), self.height()
            longest = max(longest, now - last)
            if current > seen:
                seen, last = current, now
            assert now < deadline, f"height {height} was not reached within {seconds:g} s\n{self._height_and_logs()}"
            time.sleep(_HEIGHT_POLL)
        return longest

    def height(self) -> int:
        """The newest block's height; 0 while the node does not answer."""
        try:
            return int(self._ask("status")["sync_info"]["latest_block_height"])
        except httpx.TransportError:
            return 0

    def check_commits(self, first: int, last: int) -> list[Committed]:
        """Verify every commit from `first` to `last` by its signature, and that no block carries evidence."""
        return [
            check_commit(
                self.chain_id,
                height,
                self._ask("commit", height=height),
                self._ask("block", height=height),
                self._ask("validators", height=height),
            )
            for height in range(first, last + 1)
        ]

    def own_address(self) -> str | None:
        """The address of the key that lies in the node's own home: a dummy, or None while there is not even that."""
        key_file = self._home / "config" / "priv_validator_key.json"
        return str(json.loads(key_file.read_text())["address"]) if key_file.exists() else None

    def validator_address(self) -> str:
        """The address of the key that was handed over, or kept."""
        key_file = self._home / "config" / "priv_validator_key.json" if self._keeps_its_key else self.key_file
        return str(json.loads(key_file.read_text())["address"])

    def block_times(self, first: int, last: int) -> list[float]:
        """When the blocks from `first` to `last` were made by their own word, Unix seconds."""
        blocks = [self._ask("block", height=height)["block"] for height in range(first, last + 1)]
        return [_unix_seconds(block["header"]["time"]) for block in blocks]

    def block_hashes(self, first: int, last: int) -> list[str]:
        """What the blocks from `first` to `last` are, as this node has them."""
        return [self._ask("block", height=height)["block_id"]["hash"] for height in range(first, last + 1)]

    def _ask(self, method: str, **parameters: int) -> dict[str, Any]:
        answer = self._rpc.get(f"/{method}", params=parameters).json()
        assert "result" in answer, f"RPC {method} {parameters}: {answer.get('error')}"
        result: dict[str, Any] = answer["result"]
        return result

    def _height_and_logs(self) -> str:
        return f"the chain stands at {self.height()}\n{self.logs()}"

    def _listens(self) -> bool:
        if self.transport is Transport.UNIX:
            return self._socket.exists()
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        local = f"0100007F:{self._privval_port:04X}"
        return any(row[1] == local and row[3] == _TCP_LISTEN for row in rows)

    def _initialise(self) -> None:
        subprocess.run([str(self._executable), "init", "--home", str(self._home)], check=True, capture_output=True)
        self._genesis_file.write_text(json.dumps(self.genesis() | {"chain_id": self.chain_id}))

    def _configure(self, rpc_port: int, consensus: Mapping[str, str]) -> None:
        own = {
            "": {"priv_validator_laddr": "" if self._keeps_its_key else self.laddr},
            "rpc": {"laddr": f"tcp://127.0.0.1:{rpc_port}"},
            "p2p": {"laddr": f"tcp://127.0.0.1:{self._p2p_port}"},
            "consensus": consensus,
        }
        for settings in (_CONFIG, own):
            for table, values in settings.items():
                for key, value in values.items():
                    self._set(table, key, value)

    def _set(self, table: str, key: str, value: str) -> None:
        config_file = self._home / "config" / "config.toml"
        text = _with_value(config_file.read_text(), table, key, value)
        tomllib.loads(text)
        config_file.write_text(text)

    @property
    def _genesis_file(self) -> Path:
        return self._home / "config" / "genesis.json"

    def _hand_over_the_key(self) -> None:
        """Move the key out of the node's home: whatever is signed from now on was signed by the signer."""
        self.key_file.parent.mkdir(mode=0o700)
        (self._home / "config" / "priv_validator_key.json").rename(self.key_file)
        self.key_file.chmod(0o600)
        (self._home / "data" / "priv_validator_state.json").unlink()


def _unix_seconds(rfc3339: str) -> float:
    whole, _, fraction = rfc3339.removesuffix("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + float(f"0.{fraction or 0}")


def _with_value(text: str, table: str, key: str, value: str) -> str:
    """The TOML `text` with one existing key of one table set to `value`; comments and the rest stay as they are."""
    start = 0 if not table else text.index(f"\n[{table}]\n") + 1
    following = re.compile(r"^\[", re.MULTILINE).search(text, start + 1)
    end = following.start() if following else len(text)
    literal = value if value in {"true", "false"} else json.dumps(value)
    section, count = re.subn(rf"^{key} = .*$", lambda _: f"{key} = {literal}", text[start:end], flags=re.MULTILINE)
    assert count == 1, f"[{table}] {key} stands {count} times in the node's config.toml"
    return text[:start] + section + text[end:]
