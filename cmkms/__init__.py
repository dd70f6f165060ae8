"""cmkms: a highly available remote signer for CometBFT validators."""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
