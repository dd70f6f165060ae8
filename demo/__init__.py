"""`make demo`: the signer shown at work to whoever has just cloned the repository. No part of the product."""

__all__: list[str] = []
