"""The bundle that ships: pure Python, small, complete, and equal for equal sources."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.bundling import build
from infra.config import runtime_settings
from tests.support.stack_template import config

MAX_ZIPPED = 2_000_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bundle")
    build(target, json.dumps(runtime_settings(config())))
    return target


def test_it_is_small(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in bundle.rglob("*"):
            zipped.write(file, file.relative_to(bundle))
    assert archive.stat().st_size < MAX_ZIPPED


def test_it_is_pure_python(bundle: Path) -> None:
    assert [str(file) for file in bundle.rglob("*.so")] == []
    assert list(bundle.rglob("__pycache__")) == []


@pytest.mark.parametrize("function", ["poll", "dispatch", "watch"])
def test_a_handler_imports_with_boto3_and_nothing_else_beside_it(
    bundle: Path, function: str
) -> None:
    """Python without its site-packages has what Lambda has, once boto3's packages are added."""
    shown = "import sys, fargate_agent.{0} as m; print(m.__file__, *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WITH_BOTO3 + shown.format(function)],
        env={"BUNDLE": str(bundle), "SITE": _site_packages()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path, *modules = done.stdout.split()
    assert path.startswith(str(bundle))
    assert not {"prefect", "pydantic", "httpx", "aws_cdk", "aws_xray_sdk"} & set(modules)


def test_pip_builds_the_same_where_uv_is_missing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    build(tmp_path, "{}")
    assert modules(tmp_path) == modules(bundle)


def modules(bundle: Path) -> set[str]:
    return {str(file.relative_to(bundle)) for file in bundle.rglob("*.py")}


@pytest.mark.parametrize(
    ("function", "clients"),
    [("poll", "_poller"), ("dispatch", "_deliveries"), ("watch", "_watcher")],
)
@pytest.mark.parametrize(("name", "made"), [({"AWS_LAMBDA_FUNCTION_NAME": "x"}, 1), ({}, 0)])
def test_clients_are_made_while_lambda_starts_the_function(
    bundle: Path, function: str, clients: str, name: dict[str, str], made: int
) -> None:
    shown = f"import fargate_agent.{function} as m; print(m.{clients}.cache_info().currsize)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WITH_BOTO3 + shown],
        env={"BUNDLE": str(bundle), "SITE": _site_packages(), "AWS_DEFAULT_REGION": "eu-west-1"}
        | name,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(made)]


def test_the_settings_are_in_it(bundle: Path) -> None:
    settings = json.loads((bundle / "fargate_agent" / "settings.json").read_text())
    assert settings["work_pool"] == "fargate"
    assert settings["poll_interval_seconds"] == 10


def _site_packages() -> str:
    return next(path for path in sys.path if path.endswith("site-packages"))


# Only what Lambda's runtime brings may come from this machine's packages.
_WITH_BOTO3 = """
import importlib.machinery, os, sys
runtime = {"boto3", "botocore", "s3transfer", "dateutil", "six", "jmespath"}
class Runtime(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None and name in runtime:
            return importlib.machinery.PathFinder.find_spec(name, [os.environ["SITE"]])
        return None
sys.path.insert(0, os.environ["BUNDLE"])
sys.meta_path.append(Runtime)
"""
