"""An agent in moto as the command line finds it deployed: its stack, functions, roles, network.

What moto lacks of that (CloudFormation's view of the stack, functions that run) is played here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from botocore.config import Config
from typer.testing import CliRunner, Result

from cli import main
from cli.deployed_agent import DeployedAgent
from fargate_agent import dispatch, settings
from tests.support import aws
from tests.support.functions import CONTEXT
from tests.support.stack_template import ACCOUNT, REGION, of_type
from tests.support.world import World
from tests.support.world1 import World1

FUNCTIONS = ("poll", "dispatch", "watch")


class Lambdas:
    """Lambda, so far as the command line asks it: descriptions, mappings, and invocations."""

    def __init__(self, world: World | World1) -> None:
        self._world = world
        self.described = {name: _described(world, name) for name in FUNCTIONS}
        self.mappings = {
            name: [{"UUID": name, "State": "Enabled"}] for name in ("dispatch", "watch", "poll")
        }
        self.invoked: list[tuple[str, Any]] = []

    def get_function(self, *, FunctionName: str) -> Mapping[str, Any]:
        """Describe a function."""
        return self.described[self._name(FunctionName)]

    def list_event_source_mappings(self, *, FunctionName: str) -> Mapping[str, Any]:
        """Tell what hands messages to a function."""
        return {"EventSourceMappings": self.mappings[self._name(FunctionName)]}

    def invoke(self, *, FunctionName: str, Payload: bytes) -> Mapping[str, Any]:
        """Run a function in this process."""
        name, event = self._name(FunctionName), json.loads(Payload)
        self.invoked.append((name, event))
        try:
            answer = self._run(name, event)
        except Exception as error:
            told = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(told).encode())}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}

    def _run(self, name: str, event: dict[str, Any]) -> Any:
        if name == "poll":
            return {"found": self._world.poll(event)}
        with self._world.inside("dispatch"):
            return dispatch.handler(event, CONTEXT)  # type: ignore[arg-type]

    def _name(self, function: str) -> str:
        configurations = {n: f["Configuration"] for n, f in self.described.items()}
        return next(n for n, c in configurations.items() if c["FunctionName"] == function)


class DeployedWorld(DeployedAgent):
    """The agent of a world, with all of AWS around it that ``doctor`` looks at."""

    def __init__(self, world: World | World1) -> None:
        super().__init__("fargate-agent")
        self.world, self.lambdas = world, Lambdas(world)
        self.status = "UPDATE_COMPLETE"
        self.resolve: Callable[[Any], Any] = world.deployed.resolve
        self._make_secrets()
        self._make_roles()
        self._make_logs()
        self._make_route()
        self._make_triggers()
        self._make_redrive()

    @property
    def description(self) -> Mapping[str, Any]:  # type: ignore[override]
        """The stack, as CloudFormation tells of it."""
        outputs = self.world.deployed.template["Outputs"]
        told = [
            {"OutputKey": name, "OutputValue": self.resolve(output["Value"])}
            for name, output in outputs.items()
        ]
        return {"StackStatus": self.status, "Outputs": told}

    @property
    def resources(self) -> list[Mapping[str, Any]]:  # type: ignore[override]
        """The stack's resources, as CloudFormation tells of them."""
        return [
            {"ResourceType": resource["Type"], "PhysicalResourceId": self.resolve({"Ref": id})}
            for id, resource in self.world.deployed.template["Resources"].items()
        ]

    @property
    def _settings_file(self) -> str:  # type: ignore[override]
        return settings.SETTINGS_FILE.read_text()

    def client(self, service: str, config: Config | None = None) -> Any:
        """Return moto's client, or what plays the service."""
        return self.lambdas if service == "lambda" else aws.moto(service)

    def role(self, output: str) -> str:
        """Return the name of a role that the stack has an output of."""
        return self.outputs[output].rpartition("/")[2]

    def _make_secrets(self) -> None:
        for id in of_type(self.world.deployed.template, "AWS::SecretsManager::Secret"):
            made = aws.moto("secretsmanager").create_secret(Name=id, SecretString="first")
            self.world.deployed.physical[id] = made["ARN"]

    def _make_roles(self) -> None:
        iam, template = aws.moto("iam"), self.world.deployed.template
        for id, role in of_type(template, "AWS::IAM::Role").items():
            trust = self.resolve(role["Properties"]["AssumeRolePolicyDocument"])
            name = self.resolve({"Ref": id})
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        for id, policy in of_type(template, "AWS::IAM::Policy").items():
            for role in self.resolve(policy["Properties"]["Roles"]):
                document = json.dumps(self.resolve(policy["Properties"]["PolicyDocument"]))
                iam.put_role_policy(RoleName=role, PolicyName=id, PolicyDocument=document)

    def _make_logs(self) -> None:
        for id in of_type(self.world.deployed.template, "AWS::Logs::LogGroup"):
            aws.moto("logs").create_log_group(logGroupName=self.resolve({"Ref": id}))

    def _make_route(self) -> None:
        ec2 = aws.moto("ec2")
        (vpc,) = {
            subnet["VpcId"]
            for subnet in ec2.describe_subnets(SubnetIds=self.network["subnets"])["Subnets"]
        }
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        self.route_table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])[
            "RouteTables"
        ][0]["RouteTableId"]
        ec2.create_route(
            RouteTableId=self.route_table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
        )

    @property
    def network(self) -> Mapping[str, Any]:
        """The network that the stack made."""
        kwargs = json.loads(self.world.environment["dispatch"]["STACK_KWARGS"])
        return dict(kwargs["networkConfiguration"]["awsvpcConfiguration"])

    def _make_triggers(self) -> None:
        template = self.world.deployed.template
        for id in of_type(template, "AWS::Scheduler::Schedule"):
            aws.moto("scheduler").create_schedule(
                Name=self.resolve({"Ref": id}),
                ScheduleExpression="rate(1 minute)",
                FlexibleTimeWindow={"Mode": "OFF"},
                Target={
                    "Arn": "arn:aws:lambda:::function:f",
                    "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r",
                },
            )
        for id in of_type(template, "AWS::Events::Rule"):
            name = self.resolve({"Ref": id})
            aws.moto("events").put_rule(Name=name, EventPattern='{"source": ["aws.ecs"]}')

    def _make_redrive(self) -> None:
        for id, queue in of_type(self.world.deployed.template, "AWS::SQS::Queue").items():
            if policy := queue["Properties"].get("RedrivePolicy"):
                aws.moto("sqs").set_queue_attributes(
                    QueueUrl=self.resolve({"Ref": id}),
                    Attributes={"RedrivePolicy": json.dumps(self.resolve(policy))},
                )

    def write(self, function: str, message: str, level: str = "INFO", **fields: Any) -> None:
        """Write a line into a function's log."""
        logs, now = aws.moto("logs"), fields.pop("at")
        group = self.lambdas.described[function]["Configuration"]["LoggingConfig"]["LogGroup"]
        streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
        if not streams:
            logs.create_log_stream(logGroupName=group, logStreamName="stream")
        line = json.dumps({"level": level, "message": message, **fields})
        logs.put_log_events(
            logGroupName=group,
            logStreamName="stream",
            logEvents=[{"timestamp": int(now.timestamp() * 1000), "message": line}],
        )


def _described(world: World | World1, name: str) -> dict[str, Any]:
    id, resource = world.deployed.function(name)
    role = resource["Properties"]["Role"]
    group = resource["Properties"]["LoggingConfig"]["LogGroup"]
    function = world.deployed.resolve({"Ref": id})
    return {
        "Configuration": {
            "FunctionName": function,
            "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}",
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Role": world.deployed.resolve(role),
            "LoggingConfig": {"LogGroup": world.deployed.resolve(group)},
            "Environment": {"Variables": world.environment[name]},
        }
    }


def run(
    monkeypatch: pytest.MonkeyPatch, agent: DeployedAgent, *arguments: str, input: str = ""
) -> Result:
    """Run the command line on an agent."""
    monkeypatch.setattr(main, "DeployedAgent", lambda *_: agent)
    return CliRunner().invoke(main.app, list(arguments), input=input)
