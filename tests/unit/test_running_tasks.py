"""The tasks of runs in the agent's clusters: found, described, stopped."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from fargate_agent.running_tasks import MOST_STOPPED, RunningTasks, parsed
from fargate_agent.tasks import Task
from tests.support.aws import client_error
from tests.support.fake_ecs import MOST_LISTED, FakeEcs, task
from tests.support.values import CLUSTER_ARN, RUN_ID, TASK_ARN

OTHER = CLUSTER_ARN.replace("cluster/flows", "cluster/gpu")
ANOTHER_RUN = "9b2d7a3e-0000-4000-8000-000000000000"
ABROAD = OTHER.replace("eu-west-1", "us-east-1")
FOREIGN = OTHER.replace("123456789012", "210987654321")


def tasks_in(ecs: FakeEcs, *clusters: str) -> RunningTasks:
    made: Any = ecs
    return RunningTasks(lambda: made, clusters or ecs.clusters)


def test_a_runs_tasks_are_found_in_every_cluster():
    mine, there = task(1), task(2, cluster=OTHER)
    others = [task(3, run="9b2d7a3e-0000-4000-8000-000000000000"), task(4, status="STOPPED")]
    ecs = FakeEcs([mine, *others, there], clusters=(CLUSTER_ARN, OTHER))

    assert tasks_in(ecs).of_run(RUN_ID) == [mine, there]
    assert ecs.of("list_tasks") == [
        {"cluster": cluster, "startedBy": RUN_ID} for cluster in (CLUSTER_ARN, OTHER)
    ]


def test_clusters_of_another_account_or_region_are_not_asked_for_tasks():
    there = task(2, cluster=OTHER)
    ecs = FakeEcs([there], clusters=(CLUSTER_ARN, OTHER))

    tasks = tasks_in(ecs, CLUSTER_ARN, ABROAD, FOREIGN, OTHER)

    assert tasks.of_run(RUN_ID) == [there]
    assert list(tasks.clusters) == [CLUSTER_ARN, OTHER]


def test_an_agent_without_clusters_asks_for_nothing():
    tasks = RunningTasks(lambda: pytest.fail("nobody needs a client"), [])

    assert tasks.of_run(RUN_ID) == []


def test_every_page_of_a_runs_tasks_is_read():
    known = [task(number) for number in range(MOST_LISTED + 1)]

    assert tasks_in(FakeEcs(known)).of_run(RUN_ID) == known


def test_those_that_stopped_or_are_to_stop_are_found_apart_by_their_runs():
    stopping, gone = task(2, desiredStatus="STOPPED"), task(3, status="STOPPED")
    another = task(4, run=ANOTHER_RUN, status="STOPPED", cluster=OTHER)
    ecs = FakeEcs([task(1), stopping, gone, another], clusters=(CLUSTER_ARN, OTHER))

    assert tasks_in(ecs).stopped() == {RUN_ID: [stopping, gone], ANOTHER_RUN: [another]}
    assert ecs.of("list_tasks") == [
        {"cluster": cluster, "desiredStatus": "STOPPED"} for cluster in (CLUSTER_ARN, OTHER)
    ]


def test_of_a_cluster_where_very_many_stop_the_first_are_looked_at():
    ecs = FakeEcs([task(number, status="STOPPED") for number in range(MOST_STOPPED + 50)])

    assert len(tasks_in(ecs).stopped()[RUN_ID]) == MOST_STOPPED


def test_a_task_that_stopped_a_moment_ago_and_is_listed_still_is_none_that_lives():
    gone = task(status="STOPPED")
    ecs = FakeEcs([gone, task(2)], listed_still={gone["taskArn"]})

    assert tasks_in(ecs).of_run(RUN_ID) == [task(2)]


def test_tasks_that_stopped_and_are_no_flow_runs_are_left_out():
    ecs = FakeEcs([task(1, status="STOPPED", startedBy="ecs-svc/1"), task(2, status="STOPPED")])

    assert list(tasks_in(ecs).stopped()) == [RUN_ID]


@pytest.mark.parametrize("count", [1, 2, 100])
def test_what_is_no_tasks_name_hides_no_other(count: int):
    known = [task(number) for number in range(count - 1)]
    ecs = FakeEcs(known)
    asked = ["no task", *(one["taskArn"] for one in known)]

    assert list(tasks_in(ecs).describe(CLUSTER_ARN, asked)) == known


def test_tasks_of_a_cluster_that_does_not_exist_are_not_known():
    assert list(tasks_in(FakeEcs()).describe(OTHER, [task()["taskArn"]])) == []


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
def test_tasks_that_cannot_be_described_are_an_error(code: str):
    ecs = FakeEcs([task()], failures={"describe_tasks": client_error(code)})

    with pytest.raises(ClientError, match=code):
        list(tasks_in(ecs).describe(CLUSTER_ARN, [task()["taskArn"]]))


def test_where_there_are_none_nothing_is_described():
    ecs = FakeEcs()

    assert tasks_in(ecs).of_run(RUN_ID) == []
    assert ecs.of("describe_tasks") == []


def test_a_cluster_that_does_not_exist_has_no_tasks():
    there = task(2, cluster=OTHER)
    ecs = FakeEcs([there], clusters=(OTHER,))

    assert tasks_in(ecs, CLUSTER_ARN, OTHER).of_run(RUN_ID) == [there]


def test_any_other_failure_is_not_taken_for_an_empty_cluster():
    ecs = FakeEcs(failures={"list_tasks": client_error("AccessDeniedException")})

    with pytest.raises(ClientError, match="AccessDeniedException"):
        tasks_in(ecs).of_run(RUN_ID)


@pytest.mark.parametrize(
    ("count", "batches"), [(0, []), (1, [1]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])]
)
def test_tasks_are_described_by_the_hundred_with_their_tags(count: int, batches: list[int]):
    known = [task(number) for number in range(count)]
    ecs = FakeEcs(known)

    found = list(tasks_in(ecs).describe(CLUSTER_ARN, [one["taskArn"] for one in known]))

    assert found == known
    assert [len(asked["tasks"]) for asked in ecs.of("describe_tasks")] == batches
    assert all(asked["include"] == ["TAGS"] for asked in ecs.of("describe_tasks"))


def test_what_ecs_does_not_know_any_more_is_left_out():
    ecs = FakeEcs([task(1)])

    found = tasks_in(ecs).describe(CLUSTER_ARN, [task(9)["taskArn"], task(1)["taskArn"]])

    assert list(found) == [task(1)]


def test_a_task_is_stopped_with_the_reason_in_its_own_cluster():
    there = task(2, cluster=OTHER)
    ecs = FakeEcs([there], clusters=(CLUSTER_ARN, OTHER))

    tasks_in(ecs).stop(there, "cancelled")

    asked = {"cluster": OTHER, "task": there["taskArn"], "reason": "cancelled"}
    assert ecs.of("stop_task") == [asked]


def test_a_task_that_is_gone_needs_no_stop():
    gone = client_error("InvalidParameterException", "The referenced task was not found.")

    tasks_in(FakeEcs([task()], failures={"stop_task": gone})).stop(task(), "cancelled")


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
def test_a_task_that_cannot_be_stopped_is_an_error(code: str):
    ecs = FakeEcs([task()], failures={"stop_task": client_error(code)})

    with pytest.raises(ClientError, match=code):
        tasks_in(ecs).stop(task(), "cancelled")


def test_no_client_is_made_until_it_is_needed_and_then_one():
    made = []

    def make() -> Any:
        made.append(FakeEcs())
        return made[-1]

    tasks = RunningTasks(make, [CLUSTER_ARN])
    assert made == []
    tasks.of_run(RUN_ID)
    tasks.of_run(RUN_ID)
    assert len(made) == 1


def test_an_infrastructure_id_is_read_as_it_is_written():
    written = Task(arn=TASK_ARN, cluster_arn=CLUSTER_ARN).infrastructure_id

    assert parsed(written) == (CLUSTER_ARN, TASK_ARN)


@pytest.mark.parametrize("text", [None, "", "1234", "host:1234"])
def test_what_names_no_task_is_none(text: str | None):
    assert parsed(text) is None
