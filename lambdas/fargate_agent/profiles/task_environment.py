"""The task of a Prefect 1 ``FargateTaskEnvironment``: its containers, one of which runs the flow.

The legacy agent started a container only to start this task from it; here it is started at once.
Its parameters were never sent to the server, so they stand in the flow's kwargs file. Pure.
"""

from __future__ import annotations

from typing import Any

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs, merged
from fargate_agent.placement import asked_launch
from fargate_agent.profiles.prefect1_credentials import credentials, with_credentials
from fargate_agent.profiles.prefect1_flow import TASK_ENVIRONMENT, image
from fargate_agent.profiles.prefect1_kwargs import RunConfig, overrides
from fargate_agent.runs import TASK_ENVIRONMENT_CONTAINER, FlowRun, Launch, RevisionTerms
from fargate_agent.settings import Settings

COMMAND = [
    "/bin/sh",
    "-c",
    "python -c 'import prefect; prefect.environments.execution.load_and_run_flow()'",
]


def is_task_environment(details: dict[str, Any], agent: Kwargs, values: dict[str, Any]) -> bool:
    """Tell whether a run is of such an environment, and its family is named.

    Without a family the agent's own container is run, which sets the environment up itself: so it
    always was.

    Parameters
    ----------
    values
        The flow's kwargs file, as it was read.

    Raises
    ------
    PermanentError
        The file has several containers, and the family is nowhere named.
    """
    environment = details["flow"].get("environment") or {}
    ours = environment.get("type") == TASK_ENVIRONMENT and details.get("run_config") is None
    named = bool(values.get("family") or agent.definition.get("family"))
    containers = values.get("containerDefinitions")
    if ours and not named and isinstance(containers, list) and len(containers) > 1:
        raise PermanentError(
            f"The kwargs file of {details['flow']['name']!r} has {len(containers)} containers for "
            "its FargateTaskEnvironment, and no family. Add the family that they are registered in."
        )
    return ours and named


def render_task_environment(
    run: FlowRun,
    details: dict[str, Any],
    settings: Settings,
    *,
    agent: Kwargs,
    file: Kwargs,
    tenant: str | None,
) -> Launch:
    """Render a run in the environment's own containers.

    Parameters
    ----------
    agent
        The kwargs of ``[ecs.kwargs]``; their one container is laid under the first.
    file
        The kwargs of the flow's file, with all its containers in the definition.

    Raises
    ------
    PermanentError
        The environment leaves open which image to run.
    """
    kwargs = merged(agent, file)
    first, *others = kwargs.definition.get("containerDefinitions") or [{}]
    first = {**agent.container, **first}
    named = image(details, None)
    secrets = with_credentials(first.get("secrets", []), settings, tenant)
    taken = {entry["name"] for entry in secrets}
    flow = {
        **_with_variables(first, settings),
        "name": TASK_ENVIRONMENT_CONTAINER,
        "image": named,
        "command": COMMAND,
    }
    flow["environment"] = [e for e in flow["environment"] if e["name"] not in taken]
    if secrets:
        flow["secrets"] = secrets
    definition = {
        **kwargs.definition,
        "containerDefinitions": [flow, *(_with_variables(c, settings) for c in others)],
    }
    request = asked_launch(kwargs.request, settings.launch_type)
    request.pop("overrides", None)
    request["overrides"] = overrides(
        run,
        TASK_ENVIRONMENT_CONTAINER,
        {"PREFECT__CONTEXT__FLOW_RUN_ID": run.id, "PREFECT__CONTEXT__IMAGE": named},
        agent=agent,
        config=RunConfig(),
        file=file,
        secrets=frozenset(taken),
    )
    terms = RevisionTerms(credentials=credentials(settings, tenant))
    return Launch(definition=definition, request=request, revision=terms)


def _with_variables(container: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Add the environment's variables to a container; the users' own stand before them."""
    variables = {
        "PREFECT__CLOUD__GRAPHQL": f"{settings.api_url}/graphql",
        "PREFECT__CLOUD__USE_LOCAL_SECRETS": "false",
        "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudFlowRunner",
        "PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudTaskRunner",
        "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": "true",
        "PREFECT__LOGGING__EXTRA_LOGGERS": str(list(settings.extra_loggers)),
    }
    ours = [{"name": name, "value": value} for name, value in variables.items()]
    return {**container, "environment": [*container.get("environment", []), *ours]}
