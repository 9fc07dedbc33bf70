"""Cheap settings: what they are, how searches spend a budget over them, and whether they keep the ranking."""
