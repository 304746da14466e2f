"""The forty attacks that the envelope must withstand, each with the proof that its checks are what stops it.

The numbers are those of the threat list of the envelope format. What ends with ``format_only`` attacks a
check that is part of the format and that no worker or client uses: none of them knows by itself which labels,
which principal or which contract a message has to name, so none sets that of ``Expected``. What their own
rules stop, such as lies about signals, progress and records, is attacked in modules of its own as well.
"""

import asyncio
from dataclasses import replace

import pytest
from tests.adversarial.attack import ATTACKS, NotBelievedError, attack, refusal, switch_off
from tests.adversarial.own_record import Nobody, OwnRecord
from tests.unit.envelope.world import (
    HOUR_MS,
    NOW_MS,
    PAYLOAD,
    TRUST_DOMAIN,
    Party,
    World,
    fixed_bytes,
    padded,
    parts,
    seal_anything,
    serialize_without_checks,
    signature_over,
    with_header,
)

from isthmus.envelope.errors import KeyUnavailableError, RejectionReason
from isthmus.envelope.expected import Expected, KnownSigningKey
from isthmus.envelope.identity import derive_operation_id, fingerprint_of
from isthmus.envelope.inner import padme_length
from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.envelope.replay import RedeliveryGuard, SequenceGuard
from isthmus.envelope.request_proof import verify_request_proof
from isthmus.envelope.seal import Sealed
from isthmus.envelope.statement import Belief, StatementKind, verify_statement
from isthmus.keys.founding import found
from isthmus.keys.keyring import OwnKeys
from isthmus.keys.keyset import Pin, verify_keyset
from isthmus.keys.statements import sign_keyset
from isthmus.payload.payload import Payload
from isthmus.v1 import envelope_pb2, operation_pb2
from isthmus.wire.chain import ChainProblem
from isthmus.wire.header import Direction, encode_header
from isthmus.wire.names import OperationId
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.statement import statement_signed_bytes
from isthmus.wire.trust_statement import Keyset
from isthmus.worker.request_rules import RequestRules

BOUND = ("signature", "wrap_info", "body_context")
"""A header that differs from the sealed one breaks the signature, the wrap and the body, each by itself."""
ELSEWHERE = OperationId(fixed_bytes("another operation", 16))


@pytest.fixture
def world() -> World:
    """Three namespaces and a stranger."""
    return World()


@attack(RejectionReason.SIGNATURE, stopped_by=BOUND)
def test_attack_01_header_field_changed(world: World) -> object:
    """The gateway changes a field that the opener knows nothing about."""
    return world.open_request(with_header(world.request().envelope, principal="spiffe://acme/root"))


@attack(RejectionReason.SIGNATURE, stopped_by=("signature",), then=RejectionReason.BODY)
def test_attack_02_body_bit_flipped(world: World) -> object:
    """The gateway flips a bit of the body."""
    message = parts(world.request().envelope)
    message.body = message.body[:-1] + bytes([message.body[-1] ^ 1])
    return world.open_request(message.SerializeToString())


@attack(RejectionReason.WRAP, no_check="HPKE authenticates the wrap, and opening it is the check")
def test_attack_03_wrap_bit_flipped(world: World) -> object:
    """The gateway flips a bit of the wrap, which the signature does not cover: HPKE authenticates it."""
    message = parts(world.request().envelope)
    wrap = message.wraps[0]
    wrap.ciphertext = wrap.ciphertext[:-1] + bytes([wrap.ciphertext[-1] ^ 1])
    return world.open_request(message.SerializeToString())


@attack(RejectionReason.SIGNATURE, stopped_by=("signature",))
def test_attack_04_signature_bit_flipped(world: World) -> object:
    """The gateway flips a bit of the signature."""
    message = parts(world.request().envelope)
    message.signature = bytes([message.signature[0] ^ 1]) + message.signature[1:]
    return world.open_request(message.SerializeToString())


@attack(RejectionReason.SIGNATURE, stopped_by=("signature",))
def test_attack_05_signature_stripped_and_resigned(world: World) -> object:
    """Another namespace signs the same header and body with its own key."""
    message = parts(world.request().envelope)
    message.signature = signature_over(message.SerializeToString(), world.stranger.signing)
    return world.open_request(message.SerializeToString())


@attack(RejectionReason.SIGNATURE, stopped_by=BOUND)
def test_attack_06_sender_key_id_swapped(world: World) -> object:
    """The header names another active key of the same namespace."""
    swapped = world.caller.second_signing.key_id
    return world.open_request(with_header(world.request().envelope, sender_key_id=swapped))


@attack(RejectionReason.DIRECTION, stopped_by=("direction", "request_digest"))
def test_attack_07_request_reflected_as_result(world: World) -> object:
    """A namespace calls itself, and gets its own request back as the outcome."""
    header = world.header(Direction.REQUEST, world.caller, world.caller)
    request = world.seal(header, PAYLOAD, world.caller)
    own = world.caller.namespace
    return world.open_answer(
        request.envelope, request, sender=world.caller, sender_namespace=own, recipient_namespace=own
    )


@attack(RejectionReason.OPERATION_ID, stopped_by=("operation_id", "request_digest"))
def test_attack_08_result_of_another_operation(world: World) -> object:
    """The outcome of operation 1 is served for operation 2."""
    first, second = world.request(), world.request(operation_id=ELSEWHERE)
    return world.open_answer(world.answer(first).envelope, second)


@attack(RejectionReason.OPERATION_ID, stopped_by=("operation_id", "request_digest"))
def test_attack_09_result_of_an_older_generation(world: World) -> object:
    """The outcome of generation 1 is served for generation 2 of the same request id."""
    first, second = (_generation(world, number) for number in (1, 2))
    return world.open_answer(world.answer(first).envelope, second)


@attack(RejectionReason.WRAP, stopped_by=("wrap_info",), then=RejectionReason.BODY)
def test_attack_10_wrap_moved_to_another_message(world: World) -> object:
    """The wrap of one message is put into another; then the message key does not fit the body either."""
    message, other = parts(world.request().envelope), parts(world.request().envelope)
    message.wraps[0].CopyFrom(other.wraps[0])
    return world.open_request(message.SerializeToString())


@attack(RejectionReason.SIGNATURE, stopped_by=BOUND)
def test_attack_11_body_moved_to_another_header(world: World) -> object:
    """Body and wraps of one message are put under the header of another."""
    message, other = parts(world.request().envelope), parts(world.request().envelope)
    other.header = message.header
    return world.open_request(other.SerializeToString())


@attack(RejectionReason.RECIPIENTS, stopped_by=("recipients",))
def test_attack_12_recipient_added(world: World) -> object:
    """A handler adds a recipient that this end did not consent to."""
    request = world.request()
    everybody = tuple(sorted((world.caller.namespace, world.handler.namespace, world.stranger.namespace)))
    return world.open_answer(world.answer(request, recipients=everybody).envelope, request)


@attack(RejectionReason.RECIPIENTS, stopped_by=("recipients",))
def test_attack_13_recipient_removed(world: World) -> object:
    """The sender leaves the escrow holder out that both sides agreed on."""
    agreed = tuple(sorted((world.caller.namespace, world.handler.namespace, world.escrow.namespace)))
    return world.open_request(world.request().envelope, recipients=agreed)


@attack(RejectionReason.MALFORMED, stopped_by=("wraps",))
def test_attack_13b_wrap_of_a_recipient_removed(world: World) -> object:
    """The gateway drops the wrap of another recipient, so that only one end can read."""
    message = parts(world.request().envelope)
    del message.wraps[1]
    return world.open_request(message.SerializeToString())


@attack(RejectionReason.SIGNATURE, stopped_by=("signature",))
def test_attack_14_escrow_holder_forges_a_body(world: World) -> object:
    """Who may read knows the message key; with it the body is replaced, under the same header and wraps."""
    sender, handler = world.caller, world.handler
    agreed = tuple(sorted((world.caller.namespace, handler.namespace, world.escrow.namespace)))
    header_bytes = encode_header(world.header(Direction.REQUEST, sender, handler, recipients=agreed))
    genuine = parts(
        seal_anything(header_bytes, padded(), signer=sender.signing, recipients=world.recipients(agreed))
    )
    forged = parts(
        seal_anything(
            header_bytes,
            padded(Payload(content_type="application/json", data=b'{"order": 666}')),
            signer=world.escrow.signing,
            recipients=world.recipients(agreed),
        )
    )
    genuine.body = forged.body
    return world.open_request(genuine.SerializeToString(), recipients=agreed)


@attack(RejectionReason.BODY, no_check="the AEAD commits to its key: the second one does not open the body")
def test_attack_15_two_recipients_shown_different_bodies(world: World) -> object:
    """The sender wraps two message keys; Cobblestone commits to its key, so one of them opens the body."""
    both = (world.handler.namespace, world.caller.namespace)
    header_bytes = encode_header(
        world.header(Direction.REQUEST, world.caller, world.handler, recipients=both)
    )
    data = seal_anything(
        header_bytes,
        padded(),
        signer=world.caller.signing,
        recipients=world.recipients(both),
        message_key=fixed_bytes("first key"),
        wrapped_keys=[fixed_bytes("first key"), fixed_bytes("second key")],
    )
    world.open_request(data)
    return world.open(data, world.expect_request(), sender=world.caller, opener=world.caller)


@attack(RejectionReason.REPLAY, stopped_by=("redelivery",))
def test_attack_16_replay_with_another_digest(world: World) -> object:
    """Two requests that the caller signed for one operation are both delivered."""
    guard = RedeliveryGuard()
    first, second = world.request(), world.request()
    world.open_request(first.envelope, guard=guard)
    world.open_request(first.envelope, guard=guard)
    return world.open_request(second.envelope, guard=guard)


@attack(RejectionReason.EXPIRED, stopped_by=("not_expired",))
def test_attack_17_stale_request(world: World) -> object:
    """The gateway delivers a request after its time."""
    data = world.request().envelope
    world.now_ms += HOUR_MS
    return world.open_request(data)


@attack(RejectionReason.ISSUED_IN_FUTURE, stopped_by=("not_from_the_future",))
def test_attack_18_issued_in_the_future(world: World) -> object:
    """A request claims to have been sealed later than now."""
    return world.open_request(world.request(issued_at_ms=NOW_MS + 60_001).envelope)


@attack(RejectionReason.TOO_EARLY, stopped_by=("not_too_early",))
def test_attack_18b_delivered_before_its_time(world: World) -> object:
    """The gateway delivers a request at once that its caller had put off."""
    return world.open_request(world.request(start_at_ms=NOW_MS + 60_001).envelope)


@attack(RejectionReason.SUITE, stopped_by=("suite",))
def test_attack_19_suite_downgraded(world: World) -> object:
    """The sender itself names another suite, as a library with an older version would."""
    header = world.header(Direction.REQUEST, world.caller, world.handler)._replace(suite="ISE0-RSA")
    return world.open_request(
        seal_anything(
            serialize_without_checks(header),
            padded(),
            signer=world.caller.signing,
            recipients=world.recipients(header.recipients),
        )
    )


@attack(ChainProblem.PIN, stopped_by=("keyset_root",))
def test_attack_20_keyset_substituted(world: World) -> object:
    """The gateway presents a keyset with keys of its own, signed by a root of its own."""
    genuine, substitute = (
        found(namespace="app-team", trust_domain=TRUST_DOMAIN, now_ms=NOW_MS) for _ in range(2)
    )
    pin = Pin(namespace="app-team", trust_domain=TRUST_DOMAIN, fingerprint=genuine.contents.fingerprint)
    record = PublicKeyRecord(
        key_id=world.stranger.encryption.key_id,
        kind=KeyKind.ENCRYPTION,
        state=KeyState.ACTIVE,
        public_key=world.stranger.encryption.public.raw,
        created_at_ms=NOW_MS,
    )
    substituted = Keyset(
        trust_domain=TRUST_DOMAIN,
        namespace="app-team",
        version=1,
        previous_hash=b"",
        issued_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + HOUR_MS,
        keys=(record,),
    )
    signed = sign_keyset(substituted, substitute.contents, substitute.signer)
    return verify_keyset(signed, pin=pin, seen=None, now_ms=NOW_MS)


class Colliding(OwnKeys):
    """A keyset whose lookup by the truncated id finds somebody else's key."""

    def find_signing_key(self, key_id: bytes) -> KnownSigningKey | None:
        """Return the stranger's key for every id."""
        found = super().find_signing_key(key_id)
        return None if found is None else replace(found, key=Party.named("mallory").signing.public)


@attack(RejectionReason.SENDER_KEY, stopped_by=("sender_key_id",))
def test_attack_21_key_id_collision(world: World) -> object:
    """A stranger made a key whose truncated id is that of the sender's."""
    message = parts(world.request().envelope)
    message.signature = signature_over(message.SerializeToString(), world.stranger.signing)
    records = tuple(
        PublicKeyRecord(
            key_id=key.key_id,
            kind=KeyKind.SIGNING,
            state=KeyState.ACTIVE,
            public_key=key.public.raw,
            created_at_ms=NOW_MS,
        )
        for key in (world.caller.signing,)
    )
    keys = Colliding(namespace=world.caller.namespace, trust_domain=TRUST_DOMAIN, public_keys=records)
    data, expected = message.SerializeToString(), world.expect_request()
    return world.open(data, expected, sender=world.caller, opener=world.handler, keys=keys)


@attack(RejectionReason.MALFORMED, stopped_by=("canonical",))
def test_attack_22_non_canonical_header(world: World) -> object:
    """The sender signs a header with an unknown field that another implementation might act upon."""
    header = world.header(Direction.REQUEST, world.caller, world.handler)
    return world.open_request(
        seal_anything(
            encode_header(header) + b"\xfa\x3f\x01x",
            padded(),
            signer=world.caller.signing,
            recipients=world.recipients(header.recipients),
            header=header,
        )
    )


@attack(RejectionReason.SIGNATURE, stopped_by=("signature",), then=RejectionReason.BODY)
def test_attack_23_body_appended(world: World) -> object:
    """The gateway appends to the body."""
    message = parts(world.request().envelope)
    message.body += bytes(16)
    return world.open_request(message.SerializeToString())


@attack(RejectionReason.SIGNATURE, stopped_by=("signature", "finalize"))
def test_attack_23b_body_truncated_to_whole_chunks(world: World) -> object:
    """The gateway cuts a long body where a chunk ends: its beginning would still be authentic."""
    data = bytes(16 * 1024 - 16)
    long = Payload(content_type="", data=data)
    header = world.header(Direction.REQUEST, world.caller, world.handler)
    plaintext = padded(long) + bytes(1)
    message = parts(
        seal_anything(
            encode_header(header),
            plaintext,
            signer=world.caller.signing,
            recipients=world.recipients(header.recipients),
        )
    )
    message.body = message.body[: 56 + 16 * 1024 + 16]
    return world.open_request(message.SerializeToString())


@attack(RejectionReason.PADDING, stopped_by=("padding",))
def test_attack_24_padding_not_zero(world: World) -> object:
    """The sender hides something in the padding."""
    plaintext = padded(Payload(content_type="text/plain", data=b"x" * 1100))
    assert plaintext.endswith(b"\x00")
    return world.open_request(_sealed_plaintext(world, plaintext[:-1] + b"!"))


@attack(RejectionReason.PADDING, stopped_by=("padding",))
def test_attack_24b_padding_not_padme(world: World) -> object:
    """The sender pads to a length that gives more away, or carries a message."""
    plaintext = padded() + bytes(1)
    assert padme_length(len(plaintext)) >= len(plaintext)
    return world.open_request(_sealed_plaintext(world, plaintext))


@attack(RejectionReason.PADDING, stopped_by=("padding",))
def test_attack_25_inner_length_lies(world: World) -> object:
    """The sender claims a payload that ends before its data."""
    message = envelope_pb2.InnerPayload(content_type="text/plain")
    shorter = message.SerializeToString()
    message.data = b"the rest"
    serialized = message.SerializeToString()
    plaintext = len(shorter).to_bytes(8, "big") + serialized
    plaintext += bytes(padme_length(len(plaintext)) - len(plaintext))
    return world.open_request(_sealed_plaintext(world, plaintext))


@attack(RejectionReason.ORDER, stopped_by=("sequence",))
def test_attack_26_signals_reordered(world: World) -> object:
    """The gateway delivers the second signal first, or drops the first."""
    return _signals(world, 2)


@attack(RejectionReason.REPLAY, stopped_by=("sequence",))
def test_attack_26b_signal_number_repeated(world: World) -> object:
    """Two different signals have one number."""
    return _signals(world, 1, 1)


@attack(RejectionReason.ORDER, stopped_by=("sequence",))
def test_attack_26c_progress_goes_back(world: World) -> object:
    """The gateway shows older progress after newer."""
    request, guard = world.request(), SequenceGuard()
    opened = None
    for sequence in (5, 3):
        sealed = world.answer(
            request, Direction.PROGRESS, sender_session=fixed_bytes("session", 16), sequence=sequence
        )
        opened = world.open_answer(
            sealed.envelope, request, directions=frozenset({Direction.PROGRESS}), guard=guard
        )
    return opened


@attack(RejectionReason.OPERATION_ID, stopped_by=("operation_id", "request_digest"))
def test_attack_27_progress_of_another_operation(world: World) -> object:
    """Progress of operation 1 is shown for operation 2."""
    first, second = world.request(), world.request(operation_id=ELSEWHERE)
    progress = world.answer(first, Direction.PROGRESS)
    return world.open_answer(progress.envelope, second, directions=frozenset({Direction.PROGRESS}))


@attack(RejectionReason.SENDER, stopped_by=("sender", "keyset"))
def test_attack_28_endpoint_redirected_by_the_registry(world: World) -> object:
    """The registry says that the endpoint is a stranger's, who answers with keys of its own."""
    request = world.request()
    header = world.header(Direction.RESULT, world.stranger, world.caller, request_digest=request.digest)
    answer = world.seal(header, PAYLOAD, world.stranger)
    # What differs is only what the pin says: sender_namespace stays the pinned one.
    recipients = header.recipients
    return world.open_answer(answer.envelope, request, sender=world.stranger, recipients=recipients)


@attack(RejectionReason.LABELS, stopped_by=("labels",))
def test_attack_29_labels_other_than_decided_format_only(world: World) -> object:
    """A decision was based on one label, the sender signed another: for an end that hears of decisions."""
    sealed = world.request(labels=(("purpose", "fun"),))
    return world.open_request(sealed.envelope, labels=(("purpose", "billing"),))


@attack(RejectionReason.SIGNATURE, stopped_by=BOUND)
def test_attack_29b_labels_changed_on_the_way(world: World) -> object:
    """The gateway changes a label."""
    sealed = world.request(labels=(("purpose", "fun"),))
    return world.open_request(with_header(sealed.envelope, labels=(("purpose", "billing"),)))


@attack(RejectionReason.MALFORMED, no_check="no code reads a payload that is in no envelope")
def test_attack_30_plaintext_instead_of_an_envelope(world: World) -> object:
    """The gateway delivers a plain payload: no code path reads it."""
    plain = envelope_pb2.InnerPayload(content_type="application/json", data=b"{}")
    return world.open_request(plain.SerializeToString())


@attack(RejectionReason.MALFORMED, stopped_by=("label_size",))
def test_attack_31_oversize_field(world: World) -> object:
    """The sender fills a field beyond its limit."""
    labels = (("purpose", "x" * 1025),)
    header = world.header(Direction.REQUEST, world.caller, world.handler, labels=labels)
    return world.open_request(
        seal_anything(
            serialize_without_checks(header),
            padded(),
            signer=world.caller.signing,
            recipients=world.recipients(header.recipients),
        )
    )


@attack(RejectionReason.OPERATION_ID, stopped_by=("operation_id",))
def test_attack_32_caller_context_of_another_operation(world: World) -> object:
    """The gateway returns the context that the caller stored with another operation."""
    request = world.request(operation_id=ELSEWHERE)
    header = world.header(
        Direction.CONTEXT,
        world.caller,
        world.caller,
        request_digest=request.digest,
        operation_id=request.header.operation_id,
    )
    context = world.seal(header, PAYLOAD, world.caller)
    expected = Expected(
        directions=frozenset({Direction.CONTEXT}),
        trust_domain=TRUST_DOMAIN,
        sender_namespace=world.caller.namespace,
        recipient_namespace=world.caller.namespace,
        endpoint="payments",
        service="Payments",
        operation="charge",
        operation_id=world.operation_id,
        request_digest=None,
    )
    return world.open(context.envelope, expected, sender=world.caller, opener=world.caller)


@attack(RejectionReason.PRINCIPAL, stopped_by=("principal",))
def test_attack_33_principal_swapped_format_only(world: World) -> object:
    """A colleague signs in the name of another principal: for an end that knows who has to call."""
    sealed = world.request(principal="spiffe://acme/data-team/admin")
    return world.open_request(sealed.envelope, principal="spiffe://acme/data-team/nightly")


@attack(RejectionReason.SIGNATURE, stopped_by=("signature",))
def test_attack_34_cancel_forged(world: World) -> object:
    """A stranger, or the gateway, cancels in the caller's name."""
    request = world.request()
    header = world.header(Direction.CANCEL, world.caller, world.handler, request_digest=request.digest)
    forged = parts(world.seal(header, PAYLOAD, world.caller).envelope)
    forged.signature = signature_over(forged.SerializeToString(), world.stranger.signing)
    return world.open_request(
        forged.SerializeToString(),
        directions=frozenset({Direction.CANCEL}),
        request_digest=request.digest,
    )


@attack(NotBelievedError, stopped_by=("deadline",))
def test_attack_35_timed_out_before_its_time(world: World) -> object:
    """The gateway ends an operation as timed out while its time is running."""
    world.now_ms = NOW_MS + HOUR_MS - 1
    return _statement(world, world.request(), StatementKind.TIMED_OUT_SCHEDULE_TO_CLOSE)


@attack(NotBelievedError, stopped_by=("own_cancel",))
def test_attack_36_canceled_without_a_cancel(world: World) -> object:
    """The gateway says canceled, and shows a cancel that the caller did not sign."""
    request = world.request()
    header = world.header(
        Direction.CANCEL,
        world.caller,
        world.handler,
        request_digest=request.digest,
        sender_key_id=world.caller.signing.key_id,
    )
    cancel = parts(world.seal(header, PAYLOAD, world.caller).envelope)
    cancel.signature = signature_over(cancel.SerializeToString(), world.stranger.signing)
    return _statement(world, request, StatementKind.CANCELED, cancel.SerializeToString())


@attack(RejectionReason.SIGNATURE, stopped_by=("signature",))
def test_attack_37_attach_answered_with_a_strangers_request(world: World) -> object:
    """A repeated start is answered with a request that this namespace never signed."""
    sealed = world.request()
    forged = signature_over(sealed.envelope, world.stranger.signing)
    return _attach(world, sealed._replace(signature=forged))


@attack(RejectionReason.FINGERPRINT, stopped_by=("fingerprint",))
def test_attack_38_fingerprint_of_another_input(world: World) -> object:
    """A repeated start is answered with one's own request, but with another input."""
    other = Payload(content_type="application/json", data=b'{"order": 43}')
    return _attach(world, world.request(fingerprint=fingerprint_of(bytes(32), other)))


@attack(RejectionReason.CONTRACT, stopped_by=("record",))
def test_attack_39_contract_hash_swapped(world: World) -> object:
    """The sender speaks another contract than the handler's namespace signed for its endpoint."""
    handler = world.handler.namespace
    sealed = world.request(recipients=(handler,), contract_hash=fixed_bytes("contract 2"))
    opened = world.open_request(sealed.envelope)
    rules = RequestRules(handler, OwnRecord(handler, contract_hash=fixed_bytes("contract 1")), Nobody())
    asyncio.run(rules.check(opened.header, task_queue="payments"))
    return opened


@attack(RejectionReason.CONTRACT, stopped_by=("contract",))
def test_attack_39b_contract_hash_swapped_format_only(world: World) -> object:
    """The same for an end that pins a contract without a record."""
    sealed = world.request(contract_hash=fixed_bytes("contract 2"))
    return world.open_request(sealed.envelope, contract_hash=fixed_bytes("contract 1"))


@attack(RejectionReason.SENDER_KEY_STATE, stopped_by=("sender_key_state",))
def test_attack_40_outcome_signed_by_a_revoked_key(world: World) -> object:
    """Who stole a key signs an outcome with it after the revocation."""
    request = world.request()
    answer = world.answer(request)
    world.handler.states[world.handler.signing.key_id] = KeyState.REVOKED
    return world.open_answer(answer.envelope, request)


@pytest.mark.parametrize("name", [name for name, attack_ in ATTACKS.items() if attack_.stopped_by])
def test_attack_gets_through_when_its_checks_are_removed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks named are what stops the attack: without them it gets through, or a primitive stops it."""
    for check in ATTACKS[name].stopped_by:
        switch_off(monkeypatch, check)
    assert refusal(ATTACKS[name].run, World()) == ATTACKS[name].then


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (name, kept)
        for name, attack_ in ATTACKS.items()
        for kept in attack_.stopped_by
        if len(attack_.stopped_by) > 1
    ],
)
def test_attack_is_stopped_when_one_of_its_checks_remains(
    name: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where several checks stop an attack, each of them does so by itself."""
    for check in ATTACKS[name].stopped_by:
        if check != kept:
            switch_off(monkeypatch, check)
    assert refusal(ATTACKS[name].run, World()) is not None


def test_all_attacks_are_written_down() -> None:
    """Every number from 1 to 40 has at least one attack; each says what stops it, or why nothing of ours."""
    assert {int(name.split("_")[1][:2]) for name in ATTACKS} == set(range(1, 41))
    assert all(bool(attack_.stopped_by) != bool(attack_.no_check) for attack_ in ATTACKS.values())
    assert {name.split("_")[1] for name, attack_ in ATTACKS.items() if attack_.no_check} == {"03", "15", "30"}


def test_unknown_sender_key_is_unavailable_when_the_keyset_lacks_it(world: World) -> None:
    """An unknown key id asks for a newer keyset instead of rejecting for good."""
    world.caller.states[world.caller.second_signing.key_id] = KeyState.PRE_PUBLISHED
    sealed = world.request(sender_key_id=world.caller.second_signing.key_id)
    with pytest.raises(KeyUnavailableError) as caught:
        world.open_request(sealed.envelope)
    assert caught.value.key_id == world.caller.second_signing.key_id
    assert not caught.value.permanent


def _generation(world: World, number: int) -> Sealed:
    operation_id = derive_operation_id(
        bytes(32),
        trust_domain=TRUST_DOMAIN,
        caller_namespace="data-team",
        endpoint="payments",
        service="Payments",
        operation="charge",
        request_id="order-42",
        generation=number,
    )
    return world.request(operation_id=operation_id)


def _sealed_plaintext(world: World, plaintext: bytes) -> bytes:
    header = world.header(Direction.REQUEST, world.caller, world.handler)
    return seal_anything(
        encode_header(header),
        plaintext,
        signer=world.caller.signing,
        recipients=world.recipients(header.recipients),
    )


def _signals(world: World, *sequences: int) -> object:
    request, guard = world.request(), SequenceGuard()
    opened = None
    for sequence in sequences:
        header = world.header(
            Direction.SIGNAL, world.caller, world.handler, request_digest=request.digest, sequence=sequence
        )
        opened = world.open_request(
            world.seal(header, PAYLOAD, world.caller).envelope,
            guard=guard,
            directions=frozenset({Direction.SIGNAL}),
            request_digest=request.digest,
        )
    return opened


def _statement(world: World, request: Sealed, kind: StatementKind, cancel: bytes | None = None) -> object:
    gateway = SigningPrivateKey.from_bytes(fixed_bytes("gateway"))
    body = operation_pb2.StatementBody(
        trust_domain=TRUST_DOMAIN,
        caller_namespace=request.header.sender_namespace,
        operation_id=request.header.operation_id,
        request_digest=request.digest,
        decided_at_ms=NOW_MS,
    )
    body.kind = int(kind)  # type: ignore[assignment]
    data = body.SerializeToString()
    verified = verify_statement(
        data,
        gateway.key_id,
        gateway.sign(statement_signed_bytes(data)),
        gateway_key=gateway.public,
        request=request.header,
        request_digest=request.digest,
        own_keys=world.caller.keys(),
        now_ms=world.now_ms,
        cancel=cancel,
    )
    if verified.belief is Belief.UNPROVEN:
        raise NotBelievedError
    return verified


def _attach(world: World, sealed: Sealed) -> object:
    expected = world.expect_request(endpoint="payments", service="Payments", operation="charge")
    header, digest = verify_request_proof(
        sealed.header_bytes,
        sealed.signature,
        sealed.body_digest,
        namespace=world.caller.namespace,
        own_keys=world.caller.keys(),
        expected=expected,
        now_ms=NOW_MS,
        fingerprint=fingerprint_of(bytes(32), PAYLOAD) if sealed.header.fingerprint else None,
    )
    assert digest == sealed.digest
    return header
