"""Brings tasks to workers and outcomes to waiters: in memory, on top of the store."""
