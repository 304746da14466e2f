"""Endpoints as people read them."""

import pytest

from isthmus.cli.endpoint import readable
from isthmus.cli.endpoint_flow import fill_circuit, fill_versions, readable_circuit, readable_versions
from isthmus.cli.exit_code import CliError
from isthmus.cli.resource import document_of
from isthmus.v1 import endpoint_service_pb2

LIMITS = ("max_operations_per_second", "max_open_operations", "retention_ms")


def shown(endpoint: endpoint_service_pb2.Endpoint) -> dict[str, object]:
    """Return the settings whose zero is no zero."""
    document = readable(document_of(endpoint))
    names = ("retry", "max_payload_bytes", "max_schedule_to_close_ms", "fair_weights", *LIMITS, "circuit")
    return {name: document[name] for name in names}


@pytest.mark.parametrize(
    "retry", [None, endpoint_service_pb2.RetryPolicy()], ids=["no-policy", "empty-policy"]
)
def test_default_is_named_when_a_limit_is_zero(retry: endpoint_service_pb2.RetryPolicy | None) -> None:
    """A zero would read as "nothing allowed"."""
    assert shown(endpoint_service_pb2.Endpoint(name="payments", retry=retry)) == {
        "retry": ["no limit of attempts"],
        "max_payload_bytes": "default (the gateway's limit)",
        "max_schedule_to_close_ms": "default (24h)",
        "fair_weights": "none (callers take equal turns)",
        "max_operations_per_second": "no limit",
        "max_open_operations": "no limit",
        "retention_ms": "default (30 days)",
        "circuit": "after 10 failures in a row attempts wait 30 s",
    }


def test_limits_are_sentences_when_they_are_set() -> None:
    """In units that people use."""
    endpoint = endpoint_service_pb2.Endpoint(
        max_payload_bytes=1000,
        max_schedule_to_close_ms=5000,
        max_operations_per_second=20,
        max_open_operations=300,
        retention_ms=129_600_000,
    )
    endpoint.retry.max_attempts = 3
    endpoint.retry.on_exhausted = endpoint_service_pb2.ON_EXHAUSTED_FAIL
    endpoint.retry.initial_interval_ms = 1500
    fill_circuit(endpoint, 3, "1500ms")
    endpoint.fair_weights.add(namespace="data-team", weight=5)
    assert shown(endpoint) == {
        "retry": ["3 attempts at most, then fail", "first wait 1.5 s"],
        "max_payload_bytes": 1000,
        "max_schedule_to_close_ms": 5000,
        "fair_weights": ["data-team=5"],
        "max_operations_per_second": 20,
        "max_open_operations": 300,
        "retention_ms": "1.5 days",
        "circuit": "after 3 failures in a row attempts wait 1.5 s",
    }


def test_circuits_go_off_and_on_when_failures_are_given() -> None:
    """What is not given stays; nothing given changes nothing."""
    endpoint = endpoint_service_pb2.Endpoint()
    assert fill_circuit(endpoint, None, None) == []
    assert fill_circuit(endpoint, 0, "1m") == ["circuit"]
    assert readable_circuit(document_of(endpoint)["circuit"]).startswith("off")
    assert fill_circuit(endpoint, 5, None) == ["circuit"]
    phrase = readable_circuit(document_of(endpoint)["circuit"])
    assert phrase == "after 5 failures in a row attempts wait 60 s"


def test_ramp_is_replaced_when_it_is_given() -> None:
    """The rest stays; an empty one, and no pin, go back to any worker."""
    endpoint = endpoint_service_pb2.Endpoint()
    assert fill_versions(endpoint, None, None) == []
    assert readable_versions(document_of(endpoint)["versions"]) == ["any worker gets any operation"]
    assert fill_versions(endpoint, ["v1=5", "a=b=10"], None) == ["versions"]
    assert fill_versions(endpoint, None, True) == ["versions"]  # noqa: FBT003 - as the option comes
    assert readable_versions(document_of(endpoint)["versions"]) == [
        "5 % to v1",
        "10 % to a=b",
        "what is left to versions that are not named",
        "attempts stay with the version that began",
    ]
    fill_versions(endpoint, [], False)  # noqa: FBT003
    assert readable_versions(document_of(endpoint)["versions"]) == ["any worker gets any operation"]


@pytest.mark.parametrize("text", ["v2", "=10", "v2=ten", "v2=-1", "v2=1.5"])
def test_ramp_is_refused_when_it_is_no_share(text: str) -> None:
    """With an example of one."""
    with pytest.raises(CliError, match="v2=10"):
        fill_versions(endpoint_service_pb2.Endpoint(), [text], None)
