"""Runs of a work pool: from what the server and S3 hold to what is asked of ECS."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from tests.support.references import FakeReferences
from tests.support.rendering import override
from tests.support.values import agent
from tests.support.work_pools import TEMPLATE, FakePrefect3, agent_of, launch


def flow(*args: Any, **given: Any) -> dict[str, Any]:
    found, _ = launch(*args, **given)
    (container,) = found.definition["containerDefinitions"]
    return dict(container)


def job(**configuration: Any) -> dict[str, Any]:
    """Return a base job template of this job configuration and no variables."""
    return {"variables": {}, "job_configuration": configuration}


# -- layers ----------------------------------------------------------------------------------------


def test_each_layer_stands_above_the_one_before():
    layers: list[dict[str, Any]] = [
        {"agent": agent_of({"image": "agent"})},
        {"deployment": {"image": "deployment"}},
        {"run": {"image": "run"}},
        {"files": [{"containerDefinitions": [{"image": "flow file"}]}]},
        {"files": [{"containerDefinitions": [{"image": f"{of} file"}]} for of in ("flow", "both")]},
    ]
    given: dict[str, Any] = {}
    found = []
    for layer in layers:
        given |= layer
        found.append(flow(**given)["image"])

    assert found == ["agent", "deployment", "run", "flow file", "both file"]


def test_the_files_that_had_a_say_are_named():
    assert launch()[1] is None
    assert launch(files=[{}])[1] == "s3://bucket/1.json"
    assert launch(files=[{}, {}])[1] == "s3://bucket/1.json and s3://bucket/2.json"


def test_a_wrong_file_is_named():
    with pytest.raises(PermanentError, match=r"^s3://bucket/2\.json: memmory: not a parameter"):
        launch(files=[{}, {"memmory": 1}])


def test_without_variables_of_its_own_the_run_is_not_read():
    prefect = FakePrefect3()

    launch(prefect=prefect)

    assert prefect.asked == ["deployment"]


def test_without_a_deployment_none_is_read():
    prefect = FakePrefect3()

    launch(prefect=prefect, deployment_id=None)

    assert prefect.asked == []


def test_a_run_whose_variables_are_null_has_none():
    prefect = FakePrefect3(run_variables=None)

    assert launch(prefect=prefect, has_job_variables=True)[0].definition


# -- the image -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "image"),
    [("3.8.8", "prefecthq/prefect:3.8.8-python3.12"), (None, "prefecthq/prefect:3-latest")],
)
@pytest.mark.parametrize("none", [{}, {"image": None}, {"image": ""}])
def test_an_image_that_nobody_names_is_the_servers_version(
    version: str | None, image: str, none: Any
):
    assert flow(prefect=FakePrefect3(version=version, deployment_variables=none))["image"] == image


# -- the name --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("plain", "plain"),
        ("{{ ctx.flow.name }}/{{ ctx.flow_run.name }}", "Load orders/brave-otter"),
        ("{{ ctx.flow_run.tags[0] }}", "a"),
        ("{{ ctx.flow.nothing }}", None),
        ("<{{ ctx.flow.nothing }}>", "<>"),
        ("{{ ctx }", "{{ ctx }"),
        (None, None),
    ],
)
def test_a_name_may_speak_of_the_run(name: str | None, found: str | None):
    assert launch(deployment={"name": name})[0].name == found


def test_a_plain_name_asks_the_server_nothing():
    prefect = FakePrefect3(deployment_variables={"name": "plain"})

    launch(prefect=prefect)

    assert prefect.asked == ["deployment"]


# -- references ------------------------------------------------------------------------------------


def test_the_agents_environment_is_its_region_and_its_settings():
    template = job(
        task_definition={"family": "x"},
        env={
            name: f"{{{{ ${name} }}}}" for name in ("AWS_REGION", "TEAM", "AWS_SECRET_ACCESS_KEY")
        },
    )

    found = override(launch(template=template, agent=agent(env={"TEAM": "data"}))[0])["environment"]

    assert (found["AWS_REGION"], found["TEAM"]) == ("eu-west-1", "data")
    assert found["AWS_SECRET_ACCESS_KEY"] == ""


def test_a_run_with_credentials_of_its_own_gets_nothing_that_the_stack_made():
    mine = agent(
        kwargs=Kwargs(definition={"taskRoleArn": "arn:stack"}, request={"cluster": "arn:stack"}),
        users_kwargs=Kwargs(request={"cluster": "theirs"}),
    )
    block = {"aws_access_key_id": "A", "aws_secret_access_key": "canary"}
    references = FakeReferences(documents={"1": block})
    credentials = {"aws_credentials": {"$ref": {"block_document_id": "1"}}}

    found, _ = launch(deployment=credentials, agent=mine, references=references)

    assert found.aws_credentials == block
    assert "taskRoleArn" not in found.definition
    assert found.request["cluster"] == "theirs"
    network = found.request["networkConfiguration"]["awsvpcConfiguration"]
    assert network["subnets"] == ["subnet-block"]
    assert "canary" not in repr(found)


# -- what cannot be launched -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        {},
        job(),
        job(task_definition="text"),
        job(task_definition={"containerDefinitions": "text"}),
        job(task_definition={"containerDefinitions": [{"environment": "text"}]}),
        job(task_definition={"containerDefinitions": [{"environment": [{"value": "1"}]}]}),
        job(task_definition={"containerDefinitions": [{"secrets": {"A": "arn"}}]}),
        job(task_definition={"containerDefinitions": [{"cpu": {}, "memory": [1]}]}),
        job(task_definition={"containerDefinitions": [{"name": 5}]}),
        job(task_definition={"family": 5}),
        job(task_definition={"family": "x", "requiresCompatibilities": "EC2"}),
        job(task_definition={"family": "x", "requiresCompatibilities": 5}),
        job(task_definition={"family": "x", "networkMode": ["awsvpc"]}),
        job(task_definition={"family": "x"}, task_run_request={"overrides": "text"}),
        job(
            task_definition={"family": "x"},
            task_run_request={"overrides": {"containerOverrides": {"name": "prefect"}}},
        ),
        job(
            task_definition={"family": "x"},
            task_run_request={"overrides": {"containerOverrides": ["text"]}},
        ),
        job(task_definition={"family": "x"}, task_run_request={"tags": "text"}),
        job(task_definition={"family": "x"}, task_run_request={"tags": [1]}),
        job(task_definition={"family": "x"}, task_run_request={"launchType": 5}),
        job(task_definition={"family": "x"}, task_run_request={"capacityProviderStrategy": "SPOT"}),
        job(task_definition={"family": "x"}, task_run_request={"networkConfiguration": "text"}),
        job(task_definition={"family": "x"}, colour="red", env="text"),
    ],
    ids=lambda template: str(template.get("job_configuration"))[:70],
)
def test_what_makes_no_task_is_the_users_to_mend_and_is_not_tried_again(template: Any):
    with pytest.raises(PermanentError):
        launch(template=template)


@pytest.mark.parametrize("template", [None, [], "text", {"variables": [], "job_configuration": {}}])
def test_so_is_a_template_that_is_none(template: Any):
    with pytest.raises(PermanentError):
        launch(template=template)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1, 5000)
    | st.sampled_from(["", "prefect", "FARGATE", "EC2", "{{ image }}", "{{ prefect.variables.x }}"])
    | st.text(max_size=4)
)
ANY = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "value", "A"]), inner, max_size=2)
    ),
    max_leaves=5,
)
CONTAINER = st.dictionaries(
    st.sampled_from(["name", "image", "cpu", "memory", "environment", "secrets", "command"]), ANY
)
DEFINITION = st.fixed_dictionaries(
    {},
    optional={
        "containerDefinitions": st.lists(CONTAINER | ANY, max_size=2) | ANY,
        **dict.fromkeys(["cpu", "memory", "family", "networkMode", "tags", "volumes"], ANY),
        "requiresCompatibilities": ANY,
    },
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "overrides": st.fixed_dictionaries(
            {}, optional={"containerOverrides": st.lists(CONTAINER | ANY, max_size=2) | ANY}
        )
        | ANY,
        **dict.fromkeys(["launchType", "capacityProviderStrategy", "tags", "cluster"], ANY),
        "networkConfiguration": ANY,
    },
)
CONFIGURATION = st.fixed_dictionaries(
    {"task_definition": DEFINITION, "task_run_request": REQUEST},
    optional={
        **dict.fromkeys(["env", "labels", "name", "command", "container_name", "vpc_id"], ANY),
        **dict.fromkeys(["aws_credentials", "network_configuration", "cluster"], ANY),
    },
)
VARIABLES = st.dictionaries(
    st.sampled_from(["image", "env", "env.A", "cpu", "a.b.c"]), ANY, max_size=2
)


@given(CONFIGURATION, VARIABLES, VARIABLES)
def test_whatever_a_pool_holds_its_runs_are_launched_or_told_why_not(
    configuration: Any, deployment: Any, run: Any
):
    with contextlib.suppress(PermanentError):
        launch(template=job(**configuration), deployment=deployment, run=run)


@given(VARIABLES, VARIABLES)
def test_whatever_a_deployment_and_a_run_say_they_are_launched_or_told_why_not(
    deployment: Any, run: Any
):
    with contextlib.suppress(PermanentError):
        launch(template=TEMPLATE, deployment=deployment, run=run)
