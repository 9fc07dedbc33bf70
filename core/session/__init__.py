"""One run while it is open: folder, journal, clock, budget, seeds, checkpoints, listeners, results."""
