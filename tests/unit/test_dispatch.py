from datetime import timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch import process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.batches import MessageGroups
from fargate_agent.dispatch import SLOT_SECONDS, Deliveries
from fargate_agent.errors import DeploymentDeleted, NoSlot, NotDueYet, PermanentError
from fargate_agent.orchestrators.http import ApiError
from tests.support.aws import client_error
from tests.support.fakes import Clock, FakeLauncher, FakePrefect, FakeSqs
from tests.support.values import NOON, RUN_ID, flow_run, run_message, sqs_record

READS: Any = object()


class Scene:
    """Deliveries at a given time, and the world around them."""

    def __init__(
        self,
        error: Exception | None = None,
        *,
        early: float = 0,
        prefect_down: Exception | None = None,
        interval: int = 10,
    ):
        self.launcher = FakeLauncher(FakePrefect(failure=prefect_down), error)
        self.sqs = FakeSqs()
        self.clock = Clock(NOON - timedelta(seconds=early))
        self.deliveries = Deliveries(
            launcher=self.launcher,  # type: ignore[arg-type]
            sqs=self.sqs,  # type: ignore[arg-type]
            queue_url="https://sqs/runs.fifo",
            max_receives=5,
            poll_interval_seconds=interval,
            now=self.clock.now,
            sleep=self.clock.sleep,
        )

    def deliver(self, record: SQSRecord) -> None:
        self.deliveries.deliver(record, READS)

    @property
    def hidden(self) -> list[int]:
        return [asked["VisibilityTimeout"] for asked in self.sqs.hidden]

    @property
    def told(self) -> list[tuple[Any, ...]]:
        return self.launcher.orchestrator.told


def test_a_due_message_launches_its_run_and_is_acknowledged():
    scene, run = Scene(), flow_run()

    scene.deliver(run_message(run))

    assert scene.launcher.launched == [(run, None)]
    assert (scene.hidden, scene.told, scene.clock.slept) == ([], [], [])


def test_an_overdue_message_launches_at_once():
    scene = Scene(early=-30)

    scene.deliver(run_message(flow_run()))

    assert len(scene.launcher.launched) == 1
    assert scene.clock.slept == []


def test_an_early_message_is_hidden_until_one_second_before_its_run_is_due():
    scene = Scene(early=15)

    with pytest.raises(NotDueYet) as deferral:
        scene.deliver(run_message(flow_run()))

    assert deferral.value.seconds == 14
    assert scene.sqs.hidden == [
        {
            "QueueUrl": "https://sqs/runs.fifo",
            "ReceiptHandle": "receipt-m1",
            "VisibilityTimeout": 14,
        }
    ]
    assert (scene.launcher.launched, scene.told, scene.clock.slept) == ([], [], [])


@given(st.floats(0, 3600))
def test_no_run_starts_early_and_no_message_returns_late(early: float):
    scene = Scene(early=early)
    wait = (NOON - scene.clock.now()).total_seconds()

    try:
        scene.deliver(run_message(flow_run()))
    except NotDueYet:
        assert len(scene.hidden) == 1
        assert scene.hidden == [300] or 1 <= wait - scene.hidden[0] < 2
        assert scene.hidden[0] <= wait - 1
        assert scene.launcher.launched == []
    else:
        assert wait < 2
        assert scene.clock.now() == NOON
        assert len(scene.launcher.launched) == 1


def test_the_last_fraction_before_a_run_is_due_is_slept():
    scene = Scene(early=1.25)

    scene.deliver(run_message(flow_run()))

    assert scene.clock.slept == [1.25]
    assert len(scene.launcher.launched) == 1


def test_a_long_wait_is_cut_for_the_run_may_be_moved_meanwhile():
    scene = Scene(early=100_000)

    with pytest.raises(NotDueYet):
        scene.deliver(run_message(flow_run()))

    assert scene.hidden == [300]


def test_a_permanent_error_is_told_to_the_run_and_acknowledged():
    scene = Scene(PermanentError("s3://b/k: clutser: not a parameter."))

    scene.deliver(run_message(flow_run()))

    assert scene.told == [("crash", RUN_ID, "s3://b/k: clutser: not a parameter.")]
    assert scene.hidden == []


def test_an_error_of_aws_that_stays_is_told_with_its_remedy():
    scene = Scene(client_error("ClusterNotFoundException", "Cluster not found."))

    scene.deliver(run_message(flow_run()))

    assert scene.told == [
        (
            "crash",
            RUN_ID,
            "RunTask: ClusterNotFoundException: Cluster not found. "
            "Correct the cluster's name, or create the cluster.",
        )
    ]


def test_a_run_that_cannot_be_told_gets_its_message_back():
    scene = Scene(PermanentError("no such image"), prefect_down=ConnectionError("Prefect is down"))

    with pytest.raises(ConnectionError, match="Prefect is down"):
        scene.deliver(run_message(flow_run()))

    assert len(scene.hidden) == 1


@pytest.mark.parametrize(("receives", "bounds"), [(1, (1, 2)), (2, (2, 4)), (4, (8, 16))])
def test_a_passing_error_hides_the_message_longer_each_time(receives: int, bounds: tuple[int, int]):
    failure = client_error("ThrottlingException")
    scene = Scene(failure)

    with pytest.raises(type(failure)) as raised:
        scene.deliver(run_message(flow_run(), receives=receives))

    assert raised.value is failure
    assert len(scene.hidden) == 1
    assert bounds[0] <= scene.hidden[0] <= bounds[1]
    assert scene.told == []


@pytest.mark.parametrize("receives", [5, 6])
def test_on_the_last_receive_the_run_is_told(receives: int):
    scene = Scene(RuntimeError("no capacity"))

    with pytest.raises(RuntimeError, match="no capacity"):
        scene.deliver(run_message(flow_run(), receives=receives))

    assert scene.told == [("crash", RUN_ID, f"Gave up after {receives} tries: no capacity")]
    assert scene.hidden == []


def test_a_poison_message_backs_off_and_tells_no_run():
    scene = Scene()

    with pytest.raises(ValueError, match="not a flow run message"):
        scene.deliver(SQSRecord(sqs_record("{}", sent=NOON, receives=3)))

    assert (scene.launcher.launched, scene.told) == ([], [])
    assert len(scene.hidden) == 1
    assert 4 <= scene.hidden[0] <= 8


def test_a_poison_message_fails_nobody_but_itself():
    scene = Scene()
    good = [
        sqs_record(flow_run(id=id).to_message(), id=id, group=id, sent=NOON) for id in ("a", "b")
    ]
    poison = sqs_record("poison", id="bad", group="bad", sent=NOON)

    answer = process_partial_response(
        event={"Records": [good[0], poison, good[1]]},
        record_handler=scene.deliver,
        processor=MessageGroups(),
    )

    assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert sorted(run.id for run, _ in scene.launcher.launched) == ["a", "b"]


@pytest.mark.parametrize(
    ("receives", "age", "known"),
    [
        pytest.param(1, 60, None, id="young, first receive"),
        pytest.param(1, 61, READS, id="old, first receive"),
        pytest.param(2, 1, READS, id="young, second receive"),
    ],
)
def test_a_doubtful_message_is_launched_by_what_prefect_says_of_its_run(
    receives: int, age: int, known: Any
):
    scene, run = Scene(), flow_run()
    sent = NOON - timedelta(seconds=age)

    scene.deliver(run_message(run, receives=receives, sent=sent, received=NOON))

    assert scene.launcher.launched == [(run, known)]


@pytest.mark.parametrize("skew", [-200, 300])
@pytest.mark.parametrize(("age", "known"), [(5, None), (61, READS)])
def test_a_functions_clock_makes_no_message_doubtful_and_none_sure(skew: int, age: int, known: Any):
    scene = Scene(early=-skew)
    run = flow_run(scheduled_time=min(NOON, scene.clock.time))

    scene.deliver(run_message(run, sent=NOON - timedelta(seconds=age), received=NOON))

    assert scene.launcher.launched == [(run, known)]


@pytest.mark.parametrize(
    ("late", "interval", "doubtful"), [(0, 10, False), (241, 10, True), (0, 300, True)]
)
def test_a_message_that_may_be_the_second_of_its_kind_is_checked(
    late: int, interval: int, doubtful: bool
):
    scene, run = Scene(early=-late, interval=interval), flow_run()

    scene.deliver(run_message(run, sent=scene.clock.time))

    assert scene.launcher.launched == [(run, READS if doubtful else None)]


def test_a_server_that_asks_for_time_is_given_it():
    scene = Scene(ApiError("POST /x", 429, "slow down", retry_after=120.5))

    with pytest.raises(ApiError):
        scene.deliver(run_message(flow_run()))

    assert scene.hidden == [121]


def test_a_run_without_a_slot_is_claimed_again_later_and_told_nothing():
    scene, run = Scene(NoSlot("full")), flow_run()

    with pytest.raises(NotDueYet):
        scene.deliver(run_message(run))

    assert (scene.hidden, scene.told) == ([SLOT_SECONDS], [])


def test_a_run_that_waits_long_for_a_slot_goes_back_to_the_poll_with_receives_to_spare():
    scene, run = Scene(NoSlot("full")), flow_run()

    scene.deliver(run_message(run, receives=2))  # of five: acknowledged

    assert (scene.hidden, scene.told) == ([], [])


# -- a deployment that is gone ---------------------------------------------------------------------


@pytest.mark.parametrize("receives", [1, 5])
def test_a_run_whose_deployment_was_deleted_is_cancelled_with_the_reason(receives: int):
    scene = Scene(DeploymentDeleted("Deployment d-1 no longer exists."))

    scene.deliver(run_message(flow_run(), receives=receives))

    assert scene.told == [("cancelled", RUN_ID, "Deployment d-1 no longer exists.")]
    assert scene.hidden == []


def test_where_it_cannot_be_cancelled_its_message_comes_back():
    down = ApiError("POST /set_state", 503, "down")
    scene = Scene(DeploymentDeleted("gone"), prefect_down=down)

    with pytest.raises(ApiError):
        scene.deliver(run_message(flow_run()))

    assert [what for what, *_ in scene.told] == ["cancelled"]
    assert len(scene.hidden) == 1
