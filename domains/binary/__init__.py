"""Binary networks: Larq's operations for torch, BATS's search space, packed inference."""

from domains.binary.domain import BinaryDomain

DOMAIN = BinaryDomain

__all__ = ["DOMAIN", "BinaryDomain"]
