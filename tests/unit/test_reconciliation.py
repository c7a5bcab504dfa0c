"""The healing pass: what an outage or a lost event left, and what is others' business."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fargate_agent.conclusion import Conclusions
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.orchestrators.states import RunState
from fargate_agent.reconciliation import MOST_SEARCHES, PATIENCE_SECONDS, Reconciliation
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import FlowRun
from tests.support.aws import client_error
from tests.support.fake_ecs import FakeEcs, infrastructure_id, task
from tests.support.fakes import FakePrefect, run_history, run_state
from tests.support.values import CLUSTER_ARN, NOON, RUN_ID, flow_run

FORGOTTEN = infrastructure_id(task())
GPU = CLUSTER_ARN.replace("cluster/flows", "cluster/gpu")
ELSEWHERE = CLUSTER_ARN.replace("cluster/flows", "cluster/workers")
EXITED = {"containers": [{"name": "prefect", "exitCode": 1}]}


def run_id(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def lost(type: str, *, age: float = PATIENCE_SECONDS, **changes: Any) -> RunState:
    """Return the state of a run that has been in it for so long."""
    claim = "claim-1" if type == "PENDING" else None
    fields = {"claim_id": claim, "since": NOON - timedelta(seconds=age), **changes}
    return run_state(type, **fields)


class Scene:
    """Some runs and some tasks, and what is sent to the runs queue."""

    def __init__(
        self,
        states: dict[str, RunState],
        tasks: Iterable[dict[str, Any]] = (),
        *,
        clusters: tuple[str, ...] = (CLUSTER_ARN,),
        ours: bool = True,
        claimed: bool = True,
        **prefect: Any,
    ):
        histories = {id: run_history(claim_id="claim-1", ours=ours) for id in states}
        claims = [flow_run(id=id, claim_id="claim-1") for id in states] if claimed else []
        self.prefect = FakePrefect(states=states, histories=histories, claims=claims, **prefect)
        self.ecs = FakeEcs(list(tasks), clusters=(CLUSTER_ARN, GPU))
        made: Any = self.ecs
        running = RunningTasks(lambda: made, clusters)
        self.enqueued: list[FlowRun] = []
        conclusions = Conclusions(
            prefect=self.prefect,  # type: ignore[arg-type]
            tasks=running,
            relaunch_attempts=2,
            now=lambda: NOON,
        )
        self._pass = Reconciliation(conclusions, running, self.enqueued.extend, lambda: NOON)

    def reconcile(self, times: int = 1000) -> dict[str, int]:
        """Make one pass, which has the time for so many steps; return what it found."""
        left = iter(range(times))
        return self._pass.reconcile(lambda: next(left, None) is not None)

    def outcome(self, id: str = RUN_ID) -> str:
        return self.prefect.states[id].type


def test_with_nothing_lost_nothing_is_done():
    scene = Scene({})

    assert sum(scene.reconcile().values()) == 0
    assert scene.ecs.asked == []


@pytest.mark.parametrize("type", ["PENDING", "RUNNING"])
@pytest.mark.parametrize("age", [0, PATIENCE_SECONDS - 1])
def test_a_run_is_given_time_before_it_is_taken_for_lost(type: str, age: int):
    scene = Scene({RUN_ID: lost(type, age=age)})

    assert sum(scene.reconcile().values()) == 0
    assert scene.ecs.asked == []


@pytest.mark.parametrize(
    "type", ["SCHEDULED", "CANCELLING", "PAUSED", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
)
def test_a_run_that_waits_for_no_task_is_not_looked_at(type: str):
    scene = Scene({RUN_ID: lost(type)})

    assert sum(scene.reconcile().values()) == 0


# -- pending runs ----------------------------------------------------------------------------------


def test_a_claimed_run_that_was_never_launched_is_enqueued_again():
    scene = Scene({RUN_ID: lost("PENDING")})

    assert scene.reconcile() == {"checked": 1, "enqueued": 1}
    assert scene.enqueued == scene.prefect.claims
    assert scene.outcome() == "PENDING"


@pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "RUNNING", "DEPROVISIONING"])
@pytest.mark.parametrize("reported", [True, False])
def test_a_pending_run_with_a_live_task_is_left(status: str, reported: bool):
    live = task(status=status)
    id = infrastructure_id(live) if reported else None
    scene = Scene({RUN_ID: lost("PENDING", infrastructure_id=id)}, [live])

    assert scene.reconcile() == {"checked": 1}
    assert scene.enqueued == []


def test_a_pending_run_whose_task_is_stopping_waits_for_its_end():
    stopping = task(desiredStatus="STOPPED")
    scene = Scene({RUN_ID: lost("PENDING")}, [stopping])

    assert scene.reconcile() == {"checked": 1}


@pytest.mark.parametrize("reported", [True, False])
def test_a_pending_run_whose_task_stopped_unheard_is_concluded(reported: bool):
    gone = task(status="STOPPED", **EXITED)
    id = infrastructure_id(gone) if reported else None
    scene = Scene({RUN_ID: lost("PENDING", infrastructure_id=id)}, [gone])

    assert scene.reconcile() == {"checked": 1, "crashed": 1}
    assert scene.outcome() == "CRASHED"


def test_a_pending_run_whose_start_failed_unheard_is_launched_again():
    gone = task(status="STOPPED", stopCode="TaskFailedToStart", stoppedReason="Timeout waiting")
    scene = Scene({RUN_ID: lost("PENDING", infrastructure_id=infrastructure_id(gone))}, [gone])

    assert scene.reconcile() == {"checked": 1, "relaunched": 1}
    assert scene.outcome() == "SCHEDULED"


def test_the_task_of_an_earlier_launch_is_not_taken_for_the_claims():
    old = task(status="STOPPED", claim="claim-0", **EXITED)
    scene = Scene({RUN_ID: lost("PENDING", infrastructure_id=infrastructure_id(old))}, [old])

    assert scene.reconcile() == {"checked": 1, "enqueued": 1}
    assert scene.outcome() == "PENDING"


def test_a_pending_run_that_another_claimed_is_left_to_it():
    scene = Scene({RUN_ID: lost("PENDING")}, claimed=False, ours=False)

    assert scene.reconcile() == {"checked": 1, "enqueued": 0}
    assert scene.prefect.told == []


# -- running runs ----------------------------------------------------------------------------------


def test_a_running_run_with_its_live_task_is_left():
    live = task()
    scene = Scene({RUN_ID: lost("RUNNING", infrastructure_id=infrastructure_id(live))}, [live])

    assert scene.reconcile() == {"checked": 1}
    assert scene.ecs.of("list_tasks") == []


@pytest.mark.parametrize("reported", [True, False])
def test_a_running_run_whose_task_stopped_unheard_crashes_with_the_diagnosis(reported: bool):
    gone = task(status="STOPPED", **EXITED)
    id = infrastructure_id(gone) if reported else None
    scene = Scene({RUN_ID: lost("RUNNING", infrastructure_id=id)}, [gone])

    assert scene.reconcile() == {"checked": 1, "crashed": 1}
    ((_, _, message),) = scene.prefect.told
    assert "exited with code 1" in message


def test_a_running_run_that_tells_of_no_task_may_have_one_in_another_account():
    scene = Scene({RUN_ID: lost("RUNNING")})

    assert scene.reconcile() == {"checked": 1}
    assert scene.prefect.told == []


@pytest.mark.parametrize("ours", [True, False])
def test_a_running_run_whose_task_ecs_forgot_crashes(ours: bool):
    scene = Scene({RUN_ID: lost("RUNNING", infrastructure_id=FORGOTTEN)}, ours=ours)

    assert scene.reconcile() == {"checked": 1, "crashed": 1}
    ((what, _, message),) = scene.prefect.told
    assert what == "crash"
    assert "ECS does not know it any more" in message
    assert task()["taskArn"] in message


def test_a_running_run_in_another_task_than_it_was_told_of_is_left():
    forgotten, live = task(1), task(2)
    scene = Scene({RUN_ID: lost("RUNNING", infrastructure_id=infrastructure_id(forgotten))}, [live])

    assert scene.reconcile() == {"checked": 1}


@pytest.mark.parametrize("type", ["PENDING", "RUNNING"])
def test_a_run_in_a_cluster_of_others_is_left(type: str):
    theirs = infrastructure_id(task(cluster=ELSEWHERE, claim=None))
    scene = Scene({RUN_ID: lost(type, infrastructure_id=theirs)})

    assert scene.reconcile() == {"checked": 1}
    assert scene.ecs.asked == []


def test_a_process_on_some_host_is_not_looked_for_in_ecs_where_another_started_it():
    scene = Scene({RUN_ID: lost("RUNNING", infrastructure_id="host:1234")}, ours=False)

    assert scene.reconcile() == {"checked": 1}


# -- Prefect 1 -------------------------------------------------------------------------------------


def test_a_running_run_of_prefect_1_without_a_task_may_wait_for_a_retry():
    scene = Scene({RUN_ID: lost("RUNNING")}, runs_outlive_containers=True)

    assert scene.reconcile() == {"checked": 1}


def test_a_running_run_of_prefect_1_whose_task_died_unheard_is_told():
    gone = task(status="STOPPED", **EXITED)
    scene = Scene({RUN_ID: lost("RUNNING")}, [gone], runs_outlive_containers=True)

    assert scene.reconcile() == {"checked": 1, "crashed": 1}


def test_a_submitted_run_of_prefect_1_that_was_never_launched_is_enqueued_again():
    scene = Scene({RUN_ID: lost("PENDING")}, runs_outlive_containers=True)

    assert scene.reconcile() == {"checked": 1, "enqueued": 1}


# -- many ------------------------------------------------------------------------------------------


def test_tasks_are_described_by_the_hundred_and_by_cluster():
    ids = [run_id(number) for number in range(350)]
    tasks = [
        task(number, run=id, cluster=GPU if number % 7 == 0 else CLUSTER_ARN)
        for number, id in enumerate(ids)
    ]
    states = {
        id: lost("RUNNING", infrastructure_id=infrastructure_id(of))
        for id, of in zip(ids, tasks, strict=True)
    }
    scene = Scene(states, tasks, clusters=(CLUSTER_ARN, GPU))

    assert scene.reconcile() == {"checked": 350}
    described = scene.ecs.of("describe_tasks")
    assert sum(len(asked["tasks"]) for asked in described) == 350
    assert len(described) == 6  # two pages, of which the first holds more than 100 of one cluster
    assert scene.ecs.of("list_tasks") == []


def test_one_lost_run_among_hundreds_is_found():
    ids = [run_id(number) for number in range(150)]
    tasks = [task(number, run=id) for number, id in enumerate(ids)]
    tasks[77] = task(77, run=ids[77], status="STOPPED", **EXITED)
    states = {
        id: lost("RUNNING", infrastructure_id=infrastructure_id(of))
        for id, of in zip(ids, tasks, strict=True)
    }
    scene = Scene(states, tasks)

    assert scene.reconcile() == {"checked": 150, "crashed": 1}
    assert scene.outcome(ids[77]) == "CRASHED"


def test_a_pass_searches_for_so_many_and_the_next_for_others():
    states = {run_id(number): lost("PENDING") for number in range(3 * MOST_SEARCHES)}
    scene = Scene(states)

    assert scene.reconcile()["enqueued"] == MOST_SEARCHES
    for _ in range(100):
        scene.reconcile()
    assert {run.id for run in scene.enqueued} == states.keys()


def test_a_cluster_that_does_not_exist_hides_no_lost_run():
    gone = task(status="STOPPED", **EXITED)
    scene = Scene({RUN_ID: lost("RUNNING")}, [gone], clusters=(ELSEWHERE, CLUSTER_ARN))

    assert scene.reconcile() == {"checked": 1, "crashed": 1}


def test_a_run_in_a_cluster_that_was_deleted_is_found_lost():
    in_deleted = infrastructure_id(task(cluster=ELSEWHERE))
    scene = Scene(
        {RUN_ID: lost("RUNNING", infrastructure_id=in_deleted)}, clusters=(CLUSTER_ARN, ELSEWHERE)
    )

    assert scene.reconcile() == {"checked": 1, "crashed": 1}


# -- again, and while others fail ------------------------------------------------------------------


def test_it_is_safe_to_run_twice():
    gone = task(2, run=run_id(2), status="STOPPED", **EXITED)
    states = {
        run_id(1): lost("PENDING"),
        run_id(2): lost("RUNNING", infrastructure_id=infrastructure_id(gone)),
        run_id(3): lost("RUNNING", infrastructure_id=FORGOTTEN),
    }
    scene = Scene(states, [gone])

    assert scene.reconcile() == {"checked": 3, "enqueued": 1, "crashed": 2}
    assert scene.reconcile() == {"checked": 1, "enqueued": 1}  # of which the queue keeps one
    assert [what for what, *_ in scene.prefect.told] == ["crash", "crash"]


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end():
    scene = Scene({RUN_ID: lost("RUNNING")})
    scene.prefect.run_states = lambda ids: {RUN_ID: lost("COMPLETED")}  # type: ignore[method-assign]

    assert scene.reconcile() == {"checked": 1}
    assert scene.prefect.told == []


@pytest.mark.parametrize("operation", ["list_tasks", "describe_tasks"])
def test_an_ecs_that_fails_crashes_nobody(operation: str):
    live = task()
    states = {
        run_id(1): lost("RUNNING"),
        RUN_ID: lost("RUNNING", infrastructure_id=infrastructure_id(live)),
    }
    scene = Scene(states, [live])
    scene.ecs.failures[operation] = client_error("ThrottlingException")

    with suppress(ClientError):
        scene.reconcile()
    assert scene.prefect.told == []
    assert scene.enqueued == []


def test_a_prefect_that_fails_crashes_nobody_and_the_next_pass_does():
    states = {RUN_ID: lost("RUNNING", infrastructure_id=FORGOTTEN)}
    scene = Scene(states, failure=ApiError("POST /x", 503, "down"))

    assert scene.reconcile() == {"checked": 1, "failed": 1}
    assert scene.outcome() == "RUNNING"
    scene.prefect.failure = None
    assert scene.reconcile() == {"checked": 1, "crashed": 1}


@pytest.mark.parametrize("reported", [True, False])
def test_one_run_that_fails_does_not_keep_the_others(reported: bool):
    ids = [run_id(number) for number in range(20)]
    tasks = [task(number, run=id, status="STOPPED", **EXITED) for number, id in enumerate(ids)]
    states = {
        id: lost("RUNNING", infrastructure_id=infrastructure_id(of) if reported else None)
        for id, of in zip(ids, tasks, strict=True)
    }
    scene = Scene(states, tasks)
    crash = scene.prefect.crash

    def refuse(flow_run_id: str, message: str) -> None:
        if flow_run_id == ids[7]:
            raise ApiError("POST /set_state", 500, "no")
        crash(flow_run_id, message)

    scene.prefect.crash = refuse  # type: ignore[method-assign]

    assert scene.reconcile() == {"checked": 20, "crashed": 19, "failed": 1}


def test_a_pass_that_has_no_more_time_leaves_the_rest_to_the_next():
    states = {
        run_id(number): lost("RUNNING", infrastructure_id=infrastructure_id(task(number)))
        for number in range(20)
    }
    gone = [task(number, run=run_id(number), status="STOPPED", **EXITED) for number in range(20)]
    scene = Scene(states, gone)

    assert scene.reconcile(times=9) == {"checked": 20, "crashed": 9}
    assert scene.reconcile(times=9) == {"checked": 11, "crashed": 9}
    assert scene.reconcile(times=9) == {"checked": 2, "crashed": 2}


def test_a_run_that_moves_on_while_it_is_looked_at_is_left():
    gone = task(status="STOPPED", **EXITED)
    scene = Scene({RUN_ID: lost("RUNNING", infrastructure_id=infrastructure_id(gone))}, [gone])
    history = scene.prefect.history

    def complete(id: str) -> Any:
        scene.prefect.states[id] = lost("COMPLETED")
        return history(id)

    scene.prefect.history = complete  # type: ignore[method-assign]

    assert scene.reconcile() == {"checked": 1}
    assert scene.prefect.told == []


def test_each_finding_is_logged(caplog: pytest.LogCaptureFixture):
    running = lost("RUNNING", infrastructure_id=FORGOTTEN)
    scene = Scene({run_id(1): lost("PENDING"), run_id(2): running})

    scene.reconcile()

    found = [(line.message, line.flow_run_id) for line in caplog.records]  # type: ignore[attr-defined]
    assert sorted(found) == [("crashed", run_id(2)), ("enqueued again", run_id(1))]
