"""Deployments and flows that change, or are deleted, between the poll and the launch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from fargate_agent.orchestrators.prefect3 import Prefect3
from fargate_agent.orchestrators.states import Claim
from tests.support.functions import redelivered
from tests.support.world import World, environment

pytestmark = pytest.mark.xdist_group("prefect")  # one worker shares what is slow to start


@contextmanager
def deleted_after_the_claim(world: World, path: str) -> Iterator[None]:
    """Delete something just after a run is claimed."""
    claim = Prefect3.claim

    def then_delete(prefect: Prefect3, *arguments: Any) -> tuple[Claim, str]:
        answer = claim(prefect, *arguments)
        world.prefect.send("DELETE", path)
        return answer

    with mock.patch.object(Prefect3, "claim", then_delete):
        yield


def test_a_run_whose_deployment_is_deleted_after_its_claim_is_cancelled(world: World) -> None:
    deployment = world.deployment()
    run = world.schedule(deployment)
    world.poll()

    with deleted_after_the_claim(world, f"/deployments/{deployment}"):
        assert world.deliver() == []

    state = world.run(run)["state"]
    assert (state["type"], state["name"]) == ("CANCELLED", "Cancelled")
    assert state["message"] == f"Deployment {deployment} no longer exists."
    assert world.tasks() == []
    assert world.unacknowledged() == 0


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_redelivered_run_whose_deployment_is_gone_is_cancelled(world: World, warm: bool) -> None:
    deployment = world.deployment()
    run = world.schedule(deployment)
    world.poll()
    (record,) = world.receive()
    world.aws_faults.refuse("RunTask", "ServerException")
    assert world.dispatch([record]) == [run]
    world.prefect.send("DELETE", f"/deployments/{deployment}")
    if not warm:
        world.cold_start()

    assert world.dispatch([redelivered(record)]) == []

    assert world.run(run)["state_type"] == "CANCELLED"
    assert world.tasks() == []


def test_a_retried_run_whose_deployment_is_gone_is_cancelled(world: World) -> None:
    deployment = world.deployment()
    run = world.launched(deployment)["startedBy"]
    for state in ("RUNNING", "FAILED"):
        world.set_state(run, state)
    world.prefect.send("DELETE", f"/deployments/{deployment}")
    world.set_state(run, "SCHEDULED", name="AwaitingRetry")
    assert world.poll() == 1

    assert world.deliver() == []

    assert world.run(run)["state_type"] == "CANCELLED"
    assert len(world.tasks()) == 1


def test_a_run_deleted_with_its_deployment_before_its_claim_is_dropped(world: World) -> None:
    deployment = world.deployment()
    world.schedule(deployment)
    world.poll()
    world.prefect.send("DELETE", f"/deployments/{deployment}")

    assert world.deliver() == []

    assert world.tasks() == []
    assert world.unacknowledged() == 0


@pytest.mark.parametrize("claimed", [False, True], ids=["before the claim", "after the claim"])
def test_a_run_of_a_deleted_flow_is_dropped(world: World, claimed: bool) -> None:
    deployment = world.deployment("doomed")
    run = world.schedule(deployment)
    path = f"/flows/{world.run(run)['flow_id']}"
    world.poll()
    (record,) = world.receive()

    if claimed:
        with deleted_after_the_claim(world, path):
            assert world.dispatch([record]) == [run]  # the run is gone too, so nothing is told
    else:
        world.prefect.send("DELETE", path)
    assert world.dispatch([redelivered(record)]) == []

    assert world.tasks() == []
    assert world.unacknowledged() == 0


def test_the_other_runs_of_a_batch_start(world: World) -> None:
    lost, good = world.deployment("lost"), world.deployment("good")
    world.schedule(lost)
    run = world.schedule(good)
    world.poll()
    world.prefect.send("DELETE", f"/deployments/{lost}")

    assert world.deliver() == []

    assert [task["startedBy"] for task in world.tasks()] == [run]


def test_an_updated_deployment_is_seen_by_the_very_next_run(world: World) -> None:
    deployment = world.deployment(env={"COLOUR": "blue", "SIZE": "10"})
    first = environment(world.launched(deployment))
    world.change_deployment(deployment, job_variables={"env": {"COLOUR": "red"}, "image": "i"})

    second = environment(world.launched(deployment))

    assert (first["COLOUR"], first["SIZE"]) == ("blue", "10")
    assert second["COLOUR"] == "red"
    assert "SIZE" not in second


def test_an_updated_pool_is_seen_by_the_very_next_run(world: World) -> None:
    deployment = world.deployment()
    first = environment(world.launched(deployment))
    world.set_default(env={"COLOUR": "red"})

    second = environment(world.launched(deployment))

    assert "COLOUR" not in first
    assert second["COLOUR"] == "red"


def test_a_deployment_made_anew_under_its_name_is_another(world: World) -> None:
    old = world.deployment(name="nightly", env={"COLOUR": "blue"})
    first = world.launched(old)
    world.prefect.send("DELETE", f"/deployments/{old}")
    new = world.deployment(name="nightly", env={"COLOUR": "red"})

    second = world.launched(new)

    assert new != old
    assert environment(second)["PREFECT__DEPLOYMENT_ID"] == new
    assert environment(second)["COLOUR"] == "red"
    assert first["taskDefinitionArn"] != second["taskDefinitionArn"]


@pytest.mark.prefect3
def test_a_run_without_a_deployment_is_launched(world: World) -> None:
    world.set_default(image="example/flows:1")
    flow = world.prefect.post("/flows/", {"name": "etl"})["id"]
    body = {"flow_id": flow, "work_pool_name": world.pool, "state": {"type": "SCHEDULED"}}
    run = world.prefect.post("/flow_runs/", body)["id"]
    assert world.poll() == 1

    assert world.deliver() == []

    task = world.task_of(run)
    assert not {"PREFECT__DEPLOYMENT_ID", "PREFECT__DEPLOYMENT_NAME"} & environment(task).keys()
    assert task["taskDefinitionArn"].endswith(f"/prefect_{world.pool}_{flow}:1")
    assert "GetObject" in world.recorder.of("dispatch")


def test_the_kwargs_of_a_deployment_stand_above_those_of_its_flow(world: World) -> None:
    deployment, other = world.deployment(), world.deployment()
    colour, size = variable("COLOUR", "blue"), variable("SIZE", "7")
    of_flow = {"cpu": 1024, "memory": 4096, "containerDefinitions": [{"environment": [colour]}]}
    of_deployment = {"memory": 8192, "containerDefinitions": [{"environment": [size]}]}
    world.put_kwargs(deployment, of_flow)
    world.put_deployment_kwargs(deployment, of_deployment)

    definition, others = (
        world.definition(world.launched(each)["taskDefinitionArn"]) for each in (deployment, other)
    )

    assert (definition["cpu"], definition["memory"]) == ("1024", "8192")
    assert definition["containerDefinitions"][0]["environment"] == [colour, size]
    assert (others["cpu"], others["memory"]) == ("1024", "4096")
    assert others["containerDefinitions"][0]["environment"] == [colour]


def test_the_log_names_both_files(world: World) -> None:
    deployment = world.deployment()
    files = [world.put_kwargs(deployment, {}), world.put_deployment_kwargs(deployment, {})]

    (line,) = world.logs(world.launched(deployment)["startedBy"])

    assert f"kwargs from {files[0]} and {files[1]}." in line


def test_a_bad_file_of_a_deployment_is_told_with_its_own_url(world: World) -> None:
    bad, good = world.deployment(), world.deployment()
    world.put_kwargs(bad, {"memory": 4096})
    url = world.put_deployment_kwargs(bad, {"memmory": 4096})
    bad_run, good_run = world.schedule(bad), world.schedule(good)
    world.poll()

    assert world.deliver() == []

    assert world.message(bad_run).startswith(f"{url}: memmory: ")
    assert world.task_of(good_run)


def test_a_deployment_whose_name_is_not_ascii_has_a_file_too(world: World) -> None:
    deployment = world.deployment(flow="Größe laden", name="Jede Nacht, früh")
    url = world.put_deployment_kwargs(deployment, {"memory": 4096}, flow="Größe laden")

    definition = world.definition(world.launched(deployment)["taskDefinitionArn"])

    assert url.endswith("/kwargs/grosse-laden/jede-nacht-fruh.json")
    assert definition["memory"] == "4096"


def variable(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}
