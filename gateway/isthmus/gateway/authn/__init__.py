"""Credential → Principal: who is calling, by configuration and never by a claim's own word."""
