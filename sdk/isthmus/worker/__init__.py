"""Serve operations to other namespaces."""
