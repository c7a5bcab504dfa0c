"""What an upgrade must not do: replace what holds messages, files or logs; deploy for nothing."""

from __future__ import annotations

from typing import Any

from tests.support.stack_template import config, of_type, synthesize

HOLDS_SOMETHING: dict[str, dict[str, dict[str, Any]]] = {
    "AWS::SQS::Queue": {
        "AgentDeadLettersB2A769D7": {"FifoQueue": True},
        "AgentRunsFAE4F2BE": {"FifoQueue": True},
        "AgentTaskEventDeadLettersCB20EA78": {},
        "AgentTaskEvents897099AB": {},
        "AgentTicks0BAC3729": {},
    },
    "AWS::S3::Bucket": {"AgentKwargs05FCCFBF": {}},
    "AWS::SecretsManager::Secret": {"AgentUrlSecret17C1E9CC": {}},
    "AWS::Logs::LogGroup": {
        "AgentComputeTaskLogs695A908C": {},
        "AgentDispatchLogs664C4832": {},
        "AgentPollLogs2CC922B1": {},
        "AgentWatchLogsE4BB3923": {},
    },
    "AWS::ECS::Cluster": {"AgentComputeCluster9CA0A411": {}},
    "AWS::EC2::VPC": {"AgentComputeNetworkBE4C3B9B": {"CidrBlock": "10.0.0.0/16"}},
}
"""By logical id, with the properties whose change replaces the resource.

An id that is missing here was renamed, which makes CloudFormation delete the resource, and what it
holds: messages of runs that wait, kwargs files, logs, the URL's secret, running tasks' cluster."""

REPLACING = {
    *("BucketName", "CidrBlock", "ClusterName", "FifoQueue", "InstanceTenancy", "LogGroupName"),
    *("Name", "QueueName"),
}


def test_an_upgrade_replaces_nothing_that_holds_something() -> None:
    template = synthesize(config(agent={"url": True}))
    found = {
        kind: {
            id: {
                name: value
                for name, value in resource.get("Properties", {}).items()
                if name in REPLACING and value is not None
            }
            for id, resource in of_type(template, kind).items()
        }
        for kind in HOLDS_SOMETHING
    }
    found["AWS::EC2::VPC"]["AgentComputeNetworkBE4C3B9B"].pop("InstanceTenancy")  # the default
    assert found == HOLDS_SOMETHING


def test_equal_sources_and_settings_give_equal_templates() -> None:
    changed = {"deployment": {"tags": {"b": "2", "a": "1"}}, "agent": {"env": {"Y": "2", "X": "1"}}}
    assert synthesize(config(**changed)) == synthesize(config(**changed))
