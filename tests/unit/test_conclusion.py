"""What a stopped task means for its run."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fargate_agent.conclusion import LATER_SECONDS, SOON_SECONDS, Conclusions, MovedOn
from fargate_agent.diagnosis import diagnose
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.orchestrators.states import RunState
from fargate_agent.running_tasks import RunningTasks
from tests.support.fake_ecs import FakeEcs, infrastructure_id, task
from tests.support.fakes import FakePrefect, run_history, run_state
from tests.support.values import CLUSTER_ARN, NOON, RUN_ID

SPOT = {"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."}
NO_NETWORK = {
    "stopCode": "TaskFailedToStart",
    "stoppedReason": "Timeout waiting for network interface provisioning to complete.",
}
FAILED = {
    "stopCode": "EssentialContainerExited",
    "stoppedReason": "Essential container in task exited",
    "containers": [{"name": "prefect", "exitCode": 1}],
}
WELL = {**FAILED, "containers": [{"name": "prefect", "exitCode": 0}]}
THIS, ANOTHER = infrastructure_id(task()), infrastructure_id(task(2))


def stopped(**changes: Any) -> dict[str, Any]:
    """Return a task of the run that has stopped, started for "claim-1" unless told otherwise."""
    return task(status="STOPPED", **{**FAILED, **changes})


def waiting(type: str = "RUNNING", **changes: Any) -> RunState:
    """Return the state of a run that was told of the task."""
    claim = "claim-1" if type == "PENDING" else None
    return run_state(type, **{"infrastructure_id": THIS, "claim_id": claim, **changes})


class Scene:
    """One run, of which a task of "claim-1" was started, and what is told of it."""

    def __init__(
        self,
        state: RunState | None,
        *,
        claim: str | None = "claim-1",
        relaunches: int = 0,
        attempts: int = 2,
        tasks: list[dict[str, Any]] | None = None,
        last_words: tuple[str, ...] = (),
        **prefect: Any,
    ):
        self.prefect = FakePrefect(
            states={RUN_ID: state} if state else {},
            histories={RUN_ID: run_history(claim_id=claim, ours=True, relaunches=relaunches)},
            **prefect,
        )
        ecs: Any = FakeEcs(tasks or [])
        self.conclusions = Conclusions(
            prefect=self.prefect,  # type: ignore[arg-type]
            tasks=RunningTasks(lambda: ecs, [CLUSTER_ARN]),
            relaunch_attempts=attempts,
            last_words=lambda _: last_words,
            now=lambda: NOON,
        )

    def conclude(self, detail: dict[str, Any]) -> str | None:
        return self.conclusions.conclude(detail)

    @property
    def told(self) -> list[Any]:
        return [what for what, *_ in self.prefect.told]


# -- crashed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["PENDING", "RUNNING"])
def test_a_run_whose_task_failed_crashes_with_the_diagnosis(type: str):
    scene, detail = Scene(waiting(type)), stopped()

    assert scene.conclude(detail) == "crashed"
    assert scene.prefect.told == [("crash", RUN_ID, diagnose(detail).text)]


def test_a_run_that_waits_for_a_retry_in_its_own_container_crashes_with_it():
    scene = Scene(waiting("SCHEDULED", waits_in_process=True))

    assert scene.conclude(stopped()) == "crashed"


@pytest.mark.parametrize("type", ["PENDING", "RUNNING"])
def test_a_container_that_ended_in_peace_without_a_word_is_told(type: str):
    assert Scene(waiting(type)).conclude(stopped(**WELL)) == "crashed"


@pytest.mark.parametrize(
    ("type", "changes"),
    [
        *((type, {}) for type in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED")),
        ("SCHEDULED", {}),
        ("SCHEDULED", {"retries_in_process": True}),  # and was launched for one since
        ("PAUSED", {"has_run": True}),
        ("AWAITING_RETRY", {}),
        ("", {}),
    ],
)
@pytest.mark.parametrize("detail", [FAILED, SPOT, NO_NETWORK])
def test_a_run_that_waits_for_no_task_is_left_alone(
    type: str, changes: dict[str, Any], detail: dict[str, Any]
):
    scene = Scene(waiting(type, **changes))

    assert scene.conclude(stopped(**detail)) is None
    assert scene.told == []


@pytest.mark.parametrize("type", ["PENDING", "RUNNING", "CANCELLING"])
def test_a_run_of_another_pool_is_left_to_its_own_agent(type: str):
    scene = Scene(waiting(type, is_served=False))

    assert scene.conclude(stopped(**SPOT)) is None
    assert scene.told == []


def test_a_deleted_run_is_left_alone():
    scene = Scene(None)

    assert scene.conclude(stopped(**SPOT)) is None
    assert scene.told == []


@pytest.mark.parametrize("started_by", ["ecs-svc/1234567890", "", "nightly", None])
def test_a_task_that_is_no_flow_runs_is_left_alone(started_by: str | None):
    scene = Scene(waiting())

    assert scene.conclude(stopped(startedBy=started_by)) is None
    assert scene.prefect.reads == []


def test_a_task_that_nobody_signed_is_left_alone():
    detail = stopped()
    del detail["startedBy"]

    assert Scene(waiting()).conclude(detail) is None


# -- whose task it was -----------------------------------------------------------------------------


def pending(claim: str | None, reported: str | None) -> RunState:
    return run_state("PENDING", claim_id=claim, infrastructure_id=reported)


def running(reported: str | None) -> RunState:
    return run_state("RUNNING", infrastructure_id=reported)


def cancelling(reported: str | None) -> RunState:
    return run_state("CANCELLING", infrastructure_id=reported)


ONE, TWO = "claim-1", "claim-2"
CONCERNS: list[tuple[RunState, str | None, str | None, bool]] = [
    # the run now; its last claim; the claim that the task was told; whether it matters
    (pending(ONE, None), ONE, ONE, True),
    (pending(ONE, THIS), ONE, ONE, True),
    (pending(ONE, ANOTHER), ONE, ONE, True),  # left from an earlier launch
    (pending(TWO, THIS), TWO, ONE, False),
    (pending(TWO, None), TWO, ONE, False),
    (pending(ONE, THIS), ONE, None, True),
    (pending(ONE, ANOTHER), ONE, None, False),
    (pending(ONE, None), ONE, None, False),
    (pending(None, None), None, ONE, False),
    (pending(None, None), None, None, False),
    (running(THIS), ONE, ONE, True),
    (running(None), ONE, ONE, True),  # it died before it was reported
    (running(ANOTHER), ONE, ONE, True),
    (running(THIS), TWO, ONE, False),  # reported a moment too late
    (running(None), TWO, ONE, False),
    (running(THIS), None, ONE, True),
    (running(ANOTHER), None, ONE, False),
    (running(None), None, ONE, True),
    (running(THIS), ONE, None, True),
    (running(ANOTHER), ONE, None, False),
    (running(None), ONE, None, True),
    (cancelling(THIS), ONE, ONE, True),
    (cancelling(None), ONE, ONE, True),
    (cancelling(ANOTHER), TWO, ONE, False),
    (cancelling(ANOTHER), None, None, False),
]


@pytest.mark.parametrize(("state", "last", "told", "concerns"), CONCERNS)
def test_only_the_task_that_a_run_waits_for_concerns_it(
    state: RunState, last: str | None, told: str | None, concerns: bool
):
    scene = Scene(state, claim=last)

    outcome = scene.conclude(stopped(claim=told))

    expected = "cancelled" if state.type == "CANCELLING" else "crashed"
    assert outcome == (expected if concerns else None)
    assert len(scene.told) == int(concerns)


# -- cancelled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [FAILED, WELL, SPOT, NO_NETWORK])
def test_a_cancelling_run_is_cancelled_however_its_task_ended(how: dict[str, Any]):
    scene = Scene(waiting("CANCELLING"), last_words=("bye",))

    assert scene.conclude(stopped(**how)) == "cancelled"
    message = f"The ECS task {task()['taskArn']} has stopped."
    assert scene.prefect.told == [("cancelled", RUN_ID, message)]


# -- launched again --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "how", "again"),
    [
        ("PENDING", SPOT, True),
        ("PENDING", NO_NETWORK, True),
        ("PENDING", FAILED, False),
        ("PENDING", {"stopCode": "UserInitiated"}, False),
        ("RUNNING", SPOT, True),
        ("RUNNING", {"stopCode": "TerminationNotice"}, True),
        ("RUNNING", NO_NETWORK, False),  # the flow has begun: what it did is not done twice
        ("RUNNING", FAILED, False),
    ],
)
def test_a_run_is_launched_again_where_its_task_was_lost_by_no_fault_of_its_own(
    type: str, how: dict[str, Any], again: bool
):
    scene, detail = Scene(waiting(type)), stopped(**how)

    assert scene.conclude(detail) == ("relaunched" if again else "crashed")
    text = diagnose(detail).text
    if again:
        due = NOON + timedelta(seconds=SOON_SECONDS)
        expected = ("relaunch", RUN_ID, "claim-1", due, f"{text} Relaunch 1 of 2.")
    else:
        expected = ("crash", RUN_ID, text)  # type: ignore[assignment]
    assert scene.prefect.told == [expected]


def test_a_run_whose_container_waited_for_a_retry_when_it_was_interrupted_is_launched_again():
    scene = Scene(waiting("SCHEDULED", waits_in_process=True))

    assert scene.conclude(stopped(**SPOT)) == "relaunched"


@pytest.mark.parametrize(
    ("relaunches", "attempts", "outcome"),
    [
        (0, 0, "crashed"),
        (0, 1, "relaunched"),
        (1, 1, "crashed"),
        (1, 2, "relaunched"),
        (2, 2, "crashed"),
        (9, 10, "relaunched"),
        (10, 10, "crashed"),
        (11, 10, "crashed"),
    ],
)
def test_a_run_is_launched_again_so_many_times_and_no_more(
    relaunches: int, attempts: int, outcome: str
):
    scene = Scene(waiting("PENDING"), relaunches=relaunches, attempts=attempts)

    assert scene.conclude(stopped(**NO_NETWORK)) == outcome


def test_each_further_relaunch_waits_longer():
    dues = []
    for relaunches in range(4):
        scene = Scene(waiting("PENDING"), relaunches=relaunches, attempts=10)
        scene.conclude(stopped(**NO_NETWORK))
        ((_, _, _, due, message),) = scene.prefect.told
        dues.append((due - NOON).total_seconds())
        assert message.endswith(f"Relaunch {relaunches + 1} of 10.")

    assert dues == [SOON_SECONDS + number * LATER_SECONDS for number in range(4)]
    assert SOON_SECONDS > 5  # longer than two conclusions of one end lie apart


def test_a_task_that_tells_no_claim_is_followed_by_a_relaunch_of_the_last():
    scene = Scene(waiting("RUNNING"), claim="claim-7")

    scene.conclude(stopped(**SPOT, claim=None))

    assert scene.prefect.told[0][:3] == ("relaunch", RUN_ID, "claim-7")


def test_without_any_claim_there_is_nothing_to_count_relaunches_by():
    assert Scene(waiting("RUNNING"), claim=None).conclude(stopped(**SPOT, claim=None)) == "crashed"


def test_a_run_that_another_container_cannot_take_up_is_not_launched_again():
    assert Scene(waiting(can_start_over=False)).conclude(stopped(**SPOT)) == "crashed"


# -- the container's last words --------------------------------------------------------------------


@pytest.mark.parametrize(("how", "then"), [(FAILED, "crash"), (NO_NETWORK, "relaunch")])
def test_what_a_container_said_is_in_the_log_of_a_run_that_never_said_a_word(
    how: dict[str, Any], then: str
):
    scene = Scene(waiting("PENDING"), last_words=("ModuleNotFoundError", "bye"))

    scene.conclude(stopped(**how))

    assert scene.told == [then, "forward"]
    assert scene.prefect.told[1] == ("forward", RUN_ID, "ModuleNotFoundError", "bye")


@pytest.mark.parametrize("type", ["RUNNING", "CANCELLING"])
def test_a_flow_that_ran_has_told_its_log_itself(type: str):
    scene = Scene(waiting(type), last_words=("bye",))

    scene.conclude(stopped())

    assert "forward" not in scene.told


# -- told twice, late and out of order -------------------------------------------------------------


@pytest.mark.parametrize("how", [FAILED, SPOT, NO_NETWORK])
@pytest.mark.parametrize("type", ["PENDING", "RUNNING", "CANCELLING"])
def test_what_is_told_three_times_is_done_once(type: str, how: dict[str, Any]):
    scene, detail = Scene(waiting(type)), stopped(**how)

    outcomes = [scene.conclude(detail) for _ in range(3)]

    assert outcomes[0] is not None
    assert outcomes[1:] == [None, None]
    assert len(scene.told) == 1


def test_the_end_of_an_old_task_harms_no_relaunch():
    old, new = stopped(**SPOT), stopped(**SPOT, claim="claim-2", number=2)
    scene = Scene(waiting("RUNNING"))
    scene.conclude(old)
    taken_up = run_state("PENDING", claim_id="claim-2", infrastructure_id=infrastructure_id(new))
    scene.prefect.states[RUN_ID] = taken_up
    scene.prefect.histories[RUN_ID] = run_history(claim_id="claim-2", ours=True, relaunches=1)

    assert scene.conclude(old) is None
    assert scene.conclude(new) == "relaunched"
    assert [claim for _, _, claim, *_ in scene.prefect.told] == ["claim-1", "claim-2"]


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"type": "COMPLETED"},
        {"type": "CANCELLING"},
        {"type": "SCHEDULED"},
        {"claim_id": "claim-2"},
        {"since": NOON},
    ],
)
@pytest.mark.parametrize("how", [FAILED, SPOT, NO_NETWORK])
@pytest.mark.parametrize("type", ["PENDING", "RUNNING"])
def test_a_run_that_moves_on_meanwhile_is_looked_into_again(
    type: str, how: dict[str, Any], meanwhile: dict[str, Any]
):
    scene, detail = Scene(waiting(type), last_words=("bye",)), stopped(**how)
    history = scene.prefect.history

    def move_on(id: str) -> Any:
        scene.prefect.states[id] = replace(scene.prefect.states[id], **meanwhile)
        return history(id)

    scene.prefect.history = move_on  # type: ignore[method-assign]

    with pytest.raises(MovedOn, match=RUN_ID):
        scene.conclude(detail)
    assert scene.told == []


def test_a_run_that_is_deleted_meanwhile_is_looked_into_again():
    scene = Scene(waiting())
    history = scene.prefect.history

    def delete(id: str) -> Any:
        del scene.prefect.states[id]
        return history(id)

    scene.prefect.history = delete  # type: ignore[method-assign]

    with pytest.raises(MovedOn):
        scene.conclude(stopped())
    assert scene.conclude(stopped()) is None


def test_a_batch_reads_its_runs_once_and_each_that_it_ends_once_more():
    scene = Scene(waiting())
    reads = Reads(scene.prefect, [RUN_ID, "another"])  # type: ignore[arg-type]

    scene.conclusions.conclude(stopped(), reads)

    assert scene.prefect.reads == [{RUN_ID, "another"}, {RUN_ID}]


@pytest.mark.parametrize("type", ["PENDING", "RUNNING", "CANCELLING"])
def test_a_prefect_that_cannot_be_told_brings_the_event_back(type: str):
    scene = Scene(waiting(type), failure=ApiError("POST /x", 503, "down"))

    with pytest.raises(ApiError):
        scene.conclude(stopped())
    scene.prefect.failure = None
    assert scene.conclude(stopped()) is not None


# -- Prefect 1, whose runs outlive their containers ------------------------------------------------


def prefect1(state: RunState, **changes: Any) -> Scene:
    return Scene(replace(state, infrastructure_id=None), runs_outlive_containers=True, **changes)


@pytest.mark.parametrize(("how", "outcome"), [(WELL, None), (FAILED, "crashed")])
def test_a_running_run_goes_on_after_a_container_that_ended_in_peace(
    how: dict[str, Any], outcome: str | None
):
    assert prefect1(waiting("RUNNING")).conclude(stopped(**how)) == outcome


def test_a_container_that_was_taken_away_did_not_end_in_peace():
    at_once = {**SPOT, "containers": [{"name": "flow", "exitCode": 0}]}

    assert prefect1(waiting("RUNNING")).conclude(stopped(**at_once)) == "relaunched"


@pytest.mark.parametrize("how", [FAILED, SPOT])
def test_a_running_run_goes_on_in_another_container(how: dict[str, Any]):
    scene = prefect1(waiting("RUNNING"), tasks=[task(2, claim="claim-2"), stopped(**how)])

    assert scene.conclude(stopped(**how)) is None


@pytest.mark.parametrize("status", ["RUNNING", "STOPPED"])
def test_neither_the_task_itself_nor_another_that_stopped_keeps_a_run_going(status: str):
    scene = prefect1(waiting("RUNNING"), tasks=[task(status=status), task(2, status="STOPPED")])

    assert scene.conclude(stopped()) == "crashed"


@pytest.mark.parametrize(("can", "outcome"), [(True, "relaunched"), (False, "crashed")])
def test_an_interrupted_run_is_launched_again_unless_a_task_run_of_it_runs(can: bool, outcome: str):
    scene = prefect1(waiting("RUNNING", can_start_over=can))

    assert scene.conclude(stopped(**SPOT)) == outcome


@pytest.mark.parametrize(
    ("hands_over", "container", "how", "outcome"),
    [
        (True, "flow", WELL, None),
        (True, "flow", FAILED, "crashed"),
        (True, "flow-container", WELL, "crashed"),
        (False, "flow", WELL, "crashed"),
    ],
)
def test_a_container_that_hands_over_may_end_in_peace_before_its_run_runs(
    hands_over: bool, container: str, how: dict[str, Any], outcome: str | None
):
    (only,) = how["containers"]
    detail = stopped(**{**how, "containers": [{**only, "name": container}]})

    assert prefect1(waiting("PENDING", hands_over=hands_over)).conclude(detail) == outcome


@pytest.mark.parametrize("type", ["PENDING", "RUNNING"])
@pytest.mark.parametrize("how", [SPOT, NO_NETWORK])
def test_a_server_without_a_history_has_no_run_launched_again(type: str, how: dict[str, Any]):
    scene = prefect1(waiting(type), relaunches=2**63 - 1, claim=None)

    assert scene.conclude(stopped(**how)) == "crashed"


@pytest.mark.parametrize("relaunches", [0, 1])
def test_the_claim_of_a_pending_run_decides_though_its_history_has_another(relaunches: int):
    scene = prefect1(waiting("PENDING"), claim="claim-2", relaunches=relaunches)

    assert scene.conclude(stopped()) == "crashed"
    assert scene.conclude(stopped(claim="claim-2")) is None
