"""Which container runs the flow, and what it is made of."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from tests.support.rendering import override, rendered
from tests.support.values import agent

KEY_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-AbCdEf"
OWN_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mine-AbCdEf"
AGENT = agent(secrets={"PREFECT_API_KEY": KEY_ARN})


def job(*containers: Any, **fields: Any) -> dict[str, Any]:
    return {"task_definition": {"containerDefinitions": [*containers]}, **fields}


def containers(*args: Any, **layers: Any) -> list[dict[str, Any]]:
    return list(rendered(*args, **layers).definition["containerDefinitions"])


def flow(*args: Any, **layers: Any) -> dict[str, Any]:
    """Return the container that runs the flow, by the override that tells it the run."""
    launch = rendered(*args, **layers)
    (name,) = (
        each["name"]
        for each in launch.request["overrides"]["containerOverrides"]
        if "PREFECT__FLOW_RUN_ID" in str(each)
    )
    found = [c for c in launch.definition["containerDefinitions"] if c.get("name") == name]
    assert len(found) == 1
    return dict(found[0])


def entries(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def secrets(**arns: str) -> list[dict[str, str]]:
    return [{"name": name, "valueFrom": arn} for name, arn in arns.items()]


# -- which -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "asked", "found"),
    [
        (["a", "prefect"], None, "prefect"),
        (["prefect", "a"], "a", "a"),
        (["a", "b"], None, "a"),
        (["a", None], None, "prefect"),
        ([None, "prefect"], None, "prefect"),
        ([None, "a"], "a", "a"),
        ([None], "prefect", "prefect"),
        (["a", None], "prefect", "prefect"),
        ([], "prefect", "prefect"),
        ([], None, "prefect"),
    ],
)
def test_the_flow_runs_in_the_container_that_is_named_or_prefect_or_the_unnamed_or_the_first(
    names: list[str | None], asked: str | None, found: str
):
    template = [{"image": "i", **({"name": name} if name else {})} for name in names]

    assert flow(job(*template, container_name=asked))["name"] == found
    others = [name for name in names if name]
    made = [c.get("name") for c in containers(job(*template, container_name=asked))]
    assert {*others} <= {*made}


def test_a_name_that_no_container_has_is_refused_with_those_there_are():
    with pytest.raises(PermanentError) as refusal:
        rendered(job({"name": "a"}, {"name": "b"}, container_name="c"))

    assert "no container 'c' (container_name); it has 'a', 'b'." in str(refusal.value)


@pytest.mark.parametrize("empty", [{}, {"name": None}, {"image": "", "environment": []}])
def test_a_container_that_says_nothing_is_the_flows_where_it_is_alone(empty: Any):
    assert containers(job(empty)) == [{"name": "prefect", "image": "default:1"}]


def test_an_empty_container_beside_others_is_dropped():
    made = containers(job({}, {"name": "prefect", "image": "flows:1"}))

    assert made == [{"name": "prefect", "image": "flows:1"}]


# -- what is empty ---------------------------------------------------------------------------------


def test_what_is_empty_or_zero_is_dropped_at_every_depth_and_false_is_kept():
    container = {
        "image": "i",
        "cpu": 0,
        "essential": False,
        "dockerLabels": {},
        "healthCheck": {"command": ["x"], "interval": 0, "retries": None},
        "mountPoints": [{"sourceVolume": "v", "containerPath": "", "readOnly": False}],
        "ulimits": [],
    }
    (made, _) = containers(job(container, {"name": "other", "image": "i"}))

    assert made == {
        "name": "prefect",
        "image": "i",
        "essential": False,
        "healthCheck": {"command": ["x"]},
        "mountPoints": [{"sourceVolume": "v", "readOnly": False}],
    }


@pytest.mark.parametrize(
    "written",
    [
        {"A": "1", "B": None, "C": 5},
        [{"name": "A", "value": "1"}, {"name": "B", "value": None}, {"name": "C", "value": 5}],
    ],
)
def test_variables_may_be_a_table_and_become_text_and_null_is_none(written: Any):
    made = containers(job({"name": "prefect", "environment": written}))

    assert made[0]["environment"] == entries(A="1", C="5")


@pytest.mark.parametrize("size", ["cpu", "memory", "memoryReservation"])
@pytest.mark.parametrize(("written", "number"), [("512", 512), (512, 512), ("1 GB", 1024)])
def test_a_containers_size_becomes_a_number(size: str, written: Any, number: int):
    assert flow(job({size: written}))[size] == number


# -- variables and secrets -------------------------------------------------------------------------


def test_a_variable_that_the_job_sets_to_null_is_removed_from_weaker_layers_only():
    made = flow(
        job({"environment": entries(A="template", B="template")}, env={"A": None, "C": None}),
        agent=agent(kwargs=Kwargs(container={"environment": entries(A="agent", C="agent")})),
        external=Kwargs(container={"environment": entries(C="s3")}),
    )

    assert made["environment"] == entries(B="template", C="s3")


def test_a_variable_that_the_job_sets_to_null_is_not_left_as_a_secret():
    made = flow(
        job({"secrets": secrets(TOKEN=OWN_ARN)}, env={"PREFECT_API_KEY": None}), agent=AGENT
    )

    assert made["secrets"] == secrets(TOKEN=OWN_ARN)


def test_a_secret_of_a_job_variable_stands_above_those_of_agent_and_template():
    for name, variable in (
        ("PREFECT_API_KEY", "prefect_api_key_secret_arn"),
        ("PREFECT_API_AUTH_STRING", "prefect_api_auth_string_secret_arn"),
    ):
        template = {
            "secrets": secrets(**{name: "arn:template"}),
            "environment": entries(**{name: "x"}),
        }
        made = flow(job(template, **{variable: OWN_ARN}), agent=AGENT)

        found = {entry["name"]: entry["valueFrom"] for entry in made["secrets"]}
        assert found[name] == OWN_ARN
        assert name not in str(made.get("environment"))


def test_a_secret_of_a_job_variable_stands_above_the_same_variable_of_its_env():
    launch = rendered(
        job({}, prefect_api_key_secret_arn=OWN_ARN, env={"PREFECT_API_KEY": "canary"}), agent=AGENT
    )

    assert launch.definition["containerDefinitions"][0]["secrets"] == secrets(
        PREFECT_API_KEY=OWN_ARN
    )
    assert "canary" not in str(launch)


def test_a_secret_in_s3_stands_above_a_job_variables():
    made = flow(
        job({}, prefect_api_key_secret_arn="arn:job"),
        external=Kwargs(container={"secrets": secrets(PREFECT_API_KEY=OWN_ARN)}),
    )

    assert made["secrets"] == secrets(PREFECT_API_KEY=OWN_ARN)


def test_a_key_in_the_templates_environment_takes_the_agents_secrets_place():
    made = flow(job({"environment": entries(PREFECT_API_KEY="pnu_own")}), agent=AGENT)

    assert made["environment"] == entries(PREFECT_API_KEY="pnu_own")
    assert "secrets" not in made


NAMES = st.sampled_from(["A", "B", "C", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"])
TABLE = st.dictionaries(NAMES, st.sampled_from(["x", "y"]), max_size=3)
CONTAINER = st.fixed_dictionaries(
    {
        "environment": TABLE.map(lambda table: entries(**table)),
        "secrets": TABLE.map(lambda table: secrets(**table)),
    }
)
ENV = st.dictionaries(NAMES, st.none() | st.just("job"), max_size=3)
ARN = st.none() | st.just(OWN_ARN)


@given(st.tuples(CONTAINER, CONTAINER, CONTAINER, CONTAINER), ENV, TABLE, ARN)
def test_ecs_is_given_a_name_only_once(
    layers: Any, env: Mapping[str, Any], agents_env: Mapping[str, str], own_arn: str | None
):
    mine, template, overriding, file = layers
    override_of_template = {"name": "prefect", "environment": overriding["environment"]}
    launch = rendered(
        job(
            {"name": "prefect", **template},
            env=env,
            prefect_api_key_secret_arn=own_arn,
            task_run_request={"overrides": {"containerOverrides": [override_of_template]}},
        ),
        agent=agent(
            kwargs=Kwargs(container=mine), env=agents_env, secrets={"PREFECT_API_KEY": KEY_ARN}
        ),
        external=Kwargs(container=file),
    )

    (made,) = launch.definition["containerDefinitions"]
    plain = [entry["name"] for entry in made.get("environment", [])]
    secret = [entry["name"] for entry in made.get("secrets", [])]
    assert len({*plain, *secret}) == len(plain + secret)
    assert not {*secret} & override(launch)["environment"].keys()
    for entry in file["environment"] + file["secrets"]:
        later = [e for e in file["secrets"] if e["name"] == entry["name"]] or [entry]
        assert later[0] in made.get("environment", []) + made.get("secrets", [])
        assert entry["name"] not in override(launch)["environment"]
