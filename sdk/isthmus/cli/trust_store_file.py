"""The trust store of the chosen profile."""

from typing import TYPE_CHECKING

import typer

from isthmus.cli.exit_code import CliError
from isthmus.cli.invocation import invocation

if TYPE_CHECKING:
    from isthmus.keys.trust import TrustStore


def open_trust_store(ctx: typer.Context, *, dry_run: bool = False) -> "TrustStore":
    """Open it; for a dry run a copy in memory, after saying so.

    Raises:
        CliError: nothing says where it is. TrustError, KeyringError: it cannot be used.
    """
    from isthmus.cli.keyring_file import open_keyring
    from isthmus.keys.trust import TrustStore

    profile = invocation(ctx).load_profile()
    if profile.trust_store is None:
        raise CliError("which trust store? Set trust_store in the profile, or ISTHMUS_TRUST_STORE")
    store = TrustStore(profile.trust_store, trust_domain=open_keyring(ctx).trust_domain)
    if not dry_run:
        return store
    invocation(ctx).output.note(f"A dry run: {profile.trust_store} stays as it is. It would be written with:")
    return store.rehearsal()
