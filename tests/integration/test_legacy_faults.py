"""The legacy agent's faults, each by the better behaviour; each docstring names the fault.

All were reproduced with ``prefect==0.14.22``: its ``FargateAgent`` and ``FargateTaskEnvironment``.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from moto.ecs.models import ecs_backends
from moto.resourcegroupstaggingapi.models import ResourceGroupsTaggingAPIBackend

from fargate_agent import dispatch, settings
from fargate_agent.launcher import Launcher
from fargate_agent.orchestrators.prefect1 import Prefect1
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.profiles.flow_run import WHOLE_FLOW_ID_TAG
from fargate_agent.task_definitions import FLOW_ID_TAG, FLOW_VERSION_TAG
from infra.config import AgentConfig, ConfigError, load
from tests.integration.conftest import TOKEN
from tests.support.functions import redelivered
from tests.support.prefect1_server import Prefect1Server
from tests.support.stack_template import ACCOUNT, OTHER_ROLE, REGION, SECRET
from tests.support.world1 import TRIES, World1, environment, variables

MakeWorld = Callable[..., World1]

LOCKING = pytest.mark.parametrize("locking", [True, False], ids=["version locking", "no locking"])
ON_DRIFT = pytest.mark.parametrize("on_drift", ["revise", "reuse"])
MANY = "200"
"""The receives after which the run is told, for a dead letter is next."""


def at_the_end(record: dict[str, Any]) -> None:
    record["attributes"]["ApproximateReceiveCount"] = MANY


def no_task(reason: str) -> dict[str, Any]:
    """Answer as RunTask does when it starts nothing."""
    return {"tasks": [], "failures": [{"arn": "arn:aws:ecs:x", "reason": reason, "detail": "why"}]}


# -- runs


@LOCKING
def test_a_run_whose_launch_was_killed_after_submitted_is_launched_by_the_redelivery(
    world1: World1, locking: bool
) -> None:
    """Killed after Submitted, the run was never seen again."""
    run, records = world1.enqueued(world1.flow(version_locking=locking))
    # A killed function handles no exception: this one passes every "except Exception".
    with (
        mock.patch.object(Launcher, "_start", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        world1.dispatch(records)
    assert world1.state(run) == "Submitted"
    assert world1.tasks() == []

    world1.cold_start()
    assert world1.dispatch([redelivered(record) for record in records]) == []

    assert world1.task_of(run)
    assert world1.states(run) == ["Scheduled", "Submitted"]


@LOCKING
def test_a_run_that_cannot_be_deployed_is_told_by_its_own_new_version(
    world1: World1, locking: bool
) -> None:
    """A failed deploy was reported with a stale version and swallowed: Submitted for ever."""
    run, records = world1.enqueued(world1.flow(version_locking=locking))
    world1.aws_faults.refuse("RunTask", "InvalidParameterException", "No such subnet.")

    assert world1.dispatch(records) == []

    assert world1.states(run) == ["Scheduled", "Submitted", "Failed"]
    assert "No such subnet." in world1.message(run)
    assert world1.logs(run) == [("ERROR", world1.message(run))]


@LOCKING
def test_two_agents_that_saw_a_run_at_once_start_one_task(
    world1: World1, monkeypatch: pytest.MonkeyPatch, locking: bool
) -> None:
    """Two agents on a server without version locking launched every run twice."""
    run, records = world1.enqueued(world1.flow(version_locking=locking))
    both_have_read = threading.Barrier(2, timeout=30)
    claim = Prefect1.claim

    def claim_together(*given: Any) -> Any:
        both_have_read.wait()
        return claim(*given)

    monkeypatch.setattr(Prefect1, "claim", claim_together)
    with world1.inside("dispatch"):
        agents = [_agent(name) for name in ("first", "second")]
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda agent: _deliver(agent, run, records[0]), agents))

    task = world1.task_of(run)
    claims = [row["message"] for row in world1.server.history(run) if row["state"] == "Submitted"]
    assert set(claims) == {
        f"Submitted for execution (claim {environment(task)['FARGATE_AGENT_CLAIM_ID']})"
    }
    assert len(world1.params("RunTask")) == 2
    assert len({params["clientToken"] for params in world1.params("RunTask")}) == 1


def _agent(name: str) -> dispatch.Deliveries:
    config = dataclasses.replace(settings.load(), agent_name=name)
    return dataclasses.replace(dispatch._deliveries(), launcher=Launcher.from_settings(config))


def _deliver(agent: dispatch.Deliveries, run: str, record: dict[str, Any]) -> None:
    agent.deliver(SQSRecord(record), Reads(agent.launcher.orchestrator, [run]))


def test_a_queued_run_is_not_launched_but_once_there_is_a_slot(
    make_cloud_world: MakeWorld,
) -> None:
    """A QUEUED answer was ignored and the task launched anyway."""
    world = make_cloud_world(agent={"labels": ["gpu"]})
    world.server.concurrency_limits["gpu"] = 1
    world.server.queue_seconds = -1  # it is to be tried again at once
    flow = world.flow(version_locking=True)
    busy = world.server.add_run(flow, labels=["gpu"], state="Running")
    run = world.schedule(flow, labels=["gpu"])
    world.poll()
    assert world.deliver() == []

    assert world.state(run) == "Queued"
    assert world.tasks() == []

    world.server.set_state(busy["id"], "Success")
    world.poll()
    assert world.deliver() == []
    assert world.states(run) == ["Scheduled", "Queued", "Submitted"]
    assert world.task_of(run)


def test_a_run_that_stays_queued_is_tried_again_and_launched_once(
    make_cloud_world: MakeWorld,
) -> None:
    """A QUEUED answer was ignored and the task launched anyway."""
    world = make_cloud_world(agent={"labels": ["gpu"]})
    world.server.concurrency_limits["gpu"] = 1
    flow = world.flow(version_locking=True)
    busy = world.server.add_run(flow, labels=["gpu"], state="Running")
    run, records = world.enqueued(flow, labels=["gpu"], state="Queued")

    assert world.dispatch(records) == [run]
    assert world.tasks() == []

    world.server.set_state(busy["id"], "Success")
    assert world.dispatch([redelivered(record) for record in records]) == []
    assert world.task_of(run)


def test_a_run_that_an_older_server_refuses_a_slot_is_tried_again(make_world1: MakeWorld) -> None:
    """A full limit failed the run, or launched it anyway."""
    world = make_world1(agent={"labels": ["gpu"]})
    world.server.concurrency_limits["gpu"] = 1
    flow = world.flow()
    busy = world.server.add_run(flow, labels=["gpu"], state="Running")
    run, records = world.enqueued(flow, labels=["gpu"])

    assert world.dispatch(records) == [run]
    assert world.state(run) == "Scheduled"
    assert world.tasks() == []

    world.server.set_state(busy["id"], "Success")
    assert world.dispatch([redelivered(record) for record in records]) == []
    assert world.task_of(run)


def test_a_log_line_that_is_lost_leaves_the_run_as_it_is(world1: World1) -> None:
    """A failed log write after RunTask marked a running task Failed."""
    run = world1.schedule(world1.flow(version_locking=True))
    world1.poll()
    world1.server.fail_next("write_run_logs", TRIES, status=500)

    assert world1.deliver() == []

    assert world1.task_of(run)
    assert world1.state(run) == "Submitted"
    assert world1.unacknowledged() == 0


@pytest.mark.parametrize("reason", ["RESOURCE:MEMORY", "RESOURCE:CPU", "AGENT", "ATTRIBUTE"])
def test_the_failures_of_run_task_are_named_and_tried_again(world1: World1, reason: str) -> None:
    """Failures of RunTask gave "list index out of range"."""
    run, records = world1.enqueued(world1.flow())
    world1.aws_faults.answer("RunTask", no_task(reason), times=2)

    assert world1.dispatch(records) == [run]
    assert world1.state(run) == "Submitted"
    assert world1.dispatch([redelivered(r, receives=int(MANY)) for r in records]) == [run]

    assert world1.state(run) == "Failed"
    assert f"{reason} why" in world1.message(run)
    assert f"Gave up after {MANY} tries" in world1.message(run)


def test_a_failure_of_run_task_that_stays_is_told_at_once(world1: World1) -> None:
    """Failures of RunTask gave "list index out of range"."""
    run, records = world1.enqueued(world1.flow())
    world1.aws_faults.answer("RunTask", no_task("MISSING"))

    assert world1.dispatch(records) == []

    assert world1.state(run) == "Failed"
    assert "MISSING" in world1.message(run)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ThrottlingException", "Rate exceeded"),
        ("ThrottlingException", "Slow down."),
        ("ServerException", "Service Unavailable"),
        ("ClientException", "Capacity is unavailable at this time. Please try again later"),
        ("InvalidParameterException", "You've reached the limit on the number of tasks"),
    ],
)
def test_throttling_and_want_of_capacity_are_waited_out(
    world1: World1, code: str, message: str
) -> None:
    """Throttling and lack of capacity failed the run."""
    run, records = world1.enqueued(world1.flow())
    world1.aws_faults.refuse("RunTask", code, message)

    assert world1.dispatch(records) == [run]
    assert world1.state(run) == "Submitted"
    assert world1.dispatch([redelivered(record) for record in records]) == []

    assert world1.task_of(run)
    assert world1.states(run) == ["Scheduled", "Submitted"]


@pytest.mark.parametrize("operation", ["DescribeTaskDefinition", "RegisterTaskDefinition"])
def test_throttling_before_the_launch_is_waited_out(world1: World1, operation: str) -> None:
    """Throttling and lack of capacity failed the run."""
    flow = world1.flow()
    run, records = world1.enqueued(flow)
    world1.aws_faults.refuse(operation, "ThrottlingException", "Rate exceeded")

    assert world1.dispatch(records) == [run]
    assert world1.dispatch([redelivered(record) for record in records]) == []

    assert world1.task_of(run)
    assert len(world1.revisions(f"prefect-task-{flow['id'][:8]}")) == 1


def test_runs_due_soon_do_not_hold_up_runs_due_now(world1: World1) -> None:
    """Runs due soon held up runs due now."""
    flow = world1.flow()
    soon = [world1.schedule(flow, ahead=timedelta(seconds=30)) for _ in range(3)]
    now = world1.schedule(flow)
    world1.poll()

    assert sorted(world1.deliver()) == sorted(soon)

    assert [task["startedBy"] for task in world1.tasks()] == [now]


# -- definitions


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
def test_a_definition_that_cannot_be_described_is_not_registered_again(
    world1: World1, code: str
) -> None:
    """Any error of describe, AccessDenied too, registered the definition again."""
    flow = world1.flow()
    world1.launch(flow)
    world1.cold_start()
    run, records = world1.enqueued(flow)
    world1.aws_faults.refuse("DescribeTaskDefinition", code)

    failed = world1.dispatch(records)

    assert world1.recorder.of("dispatch").count("RegisterTaskDefinition") == 1
    told = ("Failed", []) if code == "AccessDeniedException" else ("Submitted", [run])
    assert (world1.state(run), failed) == told


def test_first_runs_at_once_register_one_definition(world1: World1) -> None:
    """Concurrent first runs registered duplicates."""
    flow = world1.flow()
    runs = {world1.schedule(flow) for _ in range(10)}
    world1.poll()
    assert world1.deliver() == []

    assert {task["startedBy"] for task in world1.tasks()} == runs
    assert world1.recorder.of("dispatch").count("RegisterTaskDefinition") == 1


def test_a_registration_by_another_function_instance_is_found(world1: World1) -> None:
    """Concurrent first runs registered duplicates."""
    message = "Too many concurrent attempts to create a new revision of the specified family."
    world1.aws_faults.refuse(
        "RegisterTaskDefinition", "ClientException", message, after_effect=True
    )
    flow = world1.flow()
    task = world1.launch(flow)

    assert world1.revisions(f"prefect-task-{flow['id'][:8]}") == [task["taskDefinitionArn"]]


@pytest.mark.parametrize("changed", ["kwargs", "S3 file", "image"])
def test_a_changed_definition_is_a_new_revision(world1: World1, changed: str) -> None:
    """A stale definition was reused after changed kwargs, S3 file or image."""
    flow = world1.flow()
    first = world1.launch(flow)
    match changed:
        case "kwargs":
            world1.deploy(world1.settings(ecs={"kwargs": {"memory": "4096"}}))
        case "S3 file":
            world1.put_kwargs(flow, {"memory": "4096"})
        case "image":
            flow["storage"]["image_tag"] = "v2"
    second = world1.launch(flow)

    assert first["taskDefinitionArn"].endswith(":1")
    assert second["taskDefinitionArn"].endswith(":2")
    definition = world1.definition(second["taskDefinitionArn"])
    size, image = definition["memory"], definition["containerDefinitions"][0]["image"]
    assert (size == "4096") is (changed != "image")
    assert image.endswith(":v2") is (changed == "image")


EIGHT = "abcdef01"


@ON_DRIFT
@pytest.mark.parametrize("revisions", [True, False], ids=["task revisions", "families by id"])
def test_flows_whose_ids_begin_alike_run_each_its_own_image(
    make_world1: MakeWorld, on_drift: str, revisions: bool
) -> None:
    """Flow ids that share eight characters ran each other's image."""
    world = make_world1(ecs={"on_drift": on_drift, "enable_task_revisions": revisions})
    flows = [
        world.flow("etl", id=f"{EIGHT}-0000-4000-8000-00000000000{n}", storage=_image(f"v{n}"))
        for n in (1, 2)
    ]
    for flow in [*flows, *flows]:
        world.cold_start()
        task = world.launch(flow)
        image = world.flow_container(task)["image"]
        assert image == f"registry.example/etl:{flow['storage']['image_tag']}"

    family = "etl" if revisions else f"prefect-task-{EIGHT}"
    assert len(world.revisions(family)) == 2


def _image(tag: str) -> dict[str, Any]:
    names = {"registry_url": "registry.example", "image_name": "etl", "image_tag": tag}
    return {"type": "Docker", **names}


@ON_DRIFT
@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_flows_of_one_name_in_two_projects_share_a_family_in_peace(
    make_world1: MakeWorld, on_drift: str, cold: bool
) -> None:
    """Flows of one slug in two projects alternated revisions for ever."""
    world = make_world1(ecs={"on_drift": on_drift, "enable_task_revisions": True})
    flows = [world.flow("Our ETL", storage=_image(tag)) for tag in ("north", "south")]
    for flow in flows * 3:
        if cold:
            world.cold_start()
        task = world.launch(flow)
        image = world.flow_container(task)["image"]
        assert image == f"registry.example/etl:{flow['storage']['image_tag']}"

    assert len(world.revisions("our-etl")) == 2


def test_the_revision_that_was_found_is_run_though_another_was_registered_since(
    world1: World1,
) -> None:
    """RunTask named the family, so that a revision registered in between was executed."""
    flow = world1.flow()
    first = world1.launch(flow)
    world1.cold_start()
    family = f"prefect-task-{flow['id'][:8]}"
    intruder = {"name": "flow", "image": "somebody/elses:1"}
    world1.aws_faults.after("DescribeTaskDefinition", lambda: _register(family, intruder))

    second = world1.launch(flow)

    assert len(world1.revisions(family)) == 2
    assert second["taskDefinitionArn"] == first["taskDefinitionArn"]
    asked = [params["taskDefinition"] for params in world1.params("RunTask")]
    assert asked == [first["taskDefinitionArn"]] * 2


def _register(
    family: str, container: Mapping[str, Any], tags: Mapping[str, str] | None = None
) -> str:
    """Register a definition as another party does; return its ARN."""
    made = ecs_backends[ACCOUNT][REGION].register_task_definition(
        family,
        [{"name": "flow", **container}],
        network_mode="awsvpc",
        requires_compatibilities=["FARGATE"],
        cpu="1024",
        memory="2048",
        tags=[{"key": key, "value": value} for key, value in (tags or {}).items()],
    )
    return str(made.arn)


def test_the_search_by_tag_reads_every_page_and_takes_an_active_revision_of_its_own_family(
    make_world1: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search by tag read one page, crossed families, and returned INACTIVE revisions."""
    world = make_world1(ecs={"on_drift": "reuse", "enable_task_revisions": True})
    flow = world.flow("etl")
    ours = {FLOW_ID_TAG: flow["id"][:8], FLOW_VERSION_TAG: "1", WHOLE_FLOW_ID_TAG: flow["id"]}
    theirs = {FLOW_ID_TAG: "00000000", FLOW_VERSION_TAG: "1"}
    container = {"image": "example/ours:1"}
    for _ in range(3):
        _register("another-family", {"image": "example/other:1"}, ours)
    wanted = _register("etl", container, ours)
    gone = _register("etl", container, ours)
    boto3.client("ecs").deregister_task_definition(taskDefinition=gone)
    _register("etl", {"image": "example/theirs:1"}, theirs)
    get_resources = ResourceGroupsTaggingAPIBackend.get_resources

    def one_at_a_time(*given: Any, **options: Any) -> Any:
        return get_resources(*given, **{**options, "resources_per_page": 1})

    monkeypatch.setattr(ResourceGroupsTaggingAPIBackend, "get_resources", one_at_a_time)

    task = world.launch(flow)

    assert task["taskDefinitionArn"] == wanted
    assert len(world.params("GetResources")) == 5
    assert world.params("RegisterTaskDefinition") == []


@ON_DRIFT
@pytest.mark.parametrize("version", ["v2-rc", "", "1.5", "²"])
def test_a_version_tag_that_is_no_number_harms_nobody(
    make_world1: MakeWorld, on_drift: str, version: str
) -> None:
    """A version tag that was no integer crashed the agent."""
    world = make_world1(ecs={"on_drift": on_drift, "enable_task_revisions": True})
    flow = world.flow("etl")
    _register("etl", {"image": "example/x:1"}, {FLOW_ID_TAG: "00000000", FLOW_VERSION_TAG: version})

    task = world.launch(flow)

    assert task["taskDefinitionArn"].endswith("etl:2")


def test_what_an_ecs_run_asks_for_is_followed(make_world1: MakeWorld) -> None:
    """ECSRun's cpu, memory, env and role were ignored."""
    world = make_world1(ecs={"allowed_roles": [OTHER_ROLE]})
    asked = {"cpu": "2048", "memory": "4096", "env": {"COLOUR": "blue"}}
    roles = {"task_role_arn": OTHER_ROLE, "execution_role_arn": OTHER_ROLE}
    task = world.launch(world.flow(run_config={"type": "ECSRun", **asked, **roles}))

    assert (task["overrides"]["cpu"], task["overrides"]["memory"]) == ("2048", "4096")
    assert task["overrides"]["taskRoleArn"] == OTHER_ROLE
    assert task["overrides"]["executionRoleArn"] == OTHER_ROLE
    assert environment(task)["COLOUR"] == "blue"


# -- configuration

FILE = """
[prefect]
version = 1
api_url = "http://prefect.test"
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., AgentConfig]:
    """Read settings as synth does: the file, flags, and the environment."""

    def read(more: str = "", flags: Mapping[str, Any] | None = None, **environ: str) -> AgentConfig:
        path = tmp_path / "agent.toml"
        path.write_text(FILE + more)
        return load(path, flags or {}, environ)

    return read


@pytest.mark.parametrize("way", ["file", "flag"])
@pytest.mark.parametrize("text", ["False", "false", "no", "0"])
def test_a_switch_is_never_on_for_a_word(
    read: Callable[..., AgentConfig], way: str, text: str
) -> None:
    """enable_task_revisions=False on the command line was truthy."""
    more = f'[ecs]\nenable_task_revisions = "{text}"\n' if way == "file" else ""
    flags = {"ecs.enable_task_revisions": text} if way == "flag" else {}
    if way == "flag" and text == "false":
        assert read(more, flags).ecs.enable_task_revisions is False
        return

    with pytest.raises(ConfigError) as error:
        read(more, flags)

    assert "ecs.enable_task_revisions" in str(error.value)
    assert "boolean" in str(error.value)


def test_a_clusters_name_of_digits_stays_text(read: Callable[..., AgentConfig]) -> None:
    """cluster=12345 became a number and failed at launch."""
    given = [
        read('[ecs.kwargs]\ncluster = "12345"\n'),
        read(flags={"ecs.kwargs.cluster": "12345"}),
        read(cluster="12345"),
    ]
    assert [config.ecs.kwargs["cluster"] for config in given] == ["12345"] * 3


def test_a_platform_version_stays_text(read: Callable[..., AgentConfig]) -> None:
    """platformVersion=1.4 became a number and failed at launch."""
    given = [
        read('[ecs.kwargs]\nplatformVersion = "1.4"\n'),
        read(flags={"ecs.kwargs.platformVersion": "1.4"}),
        read(platformVersion="1.4"),
    ]
    assert [config.ecs.kwargs["platformVersion"] for config in given] == ["1.4"] * 3


@pytest.mark.parametrize("line", ["cluster = 12345", "platformVersion = 1.4"])
def test_a_number_in_place_of_text_is_refused_before_anything_is_deployed(
    read: Callable[..., AgentConfig], line: str
) -> None:
    """cluster=12345 and platformVersion=1.4 became numbers and failed at launch."""
    with pytest.raises(ConfigError, match=rf"ecs\.kwargs: {line.split(maxsplit=1)[0]}: .*type"):
        read(f"[ecs.kwargs]\n{line}\n")


def test_a_cluster_of_digits_is_launched_on(make_world1: MakeWorld) -> None:
    """cluster=12345 became a number and failed at launch."""
    world = make_world1(ecs={"kwargs": {"cluster": "12345"}})

    assert world.launch(world.flow())["clusterArn"].endswith("cluster/12345")


def test_a_stray_count_in_the_environment_is_refused(read: Callable[..., AgentConfig]) -> None:
    """A stray count=3 in the environment launched three tasks."""
    with pytest.raises(ConfigError, match="environment variable: count: the agent sets"):
        read(count="3")
    assert "count" not in read(count="1").ecs.kwargs or read(count="1").ecs.kwargs["count"] == 1


def test_a_forbidden_kwargs_file_is_not_a_missing_one(world1: World1) -> None:
    """S3 AccessDenied silently ran with defaults."""
    run, records = world1.enqueued(world1.flow())
    world1.aws_faults.refuse("GetObject", "AccessDenied", "Access Denied")

    assert world1.dispatch(records) == []

    assert world1.tasks() == []
    assert world1.state(run) == "Failed"
    assert "cannot be read: AccessDenied" in world1.message(run)


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "503", "RequestTimeout"])
def test_a_kwargs_file_that_s3_cannot_give_now_is_waited_for(world1: World1, code: str) -> None:
    """S3 SlowDown silently ran with defaults."""
    flow = world1.flow()
    world1.put_kwargs(flow, {"memory": "8192"})
    run, records = world1.enqueued(flow)
    world1.aws_faults.refuse("GetObject", code, "Please reduce your request rate.")

    assert world1.dispatch(records) == [run]
    assert world1.tasks() == []
    assert world1.dispatch([redelivered(record) for record in records]) == []

    definition = world1.definition(world1.task_of(run)["taskDefinitionArn"])
    assert definition["memory"] == "8192"


def test_the_servers_agent_configuration_is_applied(
    make_world1: MakeWorld, server: Prefect1Server
) -> None:
    """agent_config was fetched and never applied."""
    config = server.add_agent_config({"env_vars": {"COLOUR": "red"}, "memory": "4096"})
    world = make_world1(prefect={"agent_config_id": config["id"]})
    task = world.launch(world.flow())

    assert world.definition(task["taskDefinitionArn"])["memory"] == "4096"
    assert variables(world.flow_container(task))["COLOUR"] == "red"


def test_an_agent_configuration_that_does_not_exist_is_named(make_world1: MakeWorld) -> None:
    """agent_config was fetched and never applied, so that a wrong id went unseen."""
    world = make_world1(prefect={"agent_config_id": "00000000-0000-4000-8000-000000000000"})

    with pytest.raises(Exception, match=r"prefect\.agent_config_id '0{8}-.*does not exist"):
        world.poll()


# -- security


def test_the_token_is_nowhere_in_plain_text(
    make_cloud_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """The API token was plain text in RunTask's overrides."""
    caplog.set_level("DEBUG", logger="fargate-agent")
    world = make_cloud_world()
    flow = world.flow()
    task = world.launch(flow)
    environment_flow = world.task_environment(EXAMPLE, name="env")
    world.launch(environment_flow)
    world.stopped(task, stoppedReason="gone", containers=[])
    world.put_kwargs(flow, {"memmory": 1})
    failed = world.schedule(flow)
    world.poll()
    world.deliver()
    world.server.fail_next("set_flow_run_states", TRIES, status=500)
    world.schedule(environment_flow)
    world.poll()
    world.deliver()
    world.validate_configuration()
    assert world.state(failed) == "Failed"

    arns = boto3.client("ecs").list_task_definitions()["taskDefinitionArns"]
    everything = {
        "AWS calls": [call for call in world.recorder.calls if call.operation != "GetSecretValue"],
        "tasks": world.tasks(),
        "definitions": [world.definition(arn) for arn in arns],
        "settings": settings.SETTINGS_FILE.read_text(),
        "environments": world.environment,
        "template": world.deployed.template,
        "words to the server": [(c.operation, c.variables) for c in world.server.calls],
        "histories": [world.server.history(run) for run in world.server.runs],
        "run logs": [world.server.logs(run) for run in world.server.runs],
        "function logs": [record.__dict__ for record in caplog.records],
    }
    for place, found in everything.items():
        assert found, place
        assert TOKEN not in str(found), place
    assert SECRET in str(everything["definitions"])


def test_an_agent_variable_that_is_a_secret_is_told_by_reference_only(
    make_world1: MakeWorld,
) -> None:
    """The agent's variables were plain in the definition, and there was no other way."""
    secret = [{"name": "DB_PASSWORD", "valueFrom": SECRET}]
    world = make_world1(
        agent={"env": {"DB_PASSWORD": "plain-canary", "COLOUR": "blue"}},
        ecs={"kwargs": {"containerDefinitions": [{"secrets": secret}]}},
    )
    task = world.launch(world.flow())

    container = world.flow_container(task)
    assert container["secrets"] == secret
    assert variables(container)["COLOUR"] == "blue"
    assert "plain-canary" not in str(world.recorder.calls)


# -- FargateTaskEnvironment

PROXY = {"name": "proxy", "image": "example/proxy:1"}
EXAMPLE: dict[str, Any] = {
    "family": "our-etl",
    "cpu": "512",
    "memory": "2048",
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "tags": [{"key": "team", "value": "data"}, {"key": "cost", "value": "42"}],
    "containerDefinitions": [
        {
            "name": "flow-container",
            "entryPoint": ["tini", "--"],
            "environment": [{"name": "COLOUR", "value": "blue"}],
        }
    ],
}


def _changed(**container: Any) -> dict[str, Any]:
    (first,) = EXAMPLE["containerDefinitions"]
    return {**EXAMPLE, "containerDefinitions": [{**first, **container}]}


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "role": ({**EXAMPLE, "taskRoleArn": OTHER_ROLE}, "taskRoleArn is"),
    "entry point": (
        _changed(entryPoint=["sh"]),
        "container 'flow-container'.entryPoint is another",
    ),
    "extra container": (
        {**EXAMPLE, "containerDefinitions": [*EXAMPLE["containerDefinitions"], PROXY]},
        "container 'proxy' is only here",
    ),
    "tags": ({**EXAMPLE, "tags": [{"key": "team", "value": "ml"}]}, "tags."),
    "a variable": (
        _changed(environment=[{"name": "COLOUR", "value": "red"}]),
        "container 'flow-container'.environment.COLOUR is another",
    ),
}


def _forget_the_hash(world: World1, family: str) -> str:
    """Register a family's latest definition once more, without what is the agent's own."""
    definition = world.params("RegisterTaskDefinition")[-1]
    tags = [tag for tag in definition["tags"] if not tag["key"].startswith("fargate-agent/")]
    answer = boto3.client("ecs").register_task_definition(**{**definition, "tags": tags})
    assert answer["taskDefinition"]["family"] == family
    return str(answer["taskDefinition"]["taskDefinitionArn"])


def test_a_task_environments_definition_is_reused_though_it_has_tags(
    make_world1: MakeWorld,
) -> None:
    """Tags always mismatched on reuse."""
    world = make_world1(ecs={"on_drift": "fail"})
    flow = world.task_environment(EXAMPLE)
    world.launch(flow)
    by_the_legacy_environment = _forget_the_hash(world, "our-etl")
    world.cold_start()

    assert world.launch(flow)["taskDefinitionArn"] == by_the_legacy_environment
    assert len(world.revisions("our-etl")) == 2


def test_a_default_that_ecs_fills_in_is_no_difference(make_world1: MakeWorld) -> None:
    """Tags always mismatched on reuse; so must nothing else."""
    world = make_world1(ecs={"on_drift": "fail"})
    given = {"family", "cpu", "memory", "containerDefinitions"}
    flow = world.task_environment({key: EXAMPLE[key] for key in given})
    world.launch(flow)
    by_the_legacy_environment = _forget_the_hash(world, "our-etl")
    world.cold_start()

    assert world.launch(flow)["taskDefinitionArn"] == by_the_legacy_environment


@pytest.mark.parametrize("change", CHANGED)
def test_each_difference_of_a_task_environment_is_named(
    make_world1: MakeWorld, change: str
) -> None:
    """A changed role, entry point or extra container went unnoticed."""
    world = make_world1(ecs={"on_drift": "fail", "allowed_roles": [OTHER_ROLE]})
    flow = world.task_environment(EXAMPLE)
    world.launch(flow)
    file, words = CHANGED[change]
    world.put_kwargs(flow, file)
    run = world.schedule(flow)
    world.poll()
    assert world.deliver() == []

    assert world.state(run) == "Failed"
    assert words in world.message(run)
    assert len(world.revisions("our-etl")) == 1


@pytest.mark.parametrize("change", CHANGED)
def test_a_changed_task_environment_is_a_new_revision_where_that_is_allowed(
    make_world1: MakeWorld, change: str
) -> None:
    """A changed role, entry point or extra container went unnoticed."""
    world = make_world1(ecs={"allowed_roles": [OTHER_ROLE]})
    flow = world.task_environment(EXAMPLE)
    world.launch(flow)
    file, _ = CHANGED[change]
    world.put_kwargs(flow, file)

    assert world.launch(flow)["taskDefinitionArn"].endswith("our-etl:2")


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "warm"])
def test_a_task_environment_does_not_grow(world1: World1, cold: bool) -> None:
    """Repeated set-up duplicated the environment, from 7 variables to 13."""
    flow = world1.task_environment(EXAMPLE)
    containers = []
    for _ in range(3):
        if cold:
            world1.cold_start()
        containers.append(world1.flow_container(world1.launch(flow)))

    assert containers[0] == containers[1] == containers[2]
    names = [entry["name"] for entry in containers[0]["environment"]]
    assert len(names) == len(set(names)) == 7
    assert len(world1.revisions("our-etl")) == 1


def test_the_failures_of_a_task_environments_run_task_are_told(world1: World1) -> None:
    """Failures of RunTask were ignored."""
    run, records = world1.enqueued(world1.task_environment(EXAMPLE))
    world1.aws_faults.answer("RunTask", no_task("RESOURCE:MEMORY"))
    assert world1.dispatch(records) == [run]

    world1.aws_faults.answer("RunTask", no_task("MISSING"))
    assert world1.dispatch([redelivered(record) for record in records]) == []

    assert world1.state(run) == "Failed"
    assert "MISSING" in world1.message(run)
    assert world1.tasks() == []
