"""Values that a shell completes: from files of this machine. Nobody is asked, for a passphrase neither."""

from collections.abc import Mapping

import typer

from isthmus.cli.invocation import Invocation
from isthmus.cli.output import Output, OutputFormat


def profiles(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of profiles."""
    from isthmus.client.profile import profile_names
    from isthmus.transport.errors import ConfigurationError

    try:
        names = profile_names(_chosen(ctx).environment)
    except (ConfigurationError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def pinned_namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return namespaces that the trust store of the profile pins; not those of bundles."""
    import json

    from isthmus.keys.errors import KeysError
    from isthmus.keys.private_file import read_private
    from isthmus.keys.trust_file import decode_trust
    from isthmus.transport.errors import ConfigurationError

    try:
        path = _chosen(ctx).load_profile().trust_store
        if path is None:
            return []
        data, _ = read_private(path)
        pinned = decode_trust(data, json.loads(data)["trust_domain"], str(path)).own
    except (ConfigurationError, KeysError, OSError, ValueError, KeyError, TypeError):
        return []
    return [namespace for namespace in sorted(pinned) if namespace.startswith(incomplete)]


def _chosen(ctx: typer.Context) -> Invocation:
    # The root's callback does not run while a shell asks.
    given: Mapping[str, object] = ctx.find_root().params
    return Invocation(
        profile=given.get("profile"),  # type: ignore[arg-type]
        config=given.get("config"),  # type: ignore[arg-type]
        output=Output(OutputFormat.TABLE),
    )
