"""The watch function: its batch, its back-off, its memory of tags, and the events it emits."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fargate_agent import watch
from fargate_agent.conclusion import Conclusions
from fargate_agent.orchestrators.http import ApiError
from fargate_agent.running_tasks import RunningTasks
from fargate_agent.runs import DEREGISTER_ENV
from fargate_agent.task_tags import MOST_HELD, TaskTags
from fargate_agent.watch import Watcher
from tests.support.aws import client_error
from tests.support.fake_ecs import FakeEcs, infrastructure_id, task
from tests.support.fakes import FakePrefect, FakeSqs, run_history, run_state
from tests.support.values import CLUSTER_ARN, NOON, RUN_ID, sqs_record

EXITED = {"containers": [{"name": "prefect", "exitCode": 1}]}
TAGS = [
    {"key": "prefect.io/flow-run-id", "value": RUN_ID},
    {"key": "prefect.io/work-pool-name", "value": "Night-pool"},
    {"key": "team", "value": "data"},
]
CONTEXT: Any = SimpleNamespace(function_name="watch", aws_request_id="test")


class Scene:
    """A warm watch function, and the world around it."""

    def __init__(self, *tasks: dict[str, Any], **prefect: Any):
        running = {"infrastructure_id": infrastructure_id(task())}
        states = {RUN_ID: run_state("RUNNING", **running)}
        history = {RUN_ID: run_history(claim_id="claim-1", ours=True)}
        self.prefect = FakePrefect(**{"states": states, "histories": history, **prefect})
        self.ecs = FakeEcs(list(tasks) or [task(tags=TAGS)])
        self.sqs = FakeSqs()
        made: Any = self.ecs
        conclusions = Conclusions(
            prefect=self.prefect,  # type: ignore[arg-type]
            tasks=RunningTasks(lambda: made, [CLUSTER_ARN]),
            relaunch_attempts=2,
            now=lambda: NOON,
        )
        self.watcher = Watcher(
            conclusions=conclusions,
            ecs=made,
            sqs=cast(Any, self.sqs),
            queue_url="https://sqs/task-events",
            work_pool="Night pool",
            tags=TaskTags(conclusions.tasks),
        )
        self._sent = 0

    def message(self, body: str, *, receives: int = 1) -> dict[str, Any]:
        self._sent += 1
        id = f"m{self._sent}"
        return sqs_record(body, id=id, group=None, receives=receives, sent=NOON)

    def event(self, receives: int = 1, time: datetime = NOON, **detail: Any) -> dict[str, Any]:
        """Return the message of an event, whose detail lacks the tags as ECS's does."""
        told = {key: value for key, value in {**task(), **detail}.items() if key != "tags"}
        event = {"id": f"e-{self._sent}", "time": time.isoformat(), "detail": told}
        return self.message(json.dumps(event), receives=receives)

    def stopped(self, **detail: Any) -> dict[str, Any]:
        return self.event(**{"lastStatus": "STOPPED", **EXITED, **detail})

    def receive(self, *records: dict[str, Any]) -> list[str]:
        """Invoke the handler; return the ids of the messages that come back."""
        answer = watch.handler({"Records": list(records)}, CONTEXT)
        return [failed["itemIdentifier"] for failed in answer["batchItemFailures"]]

    @property
    def emitted(self) -> list[Any]:
        return [event for what, *events in self.prefect.told if what == "emit" for event in events]

    @property
    def ended(self) -> list[tuple[str, str]]:
        return [(what, rest[0]) for what, *rest in self.prefect.told if what != "emit"]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()
    monkeypatch.setattr(watch, "_watcher", lambda: scene.watcher)
    return scene


# -- ends ------------------------------------------------------------------------------------------


def test_the_end_of_a_task_is_told_to_its_run_and_acknowledged(scene: Scene):
    assert scene.receive(scene.stopped()) == []

    assert scene.ended == [("crash", RUN_ID)]
    assert scene.sqs.hidden == []


@pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "RUNNING", "DEPROVISIONING"])
def test_other_changes_of_a_task_leave_its_run(scene: Scene, status: str):
    assert scene.receive(scene.event(lastStatus=status, **EXITED)) == []

    assert scene.ended == []


def test_an_event_that_comes_late_changes_nothing(scene: Scene):
    stopped = scene.stopped()

    scene.receive(stopped)
    scene.receive(scene.event(lastStatus="RUNNING"), stopped)

    assert scene.ended == [("crash", RUN_ID)]


@pytest.mark.parametrize("started_by", [None, "", "ecs-svc/1234567890", "nightly"])
def test_a_task_that_is_no_flow_runs_is_acknowledged_and_nobody_is_asked(
    scene: Scene, started_by: str | None
):
    assert scene.receive(scene.stopped(startedBy=started_by)) == []

    assert (scene.prefect.reads, scene.prefect.told, scene.ecs.asked) == ([], [], [])


def test_the_runs_of_a_batch_are_read_in_one_call(scene: Scene):
    ids = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(10)]
    scene.prefect.states = {id: run_state("COMPLETED") for id in ids}

    assert scene.receive(*(scene.stopped(startedBy=id) for id in ids)) == []

    assert scene.prefect.reads[0] == set(ids)
    assert len(scene.prefect.reads) == 1


def test_a_definition_that_goes_with_its_task_is_deregistered_with_it(scene: Scene):
    overrides = json.loads(json.dumps(task()["overrides"]))
    definition = {"name": DEREGISTER_ENV, "value": task()["taskDefinitionArn"]}
    overrides["containerOverrides"][0]["environment"].append(definition)

    scene.receive(scene.event(lastStatus="RUNNING", overrides=overrides))
    assert scene.ecs.of("deregister_task_definition") == []
    scene.receive(scene.stopped(overrides=overrides))
    assert scene.ecs.of("deregister_task_definition") == [
        {"taskDefinition": task()["taskDefinitionArn"]}
    ]


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("receives", "bounds"), [(1, (1, 2)), (4, (8, 16)), (30, (150, 300))])
def test_what_cannot_be_told_comes_back_later_each_time(
    scene: Scene, receives: int, bounds: tuple[int, int]
):
    scene.prefect.failure = ApiError("POST /set_state", 503, "down")
    record = scene.stopped(receives=receives)

    with pytest.raises(ApiError):  # the events could not be told either
        scene.receive(record, scene.event(lastStatus="RUNNING"))

    ((hidden),) = scene.sqs.hidden
    assert hidden["QueueUrl"] == "https://sqs/task-events"
    assert hidden["ReceiptHandle"] == record["receiptHandle"]
    assert bounds[0] <= hidden["VisibilityTimeout"] <= bounds[1]


@pytest.mark.parametrize("body", ["", "not JSON", "{}", "[]", "null", '{"detail": null}'])
def test_a_poison_message_fails_nobody_but_itself(scene: Scene, body: str):
    poison, good = scene.message(body), scene.stopped()

    assert scene.receive(poison, good) == [poison["messageId"]]

    assert scene.ended == [("crash", RUN_ID)]
    assert len(scene.sqs.hidden) == 1


def test_one_run_that_fails_does_not_keep_the_others(scene: Scene):
    other = "9b2d7a3e-0000-4000-8000-000000000000"
    scene.prefect.states[other] = run_state("RUNNING")
    crash = scene.prefect.crash

    def refuse(flow_run_id: str, message: str) -> None:
        if flow_run_id == other:
            raise ApiError("POST /set_state", 503, "down")
        crash(flow_run_id, message)

    scene.prefect.crash = refuse  # type: ignore[method-assign]
    bad = scene.stopped(startedBy=other)

    assert scene.receive(scene.stopped(), bad) == [bad["messageId"]]
    assert scene.ended == [("crash", RUN_ID)]


def test_a_prefect_that_is_down_holds_up_a_whole_batch_with_one_call(scene: Scene):
    calls = []

    def down(ids: Any) -> Any:
        calls.append(ids)
        raise ApiError("POST /flow_runs/filter", None, "no answer")

    scene.prefect.run_states = down  # type: ignore[method-assign]
    records = [scene.stopped() for _ in range(10)]

    assert len(scene.receive(*records)) == 10
    assert len(calls) == 1
    assert len(scene.sqs.hidden) == 10


# -- Prefect's events ------------------------------------------------------------------------------


def test_every_change_of_a_task_is_an_event_with_the_tasks_tags(scene: Scene):
    scene.receive(scene.event(lastStatus="RUNNING"))

    (event,) = scene.emitted
    assert event["event"] == "prefect.ecs.task.running"
    assert event["related"][0]["prefect.resource.id"] == f"prefect.flow-run.{RUN_ID}"


def test_the_events_of_a_batch_are_told_in_one_call_and_in_their_order(scene: Scene):
    times = [NOON + timedelta(seconds=seconds) for seconds in (2, 0, 1)]
    statuses = ["RUNNING", "PROVISIONING", "PENDING"]
    events = [
        scene.event(lastStatus=status, time=time)
        for status, time in zip(statuses, times, strict=True)
    ]

    scene.receive(*events)

    ((_, *told),) = scene.prefect.told
    assert [one["event"].rpartition(".")[2] for one in told] == [
        "provisioning",
        "pending",
        "running",
    ]


def test_a_batch_without_events_tells_none(scene: Scene):
    scene.receive(scene.event(startedBy="nightly"))

    assert scene.prefect.told == []


def test_where_events_cannot_be_told_the_whole_batch_comes_back_and_is_told_again(scene: Scene):
    record = scene.event(lastStatus="RUNNING")
    scene.prefect.failure = ApiError("POST /events", 503, "down")
    with pytest.raises(ApiError):
        scene.receive(record)
    scene.prefect.failure, scene.prefect.told = None, []

    assert scene.receive(record) == []
    assert len(scene.emitted) == 1  # and not the first one's as well


def test_the_event_of_a_message_that_failed_is_told_when_it_comes_back(scene: Scene):
    record = scene.stopped()
    working, scene.prefect.crash = scene.prefect.crash, _refuse  # type: ignore[method-assign]
    assert scene.receive(record) == [record["messageId"]]
    assert scene.emitted == []

    scene.prefect.crash = working  # type: ignore[method-assign]
    assert scene.receive(record) == []
    assert len(scene.emitted) == 1


def _refuse(flow_run_id: str, message: str) -> None:
    raise ApiError("POST /set_state", 503, "down")


def test_of_prefect_1_no_events_are_told(scene: Scene):
    scene.prefect.knows_events = False

    assert scene.receive(scene.event(lastStatus="RUNNING")) == []

    assert (scene.prefect.told, scene.ecs.asked) == ([], [])


# -- tags ------------------------------------------------------------------------------------------


def test_the_tags_of_a_task_are_asked_for_once(scene: Scene):
    for status in ("PROVISIONING", "PENDING", "RUNNING"):
        scene.receive(scene.event(lastStatus=status))

    assert len(scene.ecs.of("describe_tasks")) == 1
    assert len(scene.emitted) == 3


def test_tags_that_ecs_deleted_when_the_task_was_stopped_are_remembered(scene: Scene):
    tagged = [*TAGS, {"key": "prefect.io/deployment-id", "value": "d-1"}]
    scene.ecs.tasks[0]["tags"] = tagged
    scene.receive(scene.event(lastStatus="RUNNING"))
    scene.ecs.tasks[0]["tags"] = []

    scene.receive(scene.stopped())

    assert scene.emitted[0]["related"] == scene.emitted[1]["related"]
    assert len(scene.emitted[1]["related"]) == 2


@pytest.mark.parametrize(
    "failure", [None, client_error("ThrottlingException"), client_error("AccessDeniedException")]
)
@pytest.mark.parametrize("known", [True, False])
def test_a_task_whose_tags_nobody_tells_still_names_its_run(
    scene: Scene, failure: Exception | None, known: bool
):
    scene.ecs.tasks = [task(tags=[])] if known else []
    scene.ecs.failures = {"describe_tasks": failure} if failure else {}

    assert scene.receive(scene.stopped()) == []

    (event,) = scene.emitted
    assert [one["prefect.resource.id"] for one in event["related"]] == [
        f"prefect.flow-run.{RUN_ID}"
    ]


def test_a_task_of_another_program_with_an_id_for_a_name_is_no_event(scene: Scene):
    scene.ecs.tasks = [task(claim=None)]

    assert scene.receive(scene.event(lastStatus="RUNNING", overrides={})) == []

    assert scene.emitted == []


@pytest.mark.parametrize(("pool", "told"), [("Night-pool", 1), ("another", 0)])
def test_the_tasks_of_other_pools_are_not_this_agents_to_tell_of(
    scene: Scene, pool: str, told: int
):
    scene.ecs.tasks[0]["tags"] = [
        *TAGS[:1],
        {"key": "prefect.io/work-pool-name", "value": pool},
    ]

    assert scene.receive(scene.event(lastStatus="RUNNING")) == []

    assert len(scene.emitted) == told


@pytest.mark.parametrize(("is_served", "told"), [(True, 1), (False, 0)])
def test_a_task_without_tags_is_told_of_where_its_run_is_of_the_pool(
    scene: Scene, is_served: bool, told: int
):
    scene.ecs.tasks[0]["tags"] = []
    scene.prefect.states[RUN_ID] = run_state("RUNNING", is_served=is_served)

    assert scene.receive(scene.event(lastStatus="RUNNING")) == []

    assert len(scene.emitted) == told


def test_a_task_of_a_deleted_run_without_tags_is_no_event(scene: Scene):
    scene.ecs.tasks[0]["tags"] = []
    scene.prefect.states = {}

    assert scene.receive(scene.event(lastStatus="RUNNING")) == []

    assert scene.emitted == []


def test_the_tags_of_a_batchs_tasks_are_asked_for_in_one_call(scene: Scene):
    scene.ecs.tasks = [task(number, tags=TAGS) for number in range(10)]

    scene.receive(
        *(scene.event(lastStatus="RUNNING", taskArn=t["taskArn"]) for t in scene.ecs.tasks)
    )

    assert [len(asked["tasks"]) for asked in scene.ecs.of("describe_tasks")] == [10]
    assert len(scene.emitted) == 10


def test_the_tags_of_a_thousand_tasks_are_remembered_and_no_more(scene: Scene):
    scene.ecs.tasks = [task(number, tags=TAGS) for number in range(MOST_HELD + 2)]
    arns = [known["taskArn"] for known in scene.ecs.tasks]
    for start in range(0, len(arns), 100):
        batch = arns[start : start + 100]
        scene.receive(*(scene.event(lastStatus="RUNNING", taskArn=arn) for arn in batch))
    before = len(scene.ecs.of("describe_tasks"))

    scene.receive(scene.event(lastStatus="RUNNING", taskArn=arns[-1]))
    assert len(scene.ecs.of("describe_tasks")) == before
    scene.receive(scene.event(lastStatus="RUNNING", taskArn=arns[0]))
    assert len(scene.ecs.of("describe_tasks")) == before + 1


def test_the_time_of_an_event_is_ecss_own(scene: Scene):
    time = datetime(2026, 3, 1, 11, 59, 30, tzinfo=UTC)

    scene.receive(scene.event(lastStatus="RUNNING", time=time))

    assert scene.emitted[0]["occurred"] == time.isoformat()
