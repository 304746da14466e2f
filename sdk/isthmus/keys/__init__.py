"""Keysets, keyrings and trust."""
