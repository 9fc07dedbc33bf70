"""The part of nichenas that every domain shares; it knows no domain by name."""
