"""The hostile member speaks over the product's own link, and so on the product's event loop."""

from tests.unit.peers.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
