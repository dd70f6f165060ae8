"""Which of several layers counts: flags beat CMKMS_* beats COMETKMS_* beats the file.

Finds what was given, as text, and where; what the text means is for others.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from cmkms.config.file import ConfigFile
from cmkms.config.given import Given, Problems
from cmkms.config.settings import ENV_PREFIXES, HOME, NEVER_SIGNED, Kind, Setting
from cmkms.errors import ConfigError
from cmkms.home import Home

__all__ = ["Flags", "Layers", "check_variables", "find_home"]

_NEAR: Final = 0.8
"""How near an unknown CMKMS_* variable must be to a real one to be taken for a slip of the pen. Kubernetes sets
CMKMS_PORT and others for a service named cmkms, and these must not stop a signer."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What was said on the command line, as text. Not given: None, or an empty tuple."""

    home: str | None = None
    id: str | None = None
    raft_addr: str | None = None
    http_addr: str | None = None
    default_ttl: str | None = None
    peer: tuple[str, ...] = ()
    validator_addr: tuple[str, ...] = ()
    chain_id: str | None = None
    log_level: str | None = None
    log_format: str | None = None
    allow_unsafe: bool | None = None


@dataclass(frozen=True, slots=True)
class Layers:
    """All places where a setting may be given. `file` is what stands at the top of the file."""

    flags: Flags
    environ: Mapping[str, str]
    file: ConfigFile

    def find(self, setting: Setting[Any]) -> Given | None:
        """Find the value that counts; None if it was given nowhere."""
        return _from_process(setting, self.flags, self.environ) or self.file.find(setting)


def find_home(flags: Flags, environ: Mapping[str, str]) -> tuple[Home, str]:
    """Find the home, which the file lies in, and say where it was given. Raises ConfigError."""
    given = _from_process(HOME, flags, environ) or Given((HOME.default or "",), "default", HOME.key)
    (text,) = given.texts
    try:
        return Home(Path(HOME.parse(text)).expanduser().absolute()), given.source
    except ValueError:
        raise ConfigError(f"{given.describe(text)}: expected the directory of this replica") from None
    except RuntimeError:
        raise ConfigError(f"{given.describe(text)}: it is not known where ~ is; write it out") from None


def _from_process(setting: Setting[Any], flags: Flags, environ: Mapping[str, str]) -> Given | None:
    if setting.file_only:
        return None
    return _from_flags(setting, flags) or _from_environ(setting, environ)


def _from_flags(setting: Setting[Any], flags: Flags) -> Given | None:
    match getattr(flags, setting.key):
        case None | ():
            return None
        case bool() as switch:
            flag = setting.flag if switch else setting.flag.replace("--", "--no-", 1)
            return Given((str(switch).lower(),), flag, flag, " ")
        case str() as text:
            return Given((text,), setting.flag, setting.flag, " ")
        case texts:
            return Given(_split(texts), setting.flag, setting.flag, " ")


def _from_environ(setting: Setting[Any], environ: Mapping[str, str]) -> Given | None:
    for variable in setting.variables:
        # Compose files and unit files set a variable to nothing where they mean that it is not set.
        if text := environ.get(variable, ""):
            texts = _split([text]) if setting.kind is Kind.LIST else (text,)
            return Given(texts, variable, variable, "=")
    return None


def _split(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(item.strip() for text in texts for item in text.split(","))


def check_variables(environ: Mapping[str, str], problems: Problems) -> None:
    """Note variables that look like a slip of the pen, or like something that no variable may say."""
    names = [field.name for field in fields(Flags)]
    for variable in environ:
        prefix = next((prefix for prefix in ENV_PREFIXES if variable.startswith(prefix)), None)
        if prefix is None:
            continue
        key = variable.removeprefix(prefix).lower()
        if key == NEVER_SIGNED.key:
            problems.add(f"{variable}: is said once, on the command line: {NEVER_SIGNED.flag} CHAIN")
        elif key not in names and (near := difflib.get_close_matches(key, names, 1, _NEAR)):
            problems.add(f"{variable}: unknown variable; did you mean {prefix}{near[0].upper()}?")
