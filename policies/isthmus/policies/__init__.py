"""Policies: the Cedar schema, the engine, plans and explanations."""
