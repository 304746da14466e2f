"""What the teams of these tests agree on: an operation of many steps."""

import nexusrpc

STEPS = 10


@nexusrpc.service
class Walks:
    """Walks that take a while."""

    walk: nexusrpc.Operation[int, list[int]]
    follow: nexusrpc.Operation[int, list[int]]
