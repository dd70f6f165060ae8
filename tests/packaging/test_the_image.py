"""What the Dockerfile's steps make, started as an engine would: not root, on a read-only root, with one volume.

No image is built: the host's programs stand in for the base image's (see dockerfile_steps.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest

import cmkms
from tests.packaging.dockerfile_steps import Stage, build, start, why_not_here
from tests.ports import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(why_not_here()), reason=f"the steps cannot run here: {why_not_here()}"),
]

REPOSITORY = Path(__file__).resolve().parents[2]
USER = 65532
COMMAND_LIMIT_SECONDS = 60.0
READY_LIMIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return build(REPOSITORY / "Dockerfile", tmp_path_factory.mktemp("image"))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    home = tmp_path / "volume"
    home.mkdir(mode=0o700)
    os.chown(home, USER, USER)
    return home


def run(image: Stage, volume: Path, *arguments: str) -> str:
    """Run the image's program to its end, as `docker run --rm IMAGE arguments...`."""
    process = start(image, [*image.entrypoint, *arguments], volume)
    output, _ = process.communicate(timeout=COMMAND_LIMIT_SECONDS)
    assert process.returncode == 0, output
    return output


@contextlib.contextmanager
def running(image: Stage, volume: Path, *arguments: str, **environment: str) -> Generator[subprocess.Popen[str]]:
    process = start(image, [*image.entrypoint, *image.command, *arguments], volume, **environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=COMMAND_LIMIT_SECONDS)


def is_healthy(image: Stage, volume: Path, url: str) -> bool:
    process = start(image, image.health_check, volume, HEALTHCHECK_URL=url)
    process.communicate(timeout=COMMAND_LIMIT_SECONDS)
    return process.returncode == 0


def test_the_program_in_the_image_says_its_version(image: Stage, volume: Path) -> None:
    assert cmkms.__version__ in run(image, volume, "version")


def test_the_image_carries_no_installer_and_no_tool_of_the_build(image: Stage) -> None:
    installed = {path.name for path in image.root.glob("opt/cmkms/lib/python*/site-packages/*")}
    assert installed
    assert not {"pip", "hatchling", "setuptools", "pytest"} & installed
    assert not (image.root / "opt" / "build").exists()


def test_a_home_is_made_in_the_volume_for_its_user_alone(image: Stage, volume: Path) -> None:
    run(image, volume, "init")
    assert (volume / "config.toml").stat().st_uid == USER
    assert (volume / "priv").stat().st_mode & 0o777 == 0o700


def test_the_root_is_read_only(image: Stage, volume: Path) -> None:
    process = start(image, ["sh", "-c", "touch /opt/cmkms/x"], volume)
    output, _ = process.communicate(timeout=COMMAND_LIMIT_SECONDS)
    assert process.returncode != 0
    assert "Read-only file system" in output


def test_a_signer_in_the_image_gets_healthy_and_stops_when_told(image: Stage, volume: Path) -> None:
    run(image, volume, "init", "--alone")
    run(image, volume, "key", "generate")
    http, node = free_port(), free_port()
    url = f"http://127.0.0.1:{http}/healthz"
    arguments = ("--chain-id", "test-1", "--never-signed", "test-1", "--validator-addr", f"tcp://127.0.0.1:{node}")

    with running(image, volume, *arguments, CMKMS_HTTP_ADDR=f"127.0.0.1:{http}") as signer:
        deadline = time.monotonic() + READY_LIMIT_SECONDS
        while not is_healthy(image, volume, url):
            assert signer.poll() is None, signer.communicate()[0]
            assert time.monotonic() < deadline, "not healthy in time"
        signer.send_signal(signal.SIGTERM)
        signer.wait(timeout=COMMAND_LIMIT_SECONDS)

    assert signer.returncode == 0


def test_three_replicas_of_the_image_are_born_together(image: Stage, volume: Path) -> None:
    # As another user than root, with no core dumps: how the key of a connection reaches OpenSSL depends on both.
    ids = ("node-0", "node-1", "node-2")
    http = {name: free_port() for name in ids}
    nodes = [word for name in ids for word in ("--node", f"{name}=127.0.0.1:{free_port()}")]
    node = f"tcp://127.0.0.1:{free_port()}"
    common = ("--chain-id", "test-1", "--validator-addr", node, "--generate-key")
    run(image, volume, "cluster", "init", *nodes, *common, "--out", "/var/lib/cmkms/homes")

    with contextlib.ExitStack() as replicas:
        for name in ids:
            never = ("--never-signed", "test-1") if name == ids[0] else ()
            arguments = ("--home", f"/var/lib/cmkms/homes/{name}", *never)
            replicas.enter_context(running(image, volume, *arguments, CMKMS_HTTP_ADDR=f"127.0.0.1:{http[name]}"))
        asked = ("--http-addr", f"127.0.0.1:{http[ids[1]]}")
        said = run(image, volume, "cluster", "wait", "--all", "--timeout", f"{READY_LIMIT_SECONDS:g}", *asked)

    assert said.startswith("can sign: test-1")


def test_nobody_home_is_not_healthy(image: Stage, volume: Path) -> None:
    assert not is_healthy(image, volume, f"http://127.0.0.1:{free_port()}/healthz")
