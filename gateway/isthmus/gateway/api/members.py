"""Which namespaces exist, remembered."""

from isthmus.gateway.core.errors import AccessDeniedError
from isthmus.gateway.ports import Store


class Members:
    """Namespaces that exist. They are never deleted, so what was found once stays true."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: set[str] = set()

    async def check(self, namespace: str) -> None:
        """Return when the namespace exists.

        Raises:
            AccessDeniedError: it does not.
            UnavailableError: the store cannot tell now.
        """
        if namespace in self._known:
            return
        if await self._store.read(lambda reader: reader.namespace(namespace)) is None:
            raise AccessDeniedError(
                f"the namespace {namespace} does not exist",
                reason="NAMESPACE_UNKNOWN",
                fix=f"Ask the platform team to run: isthmus namespace create {namespace}",
            )
        self._known.add(namespace)
