"""Names of AWS that may stand in ``agent.toml``: ARNs and regions, of any partition."""

from __future__ import annotations

import re
from typing import Annotated

import boto3
from botocore.exceptions import UnknownRegionError
from pydantic import AfterValidator


def _like(pattern: str, must_be: str) -> AfterValidator:
    """Accept what a pattern matches, and tell of all else what it must be."""

    def check(name: str) -> str:
        if not re.fullmatch(pattern, name):
            raise ValueError(f"must be {must_be}")
        return name

    return AfterValidator(check)


def arn_of(kind: str, example: str) -> AfterValidator:
    """Accept ARNs of one kind, in any partition.

    Parameters
    ----------
    kind
        The pattern of what follows the partition, up to the resource's name.
    example
        One that would be accepted, for the error.
    """
    return _like(rf"arn:[\w-]+:{kind}/.+", f"an ARN such as {example}")


SecretArn = Annotated[
    str,
    _like(
        r"arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:[^:]+-\w{6}",
        "the full ARN of a Secrets Manager secret, with the six characters at its end, that holds "
        "the value as plain text",
    ),
]
TopicArn = Annotated[
    str,
    _like(
        r"arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+",
        "the ARN of an SNS topic, such as arn:aws:sns:us-east-1:123456789012:alarms; alarms take "
        "no FIFO topic",
    ),
]
RoleArn = Annotated[str, arn_of(r"iam::\d{12}:role", "arn:aws:iam::123456789012:role/name")]
ClusterArn = Annotated[
    str,
    arn_of(r"ecs:[\w-]+:\d{12}:cluster", "arn:aws:ecs:eu-west-1:123456789012:cluster/name"),
]
PolicyArn = Annotated[
    str, arn_of(r"iam::(\d{12}|aws):policy", "arn:aws:iam::123456789012:policy/name")
]
KeyArn = Annotated[
    str,
    arn_of(
        r"kms:[\w-]+:\d{12}:key",
        "arn:aws:kms:eu-west-1:123456789012:key/id, and no alias: policies do not follow those",
    ),
]


def partition_of(region: str) -> str:
    """Return the partition of a region: ``aws``, ``aws-cn``, ``aws-us-gov`` and so on.

    Raises
    ------
    ValueError
        No partition has regions of such a name.
    """
    try:
        return str(boto3.Session().get_partition_for_region(region))
    except UnknownRegionError as error:
        raise ValueError("must be a region of AWS, such as eu-west-1") from error


def _region(region: str) -> str:
    partition_of(region)
    return region


Region = Annotated[str, AfterValidator(_region)]
