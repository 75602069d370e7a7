"""Timing cells: what is timed and stored, one batch at a time, on which machine, with which operations and memory."""
