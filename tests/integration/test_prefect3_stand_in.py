"""The stand-in for a Prefect 3 server answers as a real one: scripts are played on both."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.prefect3_server import Prefect3Server
from tests.support.prefect3_side import Side

pytestmark = [
    pytest.mark.xdist_group("prefect"),  # one worker shares what is slow to start
    pytest.mark.prefect3,
]

TYPES = (
    *("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"),
    *("COMPLETED", "FAILED", "CRASHED", "CANCELLED"),
)

Play = Callable[[Callable[[Side], Any]], Any]


@pytest.fixture
def play(prefect_url: str) -> Iterator[Play]:
    """Play a script on both servers, compare what it returns, and return that."""
    with Prefect3Server() as stand_in:

        def both(script: Callable[[Side], Any]) -> Any:
            played, real = script(Side(stand_in.url)), script(Side(prefect_url))
            assert json.dumps(played, indent=1) == json.dumps(real, indent=1)  # told by lines
            return played

        yield both


@pytest.mark.parametrize("initial", TYPES)
def test_every_type_of_state_may_be_left_for_the_same_types(play: Play, initial: str) -> None:
    def script(side: Side) -> Any:
        deployment, run, seen = side.deployment(), None, {}
        for proposed in TYPES:
            run = run or side.run(deployment, type=initial)
            answer = side.propose(run, proposed)
            told = proposed in ("SCHEDULED", "RUNNING")
            seen[proposed] = answer, side.read(run) if told else None
            if answer["status"] == "ACCEPT" or answer["state"]["type"] != initial:
                run = None
        return seen

    seen = play(script)

    assert "ACCEPT" in {answer["status"] for answer, _ in seen.values()}


def test_one_claim_wins_and_is_told_again(play: Play) -> None:
    def script(side: Side) -> Any:
        run = side.run(side.deployment())
        ours = {"name": "Pending", "state_details": {"transition_id": side.id("our claim")}}
        theirs = {"name": "Pending", "state_details": {"transition_id": side.id("their claim")}}
        answers = [side.propose(run, "PENDING", **claim) for claim in (ours, ours, theirs)]
        pending = side.read(run)
        answers.append(side.propose(run, "PENDING", name="Submitting"))
        answers.append(side.propose(run, "RUNNING"))
        answers.append(side.propose(run, "PENDING", **ours))
        return answers, pending, side.read(run), side.history(run)

    answers, *_ = play(script)

    statuses = [answer["status"] for answer in answers]
    assert statuses == ["ACCEPT", "REJECT", "ABORT", "ACCEPT", "ACCEPT", "ABORT"]


def test_a_run_that_is_not_due_waits(play: Play) -> None:
    def script(side: Side) -> Any:
        later = {"scheduled_time": side.time("an hour later", 3600)}
        run = side.run(side.deployment(), details=later)
        answers = [side.propose(run, type) for type in ("RUNNING", "PENDING", "RUNNING")]
        for answer in (answers[0], answers[2]):
            assert 3500 < answer.pop("delay_seconds") <= 3600
        return answers, side.read(run)

    answers, _ = play(script)

    assert [answer["status"] for answer in answers] == ["WAIT", "ACCEPT", "WAIT"]


def test_a_lost_run_is_scheduled_again_once(play: Play) -> None:
    def script(side: Side) -> Any:
        run = side.run(side.deployment())
        claim = {"name": "Pending", "state_details": {"transition_id": side.id("the claim")}}
        again = {"transition_id": side.id("the relaunch"), "scheduled_time": side.time("then", 5)}
        answers = [side.propose(run, "PENDING", **claim)]
        told = side.call("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": "cluster::task"})
        answers.append(side.propose(run, "RUNNING"))
        for _ in range(2):
            answers.append(side.propose(run, "SCHEDULED", name="A", state_details=again))
        before = side.read(run)
        answers.append(side.propose(run, "PENDING", **claim))
        return answers, told, before, side.read(run), side.history(run), side.due()

    answers, *_ = play(script)

    statuses = [answer["status"] for answer in answers]
    assert statuses == ["ACCEPT", "ACCEPT", "ACCEPT", "REJECT", "ACCEPT"]


def test_what_is_cancelled_depends_on_its_infrastructure(play: Play) -> None:
    def script(side: Side) -> Any:
        deployment = side.deployment()
        seen = []
        for told in (None, "cluster::task"):
            for type, name in (("SCHEDULED", "Scheduled"), ("SCHEDULED", "Resuming")):
                run = side.run(deployment, type=type, state={"name": name})
                side.call("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": told})
                seen.append((side.propose(run, "CANCELLING"), side.read(run)))
        for reschedule in (False, True):
            run = side.run(deployment, type="PAUSED", details={"pause_reschedule": reschedule})
            seen.append((side.propose(run, "CANCELLING"), side.read(run)))
        for force in (False, True):
            run = side.run(deployment, type="CRASHED")
            seen.append((side.propose(run, "CANCELLING", force=force), side.read(run)))
        return seen

    seen = play(script)

    assert [answer["status"] for answer, _ in seen] == [
        *("REJECT", "REJECT", "ACCEPT", "REJECT"),
        *("ACCEPT", "REJECT", "ABORT", "ACCEPT"),
    ]


def test_a_failing_flow_is_retried_in_its_process_and_then_fails(play: Play) -> None:
    def script(side: Side) -> Any:
        policy = {"retries": 1, "retry_delay": 0}
        run = side.run(side.deployment(), empirical_policy=policy)
        seen = []
        for type in ("PENDING", "RUNNING", "FAILED", "RUNNING", "FAILED", "SCHEDULED"):
            seen += [side.propose(run, type, message="it says"), side.read(run), side.due()]
        return seen

    seen = play(script)

    assert seen[6]["status"] == "REJECT"
    assert seen[8] == []
    assert seen[-1] != []


def test_a_retry_type_is_changed_by_a_patch_alone(play: Play) -> None:
    def script(side: Side) -> Any:
        run = side.run(side.deployment(), empirical_policy={"retries": 2})
        for type in ("PENDING", "RUNNING", "FAILED"):
            side.propose(run, type)
        policy = side.call("GET", f"/flow_runs/{run}")["empirical_policy"]
        hidden = side.due()
        body = {"empirical_policy": {**policy, "retry_type": "reschedule"}}
        patched = side.call("PATCH", f"/flow_runs/{run}", body)
        return hidden, patched, side.read(run), side.due()

    hidden, *_, shown = play(script)

    assert hidden == []
    assert len(shown) == 1


def test_suspended_runs_are_resumed_or_time_out(play: Play) -> None:
    def script(side: Side) -> Any:
        deployment = side.deployment()
        seen = []
        for seconds in (600, -1):
            run = side.run(deployment, type="RUNNING")
            details = {"pause_timeout": side.time("timeout", seconds), "pause_reschedule": True}
            seen.append(side.propose(run, "PAUSED", name="Suspended", state_details=details))
            seen.append(side.read(run))
            resumed = side.call("POST", f"/flow_runs/{run}/resume", {})
            seen += [resumed["status"], side.read(run)]
            seen += [side.propose(run, "PENDING"), side.propose(run, "RUNNING"), side.read(run)]
        return seen

    seen = play(script)

    assert (seen[2], seen[9]) == ("ACCEPT", "REJECT")
    assert seen[6]["run_count"] == 1


def test_a_deployments_concurrency_limit_is_kept(play: Play) -> None:
    def script(side: Side) -> Any:
        deployment = side.deployment(concurrency_limit=1)
        first, second = side.run(deployment, "first"), side.run(deployment, "second")
        seen = [side.propose(run, "PENDING") for run in (first, second)]
        seen.append(side.read(second))
        seen += [side.propose(first, "RUNNING"), side.propose(second, "PENDING")]
        seen += [side.propose(first, "COMPLETED"), side.propose(second, "PENDING")]
        seen.append(side.propose(first, "PENDING"))
        return seen

    seen = play(script)

    assert [seen[index]["status"] for index in (0, 1, 4, 6, 7)] == [
        *("ACCEPT", "REJECT", "REJECT", "ACCEPT", "REJECT")
    ]


def test_finished_runs_keep_their_results(play: Play) -> None:
    def script(side: Side) -> Any:
        deployment = side.deployment()
        seen = []
        for type in ("unpersisted", "result"):
            run = side.run(deployment, type="RUNNING")
            side.propose(run, "COMPLETED", data={"type": type})
            for proposed in ("PENDING", "SCHEDULED", "COMPLETED", "FAILED"):
                seen.append(side.propose(run, proposed)["status"])
        return seen

    assert play(script) == [*(["ACCEPT"] * 4), *(["REJECT"] * 3), "ACCEPT"]


def test_what_is_deleted_is_gone(play: Play) -> None:
    def script(side: Side) -> Any:
        deployment = side.deployment()
        run = side.run(deployment, "deleted")
        others = [side.run(deployment, type, type) for type in ("SCHEDULED", "PENDING", "FAILED")]
        seen = [side.call("DELETE", f"/flow_runs/{run}"), side.call("DELETE", f"/flow_runs/{run}")]
        seen += [side.read(run), side.propose(run, "PENDING"), side.history(run)]
        for path in ("", "/labels"):
            seen.append(side.call("PATCH", f"/flow_runs/{run}{path}", {}))
        seen.append(side.call("DELETE", f"/deployments/{deployment}"))
        seen.append(side.call("GET", f"/deployments/{deployment}"))
        seen += [side.read(other) for other in others]
        seen += [side.propose(other, "PENDING") for other in others]
        return seen

    seen = play(script)

    assert seen[:4] == [None, 404, 404, 404]
    assert seen[-1]["reason"] == "Deployment not found."


def test_runs_are_due_by_their_queues_priorities_and_then_by_time(play: Play) -> None:
    def script(side: Side) -> Any:
        side.make_pool()
        for name in ("second", "third"):
            side.call("POST", f"/work_pools/{side.pool}/queues", {"name": name})
        deployments = {
            name: side.deployment(f"deployment of {name}", work_queue_name=name)
            for name in ("third", "default", "second")
        }
        for name, deployment in deployments.items():
            for seconds in (-5, 30, 300) if name == "default" else (-20,):
                time = {"scheduled_time": side.time(f"{name}{seconds}", seconds)}
                side.run(deployment, f"{name} {seconds}", details=time)
        seen = [side.due(), side.due(limit=3), side.due(work_queue_names=["second"])]
        seen.append(side.due(scheduled_after=side.time("then", -6)))
        seen += [side.due(work_queue_names=["fourth"]), side.due(limit=201)]
        seen.append(side.call("POST", "/work_pools/none/get_scheduled_flow_runs", {}))
        for path in ("/queues/second", ""):
            side.call("PATCH", f"/work_pools/{side.pool}{path}", {"is_paused": True})
            seen.append(side.due())
        return seen

    seen = play(script)

    assert [len(due) for due in seen[:4]] == [4, 3, 1, 2]
    assert seen[4:7] == [404, 422, 404]
    assert [len(due) for due in seen[7:]] == [3, 0]


def test_concurrency_limits_of_pools_and_queues_count_what_is_pending_or_running(
    play: Play,
) -> None:
    def script(side: Side) -> Any:
        deployment = side.deployment()
        runs = [side.run(deployment, f"run {index}") for index in range(2)]
        side.run(deployment, "pending", "PENDING")
        side.run(deployment, "running", "RUNNING")
        side.run(deployment, "cancelling", "CANCELLING")
        seen = []
        for path in ("", "/queues/default"):
            for limit in (3, 0, None):
                body = {"concurrency_limit": limit}
                side.call("PATCH", f"/work_pools/{side.pool}{path}", body)
                seen.append(len(side.due()))
        queues = side.call("POST", f"/work_pools/{side.pool}/queues/filter", {"limit": 200})
        return len(runs), seen, [queue["concurrency_limit"] for queue in queues]

    assert play(script) == (2, [1, 0, 2] * 2, [None])


def test_runs_are_found_by_ids_states_pools_and_queues(play: Play) -> None:
    def script(side: Side) -> Any:
        deployment = side.deployment()
        other = side.deployment("other deployment", work_queue_name="other")
        ids = [side.run(deployment, type, type) for type in TYPES]
        ids.append(side.run(other, "other", "PENDING"))
        pool = {"work_pools": {"name": {"any_": [side.pool]}}}

        def found(**asked: Any) -> Any:
            answer = side.call("POST", "/flow_runs/filter", asked)
            return answer if isinstance(answer, int) else [run["id"] for run in answer]

        active = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}
        seen = [
            side.seen(sorted(ids.index(id) for id in found(**asked)))
            for asked in (
                {"flow_runs": {"id": {"any_": [*ids[2:4], str(uuid.uuid4())]}}},
                pool,
                {**pool, **active},
                {**pool, **active, "work_pool_queues": {"name": {"any_": ["other"]}}},
                {**active, "work_pools": {"name": {"any_": ["none"]}}},
            )
        ]
        ordered = [found(**pool, sort="ID_DESC", limit=4, offset=offset) for offset in (0, 4, 8)]
        assert [id for page in ordered for id in page] == sorted(ids, reverse=True)
        return seen, [len(page) for page in ordered], found(**pool, limit=201)

    everything = list(range(len(TYPES) + 1))
    assert play(script) == (
        [[2, 3], everything, [1, 2, 9], [9], []],
        [4, 4, 2],
        422,
    )


def test_a_run_tells_what_it_was_made_and_patched_with(play: Play) -> None:
    def script(side: Side) -> Any:
        deployment = side.deployment()
        run = side.run(deployment, job_variables={"cpu": 512})
        seen = [side.read(run)]
        path = f"/flow_runs/{run}"
        seen.append(side.call("PATCH", path, {"job_variables": {"cpu": 1024}}))
        seen.append(side.call("PATCH", path, {"infrastructure_pid": "cluster::task"}))
        seen.append(side.call("PATCH", f"{path}/labels", {"prefect.worker.name": "w"}))
        seen.append(side.call("GET", path)["labels"]["prefect.worker.name"])
        seen += [side.read(run), side.propose(run, "PENDING")]
        seen.append(side.call("PATCH", path, {"job_variables": {"cpu": 256}}))
        seen.append(side.call("PATCH", path, {"unknown": 1}))
        seen.append(side.call("PATCH", path, {"infrastructure_pid": None}))
        return [*seen, side.read(run)]

    seen = play(script)

    assert seen[1:5] == [None, None, None, "w"]
    assert seen[7:10] == [400, 422, None]


def test_deployments_pools_flows_and_what_they_refer_to_are_read_alike(play: Play) -> None:
    def script(side: Side) -> Any:
        side.agent.heartbeat(10)
        deployment = side.deployment()
        pool = side.call("GET", f"/work_pools/{side.pool}")
        held = side.call("GET", f"/deployments/{deployment}")
        asked = {"deployments": {"id": {"any_": [deployment]}}, "limit": 200}
        (same,) = side.call("POST", "/deployments/filter", asked)
        asked = {"flows": {"id": {"any_": [held["flow_id"]]}}, "limit": 200}
        (flow,) = side.call("POST", "/flows/filter", asked)
        name = f"v_{uuid.uuid4().hex[:8]}"
        side.call("POST", "/variables/", {"name": name, "value": {"a": 1}})
        asked = {"variables": {"name": {"any_": [name, "none"]}}}
        (variable,) = side.call("POST", "/variables/filter", asked)
        side.call("PATCH", f"/variables/name/{name}", {"value": 2})
        changed = side.call("GET", f"/variables/name/{name}")
        side.call("PATCH", f"/deployments/{deployment}", {"job_variables": {"cpu": 1}})
        after = side.call("GET", f"/deployments/{deployment}")
        columns = ("type", "is_paused", "concurrency_limit", "base_job_template", "status")
        return (
            {column: pool[column] for column in columns},
            side.seen({key: held[key] for key in ("job_variables", "work_pool_name", "paused")}),
            same["id"] == held["id"],
            side.call("GET", f"/flows/{held['flow_id']}")["name"] == flow["name"],
            (variable["value"], changed["value"], changed["updated"] > variable["updated"]),
            (after["job_variables"], after["updated"] > held["updated"]),
            side.call("GET", "/variables/name/none"),
            side.call("GET", f"/deployments/{uuid.uuid4()}"),
            side.call("GET", "/work_pools/none"),
            side.call("POST", "/work_pools/", {"name": side.pool, "type": "ecs"}),
        )

    seen = play(script)

    assert seen[0]["status"] == "READY"
    assert seen[4:6] == (({"a": 1}, 2, True), ({"cpu": 1}, True))
    assert seen[6:] == (404, 404, 404, 409)


def test_blocks_are_read_alike(play: Play) -> None:
    def script(side: Side) -> Any:
        kind = side.call("GET", "/block_types/slug/secret")["id"]
        asked = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
        (schema, *_) = side.call("POST", "/block_schemas/filter", asked)
        body = {
            "name": f"block-{uuid.uuid4().hex[:8]}",
            "data": {"value": "a secret"},
            "block_type_id": kind,
            "block_schema_id": schema["id"],
        }
        made = side.call("POST", "/block_documents/", body)
        path = f"/block_types/slug/secret/block_documents/name/{body['name']}?include_secrets=true"
        asked = {
            "block_documents": {"name": {"any_": [body["name"]]}},
            "block_types": {"slug": {"any_": ["secret"]}},
            "limit": 200,
        }
        (found,) = side.call("POST", "/block_documents/filter", asked)
        by_id = {"block_documents": {"id": {"any_": [made["id"]]}, "is_anonymous": None}}
        return (
            side.call("GET", path)["data"],
            side.call("GET", f"/block_documents/{made['id']}?include_secrets=true")["data"],
            (found["id"] == made["id"], found["block_type"]["slug"]),
            len(side.call("POST", "/block_documents/filter", by_id)),
            found["block_document_references"],
            side.call("GET", f"/block_types/slug/secret/block_documents/name/{uuid.uuid4()}"),
        )

    data = {"value": "a secret"}
    assert play(script) == (data, data, (True, "secret"), 1, {}, 404)


def test_logs_and_events_are_taken_alike(play: Play) -> None:
    def script(side: Side) -> Any:
        run = side.run(side.deployment())
        line = {
            "name": "prefect",
            "level": 20,
            "message": "it says",
            "timestamp": side.time("now", 0),
            "flow_run_id": run,
            "task_run_id": None,
        }
        event = {
            "id": str(uuid.uuid4()),
            "event": "prefect.ecs.task.running",
            "occurred": side.time("now", 0),
            "resource": {"prefect.resource.id": "prefect.ecs.task.1"},
            "related": [],
        }
        seen = [side.call("POST", "/logs/", [line, line])]
        asked = {"logs": {"flow_run_id": {"any_": [run]}}}
        seen.append([line["message"] for line in side.call("POST", "/logs/filter", asked)])
        return [*seen, *(side.call("POST", "/events", [event]) for _ in range(2))]

    assert play(script) == [None, ["it says"] * 2, None, None]
