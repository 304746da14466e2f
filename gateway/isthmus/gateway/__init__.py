"""The gateway: the blind relay that stores, authorizes, delivers and audits operations."""
