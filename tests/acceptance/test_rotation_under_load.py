"""Keys of two teams rotate, are rewrapped, revoked and destroyed while their processes call each other.

Each team has processes on several machines, which read copies of its keyring. ``nox -s rotation`` runs it for
longer and under more load; what it measures it prints.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.deployment.gateway import publish
from tests.acceptance.deployment.team import Team
from tests.acceptance.rotation.members import Deployment, Member, Result, deployment
from tests.acceptance.rotation.payloads import Reading, connected, sealed_to

from isthmus.cli import key_settling
from isthmus.cli.exit_code import ExitCode

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(900)]

ROTATIONS = int(os.environ.get("ROTATIONS", "10"))
PER_SECOND = float(os.environ.get("ROTATION_RATE", "100"))
PAUSE_SECONDS = float(os.environ.get("ROTATION_PAUSE", "0"))
MACHINES = 2
CACHE_SECONDS = 3
LIFE_MS = 12_000
FETCH_SECONDS = 2.0
"""How long a fetch that began before a keyset was published may take to bring the one before."""


def call_all(deployed: Deployment, *, least: int) -> None:
    """Begin to call, and return when so many calls of each member are answered."""
    for member in deployed.members:
        member.tell("call")
    for member in deployed.members:
        member.await_line("answered", least=least)


def test_no_operation_fails_when_keys_rotate_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotations, a rewrap, a revocation: nothing fails; what destroying loses is what was foretold."""
    # One gateway, which heard of the keyset itself.
    monkeypatch.setattr(key_settling, "SETTLE_MS", 500)
    measured: dict[str, Any] = {"rotations": ROTATIONS}
    rate = PER_SECOND / (2 * MACHINES)
    with deployment(tmp_path, machines=MACHINES, per_second=rate, cache_seconds=CACHE_SECONDS) as deployed:
        caller, handler = deployed.teams.caller, deployed.teams.handler
        began = time.time()
        call_all(deployed, least=50)
        seconds = []
        for number in range(ROTATIONS):
            rotated_at = time.time()
            deployed.command((caller, handler)[number % 2], "keys", "rotate", "--timeout", "5m")
            seconds.append(time.time() - rotated_at)
            time.sleep(PAUSE_SECONDS)
            if number == 2:
                # While all of it goes on; the caller's oldest key has been replaced twice.
                rewrapping_at = time.time()
                measured["rewrapped"] = rewrap_and_destroy(deployed, caller)
                measured["rewrap_seconds"] = round(time.time() - rewrapping_at, 1)
        measured["rotation_seconds"] = [round(taken, 1) for taken in seconds]
        measured["refused_after"], revoking = revoke(deployed, handler, deployed.of(caller))
        for member in deployed.members:
            member.tell("stop")
        results = {member.part.name: member_results(member) for member in deployed.members}
        count = sum(map(len, results.values()))
        measured |= {"operations": count, "per_second": round(count / (time.time() - began))}
        failed = [
            result
            for name, found in results.items()
            for result in found
            if result[3] and not is_expected(name, result, revoking)
        ]
        assert failed == []
        measured |= asyncio.run(destroy(deployed, results))
    show(measured)


def test_revoked_key_is_believed_no_longer_than_the_keyset_when_the_gateway_hides_it(tmp_path: Path) -> None:
    """Whoever revokes it is told; the others refuse the old keyset when it ends."""
    with deployment(
        tmp_path,
        machines=MACHINES,
        cache_seconds=CACHE_SECONDS,
        gateway="tests.acceptance.rotation.lying_gateway",
        namespaces=frozenset({"data-team"}),
    ) as deployed:
        team = deployed.teams.handler
        (stolen,) = deployed.keys(team, "signing", "active")
        ends_at = publish(deployed.teams.site, team, lifetime_ms=LIFE_MS) / 1000
        for peer in deployed.members:
            peer.tell("watch", namespace=team.namespace, key=stolen)
        at = time.time()
        hidden = deployed.command(team, "keys", "revoke", stolen, code=ExitCode.FAILED)
        assert "rollback" in hidden.err
        measured = {}
        for peer in deployed.members:
            refused = peer.await_line("refused")
            assert "expired" in refused["why"]
            assert at < refused["believed_at"] < ends_at
            measured[peer.part.name] = round(refused["refused_at"] - at, 2)
        show({"keyset_ends_after": round(ends_at - at, 2), "refused_after_with_a_lying_gateway": measured})


def show(measured: Mapping[str, Any]) -> None:
    """Print what was measured, for documentation."""
    sys.stdout.write(json.dumps(measured) + "\n")


def member_results(member: Member) -> list[Result]:
    """Return what came of a member's calls, once it has stopped."""
    member.await_line("stopped")
    return member.results()


def is_expected(name: str, result: Result, revoking: tuple[float, float]) -> bool:
    """Whether a call had to fail: its outcome was signed with the key that was being revoked while it ran."""
    begun, published = revoking
    return (
        name.startswith("data-team")
        and result.began < published
        and result.ended > begun
        and result.error.startswith("UnverifiedAnswerError")
    )


def rewrap_and_destroy(deployed: Deployment, team: Team) -> int:
    """Seal everything that is kept for a team's oldest key to its newest one, and let go of the old one."""
    oldest = deployed.keys(team, "encryption", "decrypt-only")[0]
    done = deployed.command(team, "keys", "rewrap", oldest).json
    assert (done["unreadable"], done["left"]) == (0, 0)
    assert deployed.command(team, "keys", "destroy", oldest).json["lost"] == 0
    rewrapped: int = done["rewrapped"]
    return rewrapped


def revoke(
    deployed: Deployment, team: Team, peers: Sequence[Member]
) -> tuple[dict[str, float], tuple[float, float]]:
    """Revoke the signing key of a team.

    Return after how many seconds each peer refused it, and when the command began and ended.
    """
    (stolen,) = deployed.keys(team, "signing", "active")
    for own in deployed.of(team):
        # What it asked for under the stolen key would be refused, as it should be.
        own.tell("stop")
        own.await_line("stopped")
    for peer in peers:
        peer.tell("watch", namespace=team.namespace, key=stolen)
        peer.await_line("watching")
    at = time.time()
    deployed.command(team, "keys", "revoke", stolen)
    published = time.time()
    taken = {}
    for peer in peers:
        refused = peer.await_line("refused")
        assert refused["why"] == "E2E_REJECTED"
        assert refused["believed_at"] < published + CACHE_SECONDS + FETCH_SECONDS
        taken[peer.part.name] = round(refused["refused_at"] - at, 2)
    return taken, (at, published)


async def destroy(deployed: Deployment, results: Mapping[str, Sequence[Result]]) -> dict[str, int]:
    """Destroy a key that is needed: what does not open any more is what was foretold, no more and no less."""
    teams = deployed.teams
    key = deployed.keys(teams.caller, "encryption", "decrypt-only")[0]
    async with await connected(teams.caller, teams.site.address) as client:
        foretold = await sealed_to(client, bytes.fromhex(key))
    words = ("keys", "destroy", key, "--lose", str(len(foretold)))
    await asyncio.to_thread(deployed.command, teams.caller, *words)
    async with (
        await connected(teams.caller, teams.site.address) as client,
        await connected(teams.handler, teams.site.address) as other,
    ):
        reading = Reading(client, other)
        ended = {name: [text for text, _, _, error in calls if not error] for name, calls in results.items()}
        await reading.read(
            called=[text for name, texts in ended.items() if name.startswith("data-team") for text in texts],
            handled=[text for name, texts in ended.items() if name.startswith("app-team") for text in texts],
        )
    assert reading.lost == foretold
    assert reading.destroyed == {key}
    parts = [part for part, _ in foretold]
    assert min(parts.count("outcome"), parts.count("request"), reading.opened) > 0
    return {
        "lost_outcomes": parts.count("outcome"),
        "lost_requests": parts.count("request"),
        "opened": reading.opened,
        "signed_with_the_revoked_key": len(reading.refused),
    }
