"""Shows a story: alive in a terminal, as plain lines anywhere else. Reads the story and changes nothing in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.story import Event, Outage, ReplicaLine, ReplicaState, Story, Tone

__all__ = ["LiveView", "PlainView", "View", "show_summary"]

_BARS: Final = "▁▂▃▄▅▆▇█"
_BAR_SAMPLES: Final = 34
"""With its figures beside it a row fits into a terminal of 80 columns."""
_PLAIN_EVERY_SECONDS: Final = 2.0
_LABEL_WIDTH: Final = 13

_FACT_LINES: Final = 7
"""Lines of the frame that are neither replicas nor events."""


class PlainView:
    """One line for each event, and one for the chain every two seconds."""

    def __init__(self, story: Story, console: Console) -> None:
        self._story = story
        self._console = console
        self._told = 0
        self._next = 0.0

    def refresh(self) -> None:
        """Print what is new."""
        story = self._story
        for event in story.events[self._told :]:
            self._console.print(_event_line(event), soft_wrap=True)
        self._told = len(story.events)
        if story.answered and story.elapsed > self._next:
            self._next = story.elapsed + _PLAIN_EVERY_SECONDS
            self._console.print(f"{story.elapsed:6.1f} s  {_chain_text(story)}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Print what is left."""
        self._next = float("inf")
        self.refresh()


class LiveView:
    """A frame that is drawn anew a few times a second."""

    def __init__(self, story: Story, console: Console) -> None:
        self._story = story
        self._console = console
        self._live = Live(self._frame(), console=console, auto_refresh=False, transient=True)
        self._live.start()

    def refresh(self) -> None:
        """Draw the frame."""
        self._live.update(self._frame(), refresh=True)

    def close(self) -> None:
        """Leave the events on the screen, in place of the frame."""
        self._live.stop()
        for event in self._story.events:
            self._console.print(_event_line(event), soft_wrap=True)

    def _frame(self) -> Panel:
        story = self._story
        facts = _grid()
        facts.add_row("validator", f"{story.validator}, chain {story.chain_id}")
        for number, replica in enumerate(story.replicas):
            facts.add_row("" if number else "signer", _replica_text(replica))
        facts.add_row("height", _height_text(story))
        facts.add_row("latency", _latency_text(story))
        facts.add_row("double signs", Text(str(story.double_signs), style=_tone(good=not story.double_signs)))
        facts.add_row("", ProgressBar(total=1.0, completed=min(story.progress, 1.0), width=_BAR_SAMPLES))
        events = Group(*(_event_line(event) for event in story.events[-self._room() :]))
        return Panel(Group(facts, events), title=story.title, title_align="left", border_style="cyan")

    def _room(self) -> int:
        """Lines left for events: a frame that is higher than the terminal would be cut at its end."""
        return max(1, self._console.height - _FACT_LINES - len(self._story.replicas))


View = PlainView | LiveView


def show_summary(story: Story, console: Console) -> None:
    """The last word: what was signed, what each blow cost, and the oracle's verdict."""
    latency = story.latency
    table = _grid()
    table.add_row("heights", f"{story.heights} ({story.first_height} to {story.height})")
    table.add_row("signatures", f"{story.verified}, each verified by a second implementation")
    table.add_row("latency", f"p50 {latency.p50:.2f} ms, p99 {latency.p99:.2f} ms ({story.measured_by})")
    for number, outage in enumerate(story.outages):
        table.add_row("" if number else "outages", _outage_text(story, outage))
    if story.refusals:
        table.add_row("refused", f"{story.refusals} attempt at a second signature")
    table.add_row("double signs", str(story.double_signs))
    verdict = "every promise kept" if story.good else "NOT as promised"
    table.add_row("verdict", Text(verdict, style=_tone(good=story.good)))
    for line in (*story.violations, *story.broken):
        table.add_row("", Text(line, style=Tone.BAD))
    console.print(Panel(table, title="summary", title_align="left", border_style=_tone(good=story.good)))


def _grid() -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", width=_LABEL_WIDTH)
    grid.add_column()
    return grid


def _tone(*, good: bool) -> Tone:
    return Tone.GOOD if good else Tone.BAD


def _outage_text(story: Story, outage: Outage) -> Text:
    if not outage.settled:
        return Text(f"{outage.label}: the chain did not go on", style=Tone.BAD)
    return Text(f"{outage.label}:\n  {story.cost_unit} {outage.cost * 1e3:.0f} ms")


def _replica_text(replica: ReplicaLine) -> Text:
    """Such as `node-1  pid 4711  guard at 120/0/3  lease  node`."""
    if replica.state is not ReplicaState.UP:
        tone = Tone.PLAIN if replica.state is ReplicaState.STARTING else Tone.CRASH
        return Text(f"{replica.id}  {replica.state}", style=tone)
    text = Text(f"{replica.id}  pid {replica.pid:<8} guard at {replica.watermark:<10}")
    text.append("  lease" if replica.holds_lease else "       ", style="bold green")
    return text.append("  node" if replica.serves else "", style="bold cyan")


def _event_line(event: Event) -> Text:
    return Text(f"{event.at:6.1f} s  {event.text}", style=event.tone)


def _chain_text(story: Story) -> str:
    parts = [f"height {story.height}"]
    parts += [f"lease with {story.holder or 'nobody'}"] if len(story.replicas) > 1 else []
    parts += [f"p50 {story.latency.p50:.2f} ms"] if story.latencies else []
    return ", ".join([*parts, f"double signs {story.double_signs}"])


def _height_text(story: Story) -> Text:
    if not story.answered:
        return Text("waiting for the first signature", style="dim")
    return Text(f"{story.height}", style="bold").append(f"   {story.count}", style="default")


def _latency_text(story: Story) -> Text:
    if not story.latencies:
        return Text("")
    latency = story.latency
    return Text(f"p50 {latency.p50:.2f} ms  p99 {latency.p99:.2f} ms  ") + Text(_bars(story.latencies), style="cyan")


def _bars(samples: Sequence[float]) -> str:
    """The latest samples as bars, the highest of them full."""
    latest = samples[-_BAR_SAMPLES:]
    top = max(latest)
    return "".join(_BARS[min(int(sample / top * len(_BARS)), len(_BARS) - 1)] for sample in latest)
