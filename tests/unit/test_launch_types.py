"""What runs a work pool's tasks, and where each layer may say so."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, stacked
from fargate_agent.placement import CPU, MEMORY, in_units, place_job
from tests.support.rendering import rendered
from tests.support.values import agent

SPOT = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
MIXED = [{"capacityProvider": "FARGATE", "base": 1}, {"capacityProvider": "FARGATE_SPOT"}]
INSTANCES = [{"capacityProvider": "gpu"}]
SIZED = {"cpu": int(CPU), "memory": int(MEMORY)}
CHOICES = ("launchType", "capacityProviderStrategy")


def chosen(
    *,
    mine: Any = None,
    job: Any = None,
    s3: Any = None,
    setting: str = "FARGATE",
    **definition: Any,
) -> dict[str, Any]:
    """Return what the request says of launch type and strategy."""
    request = rendered(
        {
            "task_definition": {"containerDefinitions": [{}], **definition},
            "task_run_request": job or {},
        },
        agent=agent(kwargs=Kwargs(request=mine or {}), launch_type=setting),
        external=Kwargs(request=s3 or {}),
    ).request
    return {key: value for key, value in request.items() if key in CHOICES}


# -- who chooses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["FARGATE", "EC2", "EXTERNAL"])
def test_a_job_that_chooses_none_gets_the_agents(setting: str):
    assert chosen(setting=setting) == {"launchType": setting}


@pytest.mark.parametrize("asked", ["FARGATE", "EC2", "EXTERNAL"])
def test_the_job_chooses_above_the_agent(asked: str):
    assert chosen(job={"launchType": asked}, setting="FARGATE_SPOT") == {"launchType": asked}
    assert chosen(job={"launchType": asked}, mine={"launchType": "EC2"}) == {"launchType": asked}


@pytest.mark.parametrize("asked", ["EC2", "EXTERNAL"])
def test_s3_chooses_above_all(asked: str):
    job = {"launchType": "FARGATE"}

    assert chosen(s3={"launchType": asked}, job=job) == {"launchType": asked}


@pytest.mark.parametrize("layer", ["mine", "job", "s3"])
def test_fargate_spot_is_a_capacity_provider_in_every_layer(layer: str):
    assert chosen(**{layer: {"launchType": "FARGATE_SPOT"}}) == {"capacityProviderStrategy": SPOT}


def test_so_it_is_in_the_settings():
    assert chosen(setting="FARGATE_SPOT") == {"capacityProviderStrategy": SPOT}


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_launch_type_of_the_job_chooses_nothing(empty: Any):
    assert chosen(job={"launchType": empty}, mine={"launchType": "EC2"}) == {"launchType": "EC2"}


def test_a_strategy_and_a_launch_type_are_never_both_sent():
    both = {"launchType": "FARGATE", "capacityProviderStrategy": MIXED}

    assert chosen(job=both) == {"capacityProviderStrategy": MIXED}


def test_a_strategy_in_s3_takes_the_place_of_the_jobs_launch_type():
    found = chosen(s3={"capacityProviderStrategy": MIXED}, job={"launchType": "EC2"})

    assert found == {"capacityProviderStrategy": MIXED}


def test_a_launch_type_in_s3_takes_the_place_of_the_jobs_strategy():
    found = chosen(s3={"launchType": "EC2"}, job={"capacityProviderStrategy": MIXED})

    assert found == {"launchType": "EC2"}


def test_a_strategy_of_the_job_takes_the_place_of_the_agents_launch_type():
    found = chosen(job={"capacityProviderStrategy": MIXED}, mine={"launchType": "EC2"})

    assert found == {"capacityProviderStrategy": MIXED}


@pytest.mark.parametrize("empty", [None, []])
def test_an_empty_strategy_chooses_nothing(empty: Any):
    assert chosen(job={"capacityProviderStrategy": empty}) == {"launchType": "FARGATE"}


def test_a_definition_for_instances_without_a_launch_type_leaves_it_to_the_cluster():
    assert chosen(requiresCompatibilities=["EC2"]) == {}
    assert chosen(requiresCompatibilities=["EC2"], mine={"launchType": "EC2"}) == {
        "launchType": "EC2"
    }


# -- what the definition says then -----------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"launchType": "FARGATE"},
        {"launchType": "FARGATE_SPOT"},
        {"capacityProviderStrategy": MIXED},
        {"capacityProviderStrategy": MIXED, "launchType": "FARGATE"},
    ],
)
def test_fargate_sizes_the_task_and_gives_it_a_network_of_its_own(asked: Any):
    definition, _, flow = place_job({}, asked, {"name": "prefect"}, "EC2")

    assert definition == {
        "cpu": CPU,
        "memory": MEMORY,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
    }
    assert flow == {"name": "prefect"}


@pytest.mark.parametrize(
    "asked",
    [{"launchType": "EC2"}, {"launchType": "EXTERNAL"}, {"capacityProviderStrategy": INSTANCES}],
)
def test_elsewhere_the_container_is_sized_and_the_network_is_the_definitions_affair(asked: Any):
    definition, request, flow = place_job({}, asked, {"name": "prefect"}, "FARGATE")

    assert (definition, request) == ({}, asked)
    assert flow == {**SIZED, "name": "prefect"}


def test_the_tasks_size_is_the_containers_on_instances():
    definition, _, flow = place_job({"cpu": 256, "memory": "1 GB"}, {}, {}, "EC2")

    assert (definition["cpu"], definition["memory"]) == ("256", "1 GB")
    assert flow == {"cpu": 256, "memory": 1024}


def test_a_size_of_the_container_itself_stays():
    _, _, flow = place_job({"cpu": "256"}, {}, {"cpu": 64, "memory": 128}, "EC2")

    assert flow == {"cpu": 64, "memory": 128}


@pytest.mark.parametrize("empty", [None, "", 0])
def test_an_empty_size_is_none(empty: Any):
    definition, _, _ = place_job({"cpu": empty, "memory": empty}, {}, {}, "FARGATE")

    assert (definition["cpu"], definition["memory"]) == (CPU, MEMORY)


def test_a_definition_for_both_keeps_its_order_and_gets_fargate():
    definition, _, _ = place_job(
        {"requiresCompatibilities": ["EC2"]}, {"launchType": "FARGATE"}, {}, ""
    )

    assert definition["requiresCompatibilities"] == ["EC2", "FARGATE"]


def test_placing_changes_nothing_that_is_given():
    definition: dict[str, Any] = {"requiresCompatibilities": ["EC2"]}
    request, flow = {"launchType": "FARGATE"}, {"name": "prefect"}

    place_job(definition, request, flow, "EC2")

    assert definition == {"requiresCompatibilities": ["EC2"]}
    assert (request, flow) == ({"launchType": "FARGATE"}, {"name": "prefect"})


FARGATES = [
    {"launchType": "FARGATE"},
    {"launchType": "FARGATE_SPOT"},
    {"capacityProviderStrategy": MIXED},
]
OTHERS = [{"launchType": "EC2"}, {"capacityProviderStrategy": INSTANCES}]


@pytest.mark.parametrize("weaker", FARGATES + OTHERS)
@pytest.mark.parametrize("stronger", FARGATES + OTHERS)
@pytest.mark.parametrize("layers", [("mine", "job"), ("job", "s3"), ("mine", "s3")])
def test_whichever_layers_choose_the_definition_fits_the_request(
    layers: tuple[str, str], weaker: Any, stronger: Any
):
    asked = dict(zip(layers, (weaker, stronger), strict=True))
    launch = rendered(
        {"task_run_request": asked.get("job", {})},
        agent=agent(kwargs=Kwargs(request=asked.get("mine", {}))),
        external=Kwargs(request=asked.get("s3", {})),
    )

    sent = {key: value for key, value in launch.request.items() if key in CHOICES}
    on_fargate = sent in (
        {"launchType": "FARGATE"},
        {"capacityProviderStrategy": SPOT},
        {"capacityProviderStrategy": MIXED},
    )
    assert len(sent) == 1
    assert ("cpu" in launch.definition) == on_fargate
    assert ("FARGATE" in launch.definition.get("requiresCompatibilities", [])) == on_fargate
    assert ("networkConfiguration" in launch.request) == on_fargate


# -- what does not go together ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bridge", "host", "none"])
@pytest.mark.parametrize("launch_type", ["FARGATE", "FARGATE_SPOT"])
def test_fargate_knows_one_network_mode_only(mode: str, launch_type: str):
    with pytest.raises(PermanentError, match=f"network mode is '{mode}', and the launch type is"):
        chosen(job={"launchType": launch_type}, networkMode=mode)


def test_a_launch_type_that_the_definition_is_not_made_for_is_refused():
    with pytest.raises(
        PermanentError, match="requiresCompatibilities are EC2, and the launch type"
    ):
        chosen(job={"launchType": "EXTERNAL"}, requiresCompatibilities=["EC2"])


@pytest.mark.parametrize("mode", ["bridge", "host", "awsvpc"])
def test_instances_know_every_network_mode(mode: str):
    assert chosen(job={"launchType": "EC2"}, networkMode=mode) == {"launchType": "EC2"}


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "units"),
    [
        (512, "512"),
        ("512", "512"),
        (" 512 ", "512"),
        (512.0, "512"),
        ("1 vCPU", "1024"),
        (".5 vcpu", "512"),
        ("0.25vCPU", "256"),
        ("2GB", "2048"),
        ("2 gb", "2048"),
        ("16 GB", "16384"),
    ],
)
def test_a_size_is_a_number_of_units(written: Any, units: str):
    assert in_units(written) == units


@pytest.mark.parametrize("written", [" ", "large", "1..5", ".", "1 TB", "1,5 vCPU", "²"])
def test_a_containers_size_that_is_no_number_is_refused_by_its_name(written: str):
    with pytest.raises((PermanentError, ValueError), match="memory"):
        rendered({"task_definition": {"containerDefinitions": [{"memory": written}]}})


def test_the_deployments_file_chooses_above_the_flows():
    flows = Kwargs(request={"launchType": "EC2"})
    deployments = Kwargs(request={"capacityProviderStrategy": MIXED})

    launch = rendered(external=stacked(flows, deployments))
    assert launch.request["capacityProviderStrategy"] == MIXED
    assert launch.definition["requiresCompatibilities"] == ["FARGATE"]

    launch = rendered(external=stacked(deployments, flows))
    assert launch.request["launchType"] == "EC2"
    assert "capacityProviderStrategy" not in launch.request
