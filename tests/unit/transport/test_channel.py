"""Where channels go, and when plaintext is refused."""

from pathlib import Path

import pytest

from isthmus.transport.channel import ChannelSettings, open_channel, resolve_target
from isthmus.transport.errors import ConfigurationError


@pytest.mark.parametrize(
    ("address", "target", "tls"),
    [
        ("localhost:7243", "localhost:7243", False),
        ("localhost", "localhost:7243", False),
        ("127.0.0.1:1", "127.0.0.1:1", False),
        ("127.9.9.9:1", "127.9.9.9:1", False),
        ("[::1]:1", "[::1]:1", False),
        ("unix:/run/isthmus.sock", "unix:/run/isthmus.sock", False),
        ("gw.example.com:443", "gw.example.com:443", True),
        ("gw.example.com", "gw.example.com:7243", True),
        ("https://gw.example.com:443/", "gw.example.com:443", True),
        ("https://localhost:1", "localhost:1", True),
        ("http://localhost:1", "localhost:1", False),
    ],
)
def test_target_is_protected_when_it_leaves_this_machine(
    address: str,
    target: str,
    tls: bool,  # noqa: FBT001
) -> None:
    """TLS everywhere but on loopback."""
    resolved = resolve_target(ChannelSettings(address=address))
    assert (resolved.target, resolved.tls) == (target, tls)


@pytest.mark.parametrize("address", ["http://gw.example.com:1", "http://10.0.0.1:1"])
def test_plaintext_is_refused_when_target_is_elsewhere(address: str) -> None:
    """Unless somebody insists."""
    with pytest.raises(ConfigurationError, match="refusing plaintext"):
        resolve_target(ChannelSettings(address=address))
    assert not resolve_target(ChannelSettings(address=address, allow_insecure=True)).tls
    bare = address.removeprefix("http://")
    assert not resolve_target(ChannelSettings(address=bare, allow_insecure=True)).tls


@pytest.mark.parametrize("address", ["", "ftp://x:1", "host:port", "https://", ":7243"])
def test_address_is_refused_when_malformed(address: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match="host:port"):
        resolve_target(ChannelSettings(address=address))


def test_tls_settings_are_refused_when_contradictory(tmp_path: Path) -> None:
    """Half an mTLS pair, certificates for plaintext, files that are not there."""
    certificate = tmp_path / "cert.pem"
    with pytest.raises(ConfigurationError, match="contradicts"):
        resolve_target(ChannelSettings(address="http://localhost:1", ca_file=certificate))
    with pytest.raises(ConfigurationError, match="both"):
        open_channel(ChannelSettings(address="localhost:1", certificate_file=certificate))
    with pytest.raises(ConfigurationError, match="cannot read"):
        open_channel(ChannelSettings(address="localhost:1", ca_file=certificate))
    certificate.write_text("localhost")
    with pytest.raises(ConfigurationError, match=r"cert\.pem, the ca_file, holds no certificate"):
        open_channel(ChannelSettings(address="localhost:1", ca_file=certificate))
