"""What a case's Prefect and AWS hold, and how values refer to it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]
Entries = st.SearchStrategy[Json]
"""Some variables that belong together."""

ARN = "arn:aws:ecs:us-east-1:123456789012"
ROLE = "arn:aws:iam::123456789012:role"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret"

BLOCKS: list[Json] = [
    {
        "id": "b1000000-0000-4000-8000-000000000001",
        "block_type_slug": "aws-credentials",
        "name": "prod",
        "data": {
            "aws_access_key_id": "AKIABLOCK",
            "aws_secret_access_key": "shh",
            "region_name": "eu-west-1",
        },
    },
    {
        "id": "b1000000-0000-4000-8000-000000000002",
        "block_type_slug": "secret",
        "name": "tok",
        "data": {"value": "s3cret"},
    },
    {
        "id": "b1000000-0000-4000-8000-000000000003",
        "block_type_slug": "secret",
        "name": "js",
        "data": {"value": {"user": "admin", "list": ["a", {"b": "c"}]}},
    },
    {
        "id": "b1000000-0000-4000-8000-000000000004",
        "block_type_slug": "docker",
        "name": "app",
        "data": {"image": "reg/app:3", "port": 5000},
    },
    {
        "id": "b1000000-0000-4000-8000-000000000005",
        "block_type_slug": "aws-credentials",
        "name": "role",
        "data": {
            "region_name": "us-east-1",
            "assume_role_arn": f"{ROLE}/flows",
            "assume_role_kwargs": {"RoleSessionName": "flows", "DurationSeconds": 900},
        },
    },
]
VARIABLES: Json = {
    "img": "repo/img:1",
    "num": 512,
    "flag": True,
    "nul": None,
    "team": "core",
    "cl": "second",
    "lst": ["subnet-d1", "subnet-d2"],
    "obj": {"a": {"b": "deep"}},
    "envmap": {"X": "1", "Y": "2"},
}
DEFINITIONS: list[Json] = [
    {
        "family": "prefect",
        "containerDefinitions": [
            {"name": "prefect", "image": "i:1", "cpu": 1024, "memory": 2048},
        ],
    },
    {
        "family": "fargate",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "512",
        "memory": "1024",
        "executionRoleArn": f"{ROLE}/execution",
        "containerDefinitions": [
            {"name": "main", "image": "i:2"},
            {"name": "side", "image": "s:1", "essential": False},
        ],
    },
    {
        "family": "fargate",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": [{"name": "prefect", "image": "i:3"}],
    },
    {
        "family": "fam",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "1024",
        "memory": "2048",
        "containerDefinitions": [{"name": "prefect", "image": "i:1"}],
    },
]
REFERENCES = (
    *("{{ prefect.variables.img }}", "{{ prefect.variables.num }}", "{{ prefect.variables.no }}"),
    *("v-{{ prefect.variables.team }}", "{{ prefect.variables.flag }}/{{ prefect.variables.num }}"),
    *("{{ prefect.blocks.secret.tok }}", "pw={{ prefect.blocks.secret.tok }};"),
    *("{{ prefect.blocks.secret.js.value.user }}", "{{ prefect.blocks.secret.js.list[1].b }}"),
    *("{{ prefect.blocks.docker.app.image }}", "{{ $REGISTRY }}/app", "{{ $NOTHING }}"),
    *(
        "{{ prefect.blocks.secret.tok }}@{{ prefect.variables.img }}",
        "{{ image }}",
        "{{ nothing }}",
    ),
)


def often(usual: Any, *others: Any, times: int = 3) -> st.SearchStrategy[Any]:
    """Give the first value that many times as often as the others together."""
    return st.sampled_from([usual] * (times * len(others)) + list(others))


def seldom() -> st.SearchStrategy[bool]:
    """Give a true value once in twelve times."""
    return often(False, True, times=11)
