"""`python -m demo` and the benchmark, as a visitor runs them: they end by themselves, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Seconds. The demo takes five and the chain's own, a benchmark of a few rounds half a minute; the rest is for a busy
# machine.
PATIENCE = 110.0

# Seconds from Ctrl-C to the end.
CLEARED_SECONDS = 5.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}


def run(temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(temporary),
        timeout=PATIENCE,
        check=False,
    )


def processes_in(directory: Path) -> list[str]:
    """Command lines of running processes that name a directory."""
    lines: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if str(directory) in line:
            lines.append(line)
    return lines


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_the_demo_takes_replicas_away_goes_on_and_ends_with_every_promise_kept(transport: str, tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "demo", "--simulated", "--seconds", "4", "--transport", transport)

    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("kill -9", "SIGTERM", ": refused", "all 3 replicas are up again", "every promise kept"):
        assert told in done.stdout
    assert done.stdout.count("the chain goes on") == 2
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_the_demo_of_a_replica_alone_kills_it_and_goes_on(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "demo", "--simulated", "--seconds", "4", "--replicas", "1")

    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("kill -9", ": refused", "the chain goes on", "every promise kept"):
        assert told in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_in_a_terminal_draws_a_frame_and_leaves_what_happened(tmp_path: Path) -> None:
    terminal, of_the_demo = pty.openpty()
    arguments = command("-m", "demo", "--simulated", "--seconds", "2", "--replicas", "1")
    surroundings = {**environment(tmp_path), "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(arguments, stdout=of_the_demo, stderr=of_the_demo, cwd=ROOT, env=surroundings) as demo:
        os.close(of_the_demo)
        shown = b""
        with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as screen:
            while data := screen.read(65536):
                shown += data
        demo.wait(PATIENCE)

    text = shown.decode(errors="replace")
    assert demo.returncode == 0, text[-2000:]
    assert "cmkms demo" in text
    assert "guard at" in text
    assert "every promise kept" in text


@pytest.mark.parametrize(
    ("after", "number"),
    [(0.4, signal.SIGINT), (1.0, signal.SIGINT), (2.5, signal.SIGTERM), (5.0, signal.SIGINT)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_an_interrupted_demo_leaves_neither_process_nor_file(
    after: float, number: signal.Signals, tmp_path: Path
) -> None:
    arguments = command("-m", "demo", "--simulated", "--seconds", "30")
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment(tmp_path)) as demo:
        time.sleep(after)
        demo.send_signal(number)
        demo.wait(CLEARED_SECONDS)

    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_a_node_that_cannot_run_is_a_failure_that_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "demo", "--node", "/bin/false")

    assert done.returncode == 1
    assert "NOT as promised" in done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "demo", "--node", str(tmp_path / "cometbft"))

    assert done.returncode == 2
    assert "no such executable" in done.stdout


def test_the_benchmark_measures_and_verifies(tmp_path: Path) -> None:
    arguments = ("--without-go", "--transport", "tcp", "--heights", "20", "--rounds", "1")
    done = run(tmp_path, "benchmarks/sign_latency.py", *arguments, "--json", str(tmp_path / "runs.json"))

    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("x3 at holder tcp", "x3 forwarded tcp", "x1 tcp"):
        assert line in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["runs.json"]


def test_the_failover_benchmark_strikes_and_measures(tmp_path: Path) -> None:
    arguments = ("--blows", "1", "--case", "holder with the node", "--json", str(tmp_path / "blows.json"))
    done = run(tmp_path, "benchmarks/failover.py", *arguments)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9, holder with the node" in done.stdout
    assert "SIGTERM, holder with the node" in done.stdout
    assert "double signs 0" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["blows.json"]
