"""Who polls: a hello, checked against the credential, becomes a worker session."""

from isthmus.gateway.api.authorization import Authorization
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.dispatch.leases import Leases
from isthmus.gateway.ports import QueueKey, Store, WorkerSession
from isthmus.policies.decision import Action, Question
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import SESSION_BYTES
from isthmus.wire.names import check_task_queue

MAX_TEXT_CHARS = 200
_MAX_ENDPOINTS = 1000


class WorkerHellos:
    """Checks hellos."""

    def __init__(self, *, store: Store, authorization: Authorization, leases: Leases) -> None:
        self._store = store
        self._authorization = authorization
        self._leases = leases

    async def session(self, principal: Principal, hello: worker_service_pb2.WorkerHello) -> WorkerSession:
        """Return the session that a hello asks for; it is not in the store yet.

        The queue is one of the principal's own namespace by construction, and whoever polls it must be
        allowed to serve every endpoint that leads to it.

        Raises:
            WireFormatError, InvalidRequestError: the hello is malformed.
            AccessDeniedError: the principal may not serve the queue.
        """
        if len(hello.session_id) != SESSION_BYTES:
            raise InvalidRequestError(f"a session id is {SESSION_BYTES} random bytes", reason="SESSION_ID")
        for name, text in (("version", hello.version), ("identity", hello.identity)):
            if len(text) > MAX_TEXT_CHARS or not text.isprintable():
                raise InvalidRequestError(
                    f"the worker's {name} is too long or not printable",
                    fix=f"give at most {MAX_TEXT_CHARS} printable characters",
                )
        queue = QueueKey(namespace=principal.namespace, task_queue=check_task_queue(hello.task_queue))
        await self._authorize(principal, queue)
        return WorkerSession(
            session_id=hello.session_id,
            queue=queue,
            principal=principal.name,
            identity=hello.identity,
            version=hello.version,
            expires_at=self._leases.expiry(),
        )

    async def _authorize(self, principal: Principal, queue: QueueKey) -> None:
        endpoints = await self._store.read(
            lambda reader: reader.list_endpoints(queue.namespace, "", _MAX_ENDPOINTS)
        )
        for endpoint in endpoints:
            if endpoint.task_queue == queue.task_queue:
                question = Question(
                    action=Action.SERVE,
                    namespace=principal.namespace,
                    principal=principal.name,
                    endpoint=endpoint,
                )
                await self._authorization.require(principal, question)
