"""Runs the steps of a Dockerfile one by one in a chroot, for machines where no container engine runs.

Owns just enough of the Dockerfile's language for ours, and refuses what it does not know. Each stage gets an empty root
of its own in which the host's programs are visible read-only, in the place of the base image; so absolute paths, COPY
between stages, users and a read-only root behave as in an image. It needs root, and it builds no image: that the base
image itself has what the steps need stays unproven.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

__all__ = ["DockerfileError", "Instruction", "Stage", "build", "parse", "start", "why_not_here"]

STEP_LIMIT_SECONDS: Final = 300.0
# What every base image has, shown from the host. /etc brings the resolver and the certificates.
HOST_DIRECTORIES: Final = ("bin", "etc", "lib", "lib64", "sbin", "usr")
SEARCH_PATH: Final = f"{sys.base_prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How this machine reaches packages is its own affair, as it is the engine's for a real build.
PASSED_ON: Final = re.compile(r"PIP_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|(?:https?|no)_proxy", re.IGNORECASE)
FOR_THE_ENGINE: Final = frozenset({"ARG", "EXPOSE", "STOPSIGNAL"})


class DockerfileError(Exception):
    """A step failed, or the Dockerfile says something that this runner does not know."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    keyword: str
    argument: str


@dataclass(slots=True)
class Stage:
    """One FROM with what follows it, and what its instructions have set so far."""

    name: str
    root: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    directory: str = "/"
    user: str = "0:0"
    volumes: list[str] = field(default_factory=list[str])
    entrypoint: list[str] = field(default_factory=list[str])
    command: list[str] = field(default_factory=list[str])
    health_check: list[str] = field(default_factory=list[str])


def why_not_here() -> str:
    """Say why steps cannot be run on this machine; empty if they can."""
    if os.geteuid() != 0:
        return "chroot and mounts need root"
    if not all(shutil.which(program) for program in ("unshare", "mount", "chroot")):
        return "unshare, mount and chroot are needed"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "this kernel or container does not let us have mounts of our own"
    return ""


def parse(text: str) -> list[Instruction]:
    """Split a Dockerfile into its instructions; comments are dropped."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    instructions: list[Instruction] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        keyword, _, argument = line.partition(" ")
        instructions.append(Instruction(keyword.upper(), argument.strip()))
    return instructions


def build(dockerfile: Path, roots: Path) -> Stage:
    """Run every step of `dockerfile`, its folder being the context, stages under `roots`; return the last stage."""
    stages: list[Stage] = []
    for instruction in parse(dockerfile.read_text(encoding="utf-8")):
        if instruction.keyword == "FROM":
            stages.append(_new_stage(instruction, roots / str(len(stages))))
        elif instruction.keyword not in FOR_THE_ENGINE:
            if not stages:
                raise DockerfileError(f"{instruction.keyword} before the first FROM")
            _run(instruction, stages, dockerfile.parent)
    if not stages:
        raise DockerfileError(f"{dockerfile}: no FROM in it")
    return stages[-1]


def start(stage: Stage, command: list[str], volume: Path, **environment: str) -> subprocess.Popen[str]:
    """Start `command` as an engine would with --read-only, --env and `volume` on the first directory of VOLUME.

    The process that is returned is the command itself, not a shell around it: signals reach it.
    """
    stage = replace(stage, environment=stage.environment | environment)
    mount = f"mount --bind {_quoted(volume)} {_quoted(stage.root, stage.volumes[0])}"
    return _start(stage, command, [mount], locked=True)


def _new_stage(instruction: Instruction, root: Path) -> Stage:
    root.mkdir(parents=True)
    for name in HOST_DIRECTORIES:
        host = Path("/", name)
        if host.is_symlink():
            (root / name).symlink_to(host.readlink())
        elif host.is_dir():
            (root / name).mkdir()
    for name in ("dev", "proc", "tmp", "opt", "var/lib", sys.base_prefix.lstrip("/")):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    return Stage(instruction.argument.rpartition(" AS ")[2], root)


def _run(instruction: Instruction, stages: list[Stage], context: Path) -> None:
    """Carry out one instruction in the last of `stages`."""
    stage = stages[-1]
    argument = instruction.argument
    match instruction.keyword:
        case "RUN":
            print(f"[{stage.name}] RUN {argument}", flush=True)
            _finish(_start(stage, ["sh", "-ec", argument], []), argument)
        case "COPY":
            print(f"[{stage.name}] COPY {argument}", flush=True)
            _copy(shlex.split(argument), stages, context)
        case "ENV":
            stage.environment |= dict(word.split("=", 1) for word in shlex.split(argument))
        case "WORKDIR":
            stage.directory = argument
            Path(f"{stage.root}{argument}").mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = argument
        case "VOLUME":
            stage.volumes = json.loads(argument)
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(argument)
        case "CMD":
            stage.command = json.loads(argument)
        case "HEALTHCHECK":
            stage.health_check = json.loads(argument.partition("CMD ")[2])
        case unknown:
            raise DockerfileError(f"{unknown}: this runner does not know that instruction")


def _copy(words: list[str], stages: list[Stage], context: Path) -> None:
    """COPY [--from=STAGE] SOURCE... TARGET, of files and folders; a folder gives its content, as in the engine."""
    stage, source_root = stages[-1], context
    if words[0].startswith("--from="):
        name = words.pop(0).removeprefix("--from=")
        source_root = next(found.root for found in stages if found.name == name)
    *sources, target = words
    absolute = f"{stage.root}/{target}" if target.startswith("/") else f"{stage.root}{stage.directory}/{target}"
    for source in (source_root / word.lstrip("/") for word in sources):
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, absolute, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            continue
        into = Path(absolute, source.name) if target.endswith("/") else Path(absolute)
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, into)


def _start(stage: Stage, command: list[str], mounts: list[str], *, locked: bool = False) -> subprocess.Popen[str]:
    """Start `command` in the stage's root, in mounts that end with it; `locked` makes the root read-only."""
    root = _quoted(stage.root)
    lines = [f"mount --bind {root} {root}"]
    for host in (*(Path("/", name) for name in HOST_DIRECTORIES), Path(sys.base_prefix)):
        if host.is_dir() and not host.is_symlink():
            inside = _quoted(stage.root, str(host))
            lines += [f"mount --bind {_quoted(host)} {inside}", f"mount -o remount,bind,ro {inside}"]
    lines += [f"mount --rbind /{name} {_quoted(stage.root, name)}" for name in ("dev", "proc")]
    lines += mounts
    if locked:
        lines.append(f"mount -o remount,bind,ro {root}")
    environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    environment |= {"PATH": SEARCH_PATH} | stage.environment
    variables = shlex.join(f"{name}={value}" for name, value in environment.items())
    inner = shlex.join(["sh", "-ec", 'cd "$0"; exec "$@"', stage.directory, *command])
    lines.append(f"exec chroot --userspec={stage.user} {root} /usr/bin/env -i {variables} {inner}")
    return subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(lines)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen[str], what: str) -> None:
    try:
        output, _ = process.communicate(timeout=STEP_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise DockerfileError(f"{what}: not done after {STEP_LIMIT_SECONDS:.0f} s") from None
    if process.returncode != 0:
        raise DockerfileError(f"{what}: exit {process.returncode}\n{output}")


def _quoted(path: Path, inside: str = "") -> str:
    return shlex.quote(str(path / inside.lstrip("/")))


def main() -> int:
    """Run the steps of the Dockerfile given on the command line, or of the one in this directory."""
    reason = why_not_here()
    if reason:
        print(f"cannot run the steps here: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="cmkms-image.") as roots:
        build(Path(sys.argv[1] if len(sys.argv) > 1 else "Dockerfile").resolve(), Path(roots))
    print("every step ran; no image was built")
    return 0


if __name__ == "__main__":
    sys.exit(main())
