"""The command: chooses the validator, runs the show, clears everything away, exits 0 if every promise was kept."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from rich.console import Console

from cmkms.harness.errors import NodeSideError
from demo import real_node, simulated
from demo.pinned import COMETBFT, NotBuiltError, build, cached
from demo.stage import Stage
from demo.story import Story
from demo.view import LiveView, PlainView, View, show_summary

__all__ = ["main"]

_CHAIN_ID: Final = "demo-1"
_REPLICAS: Final = (1, 3, 5)
_DEFAULT_REPLICAS: Final = 3
_FRAMES_A_SECOND: Final = 8
_EXIT_BROKEN: Final = 1
_EXIT_USAGE: Final = 2
_EXIT_INTERRUPTED: Final = 130


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Three replicas of cmkms sign for a validator; one is killed, one is stopped.",
    )
    parser.add_argument("--seconds", type=float, default=18.0, help="how long the chain runs (18)")
    parser.add_argument(
        "--replicas", type=_replicas, default=_DEFAULT_REPLICAS, help="how many sign together; 1 signs alone"
    )
    parser.add_argument("--transport", choices=["tcp", "unix"], default="tcp", help="how node and signer speak (tcp)")
    parser.add_argument("--plain", action="store_true", help="plain lines also in a terminal")
    parser.add_argument("--simulated", action="store_true", help="the simulated node, even with cometbft on PATH")
    parser.add_argument("--node", type=Path, metavar="FILE", help="this cometbft as the node")
    parser.add_argument("--build-node", action="store_true", help=f"{COMETBFT} as the node, built by Go")
    return parser.parse_args(argv)


def _replicas(text: str) -> int:
    """An odd number that one machine can show."""
    number = int(text)
    if number not in _REPLICAS:
        raise argparse.ArgumentTypeError(f"{number}: expected {', '.join(map(str, _REPLICAS))}")
    return number


def choose_node(wanted: argparse.Namespace, console: Console) -> Path | None:
    """The real node's executable, or None for the simulated one. Raises NotBuiltError, or FileNotFoundError."""
    if wanted.build_node:
        if cached(COMETBFT) is None and shutil.which("go"):
            console.print(f"building {COMETBFT}, this once: a minute or two ...", highlight=False)
        return build(COMETBFT)
    if wanted.node is not None and shutil.which(wanted.node) is None:
        raise FileNotFoundError(f"--node {wanted.node}: no such executable")
    found = None if wanted.simulated else shutil.which(wanted.node or "cometbft")
    return Path(found) if found else None


async def perform(stage: Stage, story: Story, view: View, node: Path | None, transport: str) -> None:
    """Run the show and refresh the view beside it."""
    address = "tcp://127.0.0.1:0" if transport == "tcp" else f"unix://{stage.directory}/node.sock"
    play = simulated.play(stage, story, address) if node is None else real_node.play(stage, story, address, node)
    show = asyncio.create_task(play)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, show.cancel)
    while not show.done():
        view.refresh()
        await asyncio.wait([show], timeout=1 / _FRAMES_A_SECOND)
    await show


def main(argv: list[str]) -> int:
    """Run the demo; returns its exit code: 0 all kept, 1 something was not, 2 it could not begin, 130 interrupted."""
    wanted, console = arguments(argv), Console()
    try:
        node = choose_node(wanted, console)
    except (NotBuiltError, FileNotFoundError) as error:
        console.print(str(error), style="yellow", highlight=False)
        return _EXIT_USAGE
    with Stage(_CHAIN_ID, wanted.replicas) as stage:
        story = Story("cmkms demo", stage.chain_id, "not started", length=wanted.seconds)
        plain = wanted.plain or not console.is_terminal
        view = PlainView(story, console) if plain else LiveView(story, console)
        try:
            asyncio.run(perform(stage, story, view, node, wanted.transport))
        except (asyncio.CancelledError, KeyboardInterrupt):
            story.tell("interrupted; everything is cleared away")
            return _EXIT_INTERRUPTED
        except (NodeSideError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            story.broken.append(str(error))
        finally:
            view.close()
        show_summary(story, console)
    return 0 if story.good else _EXIT_BROKEN
