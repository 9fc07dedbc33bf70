"""What a domain with notes on its data must do.

See :class:`~nichenas.core.capabilities.notes.DataNotes`.
"""

from __future__ import annotations

from nichenas.core.capabilities.notes import DataNotes
from nichenas.core.domain import Domain
from nichenas.core.testing.domain_fixtures import CapabilityContract


class NotesContract(CapabilityContract):
    """The contract."""

    capability = DataNotes

    def test_notes_are_single_lines(self, domain: Domain) -> None:
        """Each is a line of text, and they are the same at every call."""
        assert isinstance(domain, DataNotes)
        for note in domain.notes:
            assert note.strip() == note != ""
            assert "\n" not in note
        assert tuple(domain.notes) == tuple(domain.notes)
