"""Drivers of a search: trials, journal, executors, resume and retraining."""
