"""What sets a definition apart from a registered revision, and what does not."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.drift import differences
from fargate_agent.task_definitions import HASH_TAG

ROLE = "arn:aws:iam::123456789012:role/team/task"
SECRET = "hunter2"
DEFINITION: dict[str, Any] = {
    "family": "etl",
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "1024",
    "memory": "2048",
    "taskRoleArn": ROLE,
    "ephemeralStorage": {"sizeInGiB": 50},
    "volumes": [{"name": "scratch"}],
    "tags": [{"key": "team", "value": "data"}],
    "containerDefinitions": [
        {
            "name": "flow",
            "image": "etl:1",
            "command": ["python", "-m", "flow"],
            "environment": [{"name": "A", "value": SECRET}, {"name": "B", "value": "b"}],
            "secrets": [{"name": "KEY", "valueFrom": f"arn:{SECRET}"}],
            "portMappings": [{"containerPort": 8080}],
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "flows"}},
            "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
        },
        {"name": "router", "image": "router:1", "essential": False},
    ],
}

NAMES = st.text("ABCDEFimagecpu", min_size=1, max_size=6)
TEXTS = st.text(max_size=6)


def pairs(value: str) -> st.SearchStrategy[list[dict[str, str]]]:
    """Return lists of names and values, each name once."""
    return st.dictionaries(NAMES, TEXTS, max_size=4).map(
        lambda d: [{"name": name, value: text} for name, text in d.items()]
    )


CONTAINERS = st.fixed_dictionaries(
    {"image": TEXTS.filter(bool)},
    optional={
        "cpu": st.integers(0, 4),
        "essential": st.booleans(),
        "command": st.lists(TEXTS, max_size=3),
        "environment": pairs("value"),
        "secrets": pairs("valueFrom"),
        "portMappings": st.lists(
            st.fixed_dictionaries(
                {"containerPort": st.integers(1, 9)},
                optional={"protocol": st.sampled_from(["tcp", "udp"])},
            ),
            max_size=3,
            unique_by=lambda port: port["containerPort"],
        ),
        "dockerLabels": st.dictionaries(NAMES, TEXTS, max_size=2),
        "readonlyRootFilesystem": st.booleans(),
    },
)
DEFINITIONS = st.fixed_dictionaries(
    {
        "family": st.just("etl"),
        "containerDefinitions": st.lists(CONTAINERS, min_size=1, max_size=3).map(
            lambda many: [{"name": f"c{i}", **one} for i, one in enumerate(many)]
        ),
    },
    optional={
        "networkMode": st.sampled_from(["awsvpc", "bridge", "host"]),
        "cpu": st.sampled_from(["256", "512"]),
        "taskRoleArn": st.just(ROLE),
        "pidMode": st.just("task"),
        "volumes": st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=2),
        "requiresCompatibilities": st.just(["FARGATE"]),
    },
)


def as_ecs_returns(definition: dict[str, Any], shuffled: Callable[[list[Any]], list[Any]]) -> Any:
    """Return a definition as ``describe_task_definition`` shows it."""
    told = deepcopy(definition)
    containers = told["containerDefinitions"]
    own_network = definition.get("networkMode") in ("awsvpc", "host")
    for container in containers:
        empty = {"environment": [], "mountPoints": [], "volumesFrom": [], "systemControls": []}
        container.update({"cpu": 0, "essential": True, **empty, **container})
        for key in ("environment", "secrets"):
            if key in container:
                container[key] = shuffled(container[key])
        for port in container.setdefault("portMappings", []):
            host = port["containerPort"] if own_network else 0
            port.update({"hostPort": host, "protocol": "tcp", **port})
    for volume in told.setdefault("volumes", []):
        volume["host"] = {}
    tags = {tag["key"]: tag["value"] for tag in told.pop("tags", [])}
    return {
        "placementConstraints": [],
        **told,
        "containerDefinitions": shuffled(containers),
        "tags": {**tags, HASH_TAG: "hash"},
        "taskDefinitionArn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/etl:7",
        "revision": 7,
        "status": "ACTIVE",
        "compatibilities": ["EC2", "FARGATE"],
        "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.task-iam-role"}],
        "registeredAt": "2026-03-01T12:00:00Z",
        "registeredBy": "arn:aws:iam::123456789012:user/me",
    }


def drift(change: Callable[[dict[str, Any]], Any]) -> list[str]:
    """Return the differences of the definition above to one that is changed."""
    changed = as_ecs_returns(DEFINITION, list)
    change(changed)
    return differences(DEFINITION, changed)


@given(DEFINITIONS, st.randoms(use_true_random=False))
def test_a_definition_never_differs_from_what_ecs_returns_for_it(definition: Any, random: Any):
    def shuffled(items: list[Any]) -> list[Any]:
        return random.sample(items, len(items))

    assert differences(definition, as_ecs_returns(definition, shuffled)) == []


@given(DEFINITIONS)
def test_comparing_changes_nothing(definition: Any):
    before, registered = deepcopy(definition), as_ecs_returns(definition, list)

    differences(definition, registered)

    assert definition == before
    assert registered == as_ecs_returns(definition, list)


FLOW = "container 'flow'"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(cpu="256"), "cpu is '1024' here and '256' there"),
        (lambda d: d.update(memory="512"), "memory is '2048' here and '512' there"),
        (lambda d: d.pop("taskRoleArn"), f"taskRoleArn is '{ROLE}' here and None there"),
        (lambda d: d.update(executionRoleArn="r"), "executionRoleArn is None here and 'r' there"),
        (lambda d: d.update(pidMode="task"), "pidMode is only there"),
        (lambda d: d.update(volumes=[]), "volumes is only here"),
        (lambda d: d.update(volumes=[{"name": "x"}]), "volumes is another"),
        (lambda d: d.update(requiresCompatibilities=["EC2"]), "requiresCompatibilities is another"),
        (lambda d: d["ephemeralStorage"].update(sizeInGiB=5), "ephemeralStorage.sizeInGiB is anot"),
        (lambda d: d["tags"].update(team="x"), "tags.team is another"),
        (lambda d: d["tags"].update(more="x"), "tags.more is only there"),
        (lambda d: d.update(tags={}), "tags is only here"),
        (lambda d: d["containerDefinitions"].pop(), "container 'router' is only here"),
        (lambda d: d["containerDefinitions"].append({"name": "x"}), "container 'x' is only there"),
        (lambda d: flow(d).update(image="x"), f"{FLOW}.image is 'etl:1' here and 'x' there"),
        (lambda d: flow(d).update(cpu=5), f"{FLOW}.cpu is None here and 5 there"),
        (lambda d: flow(d).update(command=["-m", "python", "flow"]), f"{FLOW}.command is another"),
        (lambda d: flow(d).update(entryPoint=["sh"]), f"{FLOW}.entryPoint is only there"),
        (lambda d: flow(d).update(essential=False), f"{FLOW}.not essential is only there"),
        (lambda d: flow(d).pop("secrets"), f"{FLOW}.secrets is only here"),
        (lambda d: flow(d)["secrets"][0].update(valueFrom="x"), f"{FLOW}.secrets.KEY is another"),
        (lambda d: flow(d)["environment"].pop(0), f"{FLOW}.environment.A is only here"),
        (
            lambda d: flow(d)["environment"][0].update(value="x"),
            f"{FLOW}.environment.A is another",
        ),
        (
            lambda d: flow(d)["environment"].append({"name": "C", "value": "c"}),
            f"{FLOW}.environment.C is only there",
        ),
        (
            lambda d: flow(d)["environment"].append({"name": "EMPTY", "value": ""}),
            f"{FLOW}.environment.EMPTY is only there",
        ),
        (lambda d: flow(d)["portMappings"].clear(), f"{FLOW}.portMappings is only here"),
        (
            lambda d: flow(d)["portMappings"][0].update(protocol="udp"),
            f"{FLOW}.portMappings is an",
        ),
        (lambda d: flow(d).update(mountPoints=[]), f"{FLOW}.mountPoints is only here"),
        (
            lambda d: flow(d)["logConfiguration"]["options"].update({"awslogs-group": "x"}),
            f"{FLOW}.logConfiguration.options.awslogs-group is another",
        ),
    ],
)
def test_each_change_is_named_once(change: Callable[[dict[str, Any]], Any], named: str):
    (found,) = drift(change)

    assert found.startswith(named)


def test_a_renamed_secret_is_one_that_is_gone_and_one_that_is_new():
    assert drift(lambda d: flow(d)["secrets"][0].update(name="K")) == [
        f"{FLOW}.secrets.K is only there",
        f"{FLOW}.secrets.KEY is only here",
    ]


def flow(definition: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = definition["containerDefinitions"][0]
    return container


def test_all_changes_are_named_the_tasks_before_its_containers():
    def change(definition: dict[str, Any]) -> None:
        definition.update(memory="512", cpu="256")
        flow(definition).update(image="x")

    assert [one.partition(" is ")[0] for one in drift(change)] == [
        "cpu",
        "memory",
        "container 'flow'.image",
    ]


@given(DEFINITIONS, DEFINITIONS)
def test_of_variables_and_secrets_names_are_shown_and_values_never(one: Any, other: Any):
    for marker, definition in (("ours", one), ("theirs", other)):
        for container in definition["containerDefinitions"]:
            for key in ("environment", "secrets"):
                for entry in container.get(key, []):
                    entry["value" if key == "environment" else "valueFrom"] = f"<secret {marker}>"

    assert "<secret" not in "; ".join(differences(one, as_ecs_returns(other, list)))


@pytest.mark.parametrize("name", ["image", "cpu", "memory", "taskRoleArn", "networkMode"])
@pytest.mark.parametrize("key", ["environment", "secrets"])
def test_a_variable_of_the_name_of_a_parameter_is_a_variable(name: str, key: str):
    field = "value" if key == "environment" else "valueFrom"

    def with_value(value: str) -> Any:
        container = {"name": "flow", key: [{"name": name, field: value}]}
        return {"family": "etl", "containerDefinitions": [container]}

    assert differences(with_value("hunter2"), with_value("etl/hunter2")) == [
        f"container 'flow'.{key}.{name} is another"
    ]


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ("task", ROLE, True),
        ("team/task", ROLE, True),
        (ROLE, "task", True),
        ("other", ROLE, False),
        (ROLE, "arn:aws:iam::999999999999:role/team/task", False),
        (ROLE, "arn:aws:iam::123456789012:role/task", False),
    ],
)
def test_a_role_may_be_written_by_its_name_or_its_arn(here: str, there: str, same: bool):
    def with_role(role: str) -> dict[str, Any]:
        return {**DEFINITION, "taskRoleArn": role}

    assert (differences(with_role(here), with_role(there)) == []) is same


def test_tags_may_be_a_list_or_a_mapping_and_those_of_the_agent_are_no_difference():
    theirs = {**DEFINITION, "tags": {"team": "data", HASH_TAG: "x", "fargate-agent/flow-id": "y"}}

    assert differences(DEFINITION, theirs) == []
    assert differences(theirs, DEFINITION) == []


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_no_tags_are_no_tags_however_they_are_written(nothing: Any):
    plain = {"family": "etl", "containerDefinitions": [{"name": "flow"}]}

    assert differences({**plain, "tags": nothing}, plain) == []


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        pytest.param(
            {"healthCheck": {"command": ["CMD", "true"]}},
            {
                "healthCheck": {
                    "command": ["CMD", "true"],
                    "interval": 30,
                    "timeout": 5,
                    "retries": 3,
                }
            },
            id="health check",
        ),
        pytest.param(
            {"logConfiguration": {"logDriver": "awslogs"}},
            {"logConfiguration": {"logDriver": "awslogs", "options": {}, "secretOptions": []}},
            id="log configuration",
        ),
        pytest.param({"interactive": False}, {}, id="a default that is said"),
    ],
)
def test_what_ecs_fills_into_a_container_is_no_difference(given: Any, filled: Any):
    def definition(container: Any) -> Any:
        return {"family": "etl", "containerDefinitions": [{"name": "flow", **container}]}

    assert differences(definition(given), definition(filled)) == []


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        pytest.param({"cpu": "1 vCPU"}, {"cpu": "1024"}, id="cpu in words"),
        pytest.param({"cpu": ".5 vcpu"}, {"cpu": "512"}, id="half a cpu"),
        pytest.param({"memory": "2 GB"}, {"memory": "2048"}, id="memory in words"),
        pytest.param({"memory": "2GB"}, {"memory": "2048"}, id="memory in a word"),
        pytest.param(
            {"volumes": [{"name": "e", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]},
            {
                "volumes": [
                    {
                        "name": "e",
                        "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/"},
                    }
                ]
            },
            id="root of a file system",
        ),
    ],
)
def test_what_ecs_fills_into_a_definition_is_no_difference(given: Any, filled: Any):
    assert differences({**DEFINITION, **given}, {**DEFINITION, **filled}) == []


def test_a_fixed_port_of_an_instance_is_not_any_port():
    def bridged(host: int) -> Any:
        ports = [{"containerPort": 80, "hostPort": host}]
        container = {"name": "flow", "portMappings": ports}
        return {"family": "etl", "networkMode": "bridge", "containerDefinitions": [container]}

    assert differences(bridged(80), bridged(0)) == ["container 'flow'.portMappings is another"]


def test_another_network_mode_is_named():
    def networked(mode: str) -> Any:
        return {"family": "etl", "networkMode": mode, "containerDefinitions": [{"name": "flow"}]}

    assert differences(networked("awsvpc"), networked("host")) == [
        "networkMode is 'awsvpc' here and 'host' there"
    ]


def test_no_swap_is_not_the_default_swap():
    def swapping(parameters: Any) -> Any:
        container = {"name": "flow", "linuxParameters": {"maxSwap": 64, **parameters}}
        return {"family": "etl", "containerDefinitions": [container]}

    assert len(differences(swapping({"swappiness": 0}), swapping({}))) == 1


def test_tags_of_aws_itself_are_no_difference():
    tags = {"aws:cloudformation:stack-name": "x"}
    assert differences({"containerDefinitions": []}, {"tags": tags}) == []
