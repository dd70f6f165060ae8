"""How long a signature takes: cmkms beside CometBFT's own signer, on this machine, asked by the same stopwatch.

One request at a time, as a node asks: proposal, prevote, precommit of height after height. Every signature is verified
and the whole run judged by the oracle, outside the timed span. See README.md here for what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cmkms.harness.blocking import BlockingNode
from cmkms.harness.chain import block_id
from cmkms.harness.latency import Distribution
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import judge
from cmkms.harness.signer_process import CmkmsProcess
from cmkms.harness.values import MessageType, Proposal, Time, Vote
from cmkms.harness.wire import SignProposalRequest, SignVoteRequest, encode_request
from demo.pinned import PRIV_VAL_SERVER, NotBuiltError, build, cached

CHAIN_ID = "bench-1"
EXTENSION = bytes(32)
WARM_UP_HEIGHTS = 60
CONNECT_SECONDS = 15.0
STOP_SECONDS = 5.0
REFERENCE = "priv_val_server"


class Contender(Protocol):
    """A signer that can be started against a node's address."""

    name: str

    def start(self, directory: Path, address: str) -> bytes:
        """Start with a key of its own and no history; returns the public key."""
        ...

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        ...

    def stop(self) -> None:
        """End it for good."""
        ...


class Cmkms:
    """One replica of cmkms, as `cmkms init`, `key generate` and `start` make it."""

    name = "cmkms"
    _process: CmkmsProcess

    def start(self, directory: Path, address: str) -> bytes:
        """See `Contender`."""
        self._process = CmkmsProcess(directory, CHAIN_ID, [address])
        pub_key = self._process.initialise()
        self._process.start()
        return pub_key

    @property
    def pid(self) -> int:
        """See `Contender`."""
        return self._process.pid

    def stop(self) -> None:
        """See `Contender`."""
        self._process.terminate()


class PrivValServer:
    """CometBFT's FilePV behind a socket: what most validators run inside their node today."""

    name = REFERENCE
    _process: subprocess.Popen[bytes]

    def __init__(self, executable: Path) -> None:
        self._executable = executable

    def start(self, directory: Path, address: str) -> bytes:
        """The key is made by cmkms: both forms are CometBFT's."""
        keys = CmkmsProcess(directory, CHAIN_ID, [address])
        pub_key = keys.initialise()
        state_file = directory / "priv_validator_state.json"
        state_file.write_text('{"height":"0","round":0,"step":0}')
        arguments = [f"-addr={address}", f"-chain-id={CHAIN_ID}", f"-priv-key={keys.key_file}"]
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._executable), *arguments, f"-priv-state={state_file}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return pub_key

    @property
    def pid(self) -> int:
        """See `Contender`."""
        return self._process.pid

    def stop(self) -> None:
        """See `Contender`."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True, slots=True)
class Run:
    """One contender on one transport, once. Latencies in ms, memory in MB, `cpu` in ms per signature."""

    latency: Distribution
    per_second: float
    memory: float
    cpu: float


@dataclass(slots=True)
class Line:
    """All runs of one contender on one transport."""

    contender: Contender
    transport: str
    runs: list[Run] = field(default_factory=list[Run])

    def p50(self) -> float:
        """The median over the runs of the median latency."""
        return statistics.median(run.latency.p50 for run in self.runs)


def requests(first_height: int, heights: int) -> Iterator[bytes]:
    """What a validator asks that proposes every block."""
    for height in range(first_height, first_height + heights):
        block, now = block_id(height, 0), Time.now()
        yield encode_request(SignProposalRequest(CHAIN_ID, Proposal(height, 0, block_id=block, time=now)))
        for kind in (MessageType.PREVOTE, MessageType.PRECOMMIT):
            extension = EXTENSION if kind is MessageType.PRECOMMIT else b""
            vote = Vote(kind, height, 0, block, now, bytes(20), extension=extension)
            yield encode_request(SignVoteRequest(CHAIN_ID, vote))


def measure(contender: Contender, transport: str, heights: int, per_second: float) -> Run:
    """Start a contender with a fresh home, warm it up, measure, judge, stop it."""
    with tempfile.TemporaryDirectory(prefix="cmkms-bench-") as folder:
        directory = Path(folder)
        address = "tcp://127.0.0.1:0" if transport == "tcp" else f"unix://{directory}/node.sock"
        with BlockingNode(address) as node:
            pub_key = contender.start(directory, node.address)
            try:
                node.accept(CONNECT_SECONDS)
                for message in list(requests(1, WARM_UP_HEIGHTS)):
                    node.ask(message)
                return _timed(node, contender.pid, pub_key, list(requests(WARM_UP_HEIGHTS + 1, heights)), per_second)
            finally:
                contender.stop()


def _timed(node: BlockingNode, pid: int, pub_key: bytes, asked: list[bytes], per_second: float) -> Run:
    cpu_before, begun = _cpu_seconds(pid), time.monotonic()
    observations: list[Observation] = []
    for number, message in enumerate(asked):
        if per_second:
            time.sleep(max(0.0, begun + number / per_second - time.monotonic()))
        observations.append(node.observe(message, pub_key))
    took, cpu, memory = time.monotonic() - begun, _cpu_seconds(pid) - cpu_before, _resident_megabytes(pid)
    verdict = judge(observations, [CHAIN_ID])
    if verdict.violations or verdict.signed != len(asked):
        first = str(verdict.violations[0]) if verdict.violations else "not every request was signed"
        raise SystemExit(f"{verdict.signed} of {len(asked)} signed, {len(verdict.violations)} promises broken: {first}")
    latency = Distribution.of((seen.answered_at - seen.asked_at) * 1e3 for seen in observations)
    return Run(latency, len(asked) / took, memory, cpu * 1e3 / len(asked))


def _cpu_seconds(pid: int) -> float:
    """User and system time, fields 14 and 15 of /proc/PID/stat (proc(5)); the name before them may hold spaces."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def table(lines: list[Line], title: str) -> Table:
    """One row for each contender and transport: medians over the rounds, and p50 against the reference signer."""
    out = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    out.add_column("signer", no_wrap=True)
    for heading in ("p50", "p90", "p99", "max", "sig/s", "CPU", "RSS", "ratio"):
        out.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        reference = next((other for other in lines if _is_reference_of(line, other)), None)
        ratio = "" if reference is None else f"{line.p50() / reference.p50():.2f}"
        out.add_row(
            f"{line.contender.name} {line.transport}",
            f"{line.p50():.3f}",
            f"{statistics.median(run.latency.p90 for run in line.runs):.3f}",
            f"{statistics.median(run.latency.p99 for run in line.runs):.3f}",
            f"{max(run.latency.max for run in line.runs):.1f}",
            f"{statistics.median(run.per_second for run in line.runs):.0f}",
            f"{statistics.median(run.cpu for run in line.runs):.2f}",
            f"{max(run.memory for run in line.runs):.0f}",
            ratio,
        )
    return out


def _is_reference_of(line: Line, other: Line) -> bool:
    return other.contender.name == REFERENCE != line.contender.name and other.transport == line.transport


def reference_signer(named: Path | None, console: Console, *, wanted: bool) -> list[Contender]:
    """The reference signer: the given executable, one on PATH, one built before, or one built now if there is Go."""
    found = named or cached(PRIV_VAL_SERVER) or shutil.which(REFERENCE)
    if not wanted:
        return []
    if found is None:
        try:
            console.print(f"building {PRIV_VAL_SERVER} ...")
            found = build(PRIV_VAL_SERVER)
        except NotBuiltError as error:
            console.print(f"measuring without the reference signer: {error}", style="yellow", highlight=False)
            return []
    return [PrivValServer(Path(found))]


def as_json(lines: list[Line]) -> str:
    """Every run, for a file."""
    runs = [
        {
            "signer": line.contender.name,
            "transport": line.transport,
            **{name: getattr(run.latency, name) for name in ("count", "p50", "p90", "p99", "max")},
            "per_second": run.per_second,
            "cpu_ms_per_signature": run.cpu,
            "resident_mb": run.memory,
        }
        for line in lines
        for run in line.runs
    ]
    return json.dumps(runs, indent=2) + "\n"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Latency of a signature, beside CometBFT's priv_val_server.")
    parser.add_argument("--heights", type=int, default=500, help="heights a round, three signatures each (500)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; every other one in reversed order (3)")
    parser.add_argument(
        "--paced", type=float, default=0.0, metavar="PER_SECOND", help="signatures a second (as fast as they come)"
    )
    parser.add_argument("--transport", choices=["tcp", "unix"], action="append", help="only this one; may be repeated")
    parser.add_argument(
        "--with-go", type=Path, metavar="FILE", help=f"this {REFERENCE}, not one built from a pinned version"
    )
    parser.add_argument("--without-go", action="store_true", help="measure cmkms alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to this file as well")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Measure and print; returns the exit code."""
    wanted, console = arguments(argv), Console()
    contenders = [Cmkms(), *reference_signer(wanted.with_go, console, wanted=not wanted.without_go)]
    lines = [Line(one, transport) for transport in wanted.transport or ["tcp", "unix"] for one in contenders]
    turns = [line for number in range(wanted.rounds) for line in (lines if number % 2 == 0 else reversed(lines))]
    for line in track(turns, "measuring", console=console, transient=True):
        line.runs.append(measure(line.contender, line.transport, wanted.heights, wanted.paced))
    pace = f"{wanted.paced:g} a second" if wanted.paced else "the next at once"
    console.print(table(lines, f"{wanted.rounds} rounds of {wanted.heights * 3} signatures, {pace}"))
    console.print(
        "Latency and CPU in ms a signature, RSS in MB; medians over the rounds, greatest max and RSS.", style="dim"
    )
    console.print(f"ratio: p50 against that of {REFERENCE} on the same transport.", style="dim", highlight=False)
    if wanted.json:
        wanted.json.write_text(as_json(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
