"""What both the gateway and the two ends must agree on, byte for byte: encoding, header, digests, names.

This is the one package of the SDK that the gateway imports. It parses headers and computes digests;
it cannot seal or open anything.
"""
