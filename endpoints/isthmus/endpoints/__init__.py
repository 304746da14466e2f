"""Endpoints: their registry, their contracts and the rules of compatibility."""
