"""The contract of the load: the answer is the question."""

import nexusrpc


@nexusrpc.service
class Echo:
    """What app-team serves."""

    echo: nexusrpc.Operation[str, str]
