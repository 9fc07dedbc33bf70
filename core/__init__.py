"""The part of nichenas that every domain shares; it knows no domain by name."""

# Raised whenever a journal of an earlier version could no longer be replayed to the same answer.
JOURNAL_VERSION = 1
