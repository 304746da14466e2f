"""Audit records as bytes: the leaves of the log, and what they can be found by."""
