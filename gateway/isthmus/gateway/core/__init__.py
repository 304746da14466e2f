"""The pure core of the gateway: state machines, failures and records, without input or output."""
