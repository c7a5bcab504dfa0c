"""Prefect 2 and 3: the server, the key, the work pool, its queues and who else polls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from cli import prefect
from cli.doctor import functions
from cli.doctor.findings import Finding, failure, ok, warning
from cli.doctor.subject import Subject
from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators.http import ApiError, CredentialsExpired, CredentialsRefused
from fargate_agent.orchestrators.prefect3 import PAGE_SIZE, Prefect3

ONLINE = "ONLINE"


def checks(subject: Subject) -> Iterator[Finding]:
    """Check the server, the key and the work pool, each by what the one before has shown."""
    try:
        version = Prefect3(subject.prefect, work_pool="", worker_name="doctor").server_version()
    except CredentialsExpired as error:
        yield failure("Prefect's key", str(error), "Store a valid key in that secret.")
        return
    except ApiError as error:
        yield not_reached(subject, error)
        return
    yield ok("Prefect", f"{subject.settings.api_url} answers from here")
    yield _version(subject, version)
    yield from _pool(subject)


def not_reached(subject: Subject, error: ApiError) -> Finding:
    made, failed = None, None
    with suppress(ClientError):
        made, failed = functions.polls(subject)
    told = f"{subject.settings.api_url} does not answer from here: {error}"
    if made and not failed:
        told += f". The agent reaches it: {made:.0f} polls went well lately"
    return warning(
        "Prefect",
        told,
        "Check prefect.api_url, and that the server runs. If it can be reached from a VPC only, "
        "run doctor inside it; 'log of poll' tells whether the agent reaches it.",
    )


def _version(subject: Subject, version: str | None) -> Finding:
    wanted = subject.settings.prefect_version
    if version is None:
        return ok("Prefect's version", "not told, as by Prefect Cloud")
    if version.partition(".")[0] == str(wanted):
        return ok("Prefect's version", version)
    return warning(
        "Prefect's version",
        f"{version}, and prefect.version is {wanted}",
        f"Set prefect.version = {version.partition('.')[0]}, and deploy.",
    )


def _pool(subject: Subject) -> Iterator[Finding]:
    name = subject.settings.work_pool
    check = f"work pool {name}"
    try:
        # Reads it, and refuses one of another type in the agent's own words.
        pool = Prefect3(subject.prefect, work_pool=name, worker_name="doctor").work_pool("")
    except (CredentialsExpired, CredentialsRefused) as error:
        remedy = "Store a valid key in that secret, or give its account the right to the pool."
        yield failure("Prefect's key", str(error), remedy)
        return
    except PermanentError as error:
        yield failure(check, str(error), "Name a pool of type 'ecs', or another name: it is made.")
        return
    except ApiError as error:
        if error.status != 404:
            raise
        yield failure(
            check,
            "does not exist; the agent's first poll makes it",
            "Poll ('./fargate-agent poke'), or correct prefect.work_pool.",
        )
        return
    yield ok("Prefect's key", "accepted" if _has_key(subject) else "none is set, none is wanted")
    yield _state_of(check, pool)
    yield from _queues(subject)
    yield from _workers(subject, check)
    yield from _late(subject)


def _has_key(subject: Subject) -> bool:
    return bool(subject.settings.api_key_secret or subject.settings.auth_string_secret)


def _state_of(check: str, pool: Mapping[str, Any]) -> Finding:
    limit = pool["concurrency_limit"]
    if pool["is_paused"]:
        return failure(check, "is paused: no run of it starts", "Resume it in Prefect's UI.")
    if limit == 0:
        return failure(
            check, "its concurrency limit is 0: no run starts", "Raise or clear it in Prefect's UI."
        )
    limited = "no concurrency limit" if limit is None else f"concurrency limit {limit}"
    return ok(check, f"type {pool['type']}, not paused, {limited}")


def _queues(subject: Subject) -> Iterator[Finding]:
    asked, found = {"limit": PAGE_SIZE}, {}
    for queue in subject.prefect.post(
        f"{prefect.pool_path(subject.settings)}/queues/filter", asked
    ):
        found[queue["name"]] = queue
    served = subject.settings.work_queues or tuple(found)
    missing = [name for name in served if name not in found]
    stopped = [name for name in served if name in found and _takes_nothing(found[name])]
    if missing:
        yield failure(
            "work queues",
            f"of prefect.work_queues the pool lacks {', '.join(missing)}: every poll fails",
            "Create them in Prefect's UI, or correct the setting and deploy.",
        )
    if stopped:
        report = failure if len(stopped) == len(served) else warning
        yield report(
            "work queues",
            f"paused, or with a concurrency limit of 0: {', '.join(stopped)}",
            "Resume them, or raise their limit, in Prefect's UI.",
        )
    if not missing and not stopped:
        yield ok("work queues", f"{', '.join(served)}: open")


def _takes_nothing(queue: Mapping[str, Any]) -> bool:
    return bool(queue["is_paused"]) or queue["concurrency_limit"] == 0


def _workers(subject: Subject, check: str) -> Iterator[Finding]:
    agent = subject.settings.agent_name
    yield _last_poll(subject)
    workers = prefect.workers(subject.settings, subject.prefect)
    online = [worker["name"] for worker in workers if worker.get("status") == ONLINE]
    others = [name for name in online if name != agent]
    if others:
        yield warning(
            check,
            f"other workers poll it too: {', '.join(others)}. Each run is started once, by either",
            "Stop them, or give one of the two a pool of its own.",
        )


def _last_poll(subject: Subject) -> Finding:
    heard = prefect.last_poll(subject.settings, subject.prefect)
    if heard is None:
        return failure(
            "last poll",
            f"Prefect never heard of a worker {subject.settings.agent_name!r} in the pool",
            "Poll ('./fargate-agent poke') and read what it says.",
        )
    return told_poll(subject, heard)


def told_poll(subject: Subject, at: datetime) -> Finding:
    """Judge when the agent polled last, by its interval."""
    age, interval = subject.now() - at, subject.settings.poll_interval_seconds
    told = f"{max(age.total_seconds(), 0):.0f} s ago; one every {interval} s"
    if age <= timedelta(seconds=3 * interval + 60):
        return ok("last poll", told)
    if not subject.settings.enabled:
        return warning(
            "last poll", told, "The agent is disabled: deploy with agent.enabled = true."
        )
    return failure(
        "last poll", told, "Read the lines 'schedule', 'functions' and 'log of poll' above."
    )


def _late(subject: Subject) -> Iterator[Finding]:
    count = subject.prefect.post(
        "/flow_runs/count",
        {
            "flow_runs": {"state": {"name": {"any_": ["Late"]}}},
            "work_pools": {"name": {"any_": [subject.settings.work_pool]}},
        },
    )
    if count:
        yield warning(
            "late runs",
            f"{count} runs of the pool are late",
            "'./fargate-agent plan RUN' and 'status' tell what became of one.",
        )
    else:
        yield ok("late runs", "none")
