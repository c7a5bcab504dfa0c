"""Cancelling runs: whose tasks are stopped, when, and when the runs are Cancelled."""

from datetime import timedelta
from typing import Any

import pytest

from fargate_agent.cancellation import GRACE_SECONDS, REASON, SETTLED_SECONDS, Cancellations
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.running_tasks import RunningTasks
from tests.support.aws import client_error
from tests.support.fake_ecs import FakeEcs, infrastructure_id, task
from tests.support.fakes import FakePrefect, run_history, run_state
from tests.support.values import CLUSTER_ARN, NOON, RUN_ID

ELSEWHERE = CLUSTER_ARN.replace("cluster/flows", "cluster/workers")


class Scene:
    """One Cancelling run, some seconds after it was cancelled."""

    def __init__(
        self,
        *tasks: dict[str, Any],
        age: float | None = SETTLED_SECONDS,
        ours: bool = True,
        failures: dict[str, Exception] | None = None,
        **state: Any,
    ):
        since = None if age is None else NOON - timedelta(seconds=age)
        self.prefect = FakePrefect(
            states={RUN_ID: run_state("CANCELLING", since=since, **state)},
            histories={RUN_ID: run_history(claim_id="claim-1", ours=ours)},
        )
        self.ecs = FakeEcs(list(tasks), failures=failures or {}, clusters=(CLUSTER_ARN,))
        made: Any = self.ecs
        self.cancellations = Cancellations(
            self.prefect,  # type: ignore[arg-type]
            RunningTasks(lambda: made, [CLUSTER_ARN]),
            lambda: NOON,
        )

    def go_on(self, times: int = 1000) -> dict[str, int]:
        """Make one pass, which has the time for so many runs; return what it did."""
        left = iter(range(times))
        found = self.cancellations.go_on(lambda: next(left, None) is not None)
        return {what: number for what, number in found.items() if number}

    def of(self, ids: list[str]) -> None:
        """Have these runs in place of the one, cancelled an hour ago and without a task."""
        state = run_state("CANCELLING", since=NOON - timedelta(hours=1))
        self.prefect.states = dict.fromkeys(ids, state)
        self.prefect.histories = dict.fromkeys(ids, run_history(ours=True))

    @property
    def outcome(self) -> str:
        return self.prefect.states[RUN_ID].type


def many(count: int) -> list[str]:
    return [f"{number:08d}-0000-4000-8000-000000000000" for number in range(count)]


def test_a_run_that_is_not_cancelling_is_not_touched():
    scene = Scene(task())
    scene.prefect.states = {RUN_ID: run_state("RUNNING", since=NOON - timedelta(days=1))}

    assert scene.go_on() == {}
    assert scene.ecs.asked == []


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("age", [0, 59, 3600])
def test_the_task_of_a_flow_that_never_ran_is_stopped_at_once(reported: bool, age: int):
    id = infrastructure_id(task()) if reported else None
    scene = Scene(task(), age=age, infrastructure_id=id)

    assert scene.go_on() == {"stopped": 1}
    asked = {"cluster": CLUSTER_ARN, "task": task()["taskArn"], "reason": REASON}
    assert scene.ecs.of("stop_task") == [asked]
    assert scene.outcome == "CANCELLING"  # until its task has stopped


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize(
    ("age", "stopped"), [(0, 0), (GRACE_SECONDS - 1, 0), (GRACE_SECONDS, 1), (3600, 1)]
)
def test_a_flow_that_runs_is_given_the_time_to_end_itself(reported: bool, age: int, stopped: int):
    id = infrastructure_id(task()) if reported else None
    scene = Scene(task(), age=age, infrastructure_id=id, has_run=True)

    assert scene.go_on() == ({"stopped": stopped} if stopped else {})
    assert len(scene.ecs.stopped) == stopped


def test_every_task_of_a_run_is_stopped():
    scene = Scene(task(1), task(2), infrastructure_id=infrastructure_id(task(1)))

    scene.go_on()

    assert scene.ecs.stopped == [task(1)["taskArn"], task(2)["taskArn"]]


def test_a_task_that_is_stopping_already_is_not_asked_again():
    stopping = task(desiredStatus="STOPPED")
    scene = Scene(stopping, infrastructure_id=infrastructure_id(stopping))

    assert scene.go_on() == {}

    assert scene.ecs.stopped == []
    assert scene.outcome == "CANCELLING"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("age", [0, 3600])
def test_a_run_whose_task_has_stopped_is_cancelled(known: bool, age: int):
    gone = task(status="STOPPED")
    scene = Scene(*([gone] if known else []), age=age, infrastructure_id=infrastructure_id(gone))

    assert scene.go_on() == {"cancelled": 1}
    assert scene.outcome == "CANCELLED"
    assert scene.ecs.stopped == []


def test_a_run_that_was_told_of_one_task_and_lives_in_another_is_not_cancelled_yet():
    scene = Scene(task(2), infrastructure_id=infrastructure_id(task(1)))

    assert scene.go_on() == {"stopped": 1}
    assert scene.ecs.stopped == [task(2)["taskArn"]]


@pytest.mark.parametrize(
    ("age", "outcome"),
    [
        (0, "CANCELLING"),
        (SETTLED_SECONDS - 1, "CANCELLING"),  # its launch may be under way
        (SETTLED_SECONDS, "CANCELLED"),
        (None, "CANCELLED"),
    ],
)
def test_a_run_without_a_task_is_cancelled_when_no_launch_can_be_under_way(
    age: float | None, outcome: str
):
    scene = Scene(age=age)

    scene.go_on()

    assert scene.outcome == outcome


def test_a_run_that_another_claimed_is_left_to_it():
    scene = Scene(age=3600, ours=False)

    assert scene.go_on() == {}
    assert scene.outcome == "CANCELLING"


@pytest.mark.parametrize("ours", [True, False])
def test_of_a_task_in_another_cluster_nobody_can_tell_whether_it_is_gone(ours: bool):
    there = infrastructure_id(task(cluster=ELSEWHERE))
    scene = Scene(age=3600, ours=ours, infrastructure_id=there)

    assert scene.go_on() == {}
    assert scene.ecs.asked == []
    assert scene.outcome == "CANCELLING"


def test_a_run_that_names_no_ecs_task_is_looked_for_by_its_id():
    scene = Scene(task(), age=3600, infrastructure_id="host:1234")

    assert scene.go_on() == {"stopped": 1}


def test_it_may_be_gone_on_with_again_and_again():
    scene = Scene(task(), infrastructure_id=infrastructure_id(task()))

    scene.go_on()
    (stopping,) = scene.ecs.tasks
    stopping["lastStatus"] = "STOPPED"
    assert scene.go_on() == {"cancelled": 1}
    assert scene.go_on() == {}
    assert [what for what, *_ in scene.prefect.told] == ["cancelled"]


@pytest.mark.parametrize("operation", ["list_tasks", "describe_tasks", "stop_task"])
def test_an_ecs_that_fails_cancels_nothing(operation: str):
    failures: dict[str, Exception] = {operation: client_error("ThrottlingException")}
    scene = Scene(task(), failures=failures, infrastructure_id=infrastructure_id(task()))

    assert scene.go_on() == {"failed": 1}

    assert scene.outcome == "CANCELLING"


def test_a_prefect_that_fails_is_asked_again_with_the_next_poll():
    scene = Scene()
    scene.prefect.failure = ApiError("POST /x", 503, "down")
    assert scene.go_on() == {"failed": 1}

    scene.prefect.failure = None
    assert scene.go_on() == {"cancelled": 1}


def test_one_run_that_fails_does_not_keep_the_others():
    ids = many(20)
    scene = Scene()
    scene.of(ids)
    cancelled = scene.prefect.cancelled

    def refuse(flow_run_id: str, message: str) -> None:
        if flow_run_id == ids[7]:
            raise ApiError("POST /set_state", 500, "no")
        cancelled(flow_run_id, message)

    scene.prefect.cancelled = refuse  # type: ignore[method-assign]

    assert scene.go_on() == {"cancelled": 19, "failed": 1}
    assert scene.prefect.states[ids[7]].type == "CANCELLING"


def test_a_pass_that_has_no_more_time_leaves_the_rest_to_the_next():
    scene = Scene()
    scene.of(many(20))

    assert scene.go_on(times=8) == {"cancelled": 8}
    assert scene.go_on(times=8) == {"cancelled": 8}
    assert scene.go_on(times=8) == {"cancelled": 4}


def test_hundreds_of_runs_are_cancelled():
    scene = Scene()
    scene.of(many(450))

    assert scene.go_on() == {"cancelled": 450}
