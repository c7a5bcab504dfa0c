"""Starts ministack with the two shims it needs: an ECS whose Fargate runs tasks, and IAM in force.

Run by the interpreter of ministack's own virtual environment: ``python local/emulator.py``.

What ministack 1.5.33 lacks without Docker, and what is done about it here:

- RunTask stays RUNNING for ever: the task's containers run as processes (``fargate.py``), and its
  states follow theirs.
- ``clientToken`` is ignored: AWS's rule is in ``client_tokens.py``.
- An unknown cluster is created: it is refused, as by ECS.
- No ECS events: every change of a task's state is put on the default event bus.
- A described task definition has empty texts for what was left out, which ECS leaves out too.
- Times lose their fractions of a second: they keep them.
- CloudFormation refuses alarms on an expression of metrics, and saved queries of logs: the former
  watch the first of their metrics, the latter are named and forgotten. No function's metrics exist
  here for either.
- Everybody may do everything: ``enforced_iam.py`` says who may do what, and ``task_roles.py`` gives
  tasks their roles.

It reaches into private names of that version, which are checked at start.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from ministack import app
from ministack.core.responses import (
    error_response_json,
    get_account_id,
    get_region,
    json_response,
    request_scope,
)
from ministack.services import ecs, eventbridge
from ministack.services.cloudformation import provisioners

from local import enforced_iam, iam_judge, task_roles
from local.client_tokens import ClientTokens, Conflict
from local.fargate import SLOTS, Container, LocalTask

MINISTACK = "1.5.33"
_PRIVATE = {
    ecs: (
        *("_ACTION_MAP", "_clusters", "_task_defs", "_tasks", "_resolve_cluster_name"),
        *("_run_task", "_stop_task", "_resolve_task", "_sanitize", "_get_docker", "_ts_to_epoch"),
        *("_mark_task_pending", "_mark_task_activating", "_mark_task_running"),
        *("_mark_task_stopped", "_resolve_container_secrets", "_SecretResolutionError"),
        *("_awslogs_config", "_ensure_awslogs_stream", "_emit_awslogs_event", "_task_is_active"),
    ),
    eventbridge: ("_put_events",),
    provisioners: ("_RESOURCE_HANDLERS", "_cw_metric_alarm_record", "_physical_name"),
}

tokens = ClientTokens()
running: dict[str, LocalTask] = {}
"""Task ARN to its processes."""

_ecs_run_task, _ecs_stop_task = ecs._run_task, ecs._stop_task
_ecs_register = ecs._ACTION_MAP["RegisterTaskDefinition"]
_alarm_record = provisioners._cw_metric_alarm_record


def register_task_definition(data: dict[str, Any]) -> Any:
    """RegisterTaskDefinition: keep what was given, and no empty texts beside it."""
    response = _ecs_register(data)
    if response[0] == 200:
        made = json.loads(response[2])["taskDefinition"]
        kept = ecs._task_defs[f"{made['family']}:{made['revision']}"]
        for field in [name for name, value in kept.items() if value == ""]:
            del kept[field]
    return response


def run_task(data: dict[str, Any]) -> Any:
    """RunTask: start the task's processes, once for each client token."""
    cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
    if cluster not in ecs._clusters:
        return error_response_json("ClusterNotFoundException", "Cluster not found.", 400)
    refused: list[Any] = []

    def start() -> list[str]:
        response = _ecs_run_task(data)
        if response[0] != 200:
            refused.append(response)
            return []
        return [task["taskArn"] for task in json.loads(response[2])["tasks"]]

    try:
        arns, started = tokens.run(cluster, data, start)
    except Conflict as conflict:
        return error_response_json(
            "ConflictException", str(conflict), 400, {"resourceIds": conflict.task_arns}
        )
    if refused:
        return refused[0]
    tasks = [ecs._tasks[arn] for arn in arns]
    if started:
        for task in tasks:
            _provision(task)
    return json_response({"tasks": [ecs._sanitize(task) for task in tasks], "failures": []})


def _provision(task: dict[str, Any]) -> None:
    task["lastStatus"] = "PROVISIONING"
    task["startedAt"] = task["pullStartedAt"] = task["pullStoppedAt"] = None
    for container in task["containers"]:
        container["lastStatus"] = "PENDING"
    _emit(task)
    threading.Thread(target=_live, args=(task, get_account_id(), get_region()), daemon=True).start()


def _live(task: dict[str, Any], account: str, region: str) -> None:
    """Take a task through its life: PROVISIONING, PENDING, RUNNING, STOPPED."""
    arn = task["taskArn"]
    with request_scope(account, region), SLOTS:
        ecs._mark_task_pending(arn, task)
        _emit(task)
        ecs._mark_task_activating(arn, task)
        try:
            local = running[arn] = LocalTask(_containers(task))
            if not ecs._task_is_active(arn, task):
                return
            local.start()
        except (OSError, ecs._SecretResolutionError) as error:
            _stopped(task, f"ResourceInitializationError: {error}", "TaskFailedToStart", {})
            return
        for container in task["containers"]:
            container["lastStatus"] = "RUNNING"
        ecs._mark_task_running(arn, task)
        _emit(task)
        codes = local.wait()
        running.pop(arn, None)
        if ecs._task_is_active(arn, task):
            reason = "Essential container in task exited"
            _stopped(task, reason, "EssentialContainerExited", codes)
        else:
            _record_exits(task, codes)


def _stopped(task: dict[str, Any], reason: str, code: str, exits: dict[str, int]) -> None:
    _record_exits(task, exits)
    ecs._mark_task_stopped(task["taskArn"], task, reason, code)
    _emit(task)


def _record_exits(task: dict[str, Any], codes: dict[str, int]) -> None:
    for container in task["containers"]:
        container["exitCode"] = codes.get(container["name"])


def _containers(task: dict[str, Any]) -> list[Container]:
    definition = next(
        d for d in ecs._task_defs.values() if d["taskDefinitionArn"] == task["taskDefinitionArn"]
    )
    overrides = {c["name"]: c for c in task["overrides"].get("containerOverrides", [])}
    roles = {**definition, **{k: v for k, v in task["overrides"].items() if v}}
    given = _from_ecs(task, roles.get("taskRoleArn"))
    made = []
    for defined in definition["containerDefinitions"]:
        task_roles.check_execution(roles.get("executionRoleArn"), task["taskArn"], defined)
        override = overrides.get(defined["name"], {})
        made.append(
            Container(
                name=defined["name"],
                command=override.get("command") or defined.get("command") or [],
                environment={
                    **given,
                    **_pairs(defined.get("environment", [])),
                    **ecs._resolve_container_secrets(defined),
                    **_pairs(override.get("environment", [])),
                },
                essential=defined.get("essential", True),
                log=_logger(defined, task),
            )
        )
    return made


def _pairs(environment: list[dict[str, str]]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in environment}


def _from_ecs(task: dict[str, Any], role: str | None) -> dict[str, str]:
    """Return what ECS itself puts into a container, where to find this AWS, and its role's keys."""
    region = get_region()
    return {
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        **task_roles.keys(role, task["taskArn"]),
    }


def _logger(defined: dict[str, Any], task: dict[str, Any]) -> Any:
    task_id = task["taskArn"].rpartition("/")[2]
    config = ecs._awslogs_config(defined, task_id, task_id)
    account, region = get_account_id(), get_region()

    def log(line: str) -> None:
        with request_scope(account, region):
            if config and ecs._ensure_awslogs_stream(config):
                ecs._emit_awslogs_event(config, line)

    return log


def stop_task(data: dict[str, Any]) -> Any:
    """StopTask: end the processes too."""
    response = _ecs_stop_task(data)
    if response[0] == 200:
        arn = json.loads(response[2])["task"]["taskArn"]
        _emit(ecs._tasks[arn])
        local = running.get(arn)
        if local:
            threading.Thread(target=local.stop, daemon=True).start()
    return response


def _emit(task: dict[str, Any]) -> None:
    """Put the event that ECS sends when a task changes its state."""
    detail = {**ecs._sanitize(task), "updatedAt": datetime.now().astimezone().isoformat()}
    eventbridge._put_events(
        {
            "Entries": [
                {
                    "Source": "aws.ecs",
                    "DetailType": "ECS Task State Change",
                    "Detail": json.dumps(detail),
                    "Resources": [task["taskArn"]],
                }
            ]
        },
        allow_aws_source=True,
    )


def alarm_record(name: str, props: dict[str, Any]) -> Any:
    """Make an alarm; one of an expression watches the first metric in it."""
    metrics = props.get("Metrics", [])
    first = next((metric["MetricStat"] for metric in metrics if "MetricStat" in metric), None)
    if first is None:
        return _alarm_record(name, props)
    kept = {key: value for key, value in props.items() if key != "Metrics"}
    watched = {"Period": first["Period"], "Statistic": first["Stat"]}
    return _alarm_record(name, {**kept, **first["Metric"], **watched})


def _name_query(logical_id: str, _: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
    return provisioners._physical_name(stack_name, logical_id), {}


def _epoch(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()


def _check() -> None:
    """Refuse to start where the private names may mean something else."""
    found = version("ministack")
    if found != MINISTACK:
        sys.exit(f"local/emulator.py is written for ministack {MINISTACK}, not {found}")
    for module, names in [
        *_PRIVATE.items(),
        *enforced_iam.PRIVATE.items(),
        *iam_judge.PRIVATE.items(),
    ]:
        for name in names:
            if not hasattr(module, name):
                sys.exit(f"ministack {found} has no {module.__name__}.{name}")


def _end() -> None:
    for task in list(running.values()):
        task.kill()


def main() -> None:
    """Start the emulator; the environment says where (``GATEWAY_PORT``, ``BIND_HOST``)."""
    _check()
    ecs._get_docker = lambda: None
    ecs._ts_to_epoch = _epoch
    ecs._ACTION_MAP["RegisterTaskDefinition"] = register_task_definition
    ecs._ACTION_MAP["RunTask"] = run_task
    ecs._ACTION_MAP["StopTask"] = stop_task
    provisioners._cw_metric_alarm_record = alarm_record
    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
        "create": _name_query,
        "update": lambda physical_id, *_: (physical_id, {}),
        "delete": lambda *_: None,
    }
    enforced_iam.enforce()
    atexit.register(_end)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app.main()


if __name__ == "__main__":
    main()
