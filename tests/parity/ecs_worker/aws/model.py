"""An AWS that answers the worker's calls as the recorded one did."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tests.parity.ecs_worker.aws.definitions import Definitions, Revision
from tests.parity.ecs_worker.aws.script import Script, refusal
from tests.parity.ecs_worker.cases import ACCOUNT, REGION, Json

ASSUMED_KEY = "AKIAASSUMED"


class Aws:
    """The state of one case; what it held before is the same in every region.

    Parameters
    ----------
    held
        A case's ``aws``.
    """

    def __init__(self, held: Json) -> None:
        self._held = held
        self._script = Script(held.get("script", {}))
        self._definitions: dict[str, Definitions] = {}
        self._started = 0
        self._tokens: dict[tuple[str, str], dict[str, Any]] = {}

    def definitions(self, region: str) -> Definitions:
        """Return the task definitions of a region."""
        if region not in self._definitions:
            made = self._definitions[region] = Definitions(region)
            for definition in self._held["task_definitions"]:
                params = {k: v for k, v in definition.items() if k != "status"}
                made.register(params, definition.get("status", "ACTIVE"))
        return self._definitions[region]

    def change(self, patch: Json) -> None:
        """Let somebody deregister or delete revisions."""
        here = self.definitions(REGION)
        for arn in patch.get("deregister", []):
            found = here.find(arn)
            if found:
                found.deregister()
        for arn in patch.get("delete", []):
            here.delete(arn)

    def answer(self, operation: str, params: Mapping[str, Any], region: str) -> dict[str, Any]:
        """Answer a call.

        Raises
        ------
        botocore.exceptions.ClientError
            The call is refused.
        """
        scripted = self._script.reply(operation)
        if scripted is not None:
            return scripted
        handle = getattr(self, f"_{operation}")
        answered: dict[str, Any] = handle(deepcopy(dict(params)), region)
        return answered

    def _RegisterTaskDefinition(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        for container in params["containerDefinitions"]:
            for key in ("name", "image"):
                if not container.get(key):
                    raise refusal(
                        "RegisterTaskDefinition",
                        "ClientException",
                        f"Container.{key} should not be null or empty.",
                    )
        made = self.definitions(region).register(params)
        return {"taskDefinition": deepcopy(made.definition)}

    def _DescribeTaskDefinition(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        found = self.definitions(region).find(params["taskDefinition"])
        if found is None:
            raise refusal(
                "DescribeTaskDefinition", "ClientException", "Unable to describe task definition."
            )
        tags = found.tags if "TAGS" in params.get("include", []) else []
        return {"taskDefinition": deepcopy(found.definition), "tags": deepcopy(tags)}

    def _ListTaskDefinitions(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        held = self.definitions(region).families.get(params.get("familyPrefix", ""), [])
        status = params.get("status", "ACTIVE")
        return {"taskDefinitionArns": [r.arn for r in held if r.definition["status"] == status]}

    def _RunTask(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        named = params.get("cluster") or "default"
        name = named.rpartition("/")[2]
        if name not in self._held["clusters"]:
            raise refusal("RunTask", "ClusterNotFoundException", "Cluster not found.")
        revision = self._revision(params["taskDefinition"], region)
        token = (name, params.get("clientToken", ""))
        if params.get("clientToken") and token in self._tokens:
            return self._tokens[token]
        self._started += 1
        arn = f"arn:aws:ecs:{region}:{ACCOUNT}"
        task = {
            "clusterArn": f"{arn}:cluster/{name}",
            "desiredStatus": "RUNNING",
            "lastStatus": "PROVISIONING",
            "taskArn": f"{arn}:task/{name}/{self._started:032}",
            "taskDefinitionArn": revision.arn,
        }
        self._tokens[token] = {"tasks": [task], "failures": []}
        return self._tokens[token]

    def _revision(self, name: str, region: str) -> Revision:
        found = self.definitions(region).find(name)
        if found is None:
            raise refusal("RunTask", "ClientException", "TaskDefinition not found.")
        if not found.is_active:
            raise refusal("RunTask", "ClientException", "TaskDefinition is inactive")
        return found

    def _DescribeVpcs(self, params: dict[str, Any], _region: str) -> dict[str, Any]:
        vpcs = self._held["vpcs"]
        if params.get("VpcIds"):
            found = [vpc for vpc in vpcs if vpc["id"] in params["VpcIds"]]
            if not found:
                message = f"The vpc ID '{params['VpcIds'][0]}' does not exist"
                raise refusal("DescribeVpcs", "InvalidVpcID.NotFound", message)
        else:
            found = [vpc for vpc in vpcs if vpc.get("is_default")]
        return {
            "Vpcs": [
                {"VpcId": vpc["id"], "IsDefault": bool(vpc.get("is_default"))} for vpc in found
            ]
        }

    def _DescribeSubnets(self, params: dict[str, Any], _region: str) -> dict[str, Any]:
        (wanted,) = params["Filters"]
        found = [s for s in self._held["subnets"] if s["vpc_id"] in wanted["Values"]]
        return {"Subnets": [{"SubnetId": s["id"], "VpcId": s["vpc_id"]} for s in found]}

    def _AssumeRole(self, params: dict[str, Any], _region: str) -> dict[str, Any]:
        return {
            "AssumedRoleUser": {"Arn": params["RoleArn"], "AssumedRoleId": "AROA:x"},
            "Credentials": {
                "AccessKeyId": ASSUMED_KEY,
                "SecretAccessKey": "assumed",
                "SessionToken": "token",
                "Expiration": "2099-01-01T00:00:00Z",
            },
        }

    def _StopTask(self, params: dict[str, Any], _region: str) -> dict[str, Any]:
        return {"task": {"taskArn": params["task"], "desiredStatus": "STOPPED"}}

    def _GetResources(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        (wanted,) = params["TagFilters"]
        found = self.definitions(region).tagged(wanted["Key"], wanted["Values"])
        return {
            "ResourceTagMappingList": [
                {
                    "ResourceARN": revision.arn,
                    "Tags": [{"Key": t["key"], "Value": t["value"]} for t in revision.tags],
                }
                for revision in found
            ],
            "PaginationToken": "",
        }
