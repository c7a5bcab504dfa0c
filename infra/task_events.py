"""The way of ECS's events of tasks to a queue, from this account and from one that runs tasks."""

from __future__ import annotations

import jsii
from aws_cdk import Names, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from aws_cdk.interfaces.aws_events import IRuleRef
from constructs import Construct

from infra.task_rights import EVENT_DETAIL_TYPE, EVENT_SOURCE


def send_task_events(
    scope: Construct, id: str, queue: sqs.Queue, pattern: events.EventPattern
) -> None:
    """Send what matches a pattern to a queue."""
    rule = events.Rule(
        scope,
        id,
        description="Tells the agent of the ECS tasks of its clusters, but those of services",
        event_pattern=pattern,
        targets=[_Queue(queue)],
    )
    # Not by CDK's own target and grant, which let any rule of any account send to an encrypted
    # queue, and a key's policy wait for the rule that waits for the key.
    queue.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("events.amazonaws.com")],
            actions=["sqs:SendMessage"],
            resources=[queue.queue_arn],
            conditions={"ArnEquals": {"aws:SourceArn": rule.rule_arn}},
        )
    )


def let_events_in(scope: Construct, id: str, role_arn: str | None) -> None:
    """Let the account whose role runs the tasks send their events here, if it is another one."""
    stack = Stack.of(scope)
    account = role_arn.split(":")[4] if role_arn else stack.account
    if account == stack.account:
        return
    events.CfnEventBusPolicy(
        scope,
        id,
        event_bus_name="default",
        statement_id=Names.unique_resource_name(scope, max_length=64),
        statement={
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:{stack.partition}:iam::{account}:root"},
            "Action": "events:PutEvents",
            "Resource": stack.format_arn(
                service="events", resource="event-bus", resource_name="default"
            ),
            "Condition": {
                "StringEquals": {
                    "events:source": EVENT_SOURCE,
                    "events:detail-type": EVENT_DETAIL_TYPE,
                }
            },
        },
    )


@jsii.implements(events.IRuleTarget)
class _Queue:
    """A rule's target that grants nothing."""

    def __init__(self, queue: sqs.Queue) -> None:
        self._arn = queue.queue_arn

    def bind(self, rule: IRuleRef, id: str | None = None) -> events.RuleTargetConfig:
        return events.RuleTargetConfig(arn=self._arn)
