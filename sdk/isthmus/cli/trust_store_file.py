"""The trust store of the chosen profile."""

from typing import TYPE_CHECKING

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.keys.trust import TrustStore


def open_trust_store(ctx: typer.Context) -> "TrustStore":
    """Open it. Raises CliError when nothing says where it is; TrustError, KeyringError."""
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.keys.trust import TrustStore

    profile = invocation(ctx).load_profile()
    if profile.trust_store is None:
        raise CliError("which trust store? Set trust_store in the profile, or ISTHMUS_TRUST_STORE")
    return TrustStore(profile.trust_store, trust_domain=open_keyring(ctx).trust_domain)
