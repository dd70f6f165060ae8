"""The tree of commands."""

from __future__ import annotations

import typer

from cmkms.cli import chain, cluster, config, guard, identity, key, state
from cmkms.cli.init import init
from cmkms.cli.reporting import ReportingGroup
from cmkms.cli.start import start
from cmkms.cli.status import status
from cmkms.cli.version import version

__all__ = ["app", "main"]

app = typer.Typer(
    name="cmkms",
    cls=ReportingGroup,
    help="A remote signer for CometBFT validators that never signs twice.",
    no_args_is_help=True,
    # Plain help: loading what draws boxes takes longer than all the rest.
    rich_markup_mode=None,
    # Their locals would show keys.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init)
app.command()(start)
app.command()(status)
app.add_typer(cluster.app, name="cluster")
app.add_typer(identity.app, name="identity")
app.add_typer(key.app, name="key")
app.add_typer(config.app, name="config")
app.add_typer(state.app, name="state")
app.add_typer(guard.app, name="guard")
app.add_typer(chain.app, name="chain")
app.command()(version)


def main() -> None:
    """Run the command line of this process; does not return."""
    app(prog_name="cmkms")
