"""Strategies for job variables, of deployments and of runs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.optional.ecs_worker.holdings import (
    ARN,
    BLOCKS,
    REFERENCES,
    ROLE,
    SECRET,
    Entries,
    Json,
    often,
    seldom,
)

env_names = st.sampled_from(
    (
        "A",
        "B",
        "C",
        "FOO",
        "BAR",
        "LONG_NAME",
        "PREFECT_API_URL",
        "PREFECT_LOGGING_LEVEL",
        "PREFECT__FLOW_RUN_ID",
    )
)
env_values = st.one_of(
    st.sampled_from(("1", "x y", "", "ünï", "a=b,c", "{not} {{ a placeholder! }}")),
    st.sampled_from((5, 0, True, False, 1.5)),
    st.none(),
    st.sampled_from(REFERENCES),
)
envs = st.dictionaries(env_names, env_values, max_size=4)
label_names = st.sampled_from(
    ("team", "a b", "a/b", "k=v", "Ünï", "prefect.io/flow-name", "prefect.io/mine", "x" * 130)
)
label_values = st.sampled_from(
    ("core", "two words", "", "{{ prefect.variables.team }}", "v" * 300, "a*b(c)", "über")
)
images = often("reg/flows:1", "reg/flows:2", "{{ prefect.variables.img }}", "img", None)
cpus = often(1024, 256, 512, 4096, None)
memories = often(2048, 512, 1024, 16384, None)
commands = often(
    "prefect flow-run execute", "echo test", 'bash -c "a b && c"', "python\t-m  x", "", None
)
roles = st.sampled_from((f"{ROLE}/execution", f"{ROLE}/other"))
subnets = st.sampled_from((["subnet-d1"], ["subnet-21", "subnet-22"], ["subnet-x"]))


def entry(name: str, values: st.SearchStrategy[Any]) -> Entries:
    """Give one variable a value."""
    return values.map(lambda value: {name: value})


network = st.fixed_dictionaries(
    {
        "vpc_id": often("vpc-2", "vpc-default", "vpc-none"),
        "network_configuration": st.fixed_dictionaries(
            {"subnets": subnets, "assignPublicIp": st.sampled_from(("ENABLED", "DISABLED"))},
            optional={"securityGroups": st.just(["sg-1"])},
        ),
    }
)
log_options = st.dictionaries(
    st.sampled_from(("awslogs-group", "awslogs-stream-prefix", "max-buffer-size", "mode")),
    st.sampled_from(("own", "4m", "non-blocking")),
    max_size=2,
)
logs = st.fixed_dictionaries(
    {"configure_cloudwatch_logs": often(True, False, None)},
    optional={
        "execution_role_arn": roles,
        "cloudwatch_logs_options": log_options,
        "cloudwatch_logs_prefix": st.sampled_from(("flows", "", None)),
    },
)
logs_with_role = st.tuples(logs, entry("execution_role_arn", roles)).map(
    lambda pair: pair[0] | pair[1]
)
providers = st.lists(
    st.fixed_dictionaries(
        {
            "capacityProvider": st.sampled_from(("FARGATE", "FARGATE_SPOT", "own-asg")),
            "weight": st.integers(0, 2),
            "base": st.integers(0, 1),
        }
    ),
    max_size=2,
)
dotted = st.one_of(
    entry("env.FOO", env_values),
    entry("env.BAR", env_values),
    entry("labels.team", label_values),
    entry("labels.a/b", label_values),
    entry("cloudwatch_logs_options.mode", st.just("non-blocking")),
    entry("network_configuration.subnets", subnets),
    entry("extra.deep.key", st.sampled_from(("v", 1, None))),
)
mistakes = st.one_of(
    entry("cpu", st.sampled_from(("512", 512.0, "1 vCPU"))),
    entry("memory", st.sampled_from(("1024", "2 GB"))),
    entry("env", st.sampled_from((None, [], "text"))),
    entry("labels", st.sampled_from((None, ["a"], {"a": None}, {"n": 5}))),
    entry("launch_type", st.sampled_from((None, ""))),
    entry("image", st.sampled_from((None, "", "{{ prefect.variables.no }}"))),
    entry("cluster", st.none()),
    entry("aws_credentials", st.none()),
    entry("container_name", st.just("nope")),
    entry("command", st.just('bash -c "open')),
    entry("network_configuration", st.just({"subnets": ["subnet-d1"]})),
    entry("cloudwatch_logs_options", st.just({"mode": "blocking"})),
    entry("env", st.just({"J": "{{ prefect.blocks.secret.nope }}"})),
    entry("env", st.just({"J": "x {{ prefect.blocks.secret.js }}"})),
)
definition_arns = st.sampled_from(
    (
        *(f"{ARN}:task-definition/fargate:1", f"{ARN}:task-definition/fargate:2"),
        *(f"{ARN}:task-definition/prefect:1", "fargate", "fargate:1", "fam", "none:1"),
    )
)
tasks_of_others = st.fixed_dictionaries(
    {"task_definition_arn": definition_arns},
    optional={
        "launch_type": st.sampled_from(("FARGATE", "EC2", "FARGATE_SPOT")),
        "container_name": st.sampled_from(("main", "prefect")),
    },
)
secrets = st.fixed_dictionaries(
    {},
    optional={
        "prefect_api_key_secret_arn": st.just(f"{SECRET}:prefect-key"),
        "prefect_api_auth_string_secret_arn": st.just(f"{SECRET}:auth-string"),
    },
)
credentials = entry(
    "aws_credentials",
    st.sampled_from(
        (
            {"$ref": {"block_document_id": BLOCKS[0]["id"]}},
            {"$ref": {"block_document_id": BLOCKS[4]["id"]}},
            "{{ prefect.blocks.aws-credentials.prod }}",
            {"aws_access_key_id": "AKIAOWN", "aws_secret_access_key": "x"},
            {"region_name": "eu-west-1"},
        )
    ),
)
ordinary = (
    entry("image", images),
    entry("command", commands),
    entry("cpu", cpus),
    entry("memory", memories),
    st.fixed_dictionaries({"cpu": cpus, "memory": memories}),
    entry("env", envs),
    entry("env", envs),
    entry("labels", st.dictionaries(label_names, label_values, max_size=3)),
    entry("launch_type", st.sampled_from(("FARGATE", "FARGATE_SPOT", "EC2", "EXTERNAL"))),
    entry("cluster", st.sampled_from(("default", "second", f"{ARN}:cluster/second", "missing"))),
    entry("family", st.sampled_from(("fam", "flows-1", "a b", "F_1", None))),
    entry("task_role_arn", roles),
    entry("execution_role_arn", roles),
    entry("container_name", st.just("prefect")),
    entry("vpc_id", often("vpc-2", "vpc-default", "vpc-none", "vpc-empty")),
    entry("auto_deregister_task_definition", st.booleans()),
    entry("match_latest_revision_in_family", st.booleans()),
    entry("name", st.sampled_from(("{{ ctx.flow.name }}-{{ ctx.flow_run.name }}", "job", None))),
    entry("team", st.sampled_from(("core", "data", None, "{{ prefect.variables.team }}"))),
    entry("net", st.just({"sn": ["subnet-n"], "sg": "sg-n"})),
    entry("net.sn", st.just(["subnet-dotted"])),
    entry("capacity_provider_strategy", providers),
    network,
    logs_with_role,
    logs,
    secrets,
    credentials,
    tasks_of_others,
    dotted,
    dotted,
)


@st.composite
def job_variables(draw: st.DrawFn, most: int = 5) -> Json:
    """Give some variables, and seldom a mistake."""
    made: Json = {}
    least = draw(st.sampled_from((0, 1, 2)))
    for entries in draw(st.lists(st.one_of(*ordinary), min_size=least, max_size=most)):
        made |= entries
    if draw(seldom()):
        made |= draw(mistakes)
    return made
