"""Bundles: what an organization states about the roots and endpoints of its namespaces, as values and bytes.

Serialized once, signed, and passed on as these very bytes, like those of ``isthmus.wire.trust_statement``. A
root of an organization is a ``Root`` whose namespace is the organization's name.
"""

from dataclasses import dataclass
from typing import Self

from isthmus.v1 import organization_bundle_pb2 as pb
from isthmus.wire.trust_statement import (
    SignedStatement,
    filled,
    parsed,
    serialized,
    signed_statement_message,
    signed_statement_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePin:
    """One namespace that an organization vouches for."""

    namespace: str
    fingerprint: bytes
    """SHA-256 of a root of the namespace."""
    endpoints: tuple[str, ...] = ()
    """Endpoints that belong to it, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """All pins of an organization at one moment."""

    trust_domain: str
    organization: str
    version: int
    previous_hash: bytes
    root_hash: bytes
    """The root whose keys sign it."""
    issued_at_ms: int
    expires_at_ms: int
    pins: tuple[BundlePin, ...]
    """Sorted by namespace."""

    def encode(self) -> bytes:
        """Serialize."""
        pins = (
            pb.BundlePin(namespace=pin.namespace, fingerprint=pin.fingerprint, endpoints=pin.endpoints)
            for pin in self.pins
        )
        return serialized(
            pb.Bundle(
                trust_domain=self.trust_domain,
                organization=self.organization,
                version=self.version,
                previous_hash=self.previous_hash,
                root_hash=self.root_hash,
                issued_at_ms=self.issued_at_ms,
                expires_at_ms=self.expires_at_ms,
                pins=pins,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse. Raises WireFormatError."""
        message = parsed(pb.Bundle(), data)
        pins = (
            BundlePin(namespace=pin.namespace, fingerprint=pin.fingerprint, endpoints=tuple(pin.endpoints))
            for pin in message.pins
        )
        return cls(
            trust_domain=message.trust_domain,
            organization=message.organization,
            version=message.version,
            previous_hash=message.previous_hash,
            root_hash=message.root_hash,
            issued_at_ms=message.issued_at_ms,
            expires_at_ms=message.expires_at_ms,
            pins=tuple(pins),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBundle:
    """A bundle and the roots that vouch for it."""

    roots: tuple[SignedStatement, ...]
    """Consecutive, the newest last."""
    bundle: SignedStatement

    @property
    def hash(self) -> bytes:
        """The hash of the bundle itself."""
        return self.bundle.hash

    def encode(self) -> bytes:
        """Serialize."""
        return serialized(
            pb.SignedBundle(
                roots=map(signed_statement_message, self.roots),
                bundle=signed_statement_message(self.bundle),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse; nothing is verified yet. Raises WireFormatError."""
        message = filled(pb.SignedBundle(), data)
        return cls(
            roots=tuple(map(signed_statement_of, message.roots)), bundle=signed_statement_of(message.bundle)
        )
