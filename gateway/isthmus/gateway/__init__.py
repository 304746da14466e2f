"""The gateway: the blind relay between namespaces, which stores, authorizes, delivers and audits operations."""
