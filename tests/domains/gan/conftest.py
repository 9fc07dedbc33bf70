"""What tests of GANs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nichenas.domains.gan import extractors


@pytest.fixture(scope="session", autouse=True)
def _short_training_of_the_classifier() -> Iterator[None]:
    """Trains the network that judges images for a few seconds: what it learns matters to few tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractors, "STEPS", 200)
        patch.setattr(extractors, "EPOCHS", 1)
        yield
