"""ECS's task events as Prefect events, word for word as the observer of Prefect's ECS worker's."""

from typing import Any

import pytest

from fargate_agent.task_events import prefect_event
from tests.support.fake_ecs import task
from tests.support.values import RUN_ID

TAGS = {
    "prefect.io/flow-run-id": RUN_ID,
    "prefect.io/flow-run-name": "brave-otter",
    "prefect.io/version": "3.8.8",
    "prefect.io/work-pool-name": "fargate",
    "prefect.io/work-pool-id": "w-1",
    "prefect.io/worker-name": "Night shift",
    "prefect.io/flow-id": "f-1",
    "prefect.io/flow-name": "Load-orders",
    "prefect.io/deployment-id": "d-1",
    "prefect.io/deployment-name": "nightly",
    "prefect.io/deployment-updated": "2026-02-01T00:00:00+00:00",
    "team": "data",
}


def ecs_event(**detail: Any) -> dict[str, Any]:
    return {"id": "e-1", "time": "2026-03-01T12:00:00Z", "detail": {**task(), **detail}}


def test_an_event_is_what_the_workers_observer_makes_of_it():
    assert prefect_event(ecs_event(lastStatus="RUNNING"), TAGS) == {
        "id": "e-1",
        "occurred": "2026-03-01T12:00:00Z",
        "event": "prefect.ecs.task.running",
        "resource": {
            "prefect.resource.id": "prefect.ecs.task.00000000000000000000000000000001",
            "ecs.taskArn": task()["taskArn"],
            "ecs.clusterArn": task()["clusterArn"],
            "ecs.taskDefinitionArn": task()["taskDefinitionArn"],
        },
        "related": [
            {
                "prefect.resource.id": f"prefect.flow-run.{RUN_ID}",
                "prefect.resource.role": "flow-run",
                "prefect.resource.name": "brave-otter",
            },
            {
                "prefect.resource.id": "prefect.deployment.d-1",
                "prefect.resource.role": "deployment",
                "prefect.resource.name": "nightly",
            },
            {
                "prefect.resource.id": "prefect.flow.f-1",
                "prefect.resource.role": "flow",
                "prefect.resource.name": "Load-orders",
            },
            {
                "prefect.resource.id": "prefect.work-pool.w-1",
                "prefect.resource.role": "work-pool",
                "prefect.resource.name": "fargate",
            },
            {
                "prefect.resource.id": "prefect.worker.ecs.night-shift",
                "prefect.resource.role": "worker",
                "prefect.resource.name": "Night shift",
                "prefect.worker-type": "ecs",
            },
        ],
    }


@pytest.mark.parametrize(
    "status",
    ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "STOPPED"],
)
def test_every_status_of_a_task_names_an_event(status: str):
    found = prefect_event(ecs_event(lastStatus=status), TAGS)

    assert found["event"] == f"prefect.ecs.task.{status.lower()}"


def test_what_no_tag_tells_is_left_out():
    found = prefect_event(ecs_event(), {"prefect.io/flow-run-id": RUN_ID})

    assert found["related"] == [
        {"prefect.resource.id": f"prefect.flow-run.{RUN_ID}", "prefect.resource.role": "flow-run"}
    ]
