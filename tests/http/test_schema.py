"""Whatever a client asks, by the schema or against it: an answer as the schema says, or a refusal that it names.

schemathesis asks: every path in every method, with parameters, headers and bodies that nobody has described.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from cmkms.http.app import create_app
from cmkms.telemetry.metrics import Metrics
from tests.http.conftest import Served, node_status

SCHEMATHESIS: Final = Path(sys.executable).with_name("schemathesis")
OPERATIONS: Final = 10
"""Five paths, each GET and HEAD."""


class InAThread:
    """A server with an event loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server")
        self.served = Served()

    def __enter__(self) -> Served:
        self._thread.start()
        self._run(self.served.start())
        return self.served

    def __exit__(self, *_: object) -> None:
        self._run(self.served.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, job: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(job, self._loop).result(10)


def described() -> dict[str, Any]:
    with warnings.catch_warnings():
        # GET and HEAD of a path are one route, and so have one name; nobody reads it.
        warnings.filterwarnings("ignore", "Duplicate Operation ID")
        return create_app(node_status, Metrics("1.0", [])).openapi()


def asked(served: Served, folder: Path, schema: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = folder / "openapi.json"
    path.write_text(json.dumps(schema))
    options = ("--url", f"http://{served.address}", "--checks", "all", "--mode", "all", "--max-examples", "200")
    return subprocess.run(
        [SCHEMATHESIS, "run", path, *options, "--generation-deterministic", "--no-color"],
        capture_output=True, text=True, timeout=100, check=False, cwd=folder,
    )  # fmt: skip


def test_every_answer_is_as_the_schema_says(tmp_path: Path) -> None:
    with InAThread() as served:
        found = asked(served, tmp_path, described())
    assert found.returncode == 0, found.stdout
    assert f"Operations:       {OPERATIONS} selected / {OPERATIONS} total" in found.stdout
    assert found.stdout.count(f"{OPERATIONS} passed") == len(("coverage", "fuzzing")), found.stdout


def test_an_answer_that_the_schema_does_not_know_is_found(tmp_path: Path) -> None:
    with InAThread() as served:
        schema = described()
        schema["components"]["schemas"]["StatusBody"]["properties"]["version"]["type"] = "integer"
        found = asked(served, tmp_path, schema)
    assert found.returncode == 1, found.stdout
    assert "/status" in found.stdout
