"""What ``doctor`` makes of answers that only a real account gives, or that moto never does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cli.doctor import functions, identity, launch, network, prefect3, roles, tasks
from cli.doctor.examination import examine
from cli.doctor.findings import Finding, Level
from fargate_agent.orchestrators.http import ApiError, CredentialsRefused
from tests.support import aws

CLUSTER: Mapping[str, Any] = {
    "clusterName": "etl",
    "status": "ACTIVE",
    "runningTasksCount": 0,
    "pendingTasksCount": 0,
    "capacityProviders": ["FARGATE"],
    "defaultCapacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
}


def stand_in(**answers: Any) -> Any:
    """Make a client whose operations answer this."""
    return SimpleNamespace(**{name: lambda answer=a, **_: answer for name, a in answers.items()})


def subject(client: Any = None, **fields: Any) -> Any:
    return SimpleNamespace(client=lambda _: client, task_client=lambda _: client, **fields)


def on_cluster(request: Mapping[str, Any], **fields: Any) -> Finding:
    ecs = stand_in(describe_clusters={"clusters": [{**CLUSTER, **fields}]})
    (finding,) = tasks.cluster(subject(ecs, cluster="etl", placed=({}, request)))
    return finding


def test_the_remedy_for_a_missing_capacity_provider_keeps_the_clusters_own_strategy() -> None:
    strategy = [{"capacityProvider": "FARGATE_SPOT"}]

    finding = on_cluster({"capacityProviderStrategy": strategy})

    assert finding.level is Level.FAILURE
    assert '[{"capacityProvider": "FARGATE", "weight": 1}]' in finding.remedy
    assert "--capacity-providers FARGATE FARGATE_SPOT " in finding.remedy


@pytest.mark.parametrize(
    ("launch_type", "instances", "level"),
    [
        ("EC2", 0, Level.FAILURE),
        ("EXTERNAL", 0, Level.FAILURE),
        ("EC2", 1, Level.OK),
        ("FARGATE", 0, Level.OK),
    ],
)
def test_a_launch_type_of_instances_needs_some(
    launch_type: str, instances: int, level: Level
) -> None:
    request = {"launchType": launch_type}

    assert on_cluster(request, registeredContainerInstancesCount=instances).level is level


def way_out(
    routes: list[dict[str, str]], endpoints: list[str], needed: list[str], state: str = "available"
) -> Finding:
    found = [{"ServiceName": f"com.amazonaws.eu-west-1.{e}", "State": state} for e in endpoints]
    ec2 = stand_in(
        describe_route_tables={"RouteTables": [{"Routes": routes}]},
        describe_vpc_endpoints={"VpcEndpoints": found},
    )
    return network._way_out(ec2, "subnet-1", "vpc-1", needed, public=False)


LOCAL = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}
TO_A_HUB = {"DestinationCidrBlock": "10.0.0.0/8", "TransitGatewayId": "tgw-1"}


def test_a_private_subnet_needs_the_endpoints_that_its_tasks_ask() -> None:
    image = ["ecr.api", "ecr.dkr", "s3"]

    assert way_out([LOCAL], image, image).level is Level.OK
    assert way_out([LOCAL], image, [*image, "logs"]).level is Level.FAILURE
    assert way_out([LOCAL], image, image, state="deleting").level is Level.FAILURE


def test_endpoints_behind_a_transit_gateway_are_not_seen_and_no_failure() -> None:
    finding = way_out([LOCAL, TO_A_HUB], [], ["s3"])

    assert finding.level is Level.UNKNOWN
    assert "a transit gateway" in finding.found


@pytest.mark.parametrize(
    ("container", "key", "needed"),
    [
        ({}, None, []),
        ({"logConfiguration": {"logDriver": "awslogs"}}, None, ["logs"]),
        ({"logConfiguration": {"logDriver": "splunk"}}, "arn:secret", ["secretsmanager"]),
    ],
)
def test_a_task_asks_the_services_of_its_image_its_log_and_its_key(
    container: dict[str, Any], key: str | None, needed: list[str]
) -> None:
    agent = subject(
        kwargs=SimpleNamespace(container=container),
        settings=SimpleNamespace(api_key_secret=key, auth_string_secret=None),
    )

    assert network._services(agent) == [*network.IMAGE_ENDPOINTS, *needed]


@pytest.mark.parametrize(
    ("state", "level"), [("Inactive", Level.WARNING), ("Failed", Level.FAILURE)]
)
def test_a_function_that_idled_for_long_is_no_failure(state: str, level: Level) -> None:
    described = {"Configuration": {"State": state}}
    agent = subject(agent=SimpleNamespace(function=lambda _: described))

    assert {finding.level for finding in functions.states(agent)} == {level}


@pytest.mark.parametrize(
    ("failed", "level"), [(0, Level.OK), (2, Level.WARNING), (15, Level.FAILURE)]
)
def test_when_all_polls_fail_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, failed: float, level: Level
) -> None:
    counts = {"Invocations": 15.0, "Errors": failed}
    monkeypatch.setattr(functions, "_sum", lambda _, metric: counts[metric])

    (finding,) = functions.invocations(subject())

    assert finding.level is level


def test_a_role_that_may_not_pull_from_ecr_is_no_failure_of_other_registries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def allowed(iam: Any, arn: str, action: str, resource: str) -> bool:
        return not action.startswith("ecr:")

    monkeypatch.setattr(roles, "allowed", allowed)
    agent = subject(
        SimpleNamespace(meta=SimpleNamespace(region_name="eu-west-1")),
        kwargs=SimpleNamespace(container={}),
        settings=SimpleNamespace(api_key_secret=None, auth_string_secret=None),
    )

    (finding,) = roles._lacking(agent, None, "arn:aws-cn:iam::123456789012:role/tasks")

    assert finding.level is Level.WARNING


def test_what_cannot_be_reached_from_here_is_not_known() -> None:
    def unreachable(_: Any) -> Iterator[Finding]:
        raise EndpointConnectionError(endpoint_url="https://servicequotas.example")
        yield

    (finding,) = examine(subject(), {"Fargate quota": unreachable})

    assert finding.level is Level.UNKNOWN
    assert "servicequotas.example" in finding.found


def test_a_launch_that_the_caller_may_not_ask_for_keeps_the_other_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> Any:
        raise aws.client_error("AccessDeniedException", operation="Invoke")

    monkeypatch.setattr(launch, "invoke", refuse)

    finding = launch.launch_one(subject(), 1, say=lambda _: None)

    assert finding.level is Level.UNKNOWN
    assert "Invoke is refused to whoever runs this" in finding.found


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z", "clock"),
        ("Signature not yet current: 20260101T020000Z is still later than ...", "clock"),
        ("The security token included in the request is invalid", "Log in"),
    ],
)
def test_a_clock_that_aws_refuses_is_to_be_set(message: str, words: str) -> None:
    told = {"Error": {"Code": "SignatureDoesNotMatch", "Message": message}}

    assert words in identity.remedy(ClientError(told, "GetCallerIdentity"))  # type: ignore[arg-type]


def test_a_log_group_of_another_region_is_not_looked_for() -> None:
    options = {"awslogs-group": "etl", "awslogs-region": "us-east-1"}
    agent = subject(
        SimpleNamespace(meta=SimpleNamespace(region_name="eu-west-1")),
        kwargs=SimpleNamespace(container={"logConfiguration": {"options": options}}),
    )

    (finding,) = tasks.log_group(agent)

    assert finding.level is Level.UNKNOWN


class Prefect:
    """A server that answers its version like this, and no more."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get(self, path: str) -> Any:
        raise self._error


@pytest.mark.parametrize(
    "error", [CredentialsRefused("403"), ApiError("GET", 404, ""), ApiError("GET", 405, "")]
)
def test_a_server_that_does_not_tell_its_version_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(prefect3, "_pool", lambda _: [])
    settings = SimpleNamespace(api_url="https://cloud", prefect_version=3)

    found = list(prefect3.checks(subject(prefect=Prefect(error), settings=settings)))

    assert [finding.level for finding in found] == [Level.OK, Level.OK]


def test_a_server_that_only_the_functions_reach_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SimpleNamespace(api_url="http://private", prefect_version=3)
    away = Prefect(ApiError("GET /admin/version", None, "timed out"))
    monkeypatch.setattr(functions, "polls", lambda _: (15.0, None))

    (finding,) = prefect3.checks(subject(prefect=away, settings=settings))

    assert finding.level is Level.WARNING
    assert "The agent reaches it: 15 polls went well" in finding.found
