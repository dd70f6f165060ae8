"""How long one replica takes from its start until it listens, and until a node has its first signature from it.

Most of it is the import of libraries, which is measured beside it. See README.md here for what the figures mean.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks.contenders import CHAIN_ID, wide_console
from benchmarks.sign_latency import requests
from cmkms.harness.blocking import BlockingNode
from cmkms.harness.latency import Distribution
from cmkms.harness.oracle import judge
from cmkms.harness.signer_process import CmkmsProcess

LIBRARIES = "fastapi, uvicorn, uvloop, pydantic, cryptography.x509, structlog, typer, nacl.bindings, pysyncobj"
READY_SECONDS = 60.0


def start_once(replica: CmkmsProcess, node: BlockingNode, height: int) -> tuple[float, float]:
    """Start it, have it sign the proposal of a height, stop it; seconds until /healthz answers and until it signed.

    Raises SystemExit where the signature breaks a promise.
    """
    begun = time.monotonic()
    replica.start()
    replica.wait_healthy(READY_SECONDS)
    healthy = time.monotonic() - begun
    node.accept(READY_SECONDS)
    seen = node.observe(next(requests(height, 1)), replica.pub_key())
    verdict = judge([seen], [CHAIN_ID])
    if verdict.violations or verdict.signed != 1:
        raise SystemExit(f"height {height} was not signed well: {[str(one) for one in verdict.violations]}")
    replica.terminate()
    return healthy, seen.answered_at - begun


def import_once() -> float:
    """Seconds that an interpreter takes to load the libraries that a replica needs."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {LIBRARIES}"], check=True)
    return time.monotonic() - begun


def measure(starts: int) -> dict[str, list[float]]:
    """Start and import in turns; seconds of each, after one start that makes the guard and fills the caches."""
    seconds: dict[str, list[float]] = {"healthy": [], "first signature": [], "import of the libraries": []}
    with tempfile.TemporaryDirectory(prefix="cmkms-bench-") as folder, BlockingNode("tcp://127.0.0.1:0") as node:
        replica = CmkmsProcess(Path(folder), CHAIN_ID, [node.address])
        replica.initialise()
        start_once(replica, node, 1)
        for height in range(2, starts + 2):
            for name, taken in zip(seconds, (*start_once(replica, node, height), import_once()), strict=True):
                seconds[name].append(taken)
    return seconds


def table(seconds: dict[str, list[float]]) -> Table:
    """One row for each, and its median against that of the import."""
    out = Table(title="From the start, s", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for heading in ("until", "n", "p50", "p90", "max", "/import"):
        out.add_column(heading, justify="left" if heading == "until" else "right", no_wrap=True)
    beside = Distribution.of(seconds["import of the libraries"]).p50
    for name, taken in seconds.items():
        seen = Distribution.of(taken)
        out.add_row(
            *(name, str(seen.count)),
            *(f"{value:.2f}" for value in (seen.p50, seen.p90, seen.max, seen.p50 / beside)),
        )
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20, help="how often it is started (20)")
    wide_console().print(table(measure(parser.parse_args().starts)))


if __name__ == "__main__":
    main()
