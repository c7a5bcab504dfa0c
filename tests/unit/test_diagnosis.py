"""From a stopped task to cause, remedy, and whether another task may do better.

The reasons are AWS's own words, as its documents and the bug reports of its users quote them.
"""

from typing import Any

import pytest

from fargate_agent.diagnosis import Cause, Verdict, diagnose
from tests.support.values import TASK_ARN, claimed_overrides, stopped_task

START = f"The ECS task {TASK_ARN} stopped before the run finished: "


def verdict(
    reason: str | None = None,
    code: str | None = None,
    containers: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Verdict:
    given = [{"name": "prefect"}] if containers is None else containers
    coded = {"stopCode": code} if code else {}
    return diagnose(stopped_task(stoppedReason=reason, containers=given, **coded, **changes))


def exited(name: str = "prefect", code: int | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, **({} if code is None else {"exitCode": code}), **more}


# -- by what ECS says ------------------------------------------------------------------------------

SECRETS = "ResourceInitializationError: unable to pull secrets or registry auth: "
RETRIEVAL = f"{SECRETS}execution resource retrieval failed: "
LOGGER = "ResourceInitializationError: failed to validate logger args: "
PULL = "CannotPullContainerError: pull image manifest has been retried 5 time(s): "
CREATE = "CannotStartContainerError: ResourceInitializationError: failed to create new container "
ENI = "Unexpected EC2 error while attempting to Create Network Interface in subnet 'subnet-1': "

PASSING = [
    (Cause.SPOT, "SpotInterruption", "Your Spot Task was interrupted."),
    (Cause.SPOT, None, "Your Spot Task was interrupted."),
    (Cause.HOST, "TerminationNotice", "Task terminated"),
    (Cause.HOST, None, "Host EC2 (instance i-0123456789abcdef0) terminated."),
    (Cause.HOST, None, "Host EC2 (instance i-0123456789abcdef0) stopped/terminated."),
    (
        Cause.HOST,
        None,
        "ECS is performing maintenance on the underlying infrastructure hosting the task.",
    ),
    (Cause.HOST, "InfrastructureHealth", "The infrastructure is impaired"),
    (Cause.HOST, None, "Container instance deregistration forced by user"),
    (
        Cause.CAPACITY,
        "TaskFailedToStart",
        "Capacity is unavailable at this time. Please try again later or in a different "
        "availability zone",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        "Timeout waiting for network interface provisioning to complete.",
    ),
    (Cause.RESOURCES, "TaskFailedToStart", f"{ENI}InsufficientFreeAddressesInSubnet"),
    (Cause.RESOURCES, "TaskFailedToStart", f"{ENI}RequestLimitExceeded"),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{RETRIEVAL}unable to retrieve secrets from ssm: service call has been retried 5 "
        "time(s): RequestCanceled: request context canceled caused by: context deadline exceeded",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{RETRIEVAL}unable to retrieve ecr registry auth: service call has been retried 3 "
        'time(s): RequestError: send request failed caused by: Post "https://api.ecr.us-east-2.'
        'amazonaws.com/": dial tcp 10.0.0.1:443: i/o timeout. Please check your task network '
        "configuration.",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{RETRIEVAL}unable to retrieve secret from asm: service call has been retried 5 time(s): "
        "ThrottlingException: Rate exceeded",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{LOGGER}create stream has been retried 1 times: failed to create Cloudwatch log group: "
        "OperationAbortedException: A conflicting operation is currently in progress against this "
        "resource. Please try again.: exit status 1",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{LOGGER}create stream has been retried 1 times: failed to create Cloudwatch log group: "
        "ThrottlingException: Rate exceeded: exit status 1",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        "CannotPullContainerError: inspect image has been retried 5 time(s): httpReaderSeeker: "
        "failed open: unexpected status code https://registry-1.docker.io/v2/manifests/sha256:2bb "
        "Too Many Requests - Server message: toomanyrequests: You have reached your pull rate "
        "limit.",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        "CannotPullContainerError: Error response from daemon: Get https://registry-1.docker.io/"
        "v2/: net/http: request canceled while waiting for connection (Client.Timeout exceeded "
        "while awaiting headers)",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        f"{PULL}failed to resolve ref docker.io/library/etl:1: failed to do request: Head "
        '"https://registry-1.docker.io/v2/library/etl/manifests/1": dial tcp 10.0.0.1:443: i/o '
        "timeout",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        f"{PULL}failed to copy: httpReadSeeker: failed open: unexpected status code "
        "https://ecr/v2/etl/blobs/sha256:ab: 503 Service Unavailable",
    ),
    (Cause.IMAGE, "TaskFailedToStart", f"{PULL}net/http: TLS handshake timeout"),
    (Cause.IMAGE, "TaskFailedToStart", f"{PULL}failed to copy: unexpected EOF"),
    (
        Cause.START,
        "TaskFailedToStart",
        "ContainerRuntimeTimeoutError: Could not transition to running; timed out after waiting "
        "3m0s",
    ),
    (Cause.START, "TaskFailedToStart", "Task failed to start"),
    (
        Cause.START,
        "TaskFailedToStart",
        f"{CREATE}runtime task: failed to create shim task: context deadline exceeded: unknown",
    ),
]

STAYING = [
    (Cause.USER, "UserInitiated", "Task stopped by user"),
    (Cause.USER, "UserInitiated", "nightly clean-up"),
    (Cause.USER, None, "Task stopped by user"),
    (Cause.MEMORY, "EssentialContainerExited", "OutOfMemoryError: Container killed due to memory"),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        f"{PULL}failed to resolve ref 123456789012.dkr.ecr.eu-west-1.amazonaws.com/etl:9: not "
        "found",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        f"{PULL}failed to resolve ref 123456503012.dkr.ecr.eu-west-1.amazonaws.com/etl:9: not "
        "found",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        f"{PULL}failed to resolve ref docker.io/team/timeout-checks:1: pull access denied, "
        "repository does not exist or may require authorization",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        "CannotPullContainerError: ref pull has been retried 1 time(s): failed to resolve "
        "reference: unexpected status code 403 Forbidden",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        f"{PULL}image Manifest does not contain descriptor matching platform 'linux/arm64'",
    ),
    (
        Cause.IMAGE,
        "TaskFailedToStart",
        "CannotPullContainerError: failed to register layer: no space left on device",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{RETRIEVAL}unable to retrieve secret from asm: service call has been retried 1 time(s): "
        "failed to fetch secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf "
        "from secrets manager: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role"
        "/execution is not authorized to perform: secretsmanager:GetSecretValue",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{RETRIEVAL}unable to retrieve secret from asm: service call has been retried 1 time(s): "
        "ResourceNotFoundException: Secrets Manager can't find the specified secret.",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{RETRIEVAL}invalid ssm parameters: /team/token",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{RETRIEVAL}unable to retrieve secret from asm: retrieved secret from Secrets Manager did "
        "not contain json key password",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        f"{LOGGER}create stream has been retried 1 times: failed to create Cloudwatch log stream: "
        "ResourceNotFoundException: The specified log group does not exist.: exit status 1",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: "
        "stderr: mount.nfs4: access denied by server while mounting 127.0.0.1:/: unsuccessful EFS "
        "utils command execution; code: 32",
    ),
    (
        Cause.RESOURCES,
        "TaskFailedToStart",
        "ResourceInitializationError: failed to download env files: file download command: non "
        "empty error stream: service call has been retried 1 time(s): NoSuchKey: The specified key "
        "does not exist.",
    ),
    (Cause.RESOURCES, "TaskFailedToStart", f"{ENI}InvalidSubnetID.NotFound"),
    (
        Cause.START,
        "TaskFailedToStart",
        f"{CREATE}runtime task: failed to create shim task: OCI runtime create failed: runc create "
        'failed: unable to start container process: exec: "prefect": executable file not found in '
        "$PATH: unknown",
    ),
    (
        Cause.START,
        "TaskFailedToStart",
        f"{CREATE}runtime task: OCI runtime create failed: container_linux.go:370: starting "
        'container process caused: exec: "/run.sh": stat /run.sh: no such file or directory',
    ),
    (
        Cause.START,
        None,
        'CannotStartContainerError: API error (400): exec: "/run.sh": permission denied',
    ),
    (
        Cause.START,
        "TaskFailedToStart",
        "CannotCreateContainerError: API error (400): No command specified",
    ),
    (
        Cause.START,
        "TaskFailedToStart",
        "ECS was unable to assume the role 'arn:aws:iam::123456789012:role/task' that was provided "
        "for this task. Please verify that the role being passed has the proper trust relationship",
    ),
]


@pytest.mark.parametrize("where", ["task", "container"])
@pytest.mark.parametrize(("cause", "code", "reason"), PASSING)
def test_what_passes_is_worth_another_task(cause: Cause, code: str, reason: str, where: str):
    found = _told(code, reason, where)

    assert (found.cause, found.passes) == (cause, True)
    assert reason in found.text


@pytest.mark.parametrize("where", ["task", "container"])
@pytest.mark.parametrize(("cause", "code", "reason"), STAYING)
def test_what_stays_is_worth_no_other_task(cause: Cause, code: str, reason: str, where: str):
    found = _told(code, reason, where)

    assert (found.cause, found.passes) == (cause, False)
    assert reason in found.text


def _told(code: str | None, reason: str, where: str) -> Verdict:
    if where == "task":
        return verdict(reason, code)
    return verdict("Task failed to start", code, [{"name": "prefect", "reason": reason}])


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        ("SpotInterruption", "Your Spot Task was interrupted.", "launch type FARGATE."),
        ("TaskFailedToStart", f"{PULL}not found", "Check the image's name and tag, the execution"),
        ("TaskFailedToStart", f"{RETRIEVAL}AccessDenied", "Check that the execution role may read"),
        ("TaskFailedToStart", f"{CREATE}exec format", "Check the container's command, the image's"),
        ("TaskFailedToStart", "Capacity is unavailable", "name subnets in more availability zones"),
        ("UserInitiated", "Task stopped by user", "Retry the run if that was not meant."),
        (None, "OutOfMemoryError: killed", "Give the flow more memory, in its deployment or its"),
    ],
)
def test_each_cause_comes_with_its_remedy(code: str | None, reason: str, remedy: str):
    text = verdict(reason, code).text

    assert text.startswith(f"{START}{reason}. ")
    assert remedy in text


# -- by the exits of containers --------------------------------------------------------------------


def test_an_exit_code_is_told_with_its_container():
    found = diagnose(stopped_task())

    assert found == Verdict(
        Cause.EXIT,
        f"{START}Essential container in task exited; container 'prefect' exited with code 1. "
        "Read the container's log for what it said last.",
        passes=False,
    )


def test_every_container_that_failed_is_named_and_none_that_did_not():
    containers = [exited(code=2), exited("proxy", 0), exited("logs", 3), exited("never-started")]

    assert verdict(containers=containers).text.startswith(
        f"{START}container 'prefect' exited with code 2; container 'logs' exited with code 3. "
    )


def test_the_tasks_reason_and_the_containers_are_both_told():
    containers = [exited(reason="CannotPullContainerError: no such tag")]

    assert verdict("Task failed to start", containers=containers).text.startswith(
        f"{START}Task failed to start CannotPullContainerError: no such tag. Check the image's"
    )


def test_a_kill_without_a_reason_is_put_down_to_memory():
    found = verdict("Essential container in task exited", containers=[exited(code=137)])

    assert found == Verdict(
        Cause.EXIT,
        f"{START}Essential container in task exited; container 'prefect' exited with code 137. "
        "Code 137 is a kill, most often for want of memory: give the flow more of it.",
        passes=False,
    )


@pytest.mark.parametrize("code", [None, "EssentialContainerExited"])
def test_a_known_reason_explains_a_kill_better_than_its_code(code: str | None):
    killed = exited(code=137, reason="OutOfMemoryError: Container killed due to memory usage")

    found = verdict("Essential container in task exited", code, [killed])

    assert (found.cause, found.passes) == (Cause.MEMORY, False)
    assert found.text.endswith(
        "Give the flow more memory, in its deployment or its S3 kwargs file."
    )


@pytest.mark.parametrize("own", [143, 137, None])
@pytest.mark.parametrize("sidecars", [1, 2, 255])
def test_a_sidecar_that_ended_takes_the_flow_with_it(own: int | None, sidecars: int):
    found = verdict(
        "Essential container in task exited",
        "EssentialContainerExited",
        [exited(code=own), exited("proxy", sidecars)],
        overrides=claimed_overrides("claim-1"),
    )

    assert (found.cause, found.passes) == (Cause.SIDECAR, False)
    assert f"container 'proxy' exited with code {sidecars}" in found.text
    assert '"essential": false' in found.text


@pytest.mark.parametrize("own", [143, None])
def test_an_essential_sidecar_may_end_in_peace_and_still_take_the_flow_with_it(own: int | None):
    containers = [exited(code=own), exited("proxy", 0)]

    found = verdict(containers=containers, overrides=claimed_overrides("claim-1"))

    assert found.cause is Cause.SIDECAR


@pytest.mark.parametrize("sidecars", [None, 0, 1, 137, 143])
def test_a_flow_that_failed_by_itself_is_no_sidecars_fault(sidecars: int | None):
    found = verdict(
        containers=[exited("proxy", sidecars), exited(code=1)],
        overrides=claimed_overrides("claim-1"),
    )

    assert found.cause is Cause.EXIT


@pytest.mark.parametrize("sidecars", [137, 143, None])
def test_a_flow_that_was_killed_with_its_sidecars_is_not_their_victim(sidecars: int | None):
    found = verdict(
        containers=[exited(code=137), exited("proxy", sidecars)],
        overrides=claimed_overrides("claim-1"),
    )

    assert found.cause is Cause.EXIT
    assert "Code 137 is a kill" in found.text


def test_of_containers_of_which_none_is_known_to_run_the_flow_no_one_is_a_sidecar():
    found = verdict(containers=[exited("a", 143), exited("b", 3)])

    assert found.cause is Cause.EXIT
    assert "container 'b' exited with code 3" in found.text


def test_a_container_that_ended_in_peace_told_no_end():
    found = verdict("Essential container in task exited", containers=[exited(code=0)])

    assert (found.cause, found.passes) == (Cause.SILENCE, False)
    assert "check that its command runs the flow" in found.text


@pytest.mark.parametrize("reason", [None, ""])
def test_a_stop_without_any_reason_is_told_as_such(reason: str | None):
    found = verdict(reason, containers=[])

    assert found == Verdict(
        Cause.UNKNOWN,
        f"{START}ECS gave no reason. Look the task up in ECS's console, and retry the run.",
        passes=False,
    )


def test_a_task_without_containers_is_diagnosed():
    detail = stopped_task(stoppedReason="ECS does not know it any more")
    del detail["containers"]

    assert diagnose(detail).cause is Cause.UNKNOWN


@pytest.mark.parametrize("code", ["SpotInterruption", "TerminationNotice", "InfrastructureHealth"])
def test_a_flow_that_ecs_killed_with_its_host_is_not_told_to_want_memory(code: str):
    found = verdict("", code, [exited(code=137)])

    assert found.passes
    assert "memory" not in found.text
