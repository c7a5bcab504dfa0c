"""Judges what is asked of this AWS by the policies that are deployed in it, at that moment.

Runs inside the emulator, and uses ministack's policy evaluator. Resource policies and permissions
boundaries count. Requests are judged as if they had come by TLS. Every judgement is written, once,
to the file that ``LOCAL_IAM_JUDGEMENTS`` names.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterable
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.iam_actions import identity_denial_message
from ministack.core.iam_evaluator import (
    AuthError,
    EvalContext,
    combine_resource_policy,
    evaluate,
    evaluate_resource_policy,
    resolve_principal,
)
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam, sts

from local.iam_requests import Request

PRIVATE = {iam: ("_roles",), iam_evaluator: ("_resource_policy",), sts: ("_sessions",)}

_lock = threading.Lock()
_sessions: dict[tuple[str, str], dict[str, str]] = {}
"""Credentials, by role and session name."""
_handed_out: set[str] = set()
"""Their access keys."""
_written: set[tuple[str, ...]] = set()


class AccessDenied(PermissionError):
    """A role may not do what was asked of it; says so in AWS's words."""

    def __init__(self, principal: str, request: Request, *, explicit: bool = False) -> None:
        self.principal, self.request, self.explicit = principal, request, explicit
        super().__init__(
            identity_denial_message(request.action, principal, request.resource, explicit)
        )


# -- who acts


def credentials(role_arn: str, session_name: str, service: str, source: str = "") -> dict[str, str]:
    """Return the environment variables by which a service lets a process act as a role.

    Parameters
    ----------
    service
        Who assumes the role, as ``lambda.amazonaws.com``.
    source
        The ARN on whose behalf it does.

    Raises
    ------
    AccessDenied
        The role does not trust the service.
    """
    _check_trust(role_arn, service, source)
    with _lock:
        made = _sessions.get((role_arn, session_name))
        if made is None:
            made = _sessions[role_arn, session_name] = {
                "AWS_ACCESS_KEY_ID": f"ASIA{secrets.token_hex(8).upper()}",
                "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
                "AWS_SESSION_TOKEN": secrets.token_hex(64),
            }
            _handed_out.add(made["AWS_ACCESS_KEY_ID"])
            account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
            sts.register_session(
                made["AWS_ACCESS_KEY_ID"],
                {
                    "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session_name}",
                    "UserId": f"{name}:{session_name}",
                    "AccountId": account,
                    "SecretAccessKey": made["AWS_SECRET_ACCESS_KEY"],
                    "SessionToken": made["AWS_SESSION_TOKEN"],
                    "PrincipalType": "AssumedRole",
                },
            )
    return dict(made)


def exists(role_arn: str) -> bool:
    """Tell whether a role is one of this AWS."""
    return _role(role_arn) is not None


def _role(arn: str) -> dict[str, Any] | None:
    found = iam._roles.get_scoped(arn.split(":")[4], None, arn.rpartition("/")[2])
    return dict(found) if found else None


def _check_trust(role_arn: str, service: str, source: str) -> None:
    role = _role(role_arn)
    request = Request("sts:AssumeRole", role_arn)
    trust = role and role["AssumeRolePolicyDocument"]
    if not trust or not _allows(trust, service, request, source):
        raise _refused(service, request)


def _allows(policy: Any, service: str, request: Request, source: str) -> bool:
    context = EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action=request.action,
        resource_arn=request.resource,
        region=get_region(),
        secure_transport=True,
        service_context={"aws:sourceaccount": get_account_id(), "aws:sourcearn": source},
    )
    return bool(evaluate_resource_policy(policy, context, service=service).decision == "Allow")


def is_judged(key: str) -> bool:
    """Tell whether an access key is of a session that the deployer's own keys did not open."""
    while key in sts._sessions and key not in _handed_out:
        key = sts._sessions[key].get("SourceAccessKeyId") or ""
    return key.startswith("ASIA")


# -- what it may


def check(
    role_arn: str, session_name: str, service: str, asked: Iterable[Request], source: str = ""
) -> None:
    """See to it that a service may do all that is asked, acting as a role.

    Raises
    ------
    AccessDenied
        The role does not trust the service, or may not.
    """
    key = credentials(role_arn, session_name, service, source)["AWS_ACCESS_KEY_ID"]
    for request in asked:
        judge(key, request)


def judge(key: str, request: Request) -> None:
    """See to it that the owner of an access key may do what is asked.

    Raises
    ------
    AccessDenied
        It may not.
    """
    principal = resolve_principal(key, get_account_id())
    if isinstance(principal, AuthError):  # an expired session
        raise _refused(key, request)
    context = EvalContext(
        principal_arn=principal.arn,
        principal_type=principal.type,
        principal_account=principal.account,
        action=request.action,
        resource_arn=request.resource,
        region=get_region(),
        secure_transport=True,
        service_context={name.lower(): value for name, value in request.context.items()},
        principal_keys=principal.keys,
    )
    verdict = evaluate(context, principal.policies, *principal.limits)
    found = iam_evaluator._resource_policy(request.action.partition(":")[0], request.resource)
    if found:
        limits = tuple(principal.limits)
        verdict = combine_resource_policy(verdict, context, *found, limits=limits)
    if verdict.decision != "Allow":
        raise _refused(principal.arn, request, explicit=verdict.decision == "Deny")
    _write(principal.arn, request, allowed=True)


def let_in(service: str, request: Request, source: str) -> None:
    """See to it that a resource's own policy lets a service do something on behalf of a source.

    Raises
    ------
    AccessDenied
        It does not.
    """
    found = iam_evaluator._resource_policy(request.action.partition(":")[0], request.resource)
    if not found or not _allows(found[0], service, request, source):
        raise _refused(service, request)
    _write(service, request, allowed=True)


def _refused(principal: str, request: Request, *, explicit: bool = False) -> AccessDenied:
    _write(principal, request, allowed=False)
    return AccessDenied(principal, request, explicit=explicit)


def _write(principal: str, request: Request, *, allowed: bool) -> None:
    role = principal.rpartition("/")[0]
    entry = (role, request.action, "" if allowed else request.resource)
    with _lock:
        if entry in _written:
            return
        _written.add(entry)
        with open(os.environ["LOCAL_IAM_JUDGEMENTS"], "a") as file:
            judgement = {
                "principal": principal,
                "action": request.action,
                "resource": request.resource,
                "allowed": allowed,
            }
            file.write(json.dumps(judgement) + "\n")
