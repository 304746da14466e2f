"""Every step of a rotation is idempotent, and no sequence of steps loses a key that is in use."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.keys import rotation
from isthmus.keys.contents import KeyringContents, StoredKey, new_key
from isthmus.keys.errors import KeyringError
from isthmus.keys.rotation import NEEDED_FOR_MS, RotationStep
from isthmus.wire.chain import DAY_MS
from isthmus.wire.public_key import LIVES, KeyKind, KeyState

KEYS = {
    kind: [new_key(kind, state=KeyState.ACTIVE, now_ms=number) for number in range(1, 9)] for kind in KeyKind
}


def contents(*keys: StoredKey) -> KeyringContents:
    """Return a keyring with these keys."""
    return KeyringContents(namespace="app-team", trust_domain="acme", id_key=bytes(32), keys=keys)


def initial() -> KeyringContents:
    """Return a keyring with one active key of each kind."""
    return contents(*(KEYS[kind][0] for kind in KeyKind))


def states(keyring: KeyringContents, kind: KeyKind) -> list[KeyState]:
    """Return the states of a kind, oldest key first."""
    return [key.record.state for key in keyring.keys if key.record.kind is kind]


@pytest.mark.parametrize("kind", list(KeyKind))
def test_rotation_replaces_the_active_key_when_its_steps_are_taken(kind: KeyKind) -> None:
    """Pre-publish, activate, retire; next_step names each."""
    _, active, passive, end = LIVES[kind]
    keyring = initial()
    assert rotation.next_step(keyring, kind) is RotationStep.PRE_PUBLISH
    keyring = rotation.pre_publish(keyring, KEYS[kind][1])
    assert states(keyring, kind) == [active, KeyState.PRE_PUBLISHED]
    assert rotation.next_step(keyring, kind) is RotationStep.ACTIVATE
    keyring = rotation.activate(keyring, kind)
    assert states(keyring, kind) == [passive, active]
    assert rotation.next_step(keyring, kind) is RotationStep.RETIRE
    keyring = rotation.retire(keyring, KEYS[kind][0].record.key_id)
    assert states(keyring, kind) == [end, active]
    assert keyring.keys[list(KeyKind).index(kind)].secret is None
    assert rotation.next_step(keyring, kind) is RotationStep.PRE_PUBLISH


def test_active_key_is_not_retired_when_nothing_replaced_it() -> None:
    """What is in use stays."""
    with pytest.raises(KeyringError, match="only a replaced key"):
        rotation.retire(initial(), KEYS[KeyKind.SIGNING][0].record.key_id)
    with pytest.raises(KeyringError, match="no key"):
        rotation.retire(initial(), bytes(16))


def test_revoked_key_is_gone_for_senders_when_it_was_active() -> None:
    """But what was sealed to it can still be read."""
    key = KEYS[KeyKind.ENCRYPTION][0]
    keyring = rotation.revoke(initial(), key.record.key_id)
    assert not keyring.in_state(KeyKind.ENCRYPTION, KeyState.ACTIVE)
    assert keyring.keys[0].secret == key.secret


@given(steps=st.lists(st.tuples(st.sampled_from(RotationStep), st.sampled_from(KeyKind), st.integers(0, 7))))
def test_one_key_of_each_kind_is_active_when_any_steps_are_taken(
    steps: list[tuple[RotationStep, KeyKind, int]],
) -> None:
    """And each step, taken twice, is the same as taken once."""
    keyring = initial()
    for step, kind, number in steps:

        def take(before: KeyringContents, step: RotationStep = step, kind: KeyKind = kind) -> KeyringContents:
            key = KEYS[kind][number]  # noqa: B023 - called in this round only
            known = {key_.record.key_id for key_ in before.keys}
            match step:
                case RotationStep.PRE_PUBLISH if key.record.key_id not in known:
                    return rotation.pre_publish(before, key)
                case RotationStep.ACTIVATE:
                    return rotation.activate(before, kind)
                case RotationStep.RETIRE:
                    try:
                        return rotation.retire(before, key.record.key_id)
                    except KeyringError:
                        return before
                case _:
                    return before

        keyring = take(keyring)
        assert take(keyring) == keyring
        for each in KeyKind:
            assert len(keyring.in_state(each, KeyState.ACTIVE)) == 1
            assert len(keyring.in_state(each, KeyState.PRE_PUBLISHED)) <= 1


def rotated(keyring: KeyringContents, number: int, *, at_ms: int) -> KeyringContents:
    """Return a keyring whose signing key was replaced by another one."""
    key = KEYS[KeyKind.SIGNING][number]
    announced = rotation.pre_publish(keyring, replace(key, record=replace(key.record, created_at_ms=at_ms)))
    return rotation.activate(announced, KeyKind.SIGNING)


def test_signing_key_retires_when_nothing_that_it_signed_can_be_in_use() -> None:
    """Not a moment earlier, counted from when the second key after it was made; its secret is gone then."""
    first = KEYS[KeyKind.SIGNING][0].record.key_id
    once = rotated(initial(), 1, at_ms=30 * DAY_MS)
    assert rotation.past_use(once, 10 * NEEDED_FOR_MS) == ()
    twice = rotated(once, 2, at_ms=60 * DAY_MS)
    end_ms = 60 * DAY_MS + NEEDED_FOR_MS
    assert [rotation.past_use(twice, end_ms + late_ms) for late_ms in (-1, 0)] == [(), (first,)]
    retired = rotation.retire_all(twice, rotation.past_use(twice, end_ms))
    assert states(retired, KeyKind.SIGNING) == [KeyState.RETIRED, KeyState.VERIFY_ONLY, KeyState.ACTIVE]
    assert rotation.find_key(retired, first).secret is None
    assert rotation.past_use(retired, end_ms) == ()


def test_signing_key_does_not_retire_when_its_successor_was_revoked_before_it_was_used() -> None:
    """It stayed in use until the next one; so the revoked one says nothing about when it was replaced."""
    announced = rotation.pre_publish(initial(), KEYS[KeyKind.SIGNING][1])
    keyring = rotation.revoke(announced, KEYS[KeyKind.SIGNING][1].record.key_id)
    keyring = rotated(keyring, 2, at_ms=60 * DAY_MS)
    assert states(keyring, KeyKind.SIGNING) == [KeyState.VERIFY_ONLY, KeyState.REVOKED, KeyState.ACTIVE]
    assert rotation.past_use(keyring, 10 * NEEDED_FOR_MS) == ()


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["announce", "activate", "revoke", "retire"]),
            st.integers(0, 7),
            st.integers(0, NEEDED_FOR_MS),
        )
    )
)
def test_what_a_retired_key_signed_was_past_use_when_any_steps_are_taken(
    steps: list[tuple[str, int, int]],
) -> None:
    """Whenever the keys were announced, used and revoked: no key retires that signed later than that."""
    keyring, now_ms = initial(), 1
    signed_last_ms: dict[bytes, int] = {}
    for step, number, later_ms in steps:
        active = keyring.in_state(KeyKind.SIGNING, KeyState.ACTIVE)
        now_ms += later_ms
        signed_last_ms |= {bytes(key.record.key_id): now_ms for key in active}
        key = KEYS[KeyKind.SIGNING][number]
        is_known = key.record.key_id in {known.record.key_id for known in keyring.keys}
        if step == "announce" and not is_known:
            made = replace(key, record=replace(key.record, created_at_ms=now_ms))
            keyring = rotation.pre_publish(keyring, made)
        elif step == "activate":
            keyring = rotation.activate(keyring, KeyKind.SIGNING)
        elif step == "revoke" and is_known:
            keyring = rotation.revoke(keyring, key.record.key_id)
        elif step == "retire":
            retired = rotation.past_use(keyring, now_ms)
            keyring = rotation.retire_all(keyring, retired)
            assert all(now_ms - signed_last_ms[key_id] >= NEEDED_FOR_MS for key_id in retired)
