"""Values to bytes and back: the payload inside an envelope."""
