"""The legacy ``FargateAgent``'s own task: one container that runs the flow. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slugify import slugify

from fargate_agent.drift import OWN_TAGS
from fargate_agent.kwargs import Kwargs, merged
from fargate_agent.placement import place
from fargate_agent.profiles.prefect1_credentials import credentials, with_credentials
from fargate_agent.profiles.prefect1_flow import command, image
from fargate_agent.profiles.prefect1_kwargs import FLOW, RunConfig, overrides
from fargate_agent.runs import FlowRun, Launch, RevisionTerms
from fargate_agent.settings import Settings
from fargate_agent.task_definitions import FLOW_ID_TAG, FLOW_VERSION_TAG

LOGGING_LEVEL = "PREFECT__LOGGING__LEVEL"

WHOLE_FLOW_ID_TAG = f"{OWN_TAGS}flow-id"
"""Two flows may share the eight characters that the family or the legacy tag holds."""


def render_flow_run(
    run: FlowRun,
    details: dict[str, Any],
    settings: Settings,
    *,
    agent: Kwargs,
    config: RunConfig,
    file: Kwargs,
    tenant: str | None,
) -> Launch:
    """Render a run in the agent's own container.

    Parameters
    ----------
    details
        The run as the server describes it.
    agent, config, file
        The kwargs of ``[ecs.kwargs]``, of the run config, of the flow's file in S3.
    tenant
        The tenant of the API key, which newer flows must name beside it; None for a token.

    Raises
    ------
    PermanentError
        The flow leaves open which image to run.
    """
    if (details["flow"].get("storage") or {}).get("type") == "Docker":
        config = replace(config, definition_arn=None)  # it would run another image than the flow's
    kwargs = merged(agent, config.kwargs, file)
    default = merged(agent, config.kwargs).container.get("image")
    named = file.container.get("image") or image(details, default)
    own_command = command(details["flow"].get("core_version"))
    container = _container(settings, named, own_command, kwargs.container, tenant)
    definition, owner = _definition(run, details, settings, kwargs)
    definition["containerDefinitions"] = [container, *config.sidecars]
    definition, request = place(definition, kwargs.request, settings.launch_type)
    told = {"PREFECT__CONTEXT__FLOW_RUN_ID": run.id, "PREFECT__CONTEXT__FLOW_ID": run.flow_id}
    request["overrides"] = overrides(
        run,
        container["name"],
        told,
        agent=agent,
        config=replace(config, env=_environment_of(config, settings, tenant)),
        file=file,
        secrets=frozenset(entry["name"] for entry in container.get("secrets", [])),
        reserved=_static_variables(settings, tenant).keys() - {LOGGING_LEVEL},
    )
    if config.definition_arn:  # which knows nothing of this agent
        request["overrides"]["containerOverrides"][0].setdefault("command", own_command)
    return Launch(
        definition=definition,
        request=request,
        definition_arn=config.definition_arn,
        revision=RevisionTerms(owner=owner, credentials=credentials(settings, tenant)),
    )


def _definition(
    run: FlowRun, details: Mapping[str, Any], settings: Settings, kwargs: Kwargs
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the definition without its containers, and the tags that tell whose it is."""
    tags = kwargs.definition.get("tags") or []
    family = f"prefect-task-{run.flow_id[:8]}"
    owner = {WHOLE_FLOW_ID_TAG: run.flow_id}
    if settings.enable_task_revisions:
        family = slugify(run.flow_name) or family
        version = str(details["flow"]["version"])
        tags = _tagged(tags, {FLOW_ID_TAG: run.flow_id[:8], FLOW_VERSION_TAG: version})
        owner |= {FLOW_ID_TAG: run.flow_id[:8]}
    definition = {**kwargs.definition}
    if tags:
        definition["tags"] = tags
    definition.setdefault("family", family[:255])
    return definition, owner


def _container(
    settings: Settings,
    image: str,
    own_command: list[str],
    users: Mapping[str, Any],
    tenant: str | None,
) -> dict[str, Any]:
    """Merge the users' fields into the agent's container; the agent's variables stand first."""
    base = _variables(settings, tenant)
    names = {entry["name"] for entry in base}
    others = [e for e in users.get("environment", []) if e["name"] not in names]
    secrets = with_credentials(users.get("secrets", []), settings, tenant)
    taken = {entry["name"] for entry in secrets}
    fields = {key: value for key, value in users.items() if value not in (None, [], {})}
    return {
        "name": FLOW,
        "command": own_command,
        "essential": True,
        **fields,
        "image": image,
        "environment": [entry for entry in [*base, *others] if entry["name"] not in taken],
        **({"secrets": secrets} if secrets else {}),
    }


def _environment_of(config: RunConfig, settings: Settings, tenant: str | None) -> dict[str, str]:
    """Return a run config's variables, but for those by which a flow finds its server.

    A definition that the run names itself knows nothing of this agent, so it is told all.
    """
    static = _static_variables(settings, tenant)
    asked = {k: v for k, v in config.env.items() if k == LOGGING_LEVEL or k not in static}
    return {**static, **settings.agent_env, **asked} if config.definition_arn else asked


def _variables(settings: Settings, tenant: str | None) -> list[dict[str, str]]:
    """Return the variables that no container definition replaces, in the legacy agent's order."""
    pairs = [*_static_variables(settings, tenant).items(), *settings.agent_env.items()]
    return [{"name": name, "value": value} for name, value in pairs]


def _static_variables(settings: Settings, tenant: str | None) -> dict[str, str]:
    logs = str(settings.send_logs).lower()
    return {
        "PREFECT__BACKEND": settings.backend,
        "PREFECT__CLOUD__API": settings.api_url,
        "PREFECT__CLOUD__AGENT__LABELS": str(list(settings.agent_labels)),
        "PREFECT__CLOUD__USE_LOCAL_SECRETS": "false",
        "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": logs,
        LOGGING_LEVEL: settings.logging_level,
        "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudFlowRunner",
        "PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudTaskRunner",
        "PREFECT__LOGGING__LOG_TO_CLOUD": logs,
        **({"PREFECT__CLOUD__TENANT_ID": tenant} if tenant else {}),
    }


def _tagged(tags: list[dict[str, str]], ours: dict[str, str]) -> list[dict[str, str]]:
    """Put our tags among the users', in place of those of the same keys."""
    kept = [{**tag, "value": ours.get(tag["key"], tag["value"])} for tag in tags]
    given = {tag["key"] for tag in tags}
    return [*kept, *({"key": k, "value": v} for k, v in ours.items() if k not in given)]
