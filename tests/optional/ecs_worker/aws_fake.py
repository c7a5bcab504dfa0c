"""AWS as a case describes it, put in the place of botocore's sending.

It runs beside the real worker, in the worker's virtual environment, and is called with checked
parameters before anything is serialized. Definitions come back as ECS returns them: with its
defaults, an ARN and a revision, without the tags.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import botocore.session
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.serialize import ParamValidationError
from botocore.validate import ParamValidator

ACCOUNT = "123456789012"
REGISTERED = "2025-01-01T00:00:00Z"
LISTS = ("environment", "mountPoints", "portMappings", "systemControls", "volumesFrom")

Json = dict[str, Any]


class Refused(Exception):
    """AWS's own answer to a request it does not accept."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.details = {"Code": code, "Message": message}


class Aws:
    """One account, from a case's ``input.aws``, which is so in all regions.

    ``calls`` is what was asked of it, in order.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.calls: list[Json] = []
        self._given = given
        self._script = {name: list(replies) for name, replies in given.get("script", {}).items()}
        self._definitions: dict[str, list[Json]] = {}
        self._tasks = 0

    def change(self, patch: Mapping[str, Any]) -> None:
        """Do what somebody else does between two runs: ``deregister`` or ``delete`` ARNs."""
        deleted = patch.get("delete", [])
        for region, held in self._definitions.items():
            for definition in held:
                if definition["taskDefinitionArn"] in patch.get("deregister", []):
                    definition["status"] = "INACTIVE"
            left = [d for d in held if d["taskDefinitionArn"] not in deleted]
            self._definitions[region] = left

    def _held(self, region: str) -> list[Json]:
        """Return a region's definitions, in order."""
        if region not in self._definitions:
            self._definitions[region] = []
            for given in self._given.get("task_definitions", []):
                registered = self._register({**given}, region)
                registered["status"] = given.get("status", "ACTIVE")
        return self._definitions[region]

    def answer(self, client: BaseClient, operation: str, params: Json) -> Any:
        """Answer a call of a client, and keep it."""
        call = {"operation": operation, "params": copy.deepcopy(params), **_origin(client)}
        self.calls.append(call)
        try:
            shape = client.meta.service_model.operation_model(operation).input_shape
            report = ParamValidator().validate(params, shape)
            if report.has_errors():
                raise ParamValidationError(report=report.generate_report())
            answer = self._reply(client, operation, params)
        except Exception as error:
            call["error"] = {"type": type(error).__name__, "message": str(error)}
            raise
        call["response"] = copy.deepcopy(answer)
        return copy.deepcopy(answer)

    def _reply(self, client: BaseClient, operation: str, params: Json) -> Json:
        scripted = self._next_of_script(operation)
        try:
            if "error" in scripted:
                raise Refused(scripted["error"]["Code"], scripted["error"]["Message"])
            if scripted and not scripted.get("pass"):
                return {key: value for key, value in scripted.items() if key != "always"}
            return dict(getattr(self, f"_{operation}")(client.meta.region_name, params))
        except Refused as refused:
            error = client.exceptions.from_code(refused.details["Code"])
            if error is None:
                error = ClientError
            raise error({"Error": refused.details}, operation) from None

    def _next_of_script(self, operation: str) -> Json:
        queue = self._script.get(operation, [])
        if not queue:
            return {}
        return dict(queue[0] if queue[0].get("always") else queue.pop(0))

    # -- ECS

    def _RegisterTaskDefinition(self, region: str, params: Json) -> Json:
        for container in params.get("containerDefinitions", []):
            for key in ("name", "image"):
                if not container.get(key):
                    message = f"Container.{key} should not be null or empty."
                    raise Refused("ClientException", message)
        return {"taskDefinition": self._register(params, region)}

    def _register(self, params: Json, region: str) -> Json:
        definition = copy.deepcopy({key: params[key] for key in params if key != "tags"})
        family = definition["family"]
        mode = definition.setdefault("networkMode", "bridge")
        fargate = "FARGATE" in definition.get("requiresCompatibilities", [])
        for container in definition.get("containerDefinitions", []):
            container.setdefault("cpu", 0)
            container.setdefault("essential", True)
            for key in LISTS:
                container.setdefault(key, [])
            for port in container["portMappings"]:
                port.setdefault("hostPort", port["containerPort"] if mode != "bridge" else 0)
                port.setdefault("protocol", "tcp")
        for volume in definition.setdefault("volumes", []):
            if "efsVolumeConfiguration" in volume:
                volume["efsVolumeConfiguration"].setdefault("rootDirectory", "/")
        definition.setdefault("placementConstraints", [])
        held = self._held(region)
        revision = max((d["revision"] for d in held if d["family"] == family), default=0) + 1
        definition |= {
            "compatibilities": ["EC2", "FARGATE"] if fargate else ["EXTERNAL", "EC2"],
            "registeredAt": REGISTERED,
            "registeredBy": f"arn:aws:iam::{ACCOUNT}:user/worker",
            "requiresAttributes": [{"name": "ecs.capability.x"}],
            "revision": revision,
            "status": "ACTIVE",
            "taskDefinitionArn": _arn(region, f"task-definition/{family}:{revision}"),
        }
        held.append(definition)
        return definition

    def _DescribeTaskDefinition(self, region: str, params: Json) -> Json:
        found = self._find(region, params["taskDefinition"])
        if found is None:
            raise Refused("ClientException", "Unable to describe task definition.")
        return {"taskDefinition": found, "tags": []}

    def _find(self, region: str, name: str) -> Json | None:
        for definition in reversed(self._held(region)):
            revision = f"{definition['family']}:{definition['revision']}"
            is_latest = name == definition["family"] and definition["status"] == "ACTIVE"
            if is_latest or name in (revision, definition["taskDefinitionArn"]):
                return definition
        return None

    def _RunTask(self, region: str, params: Json) -> Json:
        cluster = (params.get("cluster") or "default").rsplit("/", 1)[-1]
        if cluster not in self._given["clusters"]:
            raise Refused("ClusterNotFoundException", "Cluster not found.")
        definition = self._find(region, params["taskDefinition"])
        if definition is None:
            raise Refused("ClientException", "TaskDefinition not found.")
        if definition["status"] != "ACTIVE":
            raise Refused("ClientException", "TaskDefinition is inactive")
        self._tasks += 1
        task = {
            "clusterArn": _arn(region, f"cluster/{cluster}"),
            "desiredStatus": "RUNNING",
            "lastStatus": "PROVISIONING",
            "taskArn": _arn(region, f"task/{cluster}/{self._tasks:032}"),
            "taskDefinitionArn": definition["taskDefinitionArn"],
        }
        return {"tasks": [task], "failures": []}

    def _StopTask(self, region: str, params: Json) -> Json:
        return {"task": {"taskArn": params["task"], "desiredStatus": "STOPPED"}}

    # -- EC2 and STS

    def _DescribeVpcs(self, region: str, params: Json) -> Json:
        wanted = params.get("VpcIds")
        found = [
            {"VpcId": vpc["id"], "IsDefault": bool(vpc.get("is_default"))}
            for vpc in self._given["vpcs"]
            if (vpc["id"] in wanted if wanted is not None else vpc.get("is_default"))
        ]
        return {"Vpcs": found}

    def _DescribeSubnets(self, region: str, params: Json) -> Json:
        (vpc,) = params["Filters"][0]["Values"]
        found = [
            {"SubnetId": subnet["id"], "VpcId": vpc}
            for subnet in self._given["subnets"]
            if subnet["vpc_id"] == vpc
        ]
        return {"Subnets": found}

    def _AssumeRole(self, region: str, params: Json) -> Json:
        credentials = {
            "AccessKeyId": "AKIAASSUMED",
            "SecretAccessKey": "assumed",
            "SessionToken": "token",
            "Expiration": "2099-01-01T00:00:00Z",
        }
        user = {"AssumedRoleId": "AROA:x", "Arn": params["RoleArn"]}
        return {"Credentials": credentials, "AssumedRoleUser": user}


class Switch:
    """Gives every botocore client's calls to the account of the moment."""

    def __init__(self) -> None:
        self.aws = Aws({})

    @contextmanager
    def installed(self) -> Iterator[Switch]:
        """Stand in for AWS; service models are read once, whatever the sessions."""
        real_call, real_loader = BaseClient._make_api_call, botocore.session.create_loader
        loader = real_loader()
        switch = self

        def call(client: BaseClient, operation: str, params: Json) -> Any:
            return switch.aws.answer(client, operation, params)

        BaseClient._make_api_call = call
        botocore.session.create_loader = lambda *_: loader
        try:
            yield self
        finally:
            BaseClient._make_api_call = real_call
            botocore.session.create_loader = real_loader


def _origin(client: BaseClient) -> Json:
    """Say whose credentials a client has, and where it calls."""
    credentials = client._request_signer._credentials
    endpoint = client.meta.endpoint_url
    return {
        "service": client.meta.service_model.service_name,
        "region": client.meta.region_name,
        "access_key_id": getattr(credentials, "access_key", None),
        **({} if ".amazonaws.com" in endpoint else {"endpoint_url": endpoint}),
    }


def _arn(region: str, resource: str) -> str:
    return f"arn:aws:ecs:{region}:{ACCOUNT}:{resource}"


def plain(value: Any) -> Any:
    """Return what JSON can hold, as the recordings write it."""
    return value.isoformat() if isinstance(value, datetime) else str(value)
