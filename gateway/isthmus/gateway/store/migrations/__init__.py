"""Alembic's environment: what changes a database from one release's schema to the next one's."""
