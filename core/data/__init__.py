"""Data roots and caches, shared by all domains."""
