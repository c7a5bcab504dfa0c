"""Task definitions as ECS keeps them: revisions of families, with the defaults it fills in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.parity.ecs_worker.cases import ACCOUNT

CONTAINER_LISTS = ("environment", "mountPoints", "portMappings", "systemControls", "volumesFrom")


@dataclass
class Revision:
    """One registered revision."""

    definition: dict[str, Any]
    tags: list[dict[str, str]]
    registered: dict[str, Any]
    """What it was registered with."""

    @property
    def arn(self) -> str:
        return str(self.definition["taskDefinitionArn"])

    @property
    def is_active(self) -> bool:
        return bool(self.definition["status"] == "ACTIVE")

    def deregister(self) -> None:
        """Make it inactive."""
        self.definition["status"] = "INACTIVE"


@dataclass
class Definitions:
    """All task definitions of one region."""

    region: str
    families: dict[str, list[Revision]] = field(default_factory=dict)

    def register(self, params: Mapping[str, Any], status: str = "ACTIVE") -> Revision:
        """Add a revision to its family."""
        made = deepcopy(dict(params))
        tags = made.pop("tags", [])
        family = self.families.setdefault(made["family"], [])
        number = len(family) + 1
        arn = f"arn:aws:ecs:{self.region}:{ACCOUNT}:task-definition/{made['family']}:{number}"
        fargate = "FARGATE" in made.get("requiresCompatibilities", [])
        family.append(
            Revision(
                {
                    **completed(made),
                    "compatibilities": ["EC2", "FARGATE"] if fargate else ["EXTERNAL", "EC2"],
                    "registeredAt": "2025-01-01T00:00:00Z",
                    "registeredBy": f"arn:aws:iam::{ACCOUNT}:user/worker",
                    "requiresAttributes": [{"name": "ecs.capability.x"}],
                    "revision": number,
                    "status": status,
                    "taskDefinitionArn": arn,
                },
                tags,
                deepcopy(dict(params)),
            )
        )
        return family[-1]

    def find(self, name: str) -> Revision | None:
        """Return a revision by its ARN or ``family:revision``, or a family's latest active one."""
        known = list(self._all())
        named = [r for r in known if name in (r.arn, r.arn.rpartition("/")[2])]
        latest = [r for r in known if r.definition["family"] == name and r.is_active]
        return next(iter([*named, *reversed(latest)]), None)

    def delete(self, arn: str) -> None:
        """Forget a revision; the recorded stand-in then gives its number again."""
        for name, family in self.families.items():
            self.families[name] = [revision for revision in family if revision.arn != arn]

    def tagged(self, key: str, values: list[str]) -> list[Revision]:
        """Return all revisions with a tag."""
        wanted = [{"key": key, "value": value} for value in values]
        return [r for r in self._all() if any(tag in wanted for tag in r.tags)]

    def _all(self) -> Iterator[Revision]:
        for family in self.families.values():
            yield from family


def completed(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what a registration leaves out."""
    mode = definition.get("networkMode", "bridge")
    containers = definition["containerDefinitions"]
    return {
        "networkMode": mode,
        "placementConstraints": [],
        **definition,
        "containerDefinitions": [_completed_container(c, mode) for c in containers],
        "volumes": [_completed_volume(v) for v in definition.get("volumes", [])],
    }


def _completed_container(container: Mapping[str, Any], network_mode: str) -> dict[str, Any]:
    lists: dict[str, Any] = {key: [] for key in CONTAINER_LISTS}
    made = {"cpu": 0, "essential": True, **lists, **container}
    made["portMappings"] = [_completed_port(p, network_mode) for p in made["portMappings"]]
    return made


def _completed_port(port: Mapping[str, Any], network_mode: str) -> dict[str, Any]:
    host = port["containerPort"] if network_mode in ("awsvpc", "host") else 0
    return {"hostPort": host, "protocol": "tcp", **port}


def _completed_volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    efs = volume.get("efsVolumeConfiguration")
    if efs is None:
        return dict(volume)
    return {**volume, "efsVolumeConfiguration": {"rootDirectory": "/", **efs}}
