"""IAM in force inside the emulator: who acts as a role may do what its policies allow, and no more.

Judged are:

- every request signed with the credentials of a function or of a task, each of which gets its own
  role's, or with those of a role that these assumed;
- what AWS's services do as a role, which must trust the service: the schedule invokes its function,
  an event source mapping receives from its queue, Lambda writes a function's log, ECS reads a
  task's secrets and writes its log;
- what a rule delivers: the target's own policy must let EventBridge in.

ministack's own enforcement (``AUTH=true``) would want TLS and judges RunTask wrongly: what a call
asks comes from ``iam_requests.py`` here. What that does not know, as a flow's own calls, is judged
by the action and resource that ministack finds.

Not judged are the access key ``test``, which is the deployer's, and the trust of a role that
another role assumes. Of GetObject ``s3:ListBucket`` is asked even where the object exists.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ministack import app
from ministack.core import lambda_runtime
from ministack.core.arn import parse_arn
from ministack.core.iam_actions import (
    access_denied_response,
    extract_iam_action,
    extract_resource_arn,
)
from ministack.core.responses import (
    fix_error_content_type,
    get_account_id,
    get_region,
    request_scope,
)
from ministack.core.router import detect_service, extract_access_key_id
from ministack.services import ecs, eventbridge, lambda_svc

from local.iam_judge import AccessDenied, check, credentials, is_judged, judge, let_in
from local.iam_requests import Request, consuming, logging, requests
from local.task_roles import log_group

PRIVATE = {
    app: ("_handle_post_body_shortcuts", "_routing_params"),
    ecs: ("_resolve_td_key", "_task_defs"),
    eventbridge: ("_invoke_target",),
    lambda_runtime: ("execution_credentials",),
    lambda_svc: (
        *("execution_credentials", "_iter_all_esms", "_emit_lambda_logs"),
        "_get_func_record_for_qualifier",
    ),
}

_LAMBDA = "lambda.amazonaws.com"
_DELIVERIES = {"lambda": "lambda:InvokeFunction", "sqs": "sqs:SendMessage"}
"""What a schedule or a rule needs, by the target's service."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A request as it came: of which service, and with the fields of its form among ``params``."""

    service: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    params: dict[str, list[str]]


def _guarded(handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Let only pass what the caller may; this is asked of every request before all else."""

    async def guarded(*arguments: Any) -> Any:
        method, path, headers, body, query, request_id = arguments
        key = extract_access_key_id(headers, query)
        if is_judged(key):
            params = app._routing_params(method, path, headers, body, query)
            service = detect_service(method, path, headers, params)
            call = _Call(service, method, path, headers, body, params)
            try:
                for request in _asked(call):
                    judge(key, request)
            except AccessDenied as denied:
                return _answer(denied, call, request_id)
        return await handle(*arguments)

    return guarded


def _asked(call: _Call) -> list[Request]:
    account, region = get_account_id(), get_region()
    asked = (call.service, call.method, call.path, call.headers, call.body, call.params)
    action = extract_iam_action(*asked)
    if action is None:
        return [Request(f"{call.service}:{call.method}", call.path)]  # which no policy allows
    operation = {"s3:ListBucket": "ListObjectsV2"}.get(action, action.partition(":")[2])
    try:
        return list(requests(operation, _params(call, operation), account=account, region=region))
    except NotImplementedError:
        return [Request(action, extract_resource_arn(*asked, region, account))]


def _params(call: _Call, operation: str) -> dict[str, Any]:
    """Return a call's parameters as boto3 names them."""
    if call.service == "s3":
        bucket, _, key = call.path.lstrip("/").partition("/")
        prefix = {"Prefix": call.params["prefix"][0]} if call.params.get("prefix") else {}
        return {"Bucket": bucket, "Key": key, **prefix}
    if "Action" in call.params:
        return {name: values[0] for name, values in call.params.items()}
    params = dict(json.loads(call.body or b"{}"))
    is_launch = (call.service, operation) == ("ecs", "RunTask")
    return _as_ecs_reads_it(params) if is_launch else params


def _as_ecs_reads_it(launch: dict[str, Any]) -> dict[str, Any]:
    """Name the revision that RunTask means, and the roles that the task gets from it."""
    definition = ecs._task_defs.get(ecs._resolve_td_key(launch.get("taskDefinition", "")))
    if definition is None:
        return launch
    roles = {
        role: definition[role]
        for role in ("executionRoleArn", "taskRoleArn")
        if definition.get(role)
    }
    overrides = {**roles, **launch.get("overrides", {})}
    return {**launch, "taskDefinition": definition["taskDefinitionArn"], "overrides": overrides}


def _answer(denied: AccessDenied, call: _Call, request_id: str) -> Any:
    status, headers, body = access_denied_response(
        call.service,
        denied.request.action,
        denied.principal,
        request_id,
        message=str(denied),
        headers=call.headers,
        resource_arn=denied.request.resource,
        explicit_deny=denied.explicit,
    )
    fix_error_content_type(call.service, status, headers)
    return status, {**headers, "x-amzn-requestid": request_id}, body


# -- AWS's own services


def _function_credentials(config: Mapping[str, Any]) -> dict[str, str]:
    """Give a function's processes its own role's credentials."""
    arn, name = config["FunctionArn"], config["FunctionName"]
    with request_scope(arn.split(":")[4], arn.split(":")[3]):
        return credentials(config["Role"], name, _LAMBDA, arn)


def _may_deliver(target: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    """Tell whether a schedule or a rule may bring an event to a target."""
    arn, role = target["Arn"], target.get("RoleArn")
    request = Request(_DELIVERIES[parse_arn(arn).service], arn)
    service = "events.amazonaws.com" if "EventBusName" in rule else "scheduler.amazonaws.com"
    try:
        if role:
            check(role, rule["Name"], service, [request], rule["Arn"])
        else:
            let_in(service, request, rule["Arn"])
    except AccessDenied:
        return False
    return True


def _delivering(deliver: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(deliver)
    def delivering(target: Any, event: Any, rule: Any, view: Any = None) -> Any:
        return deliver(target, event, rule, view) if _may_deliver(target, rule) else None

    return delivering


def _consuming(mappings: Callable[[], Iterator[Any]]) -> Callable[[], Iterator[Any]]:
    """Leave out the mappings whose function's role may not receive from their queue."""

    def consuming_mappings() -> Iterator[Any]:
        for account, region, mapping in mappings():
            with request_scope(account, region):
                may = _may_consume(mapping)
            if may:
                yield account, region, mapping

    return consuming_mappings


def _may_consume(mapping: Mapping[str, Any]) -> bool:
    name = mapping["FunctionName"]
    function, _ = lambda_svc._get_func_record_for_qualifier(name, mapping.get("Qualifier"))
    if function is None:
        return False
    asked = consuming(mapping["EventSourceArn"])
    try:
        check(function["config"]["Role"], name, _LAMBDA, asked)
    except AccessDenied:
        return False
    return True


def _writing_logs(write: Callable[..., None]) -> Callable[..., None]:
    """Lose a function's log where its role may not write it, as Lambda does."""

    @functools.wraps(write)
    def writing(func: Mapping[str, Any], *arguments: Any, **options: Any) -> None:
        config = func.get("config") or func
        name, arn = config["FunctionName"], config["FunctionArn"]
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{name}"
        _, _, _, region, account, *_ = arn.split(":")
        with request_scope(account, region):
            try:
                asked = logging(f"{log_group(group)}:log-stream:{name}")
                check(config["Role"], name, _LAMBDA, asked, arn)
            except AccessDenied:
                return
        write(func, *arguments, **options)

    return writing


def enforce() -> None:
    """Put IAM in force in this emulator; from then on."""
    app._handle_post_body_shortcuts = _guarded(app._handle_post_body_shortcuts)
    for module in (lambda_runtime, lambda_svc):
        module.execution_credentials = _function_credentials
    eventbridge._invoke_target = _delivering(eventbridge._invoke_target)
    lambda_svc._iter_all_esms = _consuming(lambda_svc._iter_all_esms)
    lambda_svc._emit_lambda_logs = _writing_logs(lambda_svc._emit_lambda_logs)
