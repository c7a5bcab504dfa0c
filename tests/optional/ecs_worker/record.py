"""Records what the real ECS worker does with cases.

``python record.py CASES.json RECORDED.json`` records a file; without arguments it is asked, a line
of JSON for each case. It needs a virtual environment with the worker (``prefect`` and
``prefect-aws``), and nothing of this project. A case is ``{"id", "input", ...}``, in the form of
the recorded cases; it is written back with its ``output``.

The worker's own submission path runs, from its first look at the deployment to the infrastructure
id it reports; what stands in is Prefect's client and AWS. Consecutive runs of a case share the
worker's cache of task definitions, cases do not.
"""

from __future__ import annotations

import copy
import gzip
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

# The worker's class is extended here, under the same type.
warnings.filterwarnings("ignore", message="Type 'Worker' at")
_HOME = tempfile.TemporaryDirectory()
for _name in [name for name in os.environ if name.startswith(("PREFECT_", "AWS_"))]:
    del os.environ[_name]
# Of the settings Prefect names in a run's environment, none may come from this machine.
os.environ |= {
    "HOME": _HOME.name,
    "AWS_ACCESS_KEY_ID": "AKIAWORKER",
    "AWS_SECRET_ACCESS_KEY": "worker-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

import anyio  # noqa: E402
import shortcuts  # noqa: E402
from aws_fake import Aws, Switch, plain  # noqa: E402
from prefect.client.schemas.objects import FlowRun, WorkPool  # noqa: E402
from prefect.workers import base  # noqa: E402
from prefect_aws.workers import ecs_worker  # noqa: E402
from prefect_fake import FakePrefect  # noqa: E402

DEPLOYMENT = "d1000000-0000-4000-8000-000000000001"
DELAYS = "PREFECT_INTEGRATIONS_AWS_ECS_WORKER_"
NO_DELAYS = {
    f"{DELAYS}CREATE_TASK_RUN_MIN_DELAY_SECONDS": "0",
    f"{DELAYS}CREATE_TASK_RUN_MAX_DELAY_JITTER_SECONDS": "0",
    f"{DELAYS}REGISTER_TASK_DEFINITION_INITIAL_DELAY_SECONDS": "0",
    f"{DELAYS}REGISTER_TASK_DEFINITION_MAX_DELAY_SECONDS": "0",
}

Json = dict[str, Any]


class Lines(logging.Handler):
    """Keeps what the worker and its flow runs log."""

    LOGGERS = (("flow_run", "prefect.flow_runs"), ("worker", "prefect.workers"))

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[Json] = []

    @contextmanager
    def installed(self) -> Iterator[Lines]:
        loggers = [logging.getLogger(name) for _, name in self.LOGGERS]
        for logger in loggers:
            logger.handlers, logger.propagate = [self], False
            logger.setLevel(logging.INFO)
        yield self

    def emit(self, record: logging.LogRecord) -> None:
        kind = next(kind for kind, name in self.LOGGERS if record.name.startswith(name))
        line = {"logger": kind, "level": record.levelname, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            line["exception"] = f"{type(error).__name__}: {error}"
        self.lines.append(line)


class Recorder:
    """Drives the worker on one case after another."""

    def __init__(self, switch: Switch, lines: Lines, settings: shortcuts.KnownSettings) -> None:
        self._switch = switch
        self._lines = lines
        self._settings = settings

    async def record(self, given: Json) -> Json:
        """Return the ``output`` of a case's ``input``."""
        ecs_worker._TASK_DEFINITION_CACHE.clear()
        shortcuts.REAL_CLIENTS.cache_clear()
        self._switch.aws = Aws(given["aws"])
        with environment({**NO_DELAYS, **given["worker"]["env"]}), self._settings.used():
            runs = [
                await self._run(index, copy.deepcopy(given), patch)
                for index, patch in enumerate(given["runs"])
            ]
        return {"runs": runs}

    async def _run(self, index: int, given: Json, patch: Json) -> Json:
        if patch.get("new_worker"):
            ecs_worker._TASK_DEFINITION_CACHE.clear()
        if "deployment" in patch:
            given["deployment"] |= patch["deployment"]
        if "flow_run" in patch:
            given["flow_run"] = merged(given["flow_run"], patch["flow_run"])
        if "base_job_template" in patch:
            given["base_job_template"] = patch["base_job_template"]
        self._switch.aws.change(patch.get("aws", {}))
        self._switch.aws.calls, self._lines.lines = [], []
        prefect = FakePrefect(given)
        base.emit_event = prefect.emit_event
        worker = Worker(given, prefect)
        async with anyio.create_task_group() as group:
            worker._runs_task_group = group
            run = flow_run(index, given)
            worker._submitting_flow_run_ids.add(run.id)
            await worker._submit_run(run)
        output: Json = dict(worker.seen)
        if "kill" in patch:
            output["kill"] = await worker.kill(patch["kill"]["infrastructure_pid"])
        return {
            **output,
            "aws_calls": self._switch.aws.calls,
            "prefect_api": prefect.calls,
            "logs": self._lines.lines,
        }


class Worker(ecs_worker.ECSWorker):
    """The real worker on a stand-in of its client, telling what its steps made."""

    def __init__(self, given: Json, prefect: FakePrefect) -> None:
        pool = given["work_pool"]
        super().__init__(work_pool_name=pool["name"], name=given["worker"]["name"])
        self.seen: Json = {}
        self.configuration: Any = None
        self._client = prefect
        template = given["base_job_template"]
        self._work_pool = WorkPool.model_construct(
            type="ecs", base_job_template=template, **{**pool, "id": UUID(pool["id"])}
        )
        id = given["worker"].get("id")
        self.backend_id = UUID(id) if id else None

    def _emit_flow_run_submitted_event(self, configuration: Any) -> Any:
        self.configuration = configuration
        names = ("cluster", "command", "container_name", "env", "labels", "name")
        shown = {name: copy.deepcopy(getattr(configuration, name)) for name in names}
        self.seen["configuration"] = shown
        return super()._emit_flow_run_submitted_event(configuration)

    async def _submit_run_and_capture_errors(self, *args: Any, **kwargs: Any) -> Any:
        done = await super()._submit_run_and_capture_errors(*args, **kwargs)
        if isinstance(done, Exception):
            self.seen["error"] = told(done)
        else:
            result = {"identifier": done.identifier, "status_code": done.status_code}
            self.seen["result"] = result
        return done

    async def kill(self, pid: str) -> Json:
        """Stop what was started, as for a run that is cancelled."""
        try:
            await self.kill_infrastructure(pid, self.configuration)
        except Exception as error:
            return {"error": told(error)}
        return {"ok": True}


def flow_run(index: int, given: Json) -> FlowRun:
    """Return the scheduled run that Prefect hands to the worker."""
    return FlowRun(
        id=f"e1000000-0000-4000-8000-{index + 1:012}",
        flow_id=given["flow"]["id"],
        deployment_id=DEPLOYMENT if given["deployment"] else None,
        **given["flow_run"],
    )


def merged(under: Any, over: Any) -> Any:
    """Merge two values as deeply as both are objects."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return under | {key: merged(under.get(key), value) for key, value in over.items()}


def told(error: Exception) -> Json:
    """Return an error as the recordings write it."""
    return {"type": type(error).__name__, "message": str(error)}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def read(path: Path) -> Any:
    """Read JSON, compressed or plain."""
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def meta() -> Json:
    """Say what was recorded, as a file of cases does."""
    image = ecs_worker.get_prefect_image_name()
    return {"format": 1, "prefect": base.prefect.__version__, "default_image": image}


async def record_file(recorder: Recorder, source: Path, target: Path) -> None:
    """Record all cases of a file: of a list, or of ``{"cases": [...]}``."""
    held = read(source)
    cases = held["cases"] if isinstance(held, dict) else held
    for case in cases:
        case["output"] = await recorder.record(case["input"])
    data = json.dumps({"meta": meta(), "cases": cases}, default=plain).encode()
    target.write_bytes(gzip.compress(data) if target.suffix == ".gz" else data)


async def serve(recorder: Recorder) -> None:
    """Answer each line of standard input, a case's ``input``, with a line: its ``output``.

    The first line that is written is the ``meta`` of a file of cases.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(meta()), file=answers, flush=True)
    for line in sys.stdin:
        output = await recorder.record(json.loads(line))
        print(json.dumps(output, default=plain), file=answers, flush=True)


async def main(*paths: str) -> None:
    """Record a file, or what standard input brings."""
    settings = shortcuts.take()
    with Switch().installed() as switch, Lines().installed() as lines:
        recorder = Recorder(switch, lines, settings)
        if paths:
            await record_file(recorder, *map(Path, paths))
        else:
            await serve(recorder)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
    _HOME.cleanup()
