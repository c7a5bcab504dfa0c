"""What the legacy agent calls on its first run of a flow, by the rules that the recordings show.

Needed where it stopped early, or reused a revision, and the product goes on: then its own recorded
call is missing. ``test_legacy_agent.py`` checks it against every call that was recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from posixpath import join
from typing import Any, NamedTuple

from slugify import slugify

from tests.parity.cases import Case
from tests.parity.ecs_model import literal, structure

DEFINITION = (
    *("taskRoleArn", "executionRoleArn", "networkMode", "volumes", "placementConstraints"),
    *("cpu", "memory", "tags", "pidMode", "ipcMode", "proxyConfiguration", "inferenceAccelerators"),
)
REQUEST = (
    *("cluster", "count", "startedBy", "group", "placementConstraints", "placementStrategy"),
    *("platformVersion", "networkConfiguration", "tags", "enableECSManagedTags", "propagateTags"),
)
CONTAINER = ("mountPoints", "secrets", "environment", "logConfiguration", "repositoryCredentials")

ENVIRONMENT_DEFINITION = (*DEFINITION, "family", "containerDefinitions", "requiresCompatibilities")
ENVIRONMENT_REQUEST = (*REQUEST, "taskDefinition")

RUNNERS = {
    "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudFlowRunner",
    "PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudTaskRunner",
}
LOAD_AND_RUN = "python -c 'import prefect; prefect.environments.execution.load_and_run_flow()'"


class Calls(NamedTuple):
    """The parameters of each call; ``key`` is of the S3 object, None where none is read."""

    key: tuple[str, str] | None
    describe: dict[str, Any]
    register: dict[str, Any]
    run: dict[str, Any]


def first_calls(case: Case, run: Mapping[str, Any]) -> Calls:
    """Return the calls for one flow run of a case, where nothing is in the way."""
    return _environment(case, run) if case.is_environment else _agent(case, run)


def _agent(case: Case, run: Mapping[str, Any]) -> Calls:
    flow = run["flow"]
    definition, request, container = _split(case.kwargs)
    _fall_back(definition, request, container, case.env)
    key = external_key(case, run)
    if key:
        found = object_of(case, key)
        for group, more in zip((definition, request, container), _split(found), strict=True):
            group.update(more)
    family = f"prefect-task-{flow['id'][:8]}"
    if case.revisions:
        family = slugify(flow["name"])
        tags = definition.get("tags")
        definition["tags"] = _with_flow_tags(tags if isinstance(tags, list) else [], flow)
    base = static_variables(case)
    names = {entry["name"] for entry in base}
    users = [e for e in container.get("environment") or [] if e.get("name") not in names]
    fields = {k: container[k] for k in CONTAINER if k != "environment" and container.get(k)}
    flow_container = {
        "name": "flow",
        "image": image(run),
        "command": ["/bin/sh", "-c", f"prefect execute {_command(flow.get('core_version'))}"],
        "environment": [*base, *users],
        "essential": True,
        **fields,
    }
    register = {"family": family, "networkMode": "awsvpc", **definition}
    register["containerDefinitions"] = [flow_container]
    told = {
        "PREFECT__CLOUD__AUTH_TOKEN": case.config.token,
        "PREFECT__CONTEXT__FLOW_RUN_ID": run["id"],
        "PREFECT__CONTEXT__FLOW_ID": flow["id"],
    }
    start = {"taskDefinition": family, "overrides": _overrides("flow", told), **request}
    if case.launch_type:
        register["requiresCompatibilities"] = [case.launch_type]
        start["launchType"] = case.launch_type
    return Calls(key, {"taskDefinition": family, "include": ["TAGS"]}, register, start)


def external_key(case: Case, run: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name the bucket and key of a flow's kwargs file, None where none is read."""
    options = case.options
    if not options.get("use_external_kwargs"):
        return None
    name = f"{run['flow']['id'][:8]}.json"
    prefix = options.get("external_kwargs_s3_key") or ""
    return options.get("external_kwargs_s3_bucket") or "", join(
        prefix, slugify(run["flow"]["name"]), name
    )


def object_of(case: Case, key: tuple[str, str]) -> dict[str, Any]:
    """Return what a kwargs file says; nothing where it is missing, or cannot be read as one."""
    fault = case.fault("GetObject")
    content = (case.input.get("s3_objects") or {}).get("/".join(key), "{}")
    if not isinstance(content, str) or fault:
        return {}
    try:
        held = json.loads(content.removeprefix("\ufeff"))
    except ValueError:
        return {}
    return held if isinstance(held, dict) else {}


def _split(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    definition = {
        k: kwargs[k] if k in ("cpu", "memory") else literal(kwargs[k])
        for k in DEFINITION
        if k in kwargs
    }
    for size in ("cpu", "memory"):
        if isinstance(definition.get(size), int):
            definition[size] = str(definition[size])
    request = {k: literal(kwargs[k]) for k in REQUEST if k in kwargs}
    containers = literal(kwargs.get("containerDefinitions", [{}]))
    first = containers[0] if isinstance(containers, list) and containers else {}
    held = first if isinstance(first, dict) else {}
    return definition, request, {k: literal(held[k]) for k in CONTAINER if k in held}


def _fall_back(
    definition: dict[str, Any],
    request: dict[str, Any],
    container: dict[str, Any],
    env: Mapping[str, str],
) -> None:
    groups = (("", DEFINITION, definition), ("", REQUEST, request))
    for prefix, keys, group in (*groups, ("containerDefinitions_", CONTAINER, container)):
        for key in keys:
            text = env.get(f"{prefix}{key}")
            if text and not group.get(key):
                group[key] = text if key in ("cpu", "memory") else literal(text)


def _with_flow_tags(tags: list[dict[str, str]], flow: Mapping[str, Any]) -> list[dict[str, str]]:
    ours = {"PrefectFlowId": flow["id"][:8], "PrefectFlowVersion": str(flow["version"])}
    kept = [{**tag, "value": ours.get(tag["key"], tag["value"])} for tag in tags]
    given = {tag["key"] for tag in tags}
    return [*kept, *({"key": k, "value": v} for k, v in ours.items() if k not in given)]


def static_variables(case: Case) -> list[dict[str, str]]:
    """Return the variables that no container definition replaces, the agent's own last."""
    config, options = case.config, case.options
    silent = options.get("no_cloud_logs")
    logs = str(config.send_logs if silent is None else not silent).lower()
    static = {
        "PREFECT__BACKEND": config.backend,
        "PREFECT__CLOUD__API": config.api,
        "PREFECT__CLOUD__AGENT__LABELS": str(options.get("labels") or config.labels),
        "PREFECT__CLOUD__USE_LOCAL_SECRETS": "false",
        "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": logs,
        "PREFECT__LOGGING__LEVEL": config.level,
        **RUNNERS,
        "PREFECT__LOGGING__LOG_TO_CLOUD": logs,
    }
    more = options.get("env_vars") or config.env_vars
    return [{"name": k, "value": v} for k, v in (*static.items(), *more.items())]


def image(run: Mapping[str, Any]) -> str | None:
    """Return the image of a flow run, None where there is none."""
    flow, config = run["flow"], run.get("run_config")
    environment = flow.get("environment")
    if config is None and environment is not None:
        metadata = environment.get("metadata") or {}
        return metadata["image"] if "image" in metadata else docker_image(flow)
    version = (flow.get("core_version") or "latest").split("+")[0]
    asked = (config or {}).get("image")
    default = f"prefecthq/prefect:{version}" if asked is None else asked
    return docker_image(flow) or default


def docker_image(flow: Mapping[str, Any]) -> str | None:
    """Return the image that holds a flow, None where it is stored elsewhere."""
    storage = flow.get("storage") or {}
    if storage.get("type") != "Docker" or not storage.get("image_name"):
        return None
    path = PurePosixPath(storage.get("registry_url") or "", storage["image_name"])
    return f"{path}:{storage.get('image_tag')}"


def _command(core_version: str | None) -> str:
    found = re.match(r"\d+(\.\d+)*", core_version or "0.0.0")
    old = found is not None and [int(n) for n in found[0].split(".")] < [0, 13, 0]
    return "cloud-flow" if old else "flow-run"


def _overrides(container: str, told: Mapping[str, str]) -> dict[str, Any]:
    environment = [{"name": name, "value": value} for name, value in told.items()]
    return {"containerOverrides": [{"name": container, "environment": environment}]}


def _environment(case: Case, run: Mapping[str, Any]) -> Calls:
    kwargs = case.kwargs
    variables = {
        "PREFECT__CLOUD__GRAPHQL": f"{case.config.api}/graphql",
        "PREFECT__CLOUD__USE_LOCAL_SECRETS": "false",
        **RUNNERS,
        "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": "true",
        "PREFECT__LOGGING__EXTRA_LOGGERS": str(case.config.extra_loggers),
    }
    ours = [{"name": name, "value": value} for name, value in variables.items()]
    containers = kwargs.get("containerDefinitions") or [{}]
    containers = structure(containers)
    made = [{**c, "environment": [*(c.get("environment") or []), *ours]} for c in containers]
    metadata = run["flow"]["environment"]["metadata"]
    named = metadata.get("image") or docker_image(run["flow"])
    made[0] |= {
        "name": "flow-container",
        "image": named,
        "command": ["/bin/sh", "-c", LOAD_AND_RUN],
    }
    register = {k: kwargs[k] for k in ENVIRONMENT_DEFINITION if k in kwargs}
    register["containerDefinitions"] = made
    told = {
        "PREFECT__CLOUD__AUTH_TOKEN": case.config.token,
        "PREFECT__CONTEXT__FLOW_RUN_ID": run["id"],
        "PREFECT__CONTEXT__IMAGE": named,
    }
    start = {
        "overrides": _overrides("flow-container", told),
        "launchType": case.launch_type,
        **{k: kwargs[k] for k in ENVIRONMENT_REQUEST if k in kwargs},
    }
    return Calls(None, {"taskDefinition": kwargs.get("family")}, register, start)
