"""Asks a running replica what it is: by HTTP, at the address in its configuration.

Reads only, bounded in time and size. What answers is not believed to be a replica until its answer has that form.
"""

# ruff: noqa: PLC0415 - what a command needs is loaded when it runs, so that --help does not wait for it

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from cmkms.config import HostPort
    from cmkms.http.schema import StatusBody

__all__ = ["Answer", "ask", "find_address"]

TIMEOUT_SECONDS: Final = 2.0
"""A replica on this machine answers within milliseconds, and one in another city within a tenth of a second."""

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""A status of a thousand chains has about 2 MiB."""

MAX_SHOWN_CHARS: Final = 80
"""Of a name that the other side has chosen."""

_ELSEWHERE: Final = (
    "If another program has that address, give --http-addr; if it is a replica, use the cmkms of its own release"
)

_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """A replica's status, as it was sent and as it is read."""

    text: str
    body: StatusBody


def find_address(home: str | None, http_addr: str | None) -> HostPort:
    """Find where the replica of this home, or at this address, is asked. Raises ConfigError."""
    from cmkms.config import Flags, find_http_addr

    return find_http_addr(Flags(home=home, http_addr=http_addr), os.environ)


def ask(address: HostPort) -> Answer:
    """Ask for the status. Raises UnavailableError if there is no replica, or it does not answer as one."""
    from pydantic import ValidationError

    from cmkms.http.schema import StatusBody

    text = _get(address)
    try:
        return Answer(text, StatusBody.model_validate_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        _refuse(address, f"what answers is no cmkms of this release: {_difference(first)}. {_ELSEWHERE}")


def _difference(found: ErrorDetails) -> str:
    """Say how an answer differs from a status. Its names are the other side's, so they are cut."""
    where = ".".join(str(part) for part in found["loc"])[:MAX_SHOWN_CHARS]
    match found["type"]:
        case "json_invalid":
            return "its answer is not JSON"
        case "missing":
            return f"{where} is missing"
        case _ if where:
            return f"{where} has another form"
        case _:
            return "its answer is no status"


def _get(address: HostPort) -> str:
    # Not urllib.request: it would go through a proxy of the environment, and follow wherever it is sent.
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(address.host, address.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/status", headers={"accept": "application/json"})
        with connection.getresponse() as response:
            content = response.read(MAX_BODY_BYTES + 1)
            unread = response.length
    except ConnectionRefusedError:
        _refuse(address, "nobody listens there. Is this replica running? If it serves elsewhere, give --http-addr")
    except TimeoutError:
        _refuse(address, f"it did not answer within {TIMEOUT_SECONDS:g} s")
    except ConnectionError:
        _refuse(address, f"it hung up without an answer. {_ELSEWHERE}")
    except HTTPException:
        _refuse(address, f"what answers does not speak HTTP. {_ELSEWHERE}")
    except OSError as error:
        _refuse(address, f"{error.strerror or error}. If that is not where the replica serves, give --http-addr")
    finally:
        connection.close()
    if response.status != _OK:
        _refuse(address, f"it answered {response.status} {response.reason}")
    if len(content) > MAX_BODY_BYTES:
        _refuse(address, f"its answer is longer than {MAX_BODY_BYTES} bytes; is that a cmkms?")
    if unread:
        _refuse(address, "its answer was cut off")
    return content.decode("utf-8", errors="replace")


def _refuse(address: HostPort, why: str) -> NoReturn:
    from cmkms.errors import UnavailableError

    raise UnavailableError(f"no status from http://{address}/status: {why}")
