"""Records of endpoints, as a command sees them. They change seldom, so nothing of them is remembered."""

from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.ports import StoredEndpointRecord
from isthmus.gateway.store import registry
from isthmus.gateway.store.unit_part import BufferedPart


class EndpointRecords(BufferedPart):
    """The part of a unit of work that is about records of endpoints."""

    __slots__ = ()

    def endpoint_record(self, endpoint: str, namespace: str) -> StoredEndpointRecord | None:
        """Return the newest record that a namespace signed about an endpoint."""
        rows = self._buffer.scan(registry.SELECT_ENDPOINT_RECORDS, (endpoint, namespace, 1))
        return registry.endpoint_record_from_row(rows[0]) if rows else None

    def put_endpoint_record(self, record: StoredEndpointRecord) -> None:
        """Add a record; older versions are kept.

        Raises:
            PreconditionError: its version is not higher than that of the newest.
        """
        newest = self.endpoint_record(record.endpoint, record.namespace)
        if newest is not None and newest.version >= record.version:
            raise PreconditionError(
                f"record {record.version} of {record.endpoint} is no newer than {newest.version}"
            )
        self._buffer.changes.endpoint_records.append(record)
