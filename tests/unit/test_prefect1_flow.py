"""The image and the command of a Prefect 1 flow, and what no Prefect 1 wrote."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.errors import PermanentError
from fargate_agent.profiles.prefect1_flow import (
    ENVIRONMENTS,
    RUN_CONFIGS,
    STORAGES,
    check,
    command,
    image,
)
from tests.support.prefect1_values import IMAGE, details, docker

LOCAL = {"type": "Local"}
DEFAULT = "default:1"


def run_config(**fields: Any) -> dict[str, Any]:
    return {"type": "DockerRun", **fields}


def environment(type: str = "LocalEnvironment", **metadata: Any) -> dict[str, Any]:
    return {"type": type, "metadata": metadata}


# -- the image -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param(details(run_config=run_config(image="rc:1")), IMAGE, id="storage first"),
        pytest.param(details(storage=LOCAL, run_config=run_config(image="rc:1")), "rc:1", id="rc"),
        pytest.param(details(storage=LOCAL, run_config=run_config()), DEFAULT, id="default"),
        pytest.param(details(storage=LOCAL, run_config=run_config(image="")), DEFAULT, id="empty"),
        pytest.param(details(storage=LOCAL), DEFAULT, id="neither"),
        pytest.param(details(), IMAGE, id="storage alone"),
        pytest.param(
            details(storage=LOCAL, run_config=run_config(), environment=environment(image="e:1")),
            DEFAULT,
            id="a run config stands above the environment",
        ),
    ],
)
def test_a_flow_of_a_run_config_or_of_nothing(asked: Any, found: str):
    assert image(asked, DEFAULT) == found


@pytest.mark.parametrize(
    ("core_version", "tag"),
    [
        ("0.14.22", "0.14.22"),
        ("0.14.22+36.g9b0a1d5", "0.14.22"),
        ("0.15.0rc1", "0.15.0rc1"),
        (None, "latest"),
        ("", "latest"),
    ],
)
@pytest.mark.parametrize("default", [None, ""])
def test_without_any_image_prefects_own_of_the_flows_version(
    core_version: Any, tag: str, default: Any
):
    asked = details(storage=LOCAL, core_version=core_version)

    assert image(asked, default) == f"prefecthq/prefect:{tag}"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param(details(environment=environment(image="e:1")), "e:1", id="metadata first"),
        pytest.param(details(environment=environment()), IMAGE, id="then storage"),
        pytest.param(details(environment=environment(image="")), IMAGE, id="an empty name is none"),
        pytest.param(details(environment={"type": "LocalEnvironment"}), IMAGE, id="no metadata"),
        pytest.param(details(environment={"metadata": None}), IMAGE, id="null metadata"),
        pytest.param(
            details(storage=LOCAL, environment=environment(image="e:1")), "e:1", id="metadata alone"
        ),
    ],
)
def test_a_flow_of_an_environment(asked: Any, found: str):
    assert image(asked, DEFAULT) == found


def test_a_flow_of_an_environment_that_names_no_image_cannot_run():
    with pytest.raises(PermanentError, match=r"metadata=\{\"image\"") as refusal:
        image(details(name="My run", storage=LOCAL, environment=environment()), DEFAULT)

    assert "'Load orders'" in str(refusal.value)


@pytest.mark.parametrize(
    ("registry", "found"),
    [
        (None, "etl:v1"),
        ("", "etl:v1"),
        ("registry.example/", "registry.example/etl:v1"),
        ("registry.example/team", "registry.example/team/etl:v1"),
        ("localhost:5000", "localhost:5000/etl:v1"),
    ],
)
def test_a_docker_storages_image_is_named_with_its_registry(registry: str | None, found: str):
    assert image(details(storage=docker(registry_url=registry)), None) == found


@pytest.mark.parametrize("field", ["image_name", "image_tag"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_docker_storage_without_an_image_cannot_run(field: str, value: Any):
    storage = docker(**{field: value})

    with pytest.raises(PermanentError, match="no image_name or no image_tag"):
        image(details(storage=storage), DEFAULT)
    with pytest.raises(PermanentError, match="no image_name or no image_tag"):
        image(details(storage=storage, environment=environment()), DEFAULT)


def test_an_environments_image_needs_no_storage_of_a_name():
    asked = details(storage=docker(image_name=None), environment=environment(image="e:1"))

    assert image(asked, None) == "e:1"


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("core_version", "run"),
    [
        (None, "cloud-flow"),
        ("", "cloud-flow"),
        ("0.12.6", "cloud-flow"),
        ("0.12.6+14.gabc", "cloud-flow"),
        ("0.6.7", "cloud-flow"),
        ("0.13", "cloud-flow"),
        ("0.9.9", "cloud-flow"),
        ("0.13.0", "flow-run"),
        ("0.13.0rc1", "flow-run"),
        ("0.13.0+1.gabc", "flow-run"),
        ("0.13.1", "flow-run"),
        ("0.14.22", "flow-run"),
        ("0.100.0", "flow-run"),
        ("1", "flow-run"),
        ("1.4.1", "flow-run"),
    ],
)
def test_the_command_was_renamed_in_0_13_0(core_version: str | None, run: str):
    assert command(core_version) == ["/bin/sh", "-c", f"prefect execute {run}"]


@given(st.lists(st.integers(0, 15), min_size=1, max_size=5))
def test_versions_are_compared_number_by_number(numbers: list[int]):
    """So ``distutils.version.LooseVersion`` did, by which the legacy agent chose."""
    name = "cloud-flow" if numbers < [0, 13, 0] else "flow-run"

    assert command(".".join(map(str, numbers)))[-1] == f"prefect execute {name}"


# -- types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", STORAGES)
def test_every_storage_is_taken(type: str):
    check(details(storage={"type": type}))


@pytest.mark.parametrize("type", RUN_CONFIGS)
def test_every_run_config_is_taken(type: str):
    check(details(storage=LOCAL, run_config={"type": type}))


@pytest.mark.parametrize("type", ENVIRONMENTS)
def test_every_environment_is_taken(type: str):
    check(details(environment={"type": type}))


@pytest.mark.parametrize(
    ("asked", "what", "remedy"),
    [
        (details(storage={"type": "Dcker"}), "storage", "Did you mean 'Docker'?"),
        (details(storage={}), "storage", "of type None"),
        (details(storage=None), "storage", "of type None"),
        (
            details(storage=LOCAL, run_config={"type": "ECSRunn"}),
            "run_config",
            "Did you mean 'ECSRun'?",
        ),
        (details(storage=LOCAL, run_config={}), "run_config", "of type None"),
        (details(environment={"type": "Nomad"}), "environment", "which this agent does not know"),
        (details(environment={}), "environment", "of type None"),
    ],
)
def test_a_type_that_no_prefect_1_wrote_is_refused(asked: Any, what: str, remedy: str):
    with pytest.raises(PermanentError, match=f"^The flow's {what} is of type ") as refusal:
        check(asked)

    assert remedy in str(refusal.value)


def test_an_environment_below_a_run_config_is_not_looked_at():
    check(details(run_config={"type": "LocalRun"}, environment={"type": "Nomad"}))


def test_where_the_storage_is_the_image_the_run_config_may_be_of_a_later_prefect():
    check(details(run_config={"type": "VertexRun"}))
