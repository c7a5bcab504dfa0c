"""The stack of one agent: the construct, its outputs, and what cdk-nag is told."""

from __future__ import annotations

import jsii
from aws_cdk import CfnOutput, Environment, Fn, Stack
from constructs import Construct

from infra.config import AgentConfig
from infra.fargate_agent import FargateAgent, FargateAgentProps


class AgentStack(Stack):
    """One agent, named after ``agent.name``; several stand side by side."""

    def __init__(self, scope: Construct, config: AgentConfig) -> None:
        rules = config.deployment
        super().__init__(
            scope,
            config.agent.name,
            description=rules.description,
            env=Environment(account=rules.account, region=rules.region),
        )
        self.agent = FargateAgent(self, "Agent", FargateAgentProps(config=config))
        self._outputs()

    @property
    @jsii.member(jsii_name="availabilityZones")
    def availability_zones(self) -> list[str]:
        """The first two of the region.

        CloudFormation fills them in: to look them up when the stack is synthesized would take
        credentials, and a file to remember them.
        """
        return [Fn.select(place, Fn.get_azs()) for place in (0, 1)]

    def _outputs(self) -> None:
        agent, compute = self.agent, self.agent.compute
        values = {
            "Cluster": compute.cluster_arn,
            "ExecutionRole": compute.execution_role_arn,
            "TaskRole": compute.task_role_arn,
            "RunsQueue": agent.runs_queue.queue_url,
            "DeadLetters": agent.dead_letters.queue_url,
            "PollFunction": agent.poll.function_name,
            "DispatchFunction": agent.dispatch.function_name,
            "WatchFunction": agent.watch.function_name,
        }
        if agent.url and agent.url_secret:
            values["Url"] = agent.url.url
            values["UrlSecret"] = agent.url_secret.secret_arn
        if agent.kwargs_bucket:
            values["KwargsBucket"] = agent.kwargs_bucket.bucket_name
        if compute.log_group:
            values["TaskLogs"] = compute.log_group.log_group_name
        for name, value in values.items():
            CfnOutput(self, name, value=value)
