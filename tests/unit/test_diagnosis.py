from typing import Any

import pytest

from fargate_agent.diagnosis import diagnose
from tests.support.values import TASK_ARN, stopped_task

START = f"The ECS task {TASK_ARN} stopped before the run finished: "


def test_an_exit_code_is_told_with_its_container():
    assert diagnose(stopped_task()) == (
        f"{START}Essential container in task exited; container 'prefect' exited with code 1."
    )


def test_every_container_that_failed_is_named_and_none_that_did_not():
    containers = [
        {"name": "prefect", "exitCode": 2},
        {"name": "proxy", "exitCode": 0},
        {"name": "logs", "exitCode": 3},
        {"name": "never-started"},
    ]

    assert diagnose(stopped_task(stoppedReason=None, containers=containers)) == (
        f"{START}container 'prefect' exited with code 2; container 'logs' exited with code 3."
    )


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        (
            "CannotPullContainerError: pull image manifest has been retried 5 time(s)",
            "Check the image's name and tag, the execution role's right to pull it, and that the "
            "task's subnets reach the registry.",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth",
            "Check that the execution role may read the secrets and write the log group, and that "
            "the task's subnets reach those services.",
        ),
        (
            "OutOfMemoryError: Container killed due to memory usage",
            "Give the flow more memory, in its deployment or its S3 kwargs file.",
        ),
    ],
)
@pytest.mark.parametrize("place", ["task", "container"])
def test_a_reason_that_is_known_comes_with_its_remedy(reason: str, remedy: str, place: str):
    detail = stopped_task(stoppedReason=None, containers=[{"name": "prefect"}])
    if place == "task":
        detail["stoppedReason"] = reason
    else:
        detail["containers"][0]["reason"] = reason

    assert diagnose(detail) == f"{START}{reason}. {remedy}"


def test_the_tasks_reason_and_the_containers_are_both_told():
    detail = stopped_task(
        stoppedReason="Task failed to start",
        containers=[{"name": "prefect", "reason": "CannotPullContainerError: no such tag"}],
    )

    assert diagnose(detail).startswith(
        f"{START}Task failed to start CannotPullContainerError: no such tag. Check the image's"
    )


def test_a_kill_without_a_reason_is_put_down_to_memory():
    detail = stopped_task(containers=[{"name": "prefect", "exitCode": 137}])

    assert diagnose(detail) == (
        f"{START}Essential container in task exited; container 'prefect' exited with code 137. "
        "Code 137 is a kill, most often for want of memory: give the flow more of it."
    )


def test_a_known_reason_explains_a_kill_better_than_its_code():
    killed = {"name": "prefect", "exitCode": 137, "reason": "OutOfMemoryError: killed"}

    message = diagnose(stopped_task(containers=[killed]))

    assert message.endswith("Give the flow more memory, in its deployment or its S3 kwargs file.")


@pytest.mark.parametrize(
    "changes",
    [
        {"stoppedReason": None, "containers": []},
        {"stoppedReason": "", "containers": [{"name": "prefect", "exitCode": 0}]},
    ],
)
def test_a_stop_without_any_reason_is_told_as_such(changes: dict[str, Any]):
    assert diagnose(stopped_task(**changes)) == f"{START}ECS gave no reason."
