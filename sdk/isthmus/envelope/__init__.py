"""The sealed envelope: what the ends seal and open, and the gateway cannot."""
