"""``python -m local run``: the agent of an ``agent.toml``, on this machine instead of in AWS.

The stack is deployed into the emulator; Prefect is the real one that the settings name; the tasks'
commands run here as processes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from infra.config import AgentConfig, ConfigError, load
from local.cloud import Cloud, cloud
from local.demo import console, in_a_folder_of_its_own, tell_environment
from local.prefect_server import PREFECT_BIN
from local.processes import ProcessFailed

SECRETS = {
    "api_key_secret": (
        "PREFECT_API_KEY",
        "PREFECT__CLOUD__AGENT__AUTH_TOKEN",
        "PREFECT__CLOUD__API_KEY",
    ),
    "auth_string_secret": ("PREFECT_API_AUTH_STRING",),
}
"""Which variables stand in for a secret, which lies in AWS and not here."""


def main() -> int:
    """Parse the command line and run; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the agent until Ctrl-C, or for some polls")
    run.add_argument("--agent", type=Path, default=Path("agent.toml"), help="the settings' file")
    run.add_argument("--max-polls", type=_positive, help="poll so often, then end")
    arguments = parser.parse_args()
    try:
        config = load(arguments.agent, {})
    except ConfigError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return in_a_folder_of_its_own(
        lambda folder: _run(folder, arguments.agent, config, arguments.max_polls)
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _run(folder: Path, agent: Path, config: AgentConfig, max_polls: int | None) -> bool:
    values = _secrets(config)
    # The Prefect that is installed here is of version 3; another is looked for on the PATH.
    commands = PREFECT_BIN if config.prefect.version == 3 else None
    with cloud(folder, commands=commands) as aws:
        console.print("Deploying the stack into the local AWS ...")
        context = {"agent": str(agent.resolve()), **_stand_ins(aws, config, values)}
        if max_polls:
            context["agent.enabled"] = "false"  # the polls are counted: no schedule makes more
        outputs = aws.deploy(context)
        if max_polls is None:
            tell_environment(aws)
            aws.invoke(outputs["PollFunction"], {})  # a new schedule fires after a minute
            console.print("The agent polls. Ctrl-C ends it.")
            signal.pause()
            return True
        for number in range(1, max_polls + 1):
            found = aws.invoke(outputs["PollFunction"], {"Records": []})["found"]
            console.print(f"Poll {number} of {max_polls}: {found} runs found")
            if number < max_polls:
                time.sleep(config.agent.poll_interval_seconds)
        _finish(aws, outputs["RunsQueue"], outputs["Cluster"].rpartition("/")[2])
    return True


def _secrets(config: AgentConfig) -> dict[str, str]:
    """Return the values of the secrets that the settings name, by their keys."""
    values = {}
    for key, names in SECRETS.items():
        if getattr(config.prefect, key) is None:
            continue
        value = next(filter(None, map(os.environ.get, names)), None)
        if value is None:
            raise ProcessFailed(
                f"prefect.{key} names a secret in AWS, which is not read here: set "
                f"{' or '.join(names)} to its value."
            )
        values[key] = value
    return values


def _stand_ins(aws: Cloud, config: AgentConfig, secrets: dict[str, str]) -> dict[str, str]:
    """Make in the local AWS what the settings name; return the settings that change for it."""
    cluster = config.ecs.kwargs.get("cluster")
    if cluster:
        aws.client("ecs").create_cluster(clusterName=str(cluster).rpartition("/")[2])
    if config.external_kwargs.bucket:
        aws.client("s3").create_bucket(Bucket=config.external_kwargs.bucket)
    changed = {}
    for key, value in secrets.items():
        made = aws.client("secretsmanager").create_secret(
            Name=key.replace("_", "-"), SecretString=value
        )
        changed[f"prefect.{key}"] = made["ARN"]
    return changed


def _finish(aws: Cloud, queue: str, cluster: str) -> None:
    """Wait until what was found is launched and has ended."""
    sqs = aws.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    while True:
        waiting = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        tasks = aws.tasks(cluster)
        if not any(int(waiting[name]) for name in names) and all(
            task["lastStatus"] == "STOPPED" for task in tasks
        ):
            break
        time.sleep(1)
    for task in tasks:
        codes = [container.get("exitCode") for container in task["containers"]]
        console.print(f"{task['startedBy']}: {task['taskArn']}, exit codes {codes}")


if __name__ == "__main__":
    sys.exit(main())
