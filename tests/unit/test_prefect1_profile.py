"""A claimed run of Prefect 1 rendered: its server, its file in S3 and the settings together."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.response import StreamingBody

from fargate_agent.errors import PermanentError
from fargate_agent.external_kwargs import KwargsFiles, external_key
from fargate_agent.profiles.prefect1 import Prefect1Profile
from fargate_agent.runs import Launch
from tests.support.aws import kwargs_model, stubbed
from tests.support.prefect1_agent import prefect1, run_of
from tests.support.prefect1_server import Prefect1Server
from tests.support.prefect1_values import KEY_SECRET, containers, variables

ENVIRONMENT = {"type": "FargateTaskEnvironment", "metadata": {"image": "etl:1"}}
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}


def rendered(
    server: Prefect1Server,
    *,
    file: Mapping[str, Any] | None = None,
    bucket: str | None = "bucket",
    flow: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    **settings: Any,
) -> tuple[Launch, str | None]:
    """Render a new run of a new flow, whose file in S3 is ``file``."""
    row = server.add_run(server.add_flow(**(flow or {})), **(run or {}))
    found = run_of(row)
    agent = prefect1(server, **settings)
    key = external_key("kwargs", found.flow_name, found.flow_id)
    asked = {"Bucket": bucket, "Key": key}
    with stubbed("s3") as (s3, script):
        if file is not None:
            body = json.dumps(file).encode()
            answer = {
                "Body": StreamingBody(io.BytesIO(body), len(body)),
                "ContentLength": len(body),
            }
            script.add_response("get_object", answer, asked)
        elif bucket:
            script.add_client_error("get_object", "NoSuchKey", expected_params=asked)
        model = kwargs_model()
        profile = Prefect1Profile(agent, KwargsFiles(s3, bucket, "kwargs", model), model)
        return profile.render(found, agent.run_states([found.id])[found.id])


def refusal(server: Prefect1Server, **given: Any) -> str:
    with pytest.raises(PermanentError) as error:
        rendered(server, **given)
    return str(error.value)


def test_without_a_file_the_settings_decide():
    with Prefect1Server() as server:
        launch, url = rendered(
            server, ecs_kwargs={"cpu": 512, "cluster": "user"}, stack_kwargs={"cluster": "stack"}
        )

    assert url is None
    assert launch.definition["cpu"] == "512"
    assert launch.request["cluster"] == "user"


def test_a_file_stands_above_the_settings_and_is_named():
    with Prefect1Server() as server:
        launch, url = rendered(server, file={"cpu": 1024}, ecs_kwargs={"cpu": 512})

    assert launch.definition["cpu"] == "1024"
    assert str(url).startswith("s3://bucket/kwargs/my-flow/")


def test_where_external_kwargs_are_switched_off_nothing_is_read():
    with Prefect1Server() as server:
        assert rendered(server, bucket=None)[1] is None


def test_a_bad_file_is_named():
    with Prefect1Server() as server:
        message = refusal(server, file={"cpuu": 1})

    assert message.startswith("s3://bucket/kwargs/my-flow/")
    assert "cpuu: not a parameter" in message


def test_bad_settings_name_their_source():
    with Prefect1Server() as server:
        config = server.add_agent_config({"cpuu": 1})

        assert refusal(server, ecs_kwargs={"cpuu": 1}).startswith("agent.toml: ecs.kwargs: cpuu: ")
        message = refusal(server, agent_config_id=config["id"])

    assert config["id"] in message
    assert "cpuu: not a parameter" in message


def test_an_agent_configuration_stands_between_the_settings_and_the_run():
    with Prefect1Server() as server:
        config = server.add_agent_config(
            {"cpu": "1024", "launch_type": "EC2", "env_vars": {"TZ": "UTC"}}
        )
        launch, _ = rendered(
            server,
            agent_config_id=config["id"],
            ecs_kwargs={"cpu": 512, "memory": 2048},
            agent_env={"A": "1"},
        )

    assert (launch.definition["cpu"], launch.definition["memory"]) == ("1024", "2048")
    assert launch.request["launchType"] == "EC2"
    assert variables(containers(launch)[0])["TZ"] == "UTC"
    assert "A" not in variables(containers(launch)[0])


def test_a_type_that_no_prefect_1_wrote_is_refused_before_s3_is_asked():
    with Prefect1Server() as server:
        message = refusal(server, flow={"storage": {"type": "Dcker"}}, bucket=None)

    assert message.startswith("The flow's storage is of type 'Dcker'")


@pytest.mark.parametrize(
    ("key", "tenant"),
    [
        pytest.param({}, False, id="open source"),
        pytest.param({"token": "token"}, False, id="runner's token"),
        pytest.param({"token": "key", "api_key": True}, True, id="API key"),
    ],
)
def test_the_tenant_is_told_where_the_key_is_of_one(key: Any, tenant: bool):
    with Prefect1Server(**key) as server:
        launch, _ = rendered(server)

        told = variables(containers(launch)[0]).get("PREFECT__CLOUD__TENANT_ID")
        assert told == (server.tenant_id if tenant else None)
    names = {entry["name"] for entry in containers(launch)[0].get("secrets", [])}
    assert ("PREFECT__CLOUD__API_KEY" in names) is tenant
    assert ("PREFECT__CLOUD__AUTH_TOKEN" in names) is bool(key)
    assert all(e["valueFrom"] == KEY_SECRET for e in containers(launch)[0].get("secrets", []))


# -- task environments -----------------------------------------------------------------------------


def test_a_task_environment_runs_the_containers_of_its_file():
    file = {"family": "etl", "containerDefinitions": [{"cpu": 256}, {"name": "router"}]}
    with Prefect1Server() as server:
        launch, _ = rendered(server, file=file, flow={"environment": ENVIRONMENT})

    assert launch.definition["family"] == "etl"
    assert [one["name"] for one in containers(launch)] == ["flow-container", "router"]


def test_a_task_environment_may_have_its_family_from_the_settings():
    with Prefect1Server() as server:
        launch, _ = rendered(
            server, flow={"environment": ENVIRONMENT}, ecs_kwargs={"family": "etl"}
        )

    assert [one["name"] for one in containers(launch)] == ["flow-container"]


def test_a_task_environment_without_a_family_runs_in_the_agents_own_container():
    with Prefect1Server() as server:
        launch, _ = rendered(server, file={"cpu": 256}, flow={"environment": ENVIRONMENT})

    (container,) = containers(launch)
    assert (container["name"], container["image"]) == ("flow", "etl:1")


@pytest.mark.parametrize(
    ("flow", "told"), [({}, "must hold exactly one"), ({"environment": ENVIRONMENT}, "no family")]
)
def test_the_agents_own_container_is_one(flow: dict[str, Any], told: str):
    with Prefect1Server() as server:
        message = refusal(server, file={"containerDefinitions": [{}, {}]}, flow=flow)

    assert told in message


# -- the network -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ({}, NETWORK),
        ({"networkMode": "awsvpc"}, NETWORK),
        ({"networkMode": "bridge"}, None),
        (
            {
                "networkMode": "bridge",
                "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["mine"]}},
            },
            {"awsvpcConfiguration": {"subnets": ["mine"]}},
        ),
    ],
)
def test_the_stacks_network_goes_where_ecs_takes_it(file: dict[str, Any], found: Any):
    with Prefect1Server() as server:
        launch, _ = rendered(server, file=file, stack_kwargs={"networkConfiguration": NETWORK})

    assert launch.request.get("networkConfiguration") == found
