"""Strategies for base job templates: the default one, or that with some edits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tests.optional.ecs_worker.holdings import BLOCKS, ROLE, SECRET, Json, often, seldom
from tests.optional.ecs_worker.job_variables import (
    commands,
    cpus,
    envs,
    images,
    label_names,
    label_values,
    memories,
    roles,
)
from tests.parity.ecs_worker.cases import DEFAULT_FILE, load

PLAIN_TEMPLATE: Json = dict(load(DEFAULT_FILE)[0].input["base_job_template"])


environments = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(("A", "FOO", "OWN")),
            "value": st.sampled_from(("1", "{{ image }}", "c={{ cpu }}", "{{ team }}", None)),
        }
    ),
    max_size=2,
    unique_by=lambda item: item["name"],
)
container_parts: dict[str, st.SearchStrategy[Any]] = {
    "environment": environments,
    "secrets": st.just([{"name": "DB", "valueFrom": f"{SECRET}:db"}]),
    "ulimits": st.just([{"name": "nofile", "softLimit": 65536, "hardLimit": 65536}]),
    "mountPoints": st.just([{"sourceVolume": "data", "containerPath": "/data"}]),
    "resourceRequirements": st.just([{"type": "GPU", "value": "1"}]),
    "linuxParameters": st.just({"initProcessEnabled": True}),
    "logConfiguration": st.just({"logDriver": "awsfirelens", "options": {"Name": "es"}}),
    "portMappings": st.just([{"containerPort": 8080}]),
    "entryPoint": st.just(["/bin/sh", "-c"]),
    "command": st.sampled_from((["run", "{{ nothing }}", "{{ team }}"], ["x-{{ command }}"])),
    "environmentFiles": st.just([{"type": "s3", "value": "arn:aws:s3:::b/{{ team }}.env"}]),
    "dockerLabels": st.just({"team": "{{ team }}", "no": "{{ nothing }}", "t": "a-{{ nothing }}"}),
    "user": st.sampled_from(("{{ prefect.variables.team }}", "")),
    "essential": st.booleans(),
    "stopTimeout": st.sampled_from((0, 120)),
    "cpu": st.sampled_from((512, 0)),
    "healthCheck": st.sampled_from(({}, {"command": ["CMD", "true"], "startPeriod": 0})),
}


@st.composite
def containers(draw: st.DrawFn) -> list[Json]:
    """Give a flow's container with some of what it can have, among sidecars or alone."""
    name = draw(often("{{ container_name }}", "prefect", "main"))
    image = draw(often("{{ image }}", "reg/{{ image }}", "fixed:1", "{{ $REGISTRY }}/app:1"))
    flow: Json = {"name": name, "image": image, **_some(draw, container_parts)}
    if draw(seldom()):
        del flow[draw(st.sampled_from(("name", "image")))]
    made = [flow]
    if draw(often(False, True, times=2)):
        sidecar = {"name": "side", "image": "s:{{ team }}", **_some(draw, container_parts)}
        made.insert(draw(st.sampled_from((1, 0))), sidecar)
    return made


def _some(draw: st.DrawFn, parts: Mapping[str, st.SearchStrategy[Any]]) -> Json:
    """Take at most two of the parts: people change little."""
    names = draw(st.lists(st.sampled_from(sorted(parts)), max_size=2, unique=True))
    return {name: draw(parts[name]) for name in names}


definition_edits: tuple[tuple[str, st.SearchStrategy[Any]], ...] = (
    ("containerDefinitions", containers()),
    ("containerDefinitions", containers()),
    ("requiresCompatibilities", st.just(["{{ compat }}", "FARGATE"])),
    ("networkMode", st.sampled_from(("awsvpc", "bridge", "host"))),
    (
        "requiresCompatibilities",
        st.sampled_from((["FARGATE"], ["EC2"], ["EC2", "FARGATE"], ["EXTERNAL"])),
    ),
    ("family", st.sampled_from(("fixed", "team-{{ family }}", "{{ team }}-{{ nothing }}"))),
    ("cpu", st.sampled_from(("4096", 512, "{{ cpu }}", "{{ prefect.variables.num }}"))),
    ("memory", st.sampled_from(("8192", 1024))),
    ("taskRoleArn", st.sampled_from(("{{ task_role_arn }}", f"{ROLE}/in-template"))),
    ("executionRoleArn", st.just(f"{ROLE}/in-template")),
    ("runtimePlatform", st.just({"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"})),
    ("ephemeralStorage", st.just({"sizeInGiB": 100})),
    (
        "volumes",
        st.sampled_from(
            (
                [{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
                [
                    {
                        "name": "data",
                        "efsVolumeConfiguration": {
                            "fileSystemId": "{{ prefect.variables.team }}",
                            "rootDirectory": "/x",
                        },
                    }
                ],
                [{"name": "data", "host": {}}],
                [],
            )
        ),
    ),
    ("tags", st.sampled_from(([{"key": "team", "value": "{{ team }}"}], []))),
    ("pidMode", st.sampled_from(("task", "", None))),
    ("placementConstraints", st.just([{"type": "memberOf", "expression": "attribute:x == y"}])),
)
request_edits: tuple[tuple[str, st.SearchStrategy[Any]], ...] = (
    ("launchType", st.sampled_from(("FARGATE", "EC2", ...))),
    ("cluster", st.sampled_from(("second", "{{ prefect.variables.cl }}", ...))),
    ("platformVersion", st.just("1.4.0")),
    ("propagateTags", st.just("TASK_DEFINITION")),
    ("enableExecuteCommand", st.booleans()),
    ("enableECSManagedTags", st.just(True)),
    ("group", st.sampled_from(("g-{{ team }}", "g-{{ name }}"))),
    ("startedBy", st.just("own")),
    (
        "tags",
        st.sampled_from(
            ([{"key": "team", "value": "x"}], [{"key": "i", "value": "{{ image }}"}], ...)
        ),
    ),
    (
        "networkConfiguration",
        st.sampled_from(
            (
                {"awsvpcConfiguration": {"subnets": ["subnet-t"], "securityGroups": ["sg-t"]}},
                {
                    "awsvpcConfiguration": {
                        "subnets": "{{ net.sn }}",
                        "securityGroups": ["{{ net.sg }}"],
                    }
                },
                {"awsvpcConfiguration": {"subnets": "{{ prefect.variables.lst }}"}},
            )
        ),
    ),
    (
        "capacityProviderStrategy",
        st.sampled_from(([{"capacityProvider": "FARGATE_SPOT", "weight": 2}], ...)),
    ),
    ("overrides", st.sampled_from(({}, {"cpu": "{{ cpu }}"}, ...))),
    ("overrides.ephemeralStorage", st.just({"sizeInGiB": 50})),
    ("overrides.executionRoleArn", st.just("{{ execution_role_arn }}")),
    (
        "overrides.containerOverrides",
        st.sampled_from(
            (
                [{"name": "{{ container_name }}", "environment": "{{ env }}"}],
                [
                    {"name": "{{ container_name }}", "environment": "{{ env }}"},
                    {"name": "side", "environment": [{"name": "S", "value": "{{ image }}"}]},
                ],
                [{"name": "prefect", "environment": [{"name": "FOO", "value": "request"}]}],
                [{"name": "prefect", "environment": [{"name": "A", "value": None}]}],
                [{"environment": "{{ env }}", "command": ["sh", "-c", "x"]}],
                [],
            )
        ),
    ),
)
configuration_edits: tuple[tuple[str, st.SearchStrategy[Any]], ...] = (
    (
        "env",
        st.sampled_from(
            ({"A": "jc"}, {"IMG": "{{ image }}", "T": "x-{{ cpu }}-y", "NO": "{{ nothing }}"}, {})
        ),
    ),
    ("command", st.sampled_from(("wrap {{ command }}", "fixed command", "{{ team }}"))),
    ("name", st.sampled_from(("{{ ctx.flow.name }}", "{{ name }}-{{ ctx.flow_run.id }}", ...))),
    ("cluster", st.sampled_from(("second", ...))),
    ("labels", st.sampled_from(({"t": "{{ team }}"}, ...))),
    ("vpc_id", st.sampled_from(("vpc-2", ...))),
    ("execution_role_arn", st.just(...)),
    ("configure_cloudwatch_logs", st.sampled_from((True, False))),
    ("network_configuration", st.just(...)),
    ("container_name", st.sampled_from(("main", ...))),
)
declared: dict[str, st.SearchStrategy[Any]] = {
    "team": st.sampled_from(("core", None, "{{ prefect.variables.team }}")),
    "net": st.just({"sn": ["subnet-d1"], "sg": "sg-d"}),
    "env": st.one_of(envs, st.just("{{ prefect.variables.envmap }}")),
    "image": images,
    "cpu": cpus,
    "memory": memories,
    "cluster": st.sampled_from(("default", "second")),
    "launch_type": st.sampled_from(("FARGATE_SPOT", "EC2", "FARGATE")),
    "labels": st.dictionaries(label_names, label_values, max_size=2),
    "execution_role_arn": roles,
    "vpc_id": st.sampled_from(("vpc-2", "vpc-default")),
    "command": commands,
    "family": st.sampled_from(("fam", "pool-family")),
    "configure_cloudwatch_logs": st.booleans(),
    "match_latest_revision_in_family": st.booleans(),
    "aws_credentials": st.just({"$ref": {"block_document_id": BLOCKS[0]["id"]}}),
}
EDITS = (
    *((f"job_configuration.task_definition.{name}", values) for name, values in definition_edits),
    *((f"job_configuration.task_run_request.{name}", values) for name, values in request_edits),
    *((f"job_configuration.{name}", values) for name, values in configuration_edits),
    *((f"variables.properties.{name}.default", values) for name, values in declared.items()),
)


@st.composite
def templates(draw: st.DrawFn) -> Json:
    """Give a pool's base job template: the default one, or that with some edits."""
    made = copy.deepcopy(PLAIN_TEMPLATE)
    if draw(often(False, True)):
        return made
    edits = st.one_of(*(st.tuples(st.just(path), values) for path, values in EDITS))
    for path, value in draw(st.lists(edits, min_size=1, max_size=6)):
        _put(made, path.split("."), copy.deepcopy(value))
    return made


def _put(table: Json, path: list[str], value: Any) -> None:
    """Set what lies at a path, or remove it for an ellipsis."""
    for name in path[:-1]:
        table = table.setdefault(name, {})
    if value is ...:
        table.pop(path[-1], None)
    else:
        table[path[-1]] = value
