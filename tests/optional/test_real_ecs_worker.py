"""The real ECS worker of prefect-aws 0.7.12, beside this agent.

First it does again what was recorded of it, so that the recorder tells the truth; then both are
given cases that hypothesis makes. ``--hypothesis-seed`` and ``EXAMPLES`` say which and how many,
``WORKER_PYTHON`` an interpreter that has the worker already, and ``RECORD_TO`` where to keep the
cases, as a file for ``pytest tests/parity --ecs-worker-cases``.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.optional.ecs_worker import worker
from tests.optional.ecs_worker.generate import Input, inputs
from tests.optional.ecs_worker.worker import RealWorker
from tests.parity.ecs_worker.cases import DEFAULT_FILE, Case, load
from tests.parity.ecs_worker.comparison import difference, normalized
from tests.parity.ecs_worker.course import Course
from tests.parity.ecs_worker.course.habits import Habits
from tests.parity.ecs_worker.plan import recorded
from tests.parity.ecs_worker.replay import replay
from tests.parity.ecs_worker.rules_applied import expected_of, touched
from tests.parity.ecs_worker.test_course import calls_of, cluster_of

SEED = 1
EXAMPLES = int(os.environ.get("EXAMPLES", "300"))
RECORDED = load(DEFAULT_FILE)


@pytest.fixture(scope="module")
def real_worker() -> Iterator[RealWorker]:
    """The worker, in a process of its own."""
    with worker.running() as process:
        yield process


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.id)
def test_the_recorder_records_what_was_recorded(case: Case, real_worker: RealWorker):
    output = real_worker.record(dict(case.input))

    for run, again in zip(case.output["runs"], output["runs"], strict=True):
        assert comparable(again) == comparable(run)


def comparable(recorded: Any) -> Any:
    """Leave out what depends on the order of an object's keys, which a file does not tell."""
    text = json.dumps(normalized(recorded))
    text = re.sub(r"input_value=.*?, input_type=", "input_type=", text)
    return json.loads(re.sub(r"(will be ignored: )([\w, ]+)", _in_order, text))


def _in_order(match: re.Match[str]) -> str:
    return match[1] + ", ".join(sorted(match[2].split(", ")))


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep the log of hundreds of launches out of a failure's report."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
def test_worker_and_agent_do_the_same_but_for_the_rules(
    real_worker: RealWorker, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
):
    asked = pytestconfig.getoption("hypothesis_seed")
    number = int(asked) if asked and asked != "random" else SEED
    cases: dict[str, Case] = {}
    equal: set[str] = set()

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs().map(Input))
    def compare(told: Input) -> None:
        text = json.dumps(told.held)
        if text in equal:
            return
        output = real_worker.record(told.held)
        id = f"generated-{number}-{len(cases)}"
        case = cases[text] = Case(id, "generated", told.held, output, real_worker.meta)
        check_model(case)
        check_product(case)
        equal.add(text)

    try:
        compare()
    finally:
        keep(list(cases.values()))
        with capsys.disabled():
            tell(number, [case for text, case in cases.items() if text in equal])


def check_model(case: Case) -> None:
    """The rules start from a model of the worker, which must do what the worker does."""
    played = Course(case, Habits()).play([recorded(run) for run in case.runs])
    for run, course in zip(case.runs, played, strict=True):
        assert [normalized([*call]) for call in course.calls] == calls_of(run)
        assert course.outcome == ("crashed" if "error" in run.output else "launched")
        assert course.cluster == cluster_of(run)


def check_product(case: Case) -> None:
    """The product does what the rules make of that."""
    expected = expected_of(case).played
    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory() as folder:
        replayed = replay(case, Path(folder), patched)
    for number, (did, wanted) in enumerate(zip(replayed, expected, strict=True), start=1):
        different = difference(did.calls, wanted.calls)
        assert not different, f"run {number}, {different}\n{did.outcome}: {did.message}"
        assert did.outcome == wanted.outcome, did.message
        assert bool(did.message) is (did.outcome != "launched")
        if wanted.cluster:
            assert did.infrastructure == f"{wanted.cluster}::{did.tasks[-1]}"


def keep(cases: list[Case]) -> None:
    """Write the cases where they are wanted."""
    if target := os.environ.get("RECORD_TO"):
        names = ("id", "topic", "input", "output")
        written = [{name: getattr(case, name) for name in names} for case in cases]
        held = {"meta": cases[0].meta if cases else {}, "cases": written}
        Path(target).write_bytes(gzip.compress(json.dumps(held).encode()))


def tell(number: int, cases: list[Case]) -> None:
    """Print how much was compared, and which rules had a say."""
    runs = [run for case in cases for run in case.runs]
    ends = Counter("refused" if "error" in run.output else "launched" for run in runs)
    print(f"\nseed {number}: no difference in {len(cases)} cases, {len(runs)} runs: {dict(ends)}")
    for rule, ids in touched(cases).items():
        print(f"{len(ids):4}{'*' if rule.universal else ' '} {rule.name}: {rule.why}")
