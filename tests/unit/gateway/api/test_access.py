"""The table of who may call what."""

import pytest

from isthmus.gateway.api.access import ACCESS, Access, check_access
from isthmus.gateway.api.authentication import source_of
from isthmus.gateway.core.errors import ConfigurationError


def test_table_is_accepted_when_it_lists_what_is_served() -> None:
    """Nothing more and nothing less."""
    check_access(ACCESS, ACCESS)


def test_start_is_refused_when_an_rpc_is_not_listed() -> None:
    """Somebody planted an RPC and forgot to say who may call it."""
    with pytest.raises(ConfigurationError, match=r"/isthmus\.v1\.KeyService/LeakKeys is served"):
        check_access([*ACCESS, "/isthmus.v1.KeyService/LeakKeys"], ACCESS)


def test_start_is_refused_when_a_listed_rpc_is_not_served() -> None:
    """A line of the table that means nothing is a mistake, too."""
    table = {**ACCESS, "/isthmus.v1.KeyService/Gone": Access.MEMBER}
    with pytest.raises(ConfigurationError, match=r"/isthmus\.v1\.KeyService/Gone is listed"):
        check_access(ACCESS, table)


def test_nothing_but_health_is_public_when_listed() -> None:
    """Everything else needs a credential."""
    public = {method for method, access in ACCESS.items() if access is Access.PUBLIC}
    assert {method.split("/")[1] for method in public} == {"grpc.health.v1.Health"}


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("ipv6:%5B2001:db8::7%5D:4711", "2001:db8::7"),
        ("ipv6:[::1]:4711", "::1"),
        ("unix:", "unix"),
    ],
)
def test_source_has_no_port_when_taken_from_a_peer(peer: str, source: str) -> None:
    """Failures are counted per address, not per connection."""
    assert source_of(peer) == source
