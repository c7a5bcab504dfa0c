"""cdk-nag's AwsSolutions rules: no finding without a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from infra.stack import AgentStack
from tests.infrastructure.test_deployment_options import EVERYTHING
from tests.infrastructure.test_template import GIVEN
from tests.support.stack_template import OTHER_ROLE, SECRET, config

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "a key and a role": {
        "prefect": {"api_key_secret": SECRET},
        "ecs": {"allowed_roles": [OTHER_ROLE]},
    },
    "own bucket, no ticks": {
        "agent": {"poll_interval_seconds": 60},
        "external_kwargs": {"bucket": "team-kwargs"},
    },
    "no external kwargs": {"external_kwargs": {"enabled": False}},
    "Prefect 1 with a URL": {
        "agent": {"url": True, "labels": ["prod"]},
        "prefect": {"version": 1, "api_url": "https://prefect.example.com"},
    },
    "Prefect 2, with roles of jobs": {
        "prefect": {"version": 2},
        "aws": {"assumable_roles": [OTHER_ROLE]},
    },
    "tasks on instances": {"ecs": {"launch_type": "EC2", "kwargs": GIVEN}},
    "tasks in another account": {
        "aws": {"role_arn": "arn:aws:iam::210987654321:role/tasks"},
        "ecs": {"kwargs": GIVEN},
    },
    "every deployment option": EVERYTHING,
}


def synthesize(out: Path, **sections: Any) -> None:
    app = App(outdir=str(out), context={"aws:cdk:bundling-stacks": []})
    AgentStack(app, config(**sections))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_finding_has_its_reason(variant: str, tmp_path: Path) -> None:
    synthesize(tmp_path, **VARIANTS[variant])  # raises, naming the findings


def test_the_check_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.storage.acknowledge", lambda *_: None)
    with pytest.raises(Exception, match="AwsSolutions-S1"):
        synthesize(tmp_path)
