"""The status of a replica as a page for a terminal.

Shows what it is given, and must never pass on what could drive the terminal.
"""

from __future__ import annotations

from typing import Final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cmkms.cli.reporting import printable
from cmkms.http.schema import ChainBody, ConnectionBody, GuardBody, PeerBody, PeerGuardBody, StatusBody

__all__ = ["print_status"]

WIDE: Final = 200
"""Columns of a page that goes into a file or a pipe, where nobody's terminal ends."""

_BAD: Final = "bold red"
_GOOD: Final = "green"
_STEPS: Final = {0: "", 1: "proposal", 2: "prevote", 3: "precommit"}


def print_status(body: StatusBody) -> None:
    """Print the page to standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    for number, part in enumerate(_parts(body)):
        if number:
            console.print()
        console.print(part)


def _parts(body: StatusBody) -> list[RenderableType]:
    parts: list[RenderableType] = [_verdict(body), _replica(body)]
    if body.peers:
        parts.append(_peers(body))
    if details := _peer_details(body):
        parts.append(Text("\n".join(printable(line) for line in details), style="yellow"))
    parts += [_chain(chain) for chain in body.chains]
    return parts


def _verdict(body: StatusBody) -> Text:
    obstacles = body.obstacles()
    if not obstacles:
        return Text("CAN SIGN", style="bold green")
    return Text("\n".join(["CANNOT SIGN", *(f"  {printable(one)}" for one in obstacles)]), style=_BAD)


def _replica(body: StatusBody) -> Table:
    rows = _rows()
    rows.add_row("replica", _text(f"{body.id}  cmkms {body.version}  up {_duration(body.uptime_seconds)}"))
    if body.lease:
        lease = body.lease
        own = " (this replica)" if body.is_leader else ""
        rows.add_row("lease", _text(f"{lease.holder}{own}  epoch {lease.epoch}  {lease.remaining_seconds:.3f} s left"))
    elif body.is_leader:
        rows.add_row("lease", _text(f"{body.id} signs alone"))
    else:
        rows.add_row("lease", Text("nobody holds it", style=_BAD))
    rows.add_row("term", _text(str(body.term)))
    if body.fuse:
        rows.add_row("fuse", Text(printable(f"BLOWN for {body.fuse.chain_id}: {body.fuse.reason}"), style=_BAD))
    return rows


def _peers(body: StatusBody) -> Table:
    table = _table("peer", "address", "link", "last seen", "guard", "at", "sequence", "release")
    for peer in body.peers:
        guards: list[PeerGuardBody | None] = [*peer.guards] or [None]
        for number, guard in enumerate(guards):
            own = _peer_cells(peer) if number == 0 else (_text(""),) * 4
            table.add_row(*own, *_guard_cells(guard, len(body.chains)), _text(peer.release if number == 0 else ""))
    return table


def _peer_details(body: StatusBody) -> list[str]:
    """Whole sentences, for which the table has no room."""
    links = [f"{peer.id}: {peer.detail}" for peer in body.peers if peer.detail]
    guards = [(peer.id, guard) for peer in body.peers for guard in peer.guards if guard.reason]
    return links + [f"{owner}: guard of {guard.chain_id}: {guard.reason}" for owner, guard in guards]


def _peer_cells(peer: PeerBody) -> tuple[Text, ...]:
    link = Text("connected", style=_GOOD) if peer.connected else Text("not connected", style=_BAD)
    seen = "never" if peer.last_seen_seconds is None else f"{_duration(peer.last_seen_seconds)} ago"
    return _text(peer.id), _text(peer.address), link, _text(seen)


def _guard_cells(guard: PeerGuardBody | None, chains: int) -> tuple[Text, ...]:
    if guard is None:
        return (_text("not known"), _text(""), _text(""))
    name = f"{guard.chain_id}: " if chains > 1 else ""
    state = Text(printable(f"{name}{guard.state}"), style=_state_style(guard.state))
    return state, _text(f"{guard.height}/{guard.round}/{guard.step}"), _text(str(guard.sequence))


def _chain(chain: ChainBody) -> Table:
    rows = _rows()
    rows.add_row("chain", Text(printable(chain.chain_id), style="bold"))
    rows.add_row("validator", _text(chain.address or "not known"))
    rows.add_row("guard", _guard(chain.guard))
    if chain.guard.fuse:
        rows.add_row("fuse", Text(printable(f"BLOWN {chain.guard.fuse.since}: {chain.guard.fuse.reason}"), style=_BAD))
    last = chain.last_signed
    signed = f"{last.height}/{last.round} {_STEPS.get(last.step, str(last.step))}" if last else "nothing yet"
    rows.add_row("last signed", _text(signed))
    if chain.waiting_for:
        rows.add_row("waiting for", Text(printable(chain.waiting_for), style="yellow"))
    if chain.refusals:
        rows.add_row("refused", _text(", ".join(f"{reason} {count}" for reason, count in chain.refusals.items())))
    for number, connection in enumerate(chain.connections):
        rows.add_row("nodes" if number == 0 else "", _connection(connection))
    return rows


def _guard(guard: GuardBody) -> Text:
    of = f" of {', '.join(guard.members)}" if guard.members else ""
    # Every guard begins sealed at 0/0/0, where nothing can be signed anyway.
    sealed = "  sealed" if guard.sealed and guard.height else ""
    line = Text(printable(guard.state), style=_state_style(guard.state))
    at = f"  at {guard.height}/{guard.round}/{guard.step}{sealed}  generation {guard.generation}{of}"
    return line.append(printable(at), style="not bold default")


def _connection(connection: ConnectionBody) -> Text:
    line = Text(printable(connection.state), style=_GOOD if connection.state == "connected" else "")
    detail = f"  {connection.detail}" if connection.detail else ""
    rest = f"  {connection.address}  {connection.requests} requests{detail}"
    return line.append(printable(rest), style="not bold default")


def _state_style(state: str) -> str:
    return {"armed": _GOOD, "fused": _BAD, "refused": _BAD}.get(state, "yellow")


def _rows() -> Table:
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", min_width=11)
    rows.add_column(overflow="fold")
    return rows


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _text(value: str) -> Text:
    return Text(printable(value))


_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def _duration(seconds: float) -> str:
    """Show a time as a person would say it."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"
    return f"{int(seconds // _DAY)} d {int(seconds % _DAY // _HOUR)} h"
