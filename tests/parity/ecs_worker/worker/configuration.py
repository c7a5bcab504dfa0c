"""How the worker makes a job's configuration of a pool's template and job variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.parity.ecs_worker.cases import Given, Json
from tests.parity.ecs_worker.worker.templating import (
    MISSING,
    Refusal,
    filled,
    with_blocks,
    with_variables,
)

TEXTS = (
    *("command", "name", "cloudwatch_logs_prefix", "vpc_id", "container_name", "cluster"),
    *("prefect_api_key_secret_arn", "prefect_api_auth_string_secret_arn", "execution_role_arn"),
)
TABLES = ("task_definition", "task_run_request", "network_configuration")
TABLES_OF_TEXTS = ("labels", "cloudwatch_logs_options")
SWITCHES = ("auto_deregister_task_definition", "match_latest_revision_in_family")

PROFILE = {"PREFECT_SERVER_EPHEMERAL_ENABLED": "True"}
"""What the worker's own profile set on the machine of the recordings."""

Configuration = dict[str, Any]


def configuration(
    given: Given, mend: Callable[[Configuration], Configuration] = lambda made: made
) -> Configuration:
    """Return the configuration that one run is launched by.

    Parameters
    ----------
    mend
        Changes the filled-in template before it is checked.

    Raises
    ------
    Refusal
        The worker cannot make one.
    """
    made = checked(mend(resolved(given)))
    definition = made["task_definition"]
    if made.get("container_name") is None:
        made["container_name"] = flow_container_name(definition)
    _validate(made)
    made["users_env"] = made["env"]
    env = {
        **PROFILE,
        **{name: text for name, text in given.env.items() if _is_a_setting(name)},
        "PREFECT__FLOW_RUN_ID": given.run_id,
        **attribution(given),
        **made["env"],
    }
    made["env"] = {name: text for name, text in env.items() if text is not None}
    if made.get("prefect_api_key_secret_arn") and made["env"].pop("PREFECT_API_KEY", None) is None:
        raise Refusal("a secret for a key that the worker does not have")
    if made.get("prefect_api_auth_string_secret_arn"):
        made["env"].pop("PREFECT_API_AUTH_STRING", None)
    made["labels"] = {**base_labels(given), **made["labels"]}
    made["name"] = _name(made.get("name"), given)
    made["command"] = made.get("command") or "prefect flow-run execute"
    return made


def resolved(given: Given) -> Configuration:
    """Fill the pool's template in."""
    template = dict(given.template["job_configuration"])
    properties = given.template.get("variables", {}).get("properties", {})
    values = {
        name: schema["default"]
        for name, schema in properties.items()
        if schema.get("default") is not None
    }
    if values.get("env"):
        own = template["env"] if isinstance(template.get("env"), dict) else None
        template["env"] = _joined(own, values["env"]) if own is not None else values["env"]
    values |= nested(merged_job_variables(*given.job_variables))
    if isinstance(template.get("env"), dict) and values.get("env"):
        template["env"] = _joined(template["env"], values["env"])
    # One table for all that the worker's process finds in its environment.
    made = filled(template, values, given.env)
    made = with_blocks(made, given.blocks)
    return dict(with_variables(made, given.variables))


def _joined(below: Json, above: Any) -> dict[str, Any]:
    if not isinstance(above, dict):
        raise Refusal("env is no table", "env")
    return {**below, **above}


def merged_job_variables(deployment: Json, flow_run: Json) -> dict[str, Any]:
    """Lay a run's variables over its deployment's: ``env`` by name where it is written whole."""
    made, above = {**deployment}, {**flow_run}
    if isinstance(made.get("env"), dict):
        made["env"] = {**made["env"], **(above.pop("env", None) or {})}
    return {**made, **above}


def nested(variables: Json) -> dict[str, Any]:
    """Expand dotted keys; what is nested already stands above them."""
    made: dict[str, Any] = {}
    for key, value in variables.items():
        if "." in key:
            _put(made, key.replace("[", ".").replace("]", "").split("."), value)
    for key, value in variables.items():
        if "." not in key:
            both = isinstance(made.get(key), dict) and isinstance(value, dict)
            made[key] = _deep(made[key], value) if both else value
    return made


def _put(table: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, name = path
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise Refusal(f"{path}: is no table", path[0])
    table[name] = value


def _deep(below: Json, above: Json) -> dict[str, Any]:
    made = {**below}
    for key, value in above.items():
        both = isinstance(made.get(key), dict) and isinstance(value, dict)
        made[key] = _deep(made[key], value) if both else value
    return made


def checked(made: Configuration) -> Configuration:
    """Check types as the worker's model does, with its defaults."""
    for key in TEXTS:
        _want(made.get(key) is None or isinstance(made[key], str), key)
    for key in (*TABLES, *TABLES_OF_TEXTS):
        _want(isinstance(made.setdefault(key, {}), dict), key)
    for key in TABLES_OF_TEXTS:
        _want(all(isinstance(text, str) for text in made[key].values()), key)
    for key in SWITCHES:
        _want(made.setdefault(key, False) is not None, key)
    _want(isinstance(made.setdefault("env", {}), dict), "env")
    made["env"] = {k: None if v is None else str(v) for k, v in made["env"].items()}
    return made


def _want(holds: bool, key: str) -> None:
    if not holds:
        raise Refusal(f"{key} is of a wrong type", key)


def _validate(made: Configuration) -> None:
    definition, request = made["task_definition"], made["task_run_request"]
    if not definition and not request.get("taskDefinition"):
        raise Refusal("no task definition", "task_definition")
    containers = definition.get("containerDefinitions", [])
    if containers and all(container.get("essential") is False for container in containers):
        raise Refusal("no essential container", "essential")
    roles = (made.get("execution_role_arn"), definition.get("executionRoleArn"))
    if made.get("configure_cloudwatch_logs") and not any((*roles, request.get("taskDefinition"))):
        raise Refusal("no execution role for the logs", "execution_role_arn")
    if made["cloudwatch_logs_options"] and not made.get("configure_cloudwatch_logs"):
        raise Refusal("options of logs that are not configured", "configure_cloudwatch_logs")
    if made["network_configuration"] and not made.get("vpc_id"):
        raise Refusal("a network without its VPC", "vpc_id")


def flow_container_name(definition: Json) -> str | None:
    """Infer which container runs the flow."""
    containers = definition.get("containerDefinitions") or []
    names = [container.get("name") for container in containers]
    return "prefect" if "prefect" in names else next(iter(names), None)


def attribution(given: Given) -> dict[str, str]:
    """Return the variables that tell who launches what."""
    told = {
        "PREFECT__WORKER_ID": given.worker_id,
        "PREFECT__WORKER_NAME": given.worker_name,
        "PREFECT__FLOW_ID": given.flow["id"],
        "PREFECT__FLOW_NAME": given.flow["name"],
        "PREFECT__DEPLOYMENT_ID": (given.deployment or {}).get("id"),
        "PREFECT__DEPLOYMENT_NAME": (given.deployment or {}).get("name"),
    }
    return {name: text for name, text in told.items() if text}


def base_labels(given: Given) -> dict[str, str]:
    """Return the labels of a run, its pool, its flow and its deployment."""
    labels = {
        "flow-run-id": given.run_id,
        "flow-run-name": given.flow_run["name"],
        "version": given.server_version,
        "work-pool-name": given.work_pool["name"],
        "work-pool-id": given.work_pool["id"],
        "worker-name": given.worker_name,
        "flow-id": given.flow["id"],
        "flow-name": given.flow["name"],
    }
    if given.deployment is not None:
        updated = datetime.fromisoformat(given.deployment["updated"])
        labels |= {
            "deployment-id": given.deployment["id"],
            "deployment-name": given.deployment["name"],
            "deployment-updated": updated.astimezone(UTC).isoformat(),
        }
    return {f"prefect.io/{name}": text for name, text in labels.items()}


def _name(template: str | None, given: Given) -> str:
    told: Mapping[str, Any] = {"ctx": {"flow": given.flow, "flow_run": given.flow_run}}
    made = filled(template, told, given.env) if template else None
    return str(given.flow_run["name"] if made in (None, "", MISSING) else made)


def _is_a_setting(name: str) -> bool:
    """Tell whether a variable is one of Prefect's own settings, which the worker passes on."""
    return name.startswith("PREFECT_") and not name.startswith(
        ("PREFECT__", "PREFECT_INTEGRATIONS_")
    )
