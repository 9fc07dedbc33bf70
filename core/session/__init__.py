"""One run while it goes on: folder, journal, clock, budget, seeds, checkpoints, listeners, results."""
