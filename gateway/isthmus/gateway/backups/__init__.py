"""Backups of a gateway on SQLite: taken while it serves, restored where no gateway is.

A backup is a folder: the database, the key that signs the gateway's statements, and a manifest that says what
they are.
"""
