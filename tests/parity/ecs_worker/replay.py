"""Runs the product on a case: poll, queue messages, dispatch, with Prefect and AWS played."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from fargate_agent import clients, settings
from fargate_agent.dispatch import Deliveries
from fargate_agent.launcher import Launcher
from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.orchestrators.reads import Reads
from fargate_agent.poll import Poller
from fargate_agent.settings import Settings
from fargate_agent.task_definitions import TaskDefinitions
from infra.config import load, runtime_settings
from tests.parity.ecs_worker import migration
from tests.parity.ecs_worker.aws.calls import Call, Recorder
from tests.parity.ecs_worker.aws.model import Aws
from tests.parity.ecs_worker.cases import ACCESS_KEY, REGION, SECRET_KEY, Case, Run
from tests.parity.ecs_worker.prefect import DUE, Prefect
from tests.support.fakes import FakeSqs
from tests.support.values import sqs_record

NOW = DUE + timedelta(seconds=1)


@dataclass
class Replayed:
    """What became of one run.

    ``outcome`` is ``launched``, ``crashed``, ``cancelled``, or what a bug raised. ``tasks`` are
    the ARNs of the tasks that AWS said it started.
    """

    outcome: str = ""
    message: str = ""
    infrastructure: str | None = None
    calls: list[Call] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)


def replay(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Replayed]:
    """Play a case to the product, run after run."""
    recorder = Recorder(Aws(case.aws))
    with ExitStack() as stack:
        prefect = stack.enter_context(Prefect())
        stack.enter_context(_deployed(case, prefect, tmp_path, monkeypatch))
        stack.enter_context(recorder.listening(monkeypatch))
        functions = Functions(case)
        made = []
        for run in case.runs:
            if run.in_a_new_process:
                functions = Functions(case)
            recorder.aws.change(run.patch.get("aws", {}))
            prefect.schedule(run)
            recorder.calls, recorder.tasks = [], []
            outcome = functions.launch()
            made.append(_result(run, prefect, recorder, outcome))
        return made


@contextmanager
def _deployed(
    case: Case, prefect: Prefect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let the functions find their settings, their credentials and their servers."""
    file, written = tmp_path / "agent.toml", tmp_path / "settings.json"
    file.write_text(migration.toml(case), encoding="utf-8")
    written.write_text(json.dumps(runtime_settings(load(file, {}, {}))))
    own = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
    }
    with monkeypatch.context() as patched:
        for name, text in {**migration.environ(case), **own}.items():
            patched.setenv(name, text)
        patched.setattr(settings, "SETTINGS_FILE", written)
        patched.setattr(boto3, "DEFAULT_SESSION", _session())
        patched.setitem(_defaults_of(TaskDefinitions.__init__), "sleep", _sleep)
        patched.setattr(
            clients, "JsonClient", lambda *_, **__: JsonClient(prefect.url, lambda _: None)
        )
        settings.load.cache_clear()
        yield
    settings.load.cache_clear()


def _defaults_of(function: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = function.__kwdefaults__
    return defaults


class SharedSession(boto3.Session):
    """Makes each client once for all cases of a process, for that takes long.

    A client has no state here: all it is told to call is answered in its place.
    """

    def client(self, service_name: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """Return the client of these settings."""
        options = getattr(config, "_user_provided_options", None)
        key = repr((service_name, args, sorted(kwargs.items()), options))
        if key not in _CLIENTS:
            make: Any = super().client
            _CLIENTS[key] = make(service_name, *args, config=config, **kwargs)
        return _CLIENTS[key]


_CLIENTS: dict[str, Any] = {}


@cache
def _session() -> SharedSession:
    return SharedSession(ACCESS_KEY, SECRET_KEY, region_name=REGION)


class Functions:
    """Poll and dispatch, as freshly started as Lambda starts them."""

    def __init__(self, case: Case) -> None:
        config: Settings = migration.renamed(settings.load(), case)
        self._sqs = cast(Any, FakeSqs())
        self._poller = Poller(
            config,
            clients.orchestrator(config),
            self._sqs,
            now=_now,
            sleep=_sleep,
        )
        launcher = Launcher.from_settings(config)
        self._deliveries = Deliveries(
            launcher,
            self._sqs,
            config.runs_queue_url,
            config.max_receives,
            config.poll_interval_seconds,
            now=_now,
            sleep=_sleep,
        )

    def launch(self) -> str | None:
        """Poll for the one run that is due and deliver its message until it is acknowledged.

        Returns
        -------
        The error of the last delivery, where that is none that the outside world raises.
        """
        self._poller.poll()
        ((_, (entry,)),) = self._sqs.batches
        self._sqs.batches.clear()
        return self._deliver(entry)

    def _deliver(self, entry: Any) -> str | None:
        group = entry["MessageGroupId"]
        for receives in range(1, self._deliveries.max_receives + 1):
            told = sqs_record(entry["MessageBody"], group=group, receives=receives, sent=NOW)
            reads = Reads(self._deliveries.launcher.orchestrator, [group])
            try:
                self._deliveries.deliver(SQSRecord(told), reads)
            except Exception as error:
                if _is_a_bug(error):
                    return repr(error)
            else:
                return None
        return None


def _result(run: Run, prefect: Prefect, recorder: Recorder, outcome: str | None) -> Replayed:
    state = prefect.states[run.given.run_id]
    infrastructure = prefect.infrastructure.get(run.given.run_id)
    if outcome is None:
        outcome = str(state["type"]).lower()
        if outcome == "pending" and infrastructure:
            outcome = "launched"
    return Replayed(
        outcome, state.get("message") or "", infrastructure, recorder.calls, recorder.tasks
    )


def _now() -> datetime:
    return NOW


def _sleep(_: float) -> None:
    pass


def _is_a_bug(error: Exception) -> bool:
    """Tell whether an error is none that the outside world raises."""
    bugs = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
    return isinstance(error, bugs)
