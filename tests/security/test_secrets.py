"""Secrets where they are most easily let out: in errors. The suite's watch hears all that is said.

See :mod:`tests.security.canaries`, which fails a test in which a secret is heard; so most tests
here only provoke, and see to it that the run was told something.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.observability import logger
from fargate_agent.orchestrators.credentials import authorization
from fargate_agent.orchestrators.http import RETRIES, ApiError, CredentialsRefused, JsonClient
from fargate_agent.sessions import task_client
from tests.support import aws
from tests.support.json_http import Answer, JsonHttpServer, Request
from tests.support.stack_template import SECRET
from tests.support.values import settings
from tests.support.world import World

KEY = "pnu_0canary0of0the0key"
AUTH_STRING = "admin:canary-of-the-password"
BLOCK = 'canary-of-a-block\'s "value"'
PATIENCE = RETRIES.new(total=0)


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """An agent whose API key is a canary."""
    aws.keep_secret(SECRET, KEY)
    return make_world(prefect={"api_key_secret": SECRET})


WRONG_PLACES: dict[str, dict[str, Any]] = {
    "a size": {"cpu": "{}"},
    "another size": {"memory": "{}"},
    "a table": {"labels": "{}"},
    "a network": {"network_configuration": "{}"},
    "a strategy": {"capacity_provider_strategy": "{}"},
    "a command without an end": {"command": "run '{}"},
    "credentials": {"aws_credentials": "{}"},
    "another block's name": {"env": {"A": "{{ prefect.blocks.secret.none }}", "B": "{}"}},
    "a flag": {"stream_output": "{}", "configure_cloudwatch_logs": "{}"},
}


def take_anything(template: dict[str, Any]) -> None:
    """Let jobs set each variable to what they like; the server's own template knows its types."""
    for variables in WRONG_PLACES.values():
        for name in variables:
            template["variables"]["properties"][name] = {}


@pytest.mark.xdist_group("prefect")
def test_a_block_s_secret_in_a_wrong_place_is_not_repeated_to_the_run(world: World) -> None:
    world.customise(take_anything)
    placeholder = world.block(BLOCK).placeholder
    runs = {}
    for place, variables in WRONG_PLACES.items():
        written = json.loads(json.dumps(variables).replace("{}", placeholder))
        runs[place] = world.schedule(world.deployment(**written))
    world.poll()

    assert world.deliver() == []

    for place, run in runs.items():
        told = world.run(run)
        assert told["state_type"] in ("CRASHED", "PENDING"), place
        assert BLOCK not in json.dumps([told["state"], world.logs(run)]), place


@pytest.mark.xdist_group("prefect")
def test_the_key_is_nowhere_on_a_run_s_whole_way(world: World) -> None:
    deployment = world.deployment(env={"TOKEN": world.block(BLOCK).placeholder})

    task = world.launched(deployment)
    world.stopped(task, stoppedReason="CannotPullContainerError: no", containers=[])
    world.poll()

    container = world.definition(task["taskDefinitionArn"])["containerDefinitions"][0]
    assert container["secrets"] == [{"name": "PREFECT_API_KEY", "valueFrom": SECRET}]
    assert KEY not in json.dumps([container, task], default=str)


@pytest.fixture
def echo() -> Iterator[Callable[..., JsonHttpServer]]:
    """Give a server whose errors repeat the request, as some gateways do."""
    made: list[JsonHttpServer] = []

    def start(status: int, *, as_json: bool) -> JsonHttpServer:
        def answer(request: Request) -> Answer:
            said = {"detail": "bad gateway", "headers": dict(request.headers)}
            return Answer(status, json.dumps(said) if as_json else f"<pre>{said}</pre>")

        made.append(JsonHttpServer(answer))
        made[-1].start()
        return made[-1]

    yield start
    for server in made:
        server.stop()


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 422, 500, 503])
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("kind", ["api_key_secret", "auth_string_secret"])
def test_an_error_that_repeats_the_request_lets_no_credentials_into_the_log(
    aws: None, echo: Callable[..., JsonHttpServer], status: int, as_json: bool, kind: str
) -> None:
    secrets = boto3.client("secretsmanager")
    text = KEY if kind == "api_key_secret" else AUTH_STRING
    secret = secrets.create_secret(Name="prefect", SecretString=text)["ARN"]
    arns = {"api_key_secret": None, "auth_string_secret": None, kind: secret}
    header = authorization(lambda: secrets, **arns)
    api = JsonClient(echo(status, as_json=as_json).url, header, retries=PATIENCE)

    if (status, as_json) == (200, True):
        assert api.post("/flow_runs/filter", {})["detail"] == "bad gateway"
        return
    with pytest.raises((ApiError, CredentialsRefused)) as error:
        api.post("/flow_runs/filter", {})
    logger.error("will try again", error=str(error.value))


@pytest.mark.parametrize(
    "text",
    [
        '{"aws_access_key_id": "AKIA", "aws_secret_access_key": "canary of a key\\n"',
        '["canary of a key"]',
        '"canary of a key"',
        "canary of a key",
        '{"aws_secret_access_key": "canary of a key"}',
    ],
)
def test_a_secret_of_the_wrong_form_is_not_repeated(aws: None, text: str) -> None:
    secrets = boto3.client("secretsmanager")
    arn = secrets.create_secret(Name="keys", SecretString=text)["ARN"]

    with pytest.raises(PermanentError) as error:
        task_client(settings(aws_credentials_secret=arn), lambda: secrets)

    logger.error("failed for good", error=str(error.value))
    assert "canary" not in str(error.value)


def test_the_libraries_say_nothing_at_the_level_that_lambda_has(aws: None) -> None:
    for name in ("botocore", "boto3", "urllib3"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING
