"""Another CDK app that brings its own network, bucket and key, and makes an agent beside them.

Synthesize it from this project's root:  npx cdk synth --app "python3 -m examples.another_app.app"
"""

from __future__ import annotations

from aws_cdk import App, CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.compute import Network
from infra.config import AgentConfig
from infra.fargate_agent import FargateAgent, FargateAgentProps


class FlowsStack(Stack):
    """A team's flows: where they run, what they write, and who may size them."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        vpc = ec2.Vpc(self, "Vpc", max_azs=2, nat_gateways=1)
        results = s3.Bucket(self, "Results", enforce_ssl=True, removal_policy=RemovalPolicy.RETAIN)
        key = kms.Key(self, "Key", enable_key_rotation=True)
        agent = FargateAgent(
            self,
            "Agent",
            FargateAgentProps(
                config=AgentConfig.model_validate(
                    {
                        "agent": {"name": "flows", "env": {"TZ": "UTC"}},
                        "prefect": {
                            "api_url": "http://prefect.internal:4200/api",
                            "work_pool": "fargate",
                        },
                        "ecs": {"kwargs": {"cpu": 512, "memory": 1024}},
                    }
                ),
                cluster=ecs.Cluster(self, "Cluster", vpc=vpc),
                network=Network(vpc=vpc),
                functions_in_network=True,  # Prefect's server is in the VPC too
                encryption_key=key,
            ),
        )
        if agent.compute.task_role:
            results.grant_read_write(agent.compute.task_role)
        if agent.compute.execution_role:
            ecr.Repository(self, "Images").grant_pull(agent.compute.execution_role)
        analysts = iam.Role(self, "Analysts", assumed_by=iam.AccountRootPrincipal())
        agent.grant_write_kwargs(analysts)
        CfnOutput(self, "RunsQueue", value=agent.runs_queue.queue_url)


def main() -> None:
    """Synthesize the stack."""
    app = App()
    FlowsStack(app, "flows")
    app.synth()


if __name__ == "__main__":
    main()
