"""``[deployment]``: what an account asks of every stack that is deployed into it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from infra.aws_names import KeyArn, PolicyArn, Region

MAX_TAGS = 40
"""AWS takes 50 of most resources; the agent puts some of its own on tasks."""

LogRetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
]  # fmt: skip
"""Those that CloudWatch Logs takes: `PutRetentionPolicy
<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html>`_."""


def _tags(tags: dict[str, str]) -> dict[str, str]:
    """Check what `AWS takes for a tag <https://docs.aws.amazon.com/tag-editor/>`_."""
    if len(tags) > MAX_TAGS:
        raise ValueError(f"must be {MAX_TAGS} at most")
    seen: dict[str, str] = {}
    for key in tags:
        if seen.setdefault(key.lower(), key) != key:
            raise ValueError(
                f"{seen[key.lower()]!r} and {key!r} are one name to IAM, which does not tell "
                "capitals from small letters: remove one of them"
            )
    for key, value in tags.items():
        if key.lower().startswith("aws:"):
            raise ValueError(f"{key!r} begins with aws:, which is AWS's own: choose another name")
        if not re.fullmatch(r"[\w .:/=+@-]{1,128}", key):
            raise ValueError(
                f"{key!r} is no name of a tag: 1 to 128 letters, digits, spaces and _ . : / = + - @"
            )
        if not re.fullmatch(r"[\w .:/=+@-]{0,256}", value):
            raise ValueError(
                f"{key}: its value must be up to 256 letters, digits, spaces and _ . : / = + - @"
            )
    return tags


SubnetId = Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")]
SecurityGroupId = Annotated[str, Field(pattern=r"^sg-[0-9a-f]+$")]


class DeploymentSection(BaseModel):
    """``[deployment]``"""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    account: str | None = Field(None, pattern=r"^\d{12}$")
    """Binds the stack to an account: `cdk deploy` with other credentials is refused. By default
    where the command line deploys to."""
    region: Region | None = None
    """Likewise; ARNs of another partition are refused."""
    description: str = Field(
        "Serverless Fargate Agent: Prefect flow runs on ECS Fargate", max_length=1024
    )
    """Of the stack."""
    architecture: Literal["arm64", "x86_64"] = "arm64"
    """Or `x86_64`, where Lambda has no arm64: the bundle is the same."""
    subnets: list[SubnetId] = Field([], max_length=16)
    """The functions in a VPC, [for a private Prefect
    server](docs/deployment.md#a-private-prefect-server)."""
    security_groups: list[SecurityGroupId] = Field([], max_length=5)
    """Of the functions in these subnets."""
    kms_key: KeyArn | None = None
    """[A key of yours](docs/deployment.md#a-key-of-yours) for all that the stack stores."""
    readable_kms_keys: list[KeyArn] = []
    """Keys under which your secrets, parameters or kwargs bucket lie: the functions and the
    execution role may decrypt with them."""
    permissions_boundary: PolicyArn | None = None
    """ARN of a policy, on every role of the stack."""
    tags: Annotated[dict[str, str], AfterValidator(_tags)] = {}
    """On every resource, task and task definition; 40 at most."""
    log_retention_days: LogRetentionDays = 30
    """As CloudWatch Logs has them: 1, 3, 5, 7, 14, 30, 60, 90 ... 3653."""
    removal_policy: Literal["retain", "destroy"] | None = None
    """When the stack is deleted the bucket stays and the logs go; `retain` keeps both, `destroy`
    neither, the bucket only if it is empty."""

    @model_validator(mode="after")
    def _belong_together(self) -> DeploymentSection:
        if bool(self.subnets) != bool(self.security_groups):
            there, missing = (
                ("subnets", "security_groups") if self.subnets else ("security_groups", "subnets")
            )
            raise ValueError(
                f"{missing}: must be named too, for {there} is: Lambda puts functions into a VPC "
                "by both"
            )
        if self.account and not self.region:
            raise ValueError("region: must be named too, for account is: a stack is bound by both")
        if self.kms_key and self.region and self.kms_key.split(":")[3] != self.region:
            raise ValueError(
                f"kms_key: must be a key of the region {self.region!r}, where what it encrypts is; "
                f"it is {self.kms_key!r}"
            )
        boundary = self.permissions_boundary
        if self.account and boundary and boundary.split(":")[4] not in ("aws", self.account):
            raise ValueError(
                f"permissions_boundary: must be a policy of the account {self.account!r}, whose "
                f"roles it limits, or one of AWS; it is {boundary!r}"
            )
        return self


def foreign_arns(settings: Mapping[str, Any], partition: str) -> Iterator[tuple[str, str]]:
    """Find the ARNs of other partitions in settings, by their dotted keys."""
    for key, value in settings.items():
        match value:
            case Mapping():
                nested = value
            case list():
                nested = {str(place): item for place, item in enumerate(value)}
            case str() if value.startswith("arn:") and value.split(":")[1] != partition:
                yield key, value
                continue
            case _:
                continue
        for inner, arn in foreign_arns(nested, partition):
            yield f"{key}.{inner}", arn
