"""The demo with a real CometBFT node: a sole validator's chain whose key lies with cmkms and nowhere else.

Heights come from the node's RPC, and each commit's signature is verified here by the harness' own code.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, cast

from cmkms.harness.observation import Observation
from cmkms.harness.oracle import Oracle
from cmkms.harness.signer_process import free_port
from cmkms.harness.values import BlockID, MessageType, Time, Vote
from cmkms.harness.wire import SignVoteRequest, VoteReply, encode_reply, encode_request
from demo import script
from demo.stage import Stage
from demo.story import Story, Tone

__all__ = ["play"]

_POLL_SECONDS: Final = 0.03
_RPC_SECONDS: Final = 5.0
_STANDSTILL_SECONDS: Final = 15.0
"""Without a block for so long, the chain has stopped for good."""

_BLOCK_SIGNED: Final = 2
"""`block_id_flag` of a commit signature for the block (`types/block.go`)."""

_SETTINGS: Final = {
    "p2p": {"pex": "false", "addr_book_strict": "false", "laddr": '"tcp://127.0.0.1:0"'},
    "consensus": {
        "timeout_propose": '"500ms"',
        "timeout_prevote": '"100ms"',
        "timeout_precommit": '"100ms"',
        "timeout_commit": '"80ms"',
    },
}
"""About ten blocks a second, and no word to anybody else."""


class _Node:
    """A CometBFT node with the built-in key-value store, its files in the stage's directory."""

    def __init__(self, executable: Path, stage: Stage, address: str) -> None:
        self.address = address.replace("127.0.0.1:0", f"127.0.0.1:{free_port()}")
        self.home = stage.directory / "node"
        self.key_file = self.home / "config" / "priv_validator_key.json"
        self.log_file = stage.directory / "node.log"
        self.rpc = f"http://127.0.0.1:{free_port()}"
        self._executable = str(executable)
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run([self._executable, "init", "--home", str(self.home)], check=True, capture_output=True)
        genesis_file = self.home / "config" / "genesis.json"
        genesis = json.loads(genesis_file.read_text()) | {"chain_id": stage.chain_id}
        genesis_file.write_text(json.dumps(genesis))
        self._configure()

    def start(self) -> None:
        command = [self._executable, "node", "--home", str(self.home), "--proxy_app=kvstore"]
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _configure(self) -> None:
        settings = {
            "": {"priv_validator_laddr": f'"{self.address}"', "log_level": '"error"'},
            "rpc": {"laddr": f'"{self.rpc.replace("http", "tcp")}"'},
            **_SETTINGS,
        }
        config_file = self.home / "config" / "config.toml"
        section, lines = "", list[str]()
        for line in config_file.read_text().splitlines():
            if header := re.fullmatch(r"\[(\w+)\]", line.strip()):
                section = header[1]
            key = line.partition("=")[0].strip()
            value = settings.get(section, {}).get(key)
            lines.append(line if value is None else f"{key} = {value}")
        config_file.write_text("\n".join(lines) + "\n")


async def play(stage: Stage, story: Story, address: str, executable: Path) -> None:
    """Run the whole show into `story`. Raises RuntimeError when the node or its chain stops."""
    story.unit, story.cost_unit = "block", "the longest time without a block"
    story.measured_by = "as the replicas' logs say"
    node = await asyncio.to_thread(_Node, executable, stage, address)
    story.validator = f"{executable.name} at {node.address}"
    story.tell(f"{executable.name} init: a chain of one validator")
    pub_key = await stage.prepare(node.address, story, node.key_file)
    node.key_file.unlink()
    try:
        node.start()
        await _watch(node, stage, story, pub_key)
    finally:
        node.stop()


async def _watch(node: _Node, stage: Stage, story: Story, pub_key: bytes) -> None:
    """Follow the chain while the script is performed."""

    async def strike(member: str) -> None:
        # The block in the making, and with bad luck the next, may have been signed before: the one after was not.
        height = await _height(node)
        stage.crash(story, member, f"at height {height}", resumes_at=height + 3)
        if stage.replicas == 1:
            stage.cluster.start(member)

    tasks: list[asyncio.Task[None]] = []
    try:
        async for height in _heights(node, stage, story, pub_key):
            if height and not tasks:
                tasks = [asyncio.create_task(one) for one in script.all_of_it(stage, story, strike)]
            if script.is_over(story, tasks):
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _heights(node: _Node, stage: Stage, story: Story, pub_key: bytes) -> AsyncGenerator[int]:
    """Look at the chain again and again, judge every commit, and yield the height. Raises RuntimeError if it stops."""
    oracle, journals = Oracle([stage.chain_id]), [_journal(log_file) for log_file in stage.log_files]
    seen, moved_at = 0, time.monotonic()
    while True:
        height, now = await _height(node), time.monotonic()
        if height > seen:
            if not seen:
                story.tell("the first block: the node has no key any more, cmkms signed it", Tone.GOOD)
                story.signing_since = moved_at = now
            story.advance(height, now, now - moved_at)
            moved_at = now
            for one in range(max(seen, 1), height):
                _judge(story, oracle, await _commit(node, one), stage.chain_id, pub_key)
            seen = height
        if node.ended or now - moved_at > _STANDSTILL_SECONDS:
            raise RuntimeError(f"the chain stands still at height {seen}\n{_tail(node.log_file)}")
        for journal in journals:
            story.latencies += next(journal)
        yield height
        await asyncio.sleep(_POLL_SECONDS)


async def _height(node: _Node) -> int:
    """The newest block's height; 0 until the node answers."""
    try:
        status = await asyncio.to_thread(_rpc, f"{node.rpc}/status")
    except (OSError, HTTPException):
        return 0
    return int(status["result"]["sync_info"]["latest_block_height"]) if "result" in status else 0


async def _commit(node: _Node, height: int) -> dict[str, Any]:
    answer = await asyncio.to_thread(_rpc, f"{node.rpc}/commit?height={height}")
    commit: dict[str, Any] = answer["result"]["signed_header"]["commit"]
    return commit


def _rpc(url: str) -> dict[str, Any]:
    """What the node's RPC answers to a GET."""
    with urllib.request.urlopen(url, timeout=_RPC_SECONDS) as response:  # noqa: S310 - our own node
        answer: dict[str, Any] = json.load(response)
    return answer


def _judge(story: Story, oracle: Oracle, commit: dict[str, Any], chain_id: str, pub_key: bytes) -> None:
    """Hand a commit's precommit to the oracle, as if it had been seen on the signer's wire."""
    (signature,) = commit["signatures"]
    if signature["block_id_flag"] != _BLOCK_SIGNED:
        story.broken.append(f"height {commit['height']} was committed without the validator's signature")
        return
    parts = commit["block_id"]["parts"]
    block = BlockID(bytes.fromhex(commit["block_id"]["hash"]), parts["total"], bytes.fromhex(parts["hash"]))
    place = (MessageType.PRECOMMIT, int(commit["height"]), commit["round"], block, _time(signature["timestamp"]))
    request = encode_request(SignVoteRequest(chain_id, Vote(*place), skip_extension_signing=True))
    reply = encode_reply(VoteReply(Vote(*place, signature=base64.b64decode(signature["signature"]))))
    now = time.monotonic()
    oracle(Observation("rpc", 0, now, now, pub_key, request, reply))
    story.verified = oracle.signed
    story.double_signs = oracle.double_signs
    story.violations = [str(violation) for violation in oracle.violations]


def _time(text: str) -> Time:
    """RFC 3339 in UTC with up to nine decimals, which is more than datetime keeps."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return Time(int(datetime.fromisoformat(f"{whole}+00:00").timestamp()), int(fraction.ljust(9, "0") or 0))


def _journal(log_file: Path) -> Iterator[list[float]]:
    """The milliseconds of the signatures that the signer's log has told since the last look; never ends."""
    with log_file.open(encoding="utf-8", errors="replace") as log:
        rest = ""
        while True:
            *lines, rest = (rest + log.read()).split("\n")
            yield [float(entry["ms"]) for entry in map(_entry, lines) if entry.get("event") == "signed"]


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}


def _tail(log_file: Path) -> str:
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-20:])
