"""Cases that nobody recorded: what the model of the worker does, the rules applied to that.

They show what the sample does not come to. ``test_worker.py`` and ``test_course.py`` tell that the
model is the worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tests.parity.ecs_worker.cases import DEFAULT_FILE, DEPLOYMENT_ID, Case, load

ARN = "arn:aws:ecs:us-east-1:123456789012:task-definition/prefect:1"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:theirs"

VARIABLES, RUN_VARIABLES = "deployment/job_variables", "flow_run/job_variables"
TEMPLATE = "base_job_template/job_configuration"
CONTAINERS = f"{TEMPLATE}/task_definition/containerDefinitions"
OVERRIDES = f"{TEMPLATE}/task_run_request/overrides/containerOverrides"
DEFAULTS = "base_job_template/variables/properties"

NAMED = {
    "family": "prefect",
    "containerDefinitions": [{"name": "prefect", "image": "i", "memory": 512}],
}
WITH_KEY = {
    "family": "prefect",
    "containerDefinitions": [
        {
            "name": "prefect",
            "image": "i",
            "memory": 512,
            "secrets": [{"name": "PREFECT_API_KEY", "valueFrom": SECRET}],
        }
    ],
}
ON_INSTANCES = {"task_definition_arn": ARN, "launch_type": "EC2"}
WEB = [
    {
        "name": "prefect",
        "image": "{{ image }}",
        "portMappings": [{"containerPort": 8080}],
        "mountPoints": [{"sourceVolume": "data", "containerPath": "/data"}],
    }
]
EFS = [{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]
THROTTLED = {"error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
TASK = {
    "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/default/5",
    "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/default",
}
CREDENTIALS = {
    "aws_access_key_id": "AKIABLOCK",
    "aws_secret_access_key": "s",
    "region_name": "eu-west-1",
    "assume_role_arn": "arn:aws:iam::123456789012:role/x",
    "assume_role_kwargs": {"RoleSessionName": "flows"},
}
NEW_IMAGE = {"deployment": {"job_variables": {"image": "b:1"}}}
AGAIN = {"deployment": {"job_variables": {"image": "a:1"}}, "new_worker": True}

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "a secret without a key": {VARIABLES: {"prefect_api_key_secret_arn": SECRET}},
    "a user's own key beside the agent's": {
        VARIABLES: {"env": {"PREFECT_API_KEY": "mine"}},
        "worker/env/PREFECT_API_KEY": "pnu_x",
    },
    "an auth string": {"worker/env/PREFECT_API_AUTH_STRING": "admin:pw"},
    "external machines": {
        VARIABLES: {"launch_type": "EXTERNAL"},
        f"{TEMPLATE}/task_definition/requiresCompatibilities": ["EXTERNAL"],
    },
    "a reply with a failure and a task": {
        "aws/script": {"RunTask": [{"tasks": [TASK], "failures": [{"reason": "RESOURCE:CPU"}]}]}
    },
    "a reply that something is missing": {
        "aws/script": {"RunTask": [{"tasks": [], "failures": [{"reason": "MISSING"}]}]}
    },
    "throttled once": {"aws/script": {"RunTask": [THROTTLED, {"pass": True}]}},
    "throttled always": {"aws/script": {"RunTask": [{**THROTTLED, "always": True}]}},
    "registration throttled": {
        "aws/script": {"RegisterTaskDefinition": [THROTTLED, {"pass": True}]}
    },
    "a look denied": {
        "aws/script": {
            "DescribeTaskDefinition": [
                {"always": True, "error": {"Code": "AccessDeniedException", "Message": "no"}}
            ]
        },
        "runs": [{}, {}],
    },
    "a named definition, twice": {
        "aws/task_definitions": [NAMED],
        VARIABLES: ON_INSTANCES,
        "runs": [{}, {}],
    },
    "a named family, twice": {
        "aws/task_definitions": [NAMED],
        VARIABLES: {**ON_INSTANCES, "task_definition_arn": "prefect"},
        "runs": [{}, {}],
    },
    "a named definition that is not there": {VARIABLES: ON_INSTANCES},
    "a named definition without the key": {
        "aws/task_definitions": [NAMED],
        VARIABLES: ON_INSTANCES,
        "worker/env/PREFECT_API_KEY": "pnu_x",
    },
    "a named definition with the key": {
        "aws/task_definitions": [WITH_KEY],
        VARIABLES: ON_INSTANCES,
        "worker/env/PREFECT_API_KEY": "pnu_x",
    },
    "a named definition without the container": {
        "aws/task_definitions": [NAMED],
        VARIABLES: {**ON_INSTANCES, "container_name": "main"},
    },
    "a sidecar's override without variables": {
        OVERRIDES: [
            {"name": "{{ container_name }}", "environment": "{{ env }}"},
            {"name": "side", "command": ["run"]},
        ],
        CONTAINERS: [{"name": "prefect", "image": "i"}, {"name": "side", "image": "s"}],
    },
    "sixty labels": {VARIABLES: {"labels": {f"label-{n}": str(n) for n in range(60)}}},
    "a label of what no tag may have": {VARIABLES: {"labels": {"!!!": "a", "b": "!!!"}}},
    "ports and a file system, after a restart": {
        CONTAINERS: WEB,
        f"{TEMPLATE}/task_definition/volumes": EFS,
        "runs": [{}, {"new_worker": True}],
    },
    "ports and a file system, registered by the worker": {
        CONTAINERS: WEB,
        f"{TEMPLATE}/task_definition/volumes": EFS,
        VARIABLES: {"image": "i", "family": "web"},
        "aws/task_definitions": [
            {
                "family": "web",
                "containerDefinitions": [{**WEB[0], "image": "i"}],
                "volumes": EFS,
                "cpu": "1024",
                "memory": "2048",
                "networkMode": "awsvpc",
                "requiresCompatibilities": ["FARGATE"],
            }
        ],
    },
    "tags of a definition, after a restart": {
        f"{TEMPLATE}/task_definition/tags": [{"key": "team", "value": "data"}],
        "runs": [{}, {"new_worker": True}],
    },
    "an image, another, and the first again": {
        VARIABLES: {"image": "a:1"},
        "runs": [{}, NEW_IMAGE, AGAIN],
    },
    "one's definition deregistered meanwhile": {
        "runs": [{}, {"aws": {"deregister": [ARN.replace("prefect:1", "mine:1")]}}],
        VARIABLES: {"family": "mine"},
    },
    "a new revision for each run": {
        VARIABLES: {"auto_deregister_task_definition": True},
        "runs": [{}, {}],
    },
    "providers of Fargate without a launch type": {
        f"{DEFAULTS}/launch_type": {"type": "string"},
        VARIABLES: {
            "capacity_provider_strategy": [
                {"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}
            ]
        },
    },
    "other providers without a launch type": {
        f"{DEFAULTS}/launch_type": {"type": "string"},
        VARIABLES: {
            "capacity_provider_strategy": [{"capacityProvider": "gpu", "weight": 1, "base": 0}]
        },
    },
    "null removes what the request sets": {
        OVERRIDES: [{"name": "prefect", "environment": [{"name": "A", "value": "1"}]}],
        VARIABLES: {"env": {"A": None, "B": "2"}},
    },
    "numbers among the template's variables": {
        CONTAINERS: [{"name": "prefect", "image": "i", "environment": [{"name": "N", "value": 5}]}]
    },
    "an empty variable of the template": {
        CONTAINERS: [{"name": "prefect", "image": "i", "environment": [{"name": "E", "value": ""}]}]
    },
    "sizes of zero": {VARIABLES: {"cpu": 0, "memory": 0}},
    "a size with a unit, on instances": {
        VARIABLES: {"cpu": "1 vCPU", "memory": "2 GB", "launch_type": "EC2"}
    },
    "an image that is all there is": {
        CONTAINERS: [{"name": "side", "image": "s"}, {"image": "{{ image }}"}],
        VARIABLES: {"env": {"A": "1"}},
    },
    "no name given for the container": {
        CONTAINERS: [{"name": "main", "image": "{{ image }}"}],
        VARIABLES: {"container_name": ""},
    },
    "a run's dotted key where its deployment has null": {
        VARIABLES: {"env": None},
        RUN_VARIABLES: {"env.A": "1"},
    },
    "a deleted deployment": {"deployment": None, "flow_run/deployment_id": DEPLOYMENT_ID},
    "a role of one's own, twice": {
        VARIABLES: {"aws_credentials": CREDENTIALS},
        "runs": [{}, {}],
    },
    "keys of one's own in the same region": {
        VARIABLES: {"aws_credentials": {"aws_access_key_id": "A", "aws_secret_access_key": "s"}},
        "runs": [{}, {}],
    },
    "a VPC, twice": {VARIABLES: {"vpc_id": "vpc-default"}, "runs": [{}, {}]},
    "a VPC's subnets, twice": {
        VARIABLES: {
            "vpc_id": "vpc-default",
            "network_configuration": {"subnets": ["subnet-d1"], "securityGroups": ["sg-1"]},
        },
        "runs": [{}, {}],
    },
    "a worker with a long name": {"worker/name": "ECS worker of the data team (production) No. 1"},
    "a worker with an id": {"worker/id": "9b1c0000-0000-4000-8000-000000000001"},
    "settings of the worker": {
        "worker/env/PREFECT_LOGGING_LEVEL": "DEBUG",
        "worker/env/TEAM": "data",
        VARIABLES: {"env": {"TEAM": "ml"}},
    },
    "a run's dotted key of another table": {
        VARIABLES: {"labels": {"a": "1", "b": "1"}},
        RUN_VARIABLES: {"labels.a": "2"},
    },
    "a run's table over a deployment's dotted key": {
        VARIABLES: {"env.A": "deployment", "env.B": "deployment"},
        RUN_VARIABLES: {"env": {"A": "run"}},
    },
    "two images of a sidecar without a name": {
        CONTAINERS: [{"name": "a", "image": "a"}, {"image": "{{ image }}"}],
        VARIABLES: {"image": "flows:1", "env": {"A": "1"}},
    },
    "a pool with a long name": {"work_pool/name": "p" * 300},
}
"""By what they show: the values that differ from a plain case, by their places."""


def variations() -> list[Case]:
    """Return them all."""
    plain = load(DEFAULT_FILE)[0]
    return [_varied(plain, name, changes) for name, changes in CHANGES.items()]


def _varied(plain: Case, name: str, changes: Mapping[str, Any]) -> Case:
    told = deepcopy(dict(plain.input))
    for path, value in changes.items():
        *parents, key = path.split("/")
        table = told
        for part in parents:
            table = table[part]
        table[key] = deepcopy(value)
    output: dict[str, Any] = {"runs": [{"aws_calls": []} for _ in told["runs"]]}
    return Case(name, "variation", told, output, plain.meta)
