"""The pure core: what an operation is and how it lives. No clock, no I/O, no randomness."""
