"""The whole loop, running: Prefect, the cloud, the deployed agent, and sample flows for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fargate_agent.external_kwargs import external_key
from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.runs import parse_time
from local import prefect_server
from local.cloud import PROJECT, Cloud, cloud
from local.processes import ProcessFailed

WORK_POOL = "fargate"
PREFIX = "kwargs"
FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run, as Prefect and ECS tell of it."""

    id: str
    name: str
    scheduled: datetime
    state: str
    ended: bool
    """Whether nothing more will happen to it: only when its task has stopped, is its log whole."""
    launched: datetime | None
    revision: str
    """``family:revision`` of its task definition."""
    size: str
    """CPU units / MiB of memory."""

    @property
    def delay(self) -> float | None:
        """Seconds from the scheduled time to RunTask."""
        return (self.launched - self.scheduled).total_seconds() if self.launched else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A running loop.

    ``outputs`` are those of the deployed stack; ``first_poll`` is when it was asked to poll first.
    """

    api: JsonClient
    url: str
    environment: Mapping[str, str]
    cloud: Cloud
    outputs: Mapping[str, str]
    first_poll: datetime

    def deploy_flows(self, *entrypoints: str) -> dict[str, dict[str, Any]]:
        """Deploy functions of ``flows.py`` to the pool; return deployments by the flow's name.

        Raises
        ------
        ProcessFailed
            Prefect refused; the message ends with its output.
        """
        script = PROJECT / "local" / "deploy_flows.py"
        done = subprocess.run(
            [prefect_server.PREFECT_BIN / "python", script, WORK_POOL, *entrypoints],
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ProcessFailed(f"deploying the flows:\n{done.stdout[-3000:]}")
        flows = {flow["id"]: flow["name"] for flow in self.api.post("/flows/filter", {})}
        return {flows[d["flow_id"]]: d for d in self.api.post("/deployments/filter", {})}

    def drop_kwargs(self, flow: str, flow_id: str, kwargs: Mapping[str, Any]) -> str:
        """Put a flow's kwargs file into the stack's bucket, and return its URL."""
        key = external_key(PREFIX, flow, flow_id)
        bucket = self.outputs["KwargsBucket"]
        self.cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(kwargs))
        return f"s3://{bucket}/{key}"

    def schedule(self, deployment: Mapping[str, Any], due: datetime) -> str:
        """Schedule one run, and return its id."""
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        path = f"/deployments/{deployment['id']}/create_flow_run"
        return str(self.api.post(path, {"state": state})["id"])

    def rows(self, ids: Iterable[str]) -> list[Row]:
        """Tell how runs stand now, in the order of their ids."""
        ids = list(ids)
        body = {"flow_runs": {"id": {"any_": ids}}, "limit": 200}
        runs = {run["id"]: run for run in self.api.post("/flow_runs/filter", body)}
        tasks = {task["startedBy"]: task for task in self.tasks()}
        return [_row(runs[id], tasks.get(id)) for id in ids]

    def tasks(self) -> list[dict[str, Any]]:
        """Describe every task of the cluster, stopped ones too."""
        return self.cloud.tasks(self.outputs["Cluster"])

    def logs(self, *ids: str) -> list[str]:
        """Read the lines of runs' logs."""
        body = {"limit": 200, "logs": {"flow_run_id": {"any_": list(ids)}}}
        return [line["message"] for line in self.api.post("/logs/filter", body)]


def _row(run: Mapping[str, Any], task: Mapping[str, Any] | None) -> Row:
    return Row(
        id=run["id"],
        name=run["name"],
        scheduled=parse_time(run["expected_start_time"]),
        state=run["state_type"],
        ended=run["state_type"] in FINAL and (task is None or task["lastStatus"] == "STOPPED"),
        launched=task["createdAt"].astimezone(UTC) if task else None,
        revision=task["taskDefinitionArn"].rpartition("/")[2] if task else "",
        size=f"{task['cpu']} / {task['memory']}" if task else "",
    )


@contextmanager
def deployed_loop(
    folder: Path,
    *,
    auth_string: str | None = None,
    server_settings: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[Loop]:
    """Start Prefect and the cloud, and deploy the stack.

    Parameters
    ----------
    auth_string
        ``user:password`` that the server wants; it lies in the cloud's Secrets Manager.
    server_settings
        Further ``PREFECT_*`` settings of the server.
    settings
        Overrides of ``agent.toml``, by their dotted key.
    """
    with (
        prefect_server.prefect_server(
            folder, auth_string=auth_string, settings=server_settings
        ) as url,
        cloud(folder) as aws,
    ):
        api = prefect_server.client(url, auth_string)
        say(f"Prefect {api.get('/admin/version')} is up: {url}")
        context = {"prefect.api_url": url, "prefect.work_pool": WORK_POOL, **(settings or {})}
        if auth_string:
            made = aws.client("secretsmanager").create_secret(
                Name="prefect-auth-string", SecretString=auth_string
            )
            context["prefect.auth_string_secret"] = made["ARN"]
        say("Deploying the stack with the stock CDK command line ...")
        outputs = aws.deploy(context)
        # A new schedule first fires after a minute; the very first poll is asked for.
        first_poll = datetime.now(UTC)
        aws.invoke(outputs["PollFunction"], {})
        environment = prefect_server.environment(folder, url, auth_string)
        yield Loop(
            api=api,
            url=url,
            environment=environment,
            cloud=aws,
            outputs=outputs,
            first_poll=first_poll,
        )
