"""The edge of the gateway: wire ↔ domain, who may call what, and the one mapping of errors to statuses."""
