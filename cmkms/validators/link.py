"""Keeps one connection to one validator address, for ever: dial, talk, and when it ends dial again.

The interval never grows: a node asks for the public key once, waits 3 s, and exits if nobody is there (CometBFT
`node/setup.go`, createAndStartPrivValidatorSocketClient).
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

from cmkms.config import ValidatorAddress
from cmkms.status import ConnectionStatus
from cmkms.telemetry.events import ConnectionEvent
from cmkms.validators.addresses import Addresses
from cmkms.validators.conversation import Conversation, Desk
from cmkms.validators.trouble import Trouble, TroubleKind, from_os_error

__all__ = ["Link"]

REDIAL_SECONDS: Final = (0.1, 0.4)
"""Drawn anew each time: replicas that lose a node together do not come back together."""
DIAL_SECONDS: Final = 3.0
"""A node in reach answers within one round trip; the kernel repeats a lost SYN after 1 s."""


class Link:
    """One validator address of one chain."""

    def __init__(self, address: ValidatorAddress, desk: Desk) -> None:
        self._address = address
        self._desk = desk
        self._addresses = Addresses(address.host)
        self._conversation: Conversation | None = None
        self._trouble: Trouble | None = None
        self._dialling_since = time.time()
        self._requests = 0
        # Spreads redials; nothing secret.
        self._random = random.Random()  # noqa: S311

    async def run(self) -> None:
        """Dial and talk until cancelled; then hang up at once."""
        try:
            while True:
                self._trouble = await self._once()
                self._tell("dialling", self._trouble)
                await asyncio.sleep(self._random.uniform(*REDIAL_SECONDS))
        finally:
            if self._conversation is not None:
                self._conversation.hang_up()

    def status(self) -> ConnectionStatus:
        """Return the connection's state for people."""
        talk = self._conversation
        address = str(self._address)
        if talk is None:
            detail = self._trouble.detail if self._trouble else ""
            return ConnectionStatus(address, "dialling", self._dialling_since, detail, requests=self._requests)
        requests = self._requests + talk.requests
        return ConnectionStatus(address, talk.state, talk.since, remote_id=talk.remote_id, requests=requests)

    async def _once(self) -> Trouble:
        try:
            talk = await self._dial()
        except OSError as error:
            return from_os_error(error, self._address)
        except UnicodeError:
            # Python's IDNA codec, before any resolver is asked: a label of more than 63 characters, for one.
            return Trouble(
                TroubleKind.UNRESOLVED,
                f"{self._address.host} is no host name: a part of it is empty or longer than 63 characters; "
                f"correct validator_addr, or write an IP address",
            )
        self._conversation = talk
        # Cancelled here, the conversation stays in its place: `run` then knows what to hang up.
        trouble = await talk.ended
        self._conversation = None
        self._requests += talk.requests
        self._dialling_since = time.time()
        return trouble

    async def _dial(self) -> Conversation:
        loop, address = asyncio.get_running_loop(), self._address
        if address.scheme == "unix":
            async with asyncio.timeout(DIAL_SECONDS):
                _, talk = await loop.create_unix_connection(self._talk, address.path)
            return talk
        failed: OSError = ConnectionRefusedError()
        for host in await self._addresses.get():
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    _, talk = await loop.create_connection(self._talk, host, address.port)
            except OSError as error:
                failed = error
            else:
                return talk
        raise failed

    def _talk(self) -> Conversation:
        return Conversation(self._address, self._desk, self._changed)

    def _changed(self, talk: Conversation) -> None:
        event = ConnectionEvent(self._desk.chain_id, str(self._address), talk.state, remote_id=talk.remote_id)
        self._desk.observer.connection(event)

    def _tell(self, state: str, trouble: Trouble) -> None:
        event = ConnectionEvent(self._desk.chain_id, str(self._address), state, trouble.kind.value, trouble.detail)
        self._desk.observer.connection(event)
