"""What was launched before, and what nobody wants any more when a batch ends."""

from dataclasses import replace
from typing import Any

import pytest

from fargate_agent.conclusion import Conclusions
from fargate_agent.earlier_tasks import EarlierTasks
from fargate_agent.launcher import Launcher
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.orchestrators.states import RunState
from fargate_agent.running_tasks import RunningTasks
from tests.support.aws import client_error
from tests.support.fake_ecs import FakeEcs, task
from tests.support.fakes import FakePrefect, run_history, run_state
from tests.support.values import CLUSTER_ARN, NOON, RUN_ID, flow_run

RUN = flow_run(claim_id="claim-1")
OURS = run_state("PENDING", claim_id="claim-1", scheduled_time=NOON)
LATER = NOON.replace(hour=13)


class Nothing:
    """What these launches do not come to."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody needs {name}")


class Scene:
    """A run that is claimed, and a task that an earlier delivery of its message started."""

    def __init__(self, *tasks: dict[str, Any], send_logs: bool = True, **prefect: Any):
        self.prefect = FakePrefect(**{"states": {RUN_ID: OURS}, **prefect})
        self.ecs = FakeEcs(list(tasks) or [task()])
        made: Any = self.ecs
        nothing: Any = Nothing()
        tasks = RunningTasks(lambda: made, [CLUSTER_ARN])
        self.launcher = Launcher(
            orchestrator=self.prefect,  # type: ignore[arg-type]
            profile=nothing,
            accounts=nothing,
            tasks=tasks,
            earlier=EarlierTasks(self.prefect, tasks),  # type: ignore[arg-type]
            conclusions=Conclusions(
                prefect=self.prefect,  # type: ignore[arg-type]
                tasks=tasks,
                relaunch_attempts=2,
            ),
            send_logs=send_logs,
        )

    def launch(self, run: Any = RUN) -> None:
        self.launcher.launch(run, known=Reads(self.prefect, [run.id]))  # type: ignore[arg-type]

    def launched_and_then(self, state: RunState | None) -> list[str]:
        """Launch the run, let it come into a state, and end the batch."""
        self.launch()
        self.prefect.states = {RUN_ID: state} if state else {}
        return self.launcher.finish()


# -- launched before -------------------------------------------------------------------------------


def test_the_task_of_an_earlier_delivery_is_reported_and_nothing_started():
    scene = Scene()

    scene.launch()

    assert scene.prefect.told == [("launched", RUN_ID, task()["taskArn"], "by an earlier try.")]


def test_an_agent_that_keeps_quiet_reports_it_without_words():
    scene = Scene(send_logs=False)

    scene.launch()

    assert scene.prefect.told == [("launched", RUN_ID, task()["taskArn"], None)]


@pytest.mark.parametrize(
    "other",
    [
        task(claim="claim-0"),
        task(claim=None),
        task(status="STOPPED"),
        task(run="9b2d7a3e-0000-4000-8000-000000000000"),
    ],
)
def test_no_other_task_is_taken_for_it(other: dict[str, Any]):
    scene = Scene(other)

    with pytest.raises(AssertionError, match="nobody needs render"):  # it would be launched
        scene.launch()

    assert scene.prefect.told == []


def test_where_tasks_cannot_be_listed_nothing_is_launched():
    scene = Scene()
    scene.ecs.failures["list_tasks"] = client_error("ThrottlingException")

    with pytest.raises(Exception, match="ThrottlingException"):
        scene.launch()


# -- the end of a batch ----------------------------------------------------------------------------

ABANDONED = [
    run_state("CANCELLING"),
    run_state("CANCELLED"),
    None,  # deleted
    run_state("SCHEDULED", scheduled_time=LATER),
    run_state("SCHEDULED", scheduled_time=None),
    run_state("PENDING", claim_id="claim-2"),
    run_state("PAUSED"),
]
WANTED = [
    OURS,
    run_state("PENDING", claim_id=None),
    run_state("RUNNING", has_run=True),
    run_state("CANCELLING", has_run=True),  # it is given the time to end itself
    run_state("PAUSED", has_run=True),
    run_state("SCHEDULED", scheduled_time=LATER, has_run=True, waits_in_process=True),
    run_state("COMPLETED", has_run=True),
    run_state("FAILED", has_run=True),
    run_state("CRASHED", has_run=True),
]


@pytest.mark.parametrize("state", ABANDONED)
def test_a_task_that_nobody_wants_any_more_is_stopped(state: RunState | None):
    scene = Scene()

    assert scene.launched_and_then(state) == []

    assert scene.ecs.stopped == [task()["taskArn"]]
    (asked,) = scene.ecs.of("stop_task")
    type = state.type.capitalize() if state else "Deleted"
    assert asked["reason"] == f"The flow run is {type} in Prefect."


@pytest.mark.parametrize("state", WANTED)
def test_a_task_that_is_still_wanted_is_left(state: RunState):
    scene = Scene()

    assert scene.launched_and_then(state) == []

    assert scene.ecs.stopped == []


@pytest.mark.parametrize("state", ABANDONED)
def test_only_the_claims_own_task_is_stopped(state: RunState | None):
    scene = Scene(task(1), task(2, claim="claim-2"), task(3, claim=None))

    scene.launched_and_then(state)

    assert scene.ecs.stopped == [task(1)["taskArn"]]


@pytest.mark.parametrize("state", ABANDONED)
def test_a_redelivery_stops_what_its_batch_could_not(state: RunState | None):
    scene = Scene(states={RUN_ID: state} if state else {})

    scene.launch()

    assert scene.ecs.stopped == [task()["taskArn"]]
    assert scene.prefect.told == []


@pytest.mark.parametrize("state", [state for state in WANTED if state.type != "PENDING"])
def test_a_redelivery_leaves_what_is_still_wanted(state: RunState):
    scene = Scene(states={RUN_ID: replace(state, infrastructure_id="told before")})

    scene.launch()

    assert (scene.ecs.stopped, scene.prefect.told) == ([], [])


@pytest.mark.parametrize("prefect1", [True, False])
def test_a_redelivery_tells_a_running_run_of_its_task_where_it_tells_none(prefect1: bool):
    states = {RUN_ID: run_state("RUNNING", has_run=True)}
    scene = Scene(states=states, runs_outlive_containers=prefect1)

    scene.launch()

    assert [what for what, *_ in scene.prefect.told] == ([] if prefect1 else ["launched"])


def test_a_run_that_is_missing_from_one_answer_is_not_taken_for_deleted():
    scene = Scene()
    scene.launch()
    scene.prefect.run_states = lambda ids: {}  # type: ignore[method-assign]

    assert scene.launcher.finish() == []

    assert scene.ecs.stopped == []


def test_a_role_that_may_not_list_tasks_holds_no_launch_up():
    scene = Scene(states={RUN_ID: run_state("CANCELLED")})
    scene.ecs.failures["list_tasks"] = client_error("AccessDeniedException")

    scene.launch()

    assert scene.ecs.stopped == []


# -- a run that was moved while its container started ----------------------------------------------


@pytest.mark.parametrize("claim", ["claim-0", "claim-1", None])
def test_a_container_that_waits_for_the_time_of_a_moved_run_is_stopped(claim: str | None):
    scene = Scene(task(claim=claim))

    scene.launcher.earlier.clear_the_way(RUN, run_state("SCHEDULED", scheduled_time=NOON))

    assert scene.ecs.stopped == ([task()["taskArn"]] if claim == "claim-0" else [])


@pytest.mark.parametrize(
    "state",
    [
        OURS,
        run_state("RUNNING"),
        run_state("SCHEDULED", scheduled_time=LATER),
        run_state("CANCELLED"),
    ],
)
def test_nothing_is_stopped_for_a_launch_that_is_not_to_come(state: RunState):
    scene = Scene(task(claim="claim-0"))

    scene.launcher.earlier.clear_the_way(RUN, state)

    assert scene.ecs.asked == []


# -- a Pending state that somebody else made -------------------------------------------------------


def test_the_observer_of_prefects_own_worker_hides_no_claim():
    history = {RUN_ID: run_history(claim_id="claim-1", ours=True)}
    observed = replace(OURS, claim_id=None)
    scene = Scene(states={RUN_ID: observed}, histories=history)

    scene.launch()

    assert [what for what, *_ in scene.prefect.told] == ["launched"]


def test_where_runs_cannot_be_read_their_messages_come_back_and_what_is_kept_is_told():
    scene = Scene()
    scene.launch()

    def down(ids: Any) -> Any:
        raise ApiError("POST /flow_runs/filter", 503, "down")

    scene.prefect.run_states = down  # type: ignore[method-assign]

    assert scene.launcher.finish() == [RUN_ID]
    assert scene.prefect.flushes == 1


@pytest.mark.parametrize("operation", ["list_tasks", "stop_task"])
def test_where_a_task_cannot_be_stopped_its_message_comes_back(operation: str):
    scene = Scene()
    scene.launch()
    scene.prefect.states = {}
    scene.ecs.failures[operation] = client_error("ThrottlingException")

    assert scene.launcher.finish() == [RUN_ID]
    assert scene.prefect.flushes == 1


def test_a_batch_knows_nothing_of_the_one_before():
    scene = Scene()
    scene.launch()
    scene.launcher.finish()
    reads = len(scene.prefect.reads)

    assert scene.launcher.finish() == []
    assert len(scene.prefect.reads) == reads
    assert scene.prefect.flushes == 2


def test_the_runs_of_a_batch_are_read_in_one_call():
    ids = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(10)]
    scene = Scene(*(task(number, run=id) for number, id in enumerate(ids)))
    scene.prefect.states = dict.fromkeys(ids, OURS)
    for id in ids:
        scene.launch(flow_run(id=id, claim_id="claim-1"))
    scene.prefect.reads.clear()

    assert scene.launcher.finish() == []

    assert scene.prefect.reads == [set(ids)]


# -- Prefect 1 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        run_state("PENDING", claim_id="claim-2"),  # for a retry of another of its tasks
        run_state("SCHEDULED", scheduled_time=LATER, has_run=True),
    ],
)
def test_a_run_of_prefect_1_may_wait_for_another_container_while_this_goes_on(state: RunState):
    scene = Scene(runs_outlive_containers=True)

    assert scene.launched_and_then(state) == []
    assert scene.ecs.stopped == []


@pytest.mark.parametrize(
    "state", [run_state("CANCELLED"), run_state("SCHEDULED", scheduled_time=LATER), None]
)
def test_a_run_of_prefect_1_that_was_cancelled_moved_or_deleted_is_stopped(state: RunState | None):
    scene = Scene(runs_outlive_containers=True)

    scene.launched_and_then(state)

    assert scene.ecs.stopped == [task()["taskArn"]]
