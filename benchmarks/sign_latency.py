"""How long a signature takes: three replicas beside one beside CometBFT's own signer, asked by the same stopwatch.

One request at a time, as a node asks: proposal, prevote, precommit of height after height. Every signature is verified
and the whole run judged by the oracle, outside the timed span. See README.md here for what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.contenders import (
    CHAIN_ID,
    REFERENCE,
    Alone,
    Contender,
    PrivValServer,
    Three,
    UnsettledError,
    wide_console,
)
from cmkms.harness.blocking import BlockingNode
from cmkms.harness.chain import block_id
from cmkms.harness.latency import Distribution
from cmkms.harness.observation import Observation
from cmkms.harness.oracle import judge
from cmkms.harness.values import MessageType, Proposal, Time, Vote
from cmkms.harness.wire import SignProposalRequest, SignVoteRequest, encode_request
from demo.pinned import PRIV_VAL_SERVER, NotBuiltError, build, cached

EXTENSION = bytes(32)
WARM_UP_HEIGHTS = 60
ATTEMPTS = 3
"""A lease that moves on in the middle of a run makes that run worthless, not wrong: it is measured again."""


@dataclass(frozen=True, slots=True)
class Run:
    """One contender on one transport, once. Latencies in ms, `memory` in MB of its greatest process, `cpu` of all its
    processes in ms a signature.
    """

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
    """Measure one run, once more if the cluster did not stay as it was to be measured."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _measure(contender, transport, heights, per_second)
        except UnsettledError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _measure(contender: Contender, transport: str, heights: int, per_second: float) -> Run:
    """Start a contender with a fresh home, warm it up, measure, judge, stop it."""
    with tempfile.TemporaryDirectory(prefix="cmkms-bench-") as folder:
        directory = Path(folder)
        address = "tcp://127.0.0.1:0" if transport == "tcp" else f"unix://{directory}/node.sock"
        with BlockingNode(address) as node:
            pub_key = contender.start(directory, node.address)
            try:
                contender.serve(node)
                for message in list(requests(1, WARM_UP_HEIGHTS)):
                    node.ask(message)
                run = _timed(node, contender.pids, pub_key, list(requests(WARM_UP_HEIGHTS + 1, heights)), per_second)
                contender.confirm()
                return run
            finally:
                contender.stop()


def _timed(node: BlockingNode, pids: tuple[int, ...], pub_key: bytes, asked: list[bytes], per_second: float) -> Run:
    cpu_before, begun = _cpu_seconds(pids), time.monotonic()
    observations: list[Observation] = []
    for number, message in enumerate(asked):
        if per_second:
            time.sleep(max(0.0, begun + number / per_second - time.monotonic()))
        observations.append(node.observe(message, pub_key))
    took, cpu = time.monotonic() - begun, _cpu_seconds(pids) - cpu_before
    memory = max(_resident_megabytes(pid) for pid in pids)
    verdict = judge(observations, [CHAIN_ID])
    if verdict.violations or verdict.signed != len(asked):
        first = str(verdict.violations[0]) if verdict.violations else "not every request was signed"
        raise SystemExit(f"{verdict.signed} of {len(asked)} signed, {len(verdict.violations)} promises broken: {first}")
    latency = Distribution.of((seen.answered_at - seen.asked_at) * 1e3 for seen in observations)
    return Run(latency, len(asked) / took, memory, cpu * 1e3 / len(asked))


def _cpu_seconds(pids: tuple[int, ...]) -> float:
    """User and system time, fields 14 and 15 of /proc/PID/stat (proc(5)); the name before them may hold spaces."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def _resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def table(lines: list[Line], title: str) -> Table:
    """One row for each contender and transport: medians over the rounds, and p50 against the two it is compared to."""
    out = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    out.add_column("signer", no_wrap=True)
    for heading in ("p50", "p90", "p99", "max", "sig/s", "CPU", "RSS", "/go", "/x1"):
        out.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        out.add_row(
            f"{line.contender.name} {line.transport}",
            f"{line.p50():.3f}",
            f"{statistics.median(run.latency.p90 for run in line.runs):.3f}",
            f"{statistics.median(run.latency.p99 for run in line.runs):.3f}",
            f"{max(run.latency.max for run in line.runs):.1f}",
            f"{statistics.median(run.per_second for run in line.runs):.0f}",
            f"{statistics.median(run.cpu for run in line.runs):.2f}",
            f"{max(run.memory for run in line.runs):.0f}",
            _ratio(line, lines, REFERENCE),
            _ratio(line, lines, Alone.name),
        )
    return out


def _ratio(line: Line, lines: list[Line], name: str) -> str:
    """The p50 against that of another signer on the same transport, where both were measured."""
    others = (one for one in lines if one.contender.name == name and one.transport == line.transport)
    other = next(others, None)
    return "" if other is None or other is line else f"{line.p50() / other.p50():.2f}"


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
    parser = argparse.ArgumentParser(
        description="Latency of a signature: three replicas, one, and CometBFT's priv_val_server."
    )
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
    wanted, console = arguments(argv), wide_console()
    reference = reference_signer(wanted.with_go, console, wanted=not wanted.without_go)
    contenders: list[Contender] = [Three(at_the_holder=True), Three(at_the_holder=False), Alone(), *reference]
    lines = [Line(one, transport) for transport in wanted.transport or ["tcp", "unix"] for one in contenders]
    turns = [line for number in range(wanted.rounds) for line in (lines if number % 2 == 0 else reversed(lines))]
    for line in track(turns, "measuring", console=console, transient=True):
        line.runs.append(measure(line.contender, line.transport, wanted.heights, wanted.paced))
    pace = f"{wanted.paced:g} a second" if wanted.paced else "the next at once"
    console.print(table(lines, f"{wanted.rounds} rounds of {wanted.heights * 3} signatures, {pace}"))
    for note in (
        "x3: three replicas of cmkms, the node connected to the lease holder or to one that forwards. x1: one replica.",
        "Latency and CPU (of all replicas) in ms a signature, RSS in MB; medians over rounds, greatest max and RSS.",
        f"/go, /x1: p50 against that of {REFERENCE} and of one replica on the same transport.",
    ):
        console.print(note, style="dim", highlight=False)
    if wanted.json:
        wanted.json.write_text(as_json(lines))
    return 0


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that no process and no file is left behind
    sys.exit(main(sys.argv[1:]))
