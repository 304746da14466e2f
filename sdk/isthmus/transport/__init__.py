"""The connection to a gateway: channels, credentials and retries."""
