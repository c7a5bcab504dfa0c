"""The tags of a task: Prefect's own labels, as its workers write them, and the users'. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slugify import slugify

from fargate_agent.runs import MAX_TAGS, FlowRun, parse_time

_NOT_IN_A_LABEL = r"[^a-zA-Z0-9_./=+:@-]"


def prefect_labels(
    run: FlowRun, *, work_pool: str, work_pool_id: str, worker: str, version: str | None
) -> dict[str, str]:
    """Return the labels by which workers tell whose a task is.

    Parameters
    ----------
    version
        Prefect's, where the server tells it.
    """
    labels = {
        "prefect.io/flow-run-id": run.id,
        "prefect.io/flow-run-name": run.name,
        "prefect.io/version": version,
        "prefect.io/work-pool-name": work_pool,
        "prefect.io/work-pool-id": work_pool_id,
        "prefect.io/worker-name": worker,
        "prefect.io/flow-id": run.flow_id,
        "prefect.io/flow-name": run.flow_name,
        "prefect.io/deployment-id": run.deployment_id,
        "prefect.io/deployment-name": run.deployment_name,
        "prefect.io/deployment-updated": run.deployment_updated
        and parse_time(run.deployment_updated).isoformat(),
    }
    return {name: value for name, value in labels.items() if value}


def tags_of_task(
    labels: Mapping[str, str], templated: Any, *, weakest: Any, strongest: Any
) -> list[dict[str, str]]:
    """Return the tags, each key once. ECS takes but so many: Prefect's own are kept before all.

    Parameters
    ----------
    labels
        Prefect's and the job's.
    templated
        The tags of the template's request, under the labels.
    weakest, strongest
        The tags of the agent's own kwargs and of those in S3, which are not made into slugs.
    """
    job = {as_tag(k): as_tag(str(v)) for k, v in {**as_labels(templated), **labels}.items()}
    own = [as_tag(name) for name in labels if name.startswith("prefect.io/")]
    below, above = as_labels(weakest), as_labels(strongest)
    values = {**below, **job, **above}
    cut = {key[:128]: str(values[key])[:256] for key in [*own, *above, *job, *below]}
    usable = [key for key in cut if key and not key.lower().startswith("aws:")]
    return [{"key": key, "value": cut[key]} for key in usable[:MAX_TAGS]]


def as_labels(tags: Any) -> dict[str, Any]:
    """Read tags, which may be a table of labels or ECS's list; one without a value is none."""
    if isinstance(tags, Mapping):
        pairs = dict(tags)
    else:
        pairs = {tag.get("key"): tag.get("value") for tag in tags or []}
    return {str(key): value for key, value in pairs.items() if value is not None}


def as_tag(text: str) -> str:
    """Write a label as Prefect's ECS worker does: ``Hello, World`` is ``Hello-World``."""
    return slugify(text, regex_pattern=_NOT_IN_A_LABEL, allow_unicode=True, lowercase=False)
