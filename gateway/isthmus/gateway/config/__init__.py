"""The configuration of a gateway: one TOML file and its environment, read strictly, refused when unsafe."""
