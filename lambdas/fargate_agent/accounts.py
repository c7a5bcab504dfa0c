"""Where tasks run: ECS and the network it runs them in, as somebody; asked once what stays.

Usually the agent's own account, as the function's role or that of ``[aws]``; a run whose job names
an AWS credentials block runs as those.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from fargate_agent.errors import PermanentError
from fargate_agent.shared_calls import SharedCalls
from fargate_agent.task_definitions import TaskDefinitions

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

MOST_ACCOUNTS = 16
"""So many accounts of jobs' own credentials are held at once."""

HELD_SECONDS, FRESH_SECONDS = 300, 10
"""So long is a VPC taken to have the subnets that it had; and where one is missing among them."""


class Account:
    """One account and region, as one identity.

    Parameters
    ----------
    ecs
        Its ECS client.
    definitions
        The task definitions that are known there.
    make_ec2
        Makes its EC2 client, which most agents never need.
    """

    def __init__(
        self, ecs: ECSClient, definitions: TaskDefinitions, make_ec2: Callable[[], Any]
    ) -> None:
        self.ecs = ecs
        self.definitions = definitions
        self._make_ec2, self._made_ec2 = make_ec2, None
        self._making = threading.Lock()
        self._calls = SharedCalls()
        self._subnets: dict[str | None, tuple[float, list[str]]] = {}
        self._described: dict[str, dict[str, Any]] = {}

    @property
    def region(self) -> str:
        """The region's name."""
        return self.ecs.meta.region_name

    @property
    def _ec2(self) -> Any:
        with self._making:  # one session's clients are made one after the other
            self._made_ec2 = self._made_ec2 or self._make_ec2()
        return self._made_ec2

    def describe(self, name: str) -> Mapping[str, Any]:
        """Describe a task definition that a run names; a revision is asked for only once.

        Raises
        ------
        PermanentError
            There is none of that name.
        """

        def ask() -> dict[str, Any]:
            held = self._described.get(name) or self._describe(name)
            if name.rpartition(":")[2].isdecimal():  # else a family, whose latest may be another
                self._described[name] = held
            return held

        found: dict[str, Any] = self._calls.make(("definition", name), ask)
        return found

    def _describe(self, name: str) -> dict[str, Any]:
        try:
            answer = self.ecs.describe_task_definition(taskDefinition=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ClientException":
                raise
            raise PermanentError(
                f"The task definition {name!r} (task_definition_arn) does not exist. Register it, "
                "or correct its name in the work pool, the deployment or the run."
            ) from error
        return dict(answer["taskDefinition"])

    def subnets(self, vpc_id: str | None, *, fresh: bool = False) -> list[str]:
        """Return the ids of a VPC's subnets, or of those of the region's default VPC.

        Parameters
        ----------
        fresh
            Ask again if the answer is not of this moment, for it seems to be out of date.

        Raises
        ------
        PermanentError
            There is no such VPC, or it has no subnets.
        """
        age = FRESH_SECONDS if fresh else HELD_SECONDS

        def ask() -> list[str]:
            asked_at, held = self._subnets.get(vpc_id, (0.0, []))
            if not held or time.monotonic() - asked_at > age:
                held = self._find_subnets(vpc_id or self._default_vpc())
                self._subnets[vpc_id] = (time.monotonic(), held)
            return held

        found: list[str] = self._calls.make(("subnets", vpc_id, fresh), ask)
        return found

    def _find_subnets(self, vpc_id: str) -> list[str]:
        pages = self._ec2.get_paginator("describe_subnets").paginate(
            Filters=[{"Name": "vpc-id", "Values": [vpc_id]}]
        )
        found = [subnet["SubnetId"] for page in pages for subnet in page["Subnets"]]
        if not found:
            raise PermanentError(
                f"The VPC {vpc_id} does not exist in {self.region}, or has no subnets. Correct the "
                "job variable 'vpc_id', or write the subnets into 'network_configuration'."
            )
        return found

    def _default_vpc(self) -> str:
        asked = self._ec2.describe_vpcs(Filters=[{"Name": "isDefault", "Values": ["true"]}])
        for vpc in asked["Vpcs"]:
            return str(vpc["VpcId"])
        raise PermanentError(
            f"There is no network for the task: {self.region} has no default VPC. Set the job "
            "variable 'vpc_id', or name a networkConfiguration in [ecs.kwargs]."
        )


@dataclass(frozen=True, slots=True)
class Accounts:
    """The agent's own account, and those of credentials that jobs brought along.

    Parameters
    ----------
    own
        The account that tasks run in unless their job says otherwise.
    make
        Makes the account of the fields of an AWS credentials block.
    """

    own: Account
    make: Callable[[Mapping[str, Any]], Account]
    _made: dict[str, Account] = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)

    def of(self, credentials: Mapping[str, Any]) -> Account:
        """Return the account of a job's credentials; without any it is the agent's own."""
        own_region = {"region_name": self.own.region}
        if not credentials or credentials == own_region:
            return self.own
        key = json.dumps(credentials, sort_keys=True)
        with self._making:
            found = self._made.pop(key, None) or self.make(credentials)
            self._made[key] = found
            if len(self._made) > MOST_ACCOUNTS:
                del self._made[next(iter(self._made))]  # the one that was asked for least lately
        return found
