"""The path of a Prefect 1 run: found, enqueued, claimed, launched, reported."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from fargate_agent import dispatch, launcher
from fargate_agent.orchestrators.prefect1_states import RETRY_GRACE
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.runs import FlowRun, claim_id
from tests.integration.conftest import TOKEN
from tests.support.prefect1_server import Prefect1Server
from tests.support.stack_template import SECRET
from tests.support.world1 import World1, environment, variables

AGO = timedelta(seconds=-10)


def test_a_scheduled_run_becomes_one_task(world1: World1) -> None:
    flow = world1.flow("My Flow")
    run = world1.schedule(flow)

    assert world1.poll() == 1
    assert world1.deliver() == []

    task = world1.task_of(run)
    assert task["clusterArn"] == world1.cluster
    assert task["launchType"] == "FARGATE"
    assert world1.states(run) == ["Scheduled", "Submitted"]
    definition = world1.definition(task["taskDefinitionArn"])
    assert definition["family"] == f"prefect-task-{flow['id'][:8]}"
    (container,) = definition["containerDefinitions"]
    assert container["name"] == "flow"
    assert container["image"] == "registry.example/my-flow:v1"
    assert container["command"] == ["/bin/sh", "-c", "prefect execute flow-run"]
    assert world1.unacknowledged() == 0


def test_the_runs_log_tells_of_its_task(world1: World1) -> None:
    task = world1.launch(world1.flow())

    ((level, line),) = world1.logs(task["startedBy"])
    assert level == "INFO"
    assert line.startswith(f"Submitted for execution: Task ARN: {task['taskArn']}")


def test_nothing_is_logged_where_logs_are_off(make_world1: Callable[..., World1]) -> None:
    world = make_world1(agent={"send_logs": False})
    task = world.launch(world.flow())

    assert world.logs(task["startedBy"]) == []
    assert variables(world.flow_container(task))["PREFECT__LOGGING__LOG_TO_CLOUD"] == "false"


def test_the_container_is_told_which_run_it_is_and_which_server_to_ask(world1: World1) -> None:
    flow = world1.flow()
    task = world1.launch(flow)

    due = datetime.fromisoformat(world1.server.run(task["startedBy"])["scheduled_start_time"])
    assert environment(task) == {
        "PREFECT__CONTEXT__FLOW_RUN_ID": task["startedBy"],
        "PREFECT__CONTEXT__FLOW_ID": flow["id"],
        "FARGATE_AGENT_CLAIM_ID": claim_id(task["startedBy"], due, world1.claimant),
    }
    told = variables(world1.flow_container(task))
    assert told["PREFECT__CLOUD__API"] == world1.server.url
    assert told["PREFECT__BACKEND"] == "server"


def test_the_claim_stands_in_the_states_message(world1: World1) -> None:
    task = world1.launch(world1.flow())

    claim = environment(task)["FARGATE_AGENT_CLAIM_ID"]
    assert world1.message(task["startedBy"]) == f"Submitted for execution (claim {claim})"


def test_a_run_ahead_of_time_waits_in_the_queue(world1: World1) -> None:
    run = world1.schedule(world1.flow(), ahead=timedelta(seconds=40))
    assert world1.poll() == 1

    assert world1.deliver() == [run]

    assert world1.receive() == []  # hidden
    assert world1.tasks() == []
    assert world1.state(run) == "Scheduled"
    assert world1.recorder.of("dispatch") == ["ChangeMessageVisibility"]
    assert 20 <= world1.params("ChangeMessageVisibility")[0]["VisibilityTimeout"] <= 39


def test_only_runs_whose_labels_the_agent_has_are_found(make_world1: Callable[..., World1]) -> None:
    world = make_world1(agent={"labels": ["fargate", "prod"]})
    flow = world.flow()
    ours = world.schedule(flow, labels=["prod"])
    for labels in ([], ["dev"], ["prod", "gpu"]):
        world.schedule(flow, labels=labels)

    assert world.poll() == 1
    (record,) = world.receive()
    assert FlowRun.from_message(record["body"]).id == ours
    (agent,) = world.server.agents
    assert agent["labels"] == ["fargate", "prod"]


def test_one_agent_is_registered_whatever_functions_speak_for_it(world1: World1) -> None:
    task = world1.launch(world1.flow())
    world1.cold_start()
    world1.poll()

    (agent,) = world1.server.agents
    assert (agent["type"], agent["name"]) == ("FargateAgent", "fargate-agent")
    assert agent["last_queried"] is not None
    assert world1.server.run(task["startedBy"])["agent_id"] == agent["id"]


@pytest.mark.parametrize("locking", [True, False], ids=["version locking", "no locking"])
def test_a_running_run_with_a_due_retry_is_launched_again(world1: World1, locking: bool) -> None:
    flow = world1.flow(version_locking=locking)
    first = world1.launch(flow)
    run = world1.server.run(first["startedBy"])
    world1.server.set_state(run["id"], "Running")
    due = world1.server.add_task_run(run, due=datetime.now(UTC) + AGO)
    later = world1.server.add_task_run(run, due=datetime.now(UTC) + timedelta(hours=1))

    assert world1.poll() == 1
    assert world1.deliver() == []

    second = next(t for t in world1.tasks() if t["taskArn"] != first["taskArn"])
    claim = environment(second)["FARGATE_AGENT_CLAIM_ID"]
    assert claim != environment(first)["FARGATE_AGENT_CLAIM_ID"]
    assert run["state"] == "Running"
    assert due["state"] == "Submitted"
    assert due["state_message"] == f"Submitted for execution (claim {claim})"
    assert later["state"] == "Retrying"


def test_task_runs_are_claimed_by_the_flow_runs_version_where_the_server_compares_it(
    world1: World1, monkeypatch: pytest.MonkeyPatch
) -> None:
    world1.server.fail_next("set_task_run_states", error="State update failed for task run ID 1")
    run = world1.server.add_run(world1.flow(version_locking=True), state="Running", version=7)
    task_run = world1.server.add_task_run(run, due=datetime.now(UTC) + AGO, version=3)
    world1.poll()
    assert world1.deliver() == []

    *_, call = world1.server.calls_of("set_task_run_states")
    (proposal,) = call.variables["input"]["states"]
    assert (proposal["version"], proposal["flow_run_version"]) == (3, 7)
    assert task_run["state"] == "Submitted"
    assert world1.task_of(run["id"])


def test_a_retry_is_left_to_its_own_process_for_a_moment(world1: World1) -> None:
    run = world1.server.add_run(world1.flow(), state="Running")
    task_run = world1.server.add_task_run(run, due=datetime.now(UTC) + timedelta(seconds=20))
    assert world1.poll() == 1

    assert world1.deliver() == [run["id"]]

    assert world1.tasks() == []
    assert task_run["state"] == "Retrying"
    hidden = world1.params("ChangeMessageVisibility")[0]["VisibilityTimeout"]
    assert 10 <= hidden <= 22  # twenty seconds, the grace of three, and one ahead of time


def test_the_token_reaches_the_container_as_a_secret(
    make_cloud_world: Callable[..., World1],
) -> None:
    world = make_cloud_world()
    task = world.launch(world.flow())

    container = world.flow_container(task)
    assert container["secrets"] == [{"name": "PREFECT__CLOUD__AUTH_TOKEN", "valueFrom": SECRET}]
    assert variables(container)["PREFECT__BACKEND"] == "cloud"
    assert {c.headers["Authorization"] for c in world.server.calls} == {f"Bearer {TOKEN}"}


def test_an_api_key_travels_with_its_tenant(
    make_cloud_world: Callable[..., World1],
) -> None:
    world = make_cloud_world()
    world.server.api_key = True
    task = world.launch(world.flow())

    container = world.flow_container(task)
    names = {"PREFECT__CLOUD__AUTH_TOKEN", "PREFECT__CLOUD__API_KEY"}
    assert {entry["name"] for entry in container["secrets"]} == names
    assert variables(container)["PREFECT__CLOUD__TENANT_ID"] == world.server.tenant_id


def test_kwargs_from_s3_stand_above_everything(make_world1: Callable[..., World1]) -> None:
    world = make_world1(
        ecs={"kwargs": {"cpu": "512", "memory": "1024", "platformVersion": "1.3.0"}}
    )
    run_config = {"type": "ECSRun", "cpu": "2048", "memory": "4096", "env": {"COLOUR": "blue"}}
    flow = world.flow(run_config=run_config)
    environment_ = [{"name": "COLOUR", "value": "green"}]
    url = world.put_kwargs(
        flow,
        {
            "cpu": 4096,
            "memory": "8192",
            "platformVersion": "1.4.0",
            "containerDefinitions": [{"environment": environment_}],
        },
    )
    task = world.launch(flow)

    definition = world.definition(task["taskDefinitionArn"])
    assert (definition["cpu"], definition["memory"]) == ("4096", "8192")
    assert not {"cpu", "memory"} & task["overrides"].keys()
    assert variables(definition["containerDefinitions"][0])["COLOUR"] == "green"
    assert "COLOUR" not in environment(task)
    assert task["platformVersion"] == "1.4.0"
    ((_, line),) = world.logs(task["startedBy"])
    assert url in line


def test_a_warm_launch_calls_aws_twice_and_the_server_four_times(world1: World1) -> None:
    flow = world1.flow()
    world1.launch(flow)
    world1.schedule(flow)
    world1.poll()
    world1.recorder.calls.clear()
    before = len(world1.server.calls)

    assert world1.deliver() == []

    # GetObject is the look for a kwargs file.
    assert world1.recorder.of("dispatch") == ["GetObject", "RunTask"]
    asked = world1.asked(since=before)
    assert asked == ["flow_run", "set_flow_run_states", "flow_run", "write_run_logs"]


def test_without_external_kwargs_a_warm_launch_calls_aws_once(
    make_world1: Callable[..., World1],
) -> None:
    world = make_world1(external_kwargs={"enabled": False})
    flow = world.flow()
    world.launch(flow)
    world.recorder.calls.clear()
    world.launch(flow)

    assert world.recorder.of("dispatch") == ["RunTask"]


def test_a_batch_of_ten_runs_is_read_in_one_call_before_and_one_after(
    world1: World1, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long this machine takes to come to the last of them.
    for module in (dispatch, launcher):
        monkeypatch.setattr(module, "Reads", partial(Reads, fresh_seconds=60))
    flow = world1.flow()
    runs = {world1.schedule(flow) for _ in range(10)}
    world1.poll()
    before = len(world1.server.calls)

    assert world1.deliver() == []

    assert {task["startedBy"] for task in world1.tasks()} == runs
    assert world1.asked(since=before).count("flow_run") == 2


def test_an_idle_poll_is_one_call(world1: World1) -> None:
    world1.poll()
    before = len(world1.server.calls)
    world1.recorder.calls.clear()

    assert world1.poll({"Records": [{"body": "{}"}]}) == 0

    assert world1.asked(since=before) == ["get_runs_in_queue"]
    assert world1.recorder.of("poll") == []


def test_a_task_environment_runs_in_its_own_containers(world1: World1) -> None:
    sidecar = {"name": "proxy", "image": "example/proxy:1", "memory": 64}
    flow = world1.task_environment(
        {
            "family": "our-etl",
            "cpu": "512",
            "memory": "2048",
            "containerDefinitions": [{"name": "main", "image": "mine", "memory": 512}, sidecar],
        }
    )
    task = world1.launch(flow)

    definition = world1.definition(task["taskDefinitionArn"])
    assert definition["family"] == "our-etl"
    main, proxy = definition["containerDefinitions"]
    assert (main["name"], main["image"]) == ("flow-container", "example/env:1")
    assert main["command"][-1] == (
        "python -c 'import prefect; prefect.environments.execution.load_and_run_flow()'"
    )
    assert (proxy["name"], proxy["image"]) == ("proxy", "example/proxy:1")
    for container in (main, proxy):
        told = variables(container)
        assert told["PREFECT__CLOUD__GRAPHQL"] == f"{world1.server.url}/graphql"
    told = environment(task)
    assert told["PREFECT__CONTEXT__FLOW_RUN_ID"] == task["startedBy"]
    assert told["PREFECT__CONTEXT__IMAGE"] == "example/env:1"


def test_settings_are_pulled_from_the_server(
    make_world1: Callable[..., World1], server: Prefect1Server
) -> None:
    config = server.add_agent_config(
        {"labels": ["from-server"], "env_vars": {"COLOUR": "red"}, "cpu": "2048", "memory": "8192"}
    )
    world = make_world1(
        agent={"labels": ["deployed"]},
        prefect={"agent_config_id": config["id"]},
        ecs={"kwargs": {"cpu": "256", "memory": "512"}},
    )
    task = world.launch(world.flow(), labels=["from-server"])

    definition = world.definition(task["taskDefinitionArn"])
    assert (definition["cpu"], definition["memory"]) == ("2048", "8192")
    assert variables(definition["containerDefinitions"][0])["COLOUR"] == "red"
    (agent,) = server.agents
    assert (agent["labels"], agent["agent_config_id"]) == (["from-server"], config["id"])


def test_the_configuration_can_be_tried_out(world1: World1) -> None:
    answer = world1.validate_configuration()

    (task,) = world1.tasks()
    assert answer == {"task": task["taskArn"], "taskDefinition": task["taskDefinitionArn"]}
    definition = world1.definition(task["taskDefinitionArn"])
    assert definition["family"] == "prefect-test-task"
    assert definition["containerDefinitions"][0]["image"] == "busybox"
    world1.stopped(task, containers=[{"name": "test-container", "exitCode": 1}])
    assert world1.server.logs(task["startedBy"]) == []


def test_trying_out_a_bad_configuration_tells_why(world1: World1) -> None:
    failure = {"reason": "RESOURCE:MEMORY"}
    world1.aws_faults.answer("RunTask", {"tasks": [], "failures": [failure]})

    with pytest.raises(Exception, match="RESOURCE:MEMORY"):
        world1.validate_configuration()


def test_a_retry_is_launched_though_its_batch_was_read_a_moment_before_it_came_due(
    world1: World1,
) -> None:
    """A message that was dropped then would be missing for as long as the queue drops repeats."""
    retried = world1.server.add_run(world1.flow(), state="Running")
    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    world1.server.add_task_run(retried, due=soon - RETRY_GRACE)
    world1.schedule(world1.flow("now"))
    world1.poll()

    assert world1.deliver() == []

    assert world1.task_of(retried["id"])["lastStatus"]
    assert len(world1.tasks()) == 2
