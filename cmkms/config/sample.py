"""The commented configuration file that `cmkms init` writes, and of which configs/config.toml is one.

Made from the table of settings, so that it names every key and its default and can never be out of date.
"""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Any, Final

from cmkms.config import settings
from cmkms.config.file import ConfigFile
from cmkms.config.given import Problems, toml_string
from cmkms.config.layers import Flags, Layers
from cmkms.config.peers import list_faults, sole_entry
from cmkms.config.reader import Reader
from cmkms.config.settings import CHAIN_TABLE, ENV_PREFIXES, Setting, show_toml
from cmkms.errors import ConfigError

__all__ = ["DEFAULT_ID", "check_flags", "listed_alone", "render_sample"]

DEFAULT_ID: Final = "node-0"

_INDENT: Final = "    "

_EXAMPLES: Final = {
    settings.PEER.key: tuple(f"node-{number}=10.0.0.1{number}:9430#PIN" for number in range(3)),
}
"""What is shown, commented out, where one item would mislead. Made a line of the file, this one is refused: it must not
make a replica the only signer."""

_WIDTH: Final = 100

_HEAD: Final = f"""\
# Configuration of one cmkms replica.
#
# A key stands here, or is given as a flag (--http-addr) or as an environment variable ({ENV_PREFIXES[0]}HTTP_ADDR or
# {ENV_PREFIXES[1]}HTTP_ADDR). Flags win over variables, variables over this file, this file over defaults. What is
# commented out has its default, or must still be given. Keys without a flag are marked "file only".
#
#   cmkms config check    says what is wrong with all three together
#   cmkms config show     says what is in force, and where it came from
"""

_TAIL: Final = f"""\
# A signer of several chains has a table for each, instead of chain_id and all that follows it above:
#
# [[{CHAIN_TABLE}]]
# id = "testnet-1"
# validator_addr = ["tcp://10.0.0.20:26659", "unix:///run/testnet-1/privval.sock"]
# key = "priv/testnet-1/priv_validator_key.json"
#
# [[{CHAIN_TABLE}]]
# id = "testnet-2"
# validator_addr = "tcp://10.0.0.30:26659"
# key = "priv/testnet-2/priv_validator_key.json"
"""


def render_sample(given: Flags) -> str:
    """Write a configuration file with what is `given` filled in. Nothing but the name is made up: no list of members.

    Only text: whoever writes it to a disk checks it first (`check_flags`), so that no malformed value gets there.
    """
    named = dataclasses.replace(given, id=given.id or DEFAULT_ID)
    every = (*settings.NODE_SETTINGS, *settings.FLAT_CHAIN_SETTINGS)
    keys = [_render(setting, _texts(setting, named)) for setting in every]
    return "\n".join([_HEAD, *keys, _TAIL])


def check_flags(given: Flags) -> None:
    """Check what is to be written into a new configuration file. Raises ConfigError, which names all problems."""
    problems = Problems()
    layers = Layers(given, {}, ConfigFile(Path(), {}))
    reader = Reader(layers, Path(), problems)
    for setting in (*settings.NODE_SETTINGS, *settings.FLAT_CHAIN_SETTINGS):
        if reader.given(setting) is None:
            continue
        if setting is settings.PEER:
            peers = reader.many(settings.PEER)
            # Whoever makes a home does not know the pins of the others yet.
            for fault in list_faults(peers, given.id or DEFAULT_ID) if peers is not None else ():
                problems.add(f"{settings.PEER.flag}: {fault}")
        else:
            reader.many(setting)
    problems.raise_if_any()


def listed_alone(given: Flags) -> Flags:
    """Add the list of members of a replica that is the only signer of its key: only itself.

    `given` was checked. Raises ConfigError if it has a list of several.
    """
    if not given.peer:
        listening = settings.RAFT_ADDR.parse(given.raft_addr) if given.raft_addr else None
        return dataclasses.replace(given, peer=(str(sole_entry(given.id or DEFAULT_ID, listening)),))
    count = len([item for text in given.peer for item in text.split(",")])
    if count > 1:
        message = f"--alone: says that this replica is the only signer of its key, but --peer names {count} replicas"
        raise ConfigError(f"{message}; expected --alone, or the list of all of them")
    return given


def _texts(setting: Setting[Any], given: Flags) -> tuple[str, ...]:
    if setting.file_only:
        return ()
    match getattr(given, setting.key):
        case None | ():
            return ()
        case bool() as switch:
            return (str(switch).lower(),)
        case str() as text:
            return (text,)
        case texts:
            return tuple(texts)


def _render(setting: Setting[Any], texts: tuple[str, ...]) -> str:
    description = setting.description + (" File only." if setting.file_only else "")
    lines = [f"# {line}" for line in textwrap.wrap(description, _WIDTH, break_long_words=False, break_on_hyphens=False)]
    if texts:
        lines.append(f"{setting.key} = {_show(setting, texts)}")
    else:
        lines.append(f"# {setting.key} = {show_toml(setting, _examples(setting))}")
    return "\n".join(lines) + "\n"


def _examples(setting: Setting[Any]) -> tuple[str, ...]:
    return _EXAMPLES.get(setting.key) or (setting.default or setting.example,)


def _show(setting: Setting[Any], texts: tuple[str, ...]) -> str:
    """Write several items on a line each: a member with its pin fills one, and lines are what is pasted."""
    if len(texts) < 2:  # noqa: PLR2004 - several
        return show_toml(setting, texts)
    return "\n".join(["[", *(f"{_INDENT}{toml_string(text)}," for text in texts), "]"])
