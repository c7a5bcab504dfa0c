"""Builds the functions' bundle on this machine: pure Python, so no Docker and no architecture."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling, Token
from aws_cdk.aws_lambda import Code

from infra.config import ConfigError

LAMBDAS = Path(__file__).parents[1] / "lambdas"
PYTHON_VERSION = "3.14"
PLATFORM = "aarch64-manylinux2014"


def bundle(settings: Mapping[str, Any]) -> Code:
    """Return the code of all three functions, with the settings in it.

    Parameters
    ----------
    settings
        Written as ``settings.json`` beside ``fargate_agent.settings``.

    Raises
    ------
    subprocess.CalledProcessError
        The pinned requirements could not be installed; the installer's output tells why.
    ConfigError
        The settings hold what is not known before the deployment.
    """
    text = json.dumps(settings, indent=2, sort_keys=True)
    if Token.is_unresolved(text):
        raise ConfigError(
            "AgentConfig: holds an attribute of a construct, which only CloudFormation knows, and "
            "goes into the functions' bundle: hand the construct itself over in FargateAgentProps"
        )
    return Code.from_asset(
        str(LAMBDAS),
        asset_hash=_hash(text),
        asset_hash_type=AssetHashType.CUSTOM,
        bundling=BundlingOptions(
            # Never pulled: the local bundling below always succeeds or raises.
            image=DockerImage.from_registry("scratch"),
            local=_Local(text),
        ),
    )


@jsii.implements(ILocalBundling)
class _Local:
    def __init__(self, settings: str) -> None:
        self._settings = settings

    def try_bundle(self, output_dir: str, *_: Any, **__: Any) -> bool:
        build(Path(output_dir), self._settings)
        return True


def build(target: Path, settings: str) -> None:
    """Install the pinned requirements into ``target``, beside the functions' own code."""
    requirements = LAMBDAS / "requirements.txt"
    subprocess.run([*_installer(target), "-r", str(requirements)], check=True, stdout=sys.stderr)
    shutil.copytree(
        LAMBDAS / "fargate_agent",
        target / "fargate_agent",
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )
    (target / "fargate_agent" / "settings.json").write_text(settings)
    _prune(target)


def _installer(target: Path) -> list[str]:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        return [
            *(uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"),
            *("--python-version", PYTHON_VERSION, "--python-platform", PLATFORM),
            *("--target", str(target)),
        ]
    return [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
        *("--only-binary", ":all:", "--python-version", PYTHON_VERSION),
        *("--platform", PLATFORM.split("-")[1] + "_" + PLATFORM.split("-", maxsplit=1)[0]),
        *("--target", str(target)),
    ]


def _prune(target: Path) -> None:
    """Drop what no function reads: installers' leftovers, scripts, byte code of this machine."""
    for leftover in [target / "bin", *target.rglob("__pycache__"), *target.glob(".lock")]:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _hash(settings: str) -> str:
    """Name the bundle's content by what it is built from, so that equal sources deploy nothing."""
    digest = hashlib.sha256(f"{PYTHON_VERSION} {PLATFORM} {settings}".encode())
    for source in sorted([LAMBDAS / "requirements.txt", *LAMBDAS.rglob("*.py")]):
        digest.update(source.relative_to(LAMBDAS).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()
