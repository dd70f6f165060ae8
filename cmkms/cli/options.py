"""The flags that several commands share, above all those of the settings.

What a setting means in full stands in `cmkms.config.settings`, which is not loaded just to print a help text; a test
holds the two against each other.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec, get_type_hints

import typer

if TYPE_CHECKING:
    from cmkms.config import Flags

__all__ = ["Chain", "HomeDir", "MaybeChain", "OnlyChain", "Output", "OutputFormat", "StatusAddr", "takes_settings"]

_Own = ParamSpec("_Own")


class OutputFormat(StrEnum):
    """For people, or for programs."""

    TEXT = "text"
    JSON = "json"


HomeDir = Annotated[
    str | None, typer.Option("--home", metavar="DIR", help="Where configuration, keys and guard are; else ~/.cmkms.")
]
Output = Annotated[OutputFormat, typer.Option("--output", "-o", help="For people, or for programs.")]
Chain = Annotated[str, typer.Argument(metavar="CHAIN", help="Chain id.")]
OnlyChain = Annotated[
    str | None, typer.Argument(metavar="[CHAIN]", help="Chain id; not needed where only one is configured.")
]
MaybeChain = Annotated[str | None, typer.Argument(metavar="[CHAIN]", help="Chain id; else every chain.")]

StatusAddr = Annotated[
    str | None,
    typer.Option("--http-addr", metavar="HOST:PORT", help="Where the replica answers; else http_addr of its home."),
]

_SETTINGS: Final[dict[str, Any]] = {
    "home": HomeDir,
    "id": Annotated[str | None, typer.Option("--id", metavar="NAME", help="Name of this replica.")],
    "raft_addr": Annotated[
        str | None, typer.Option("--raft-addr", metavar="HOST:PORT", help="Where this one listens for the others.")
    ],
    "http_addr": Annotated[
        str | None,
        typer.Option("--http-addr", metavar="HOST:PORT", help="Health, status and metrics; :8080 is all interfaces."),
    ],
    "default_ttl": Annotated[
        str | None, typer.Option("--default-ttl", metavar="TIME", help="Length of the lease, such as 400ms or 1s.")
    ],
    "peer": Annotated[
        list[str] | None,
        typer.Option(
            "--peer", metavar="ID=HOST:PORT#PIN", help="A member of the cluster. Repeat for each, this one too."
        ),
    ],
    "validator_addr": Annotated[
        list[str] | None,
        typer.Option(
            "--validator-addr", metavar="ADDR", help="tcp://[ID@]host:port or unix:///path. Repeat for each node."
        ),
    ],
    "chain_id": Annotated[str | None, typer.Option("--chain-id", metavar="CHAIN", help="Chain to sign for.")],
    "log_level": Annotated[
        str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
    ],
    "log_format": Annotated[
        str | None, typer.Option("--log-format", metavar="FORMAT", help="auto, console, plain or json.")
    ],
    "allow_unsafe": Annotated[
        bool | None,
        typer.Option(
            "--allow-unsafe/--no-allow-unsafe", help="Accept what can lose the guard's memory. For tests only."
        ),
    ],
}


def takes_settings(
    *, without: Collection[str] = ()
) -> Callable[[Callable[Concatenate[Flags, _Own], None]], Callable[..., None]]:
    """Give a command a flag for every setting; it gets them all as its first argument, one `Flags`."""
    names = [name for name in _SETTINGS if name not in without]

    def decorate(command: Callable[Concatenate[Flags, _Own], None]) -> Callable[..., None]:
        def run(*arguments: _Own.args, **values: _Own.kwargs) -> None:
            from cmkms.config import Flags

            given: dict[str, Any] = {name: values.pop(name) for name in names}
            said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
            for name in said.keys() & {"peer", "validator_addr"}:
                said[name] = tuple(said[name])
            command(Flags(**said), *arguments, **values)

        # Flags itself is not loaded yet; the name of that parameter is all that typer must not see.
        hints = get_type_hints(command, localns={"Flags": object}, include_extras=True)
        _, *own = inspect.signature(command).parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(name, keyword, default=None, annotation=_SETTINGS[name]) for name in names]
        parameters += [parameter.replace(kind=keyword, annotation=hints[parameter.name]) for parameter in own]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate
