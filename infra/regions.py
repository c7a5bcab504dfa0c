"""What is not the same in every region of AWS, and what follows for a stack.

By Lambda's pages on `function URLs <https://docs.aws.amazon.com/lambda/latest/dg/lambda-urls.html>`_,
`GovCloud <https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/govcloud-lambda.html>`_ and
`China <https://docs.amazonaws.cn/en_us/aws/latest/userguide/lambda.html>`_.
"""

from __future__ import annotations

import os

from aws_cdk import Stack, Token
from constructs import IConstruct

from infra.aws_names import partition_of

_WITHOUT_FUNCTION_URLS = {
    *("ap-east-2", "ap-south-2", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6"),
    *("ap-southeast-7", "ca-west-1", "eu-central-2", "eu-south-2", "il-central-1"),
    "me-central-1",
}
_OTHER_PARTITIONS = ("aws-cn", "aws-us-gov")


def region_of(scope: IConstruct) -> str | None:
    """Tell where a stack will be deployed, if anybody knows yet.

    A stack that names no region goes where the CDK command line is told to, which lets the app
    know by ``CDK_DEFAULT_REGION``.
    """
    region = Stack.of(scope).region
    return os.environ.get("CDK_DEFAULT_REGION") if Token.is_unresolved(region) else region


def has_function_urls(region: str | None) -> bool:
    """Tell whether Lambda gives functions URLs there; of an unknown region it is believed."""
    return region is None or (
        region not in _WITHOUT_FUNCTION_URLS and partition_of(region) not in _OTHER_PARTITIONS
    )


def has_json_logs(region: str | None) -> bool:
    """Tell whether Lambda writes its own lines as JSON there, and can leave them out."""
    return region is None or partition_of(region) != "aws-us-gov"


def has_mapping_tags(region: str | None) -> bool:
    """Tell whether event source mappings take tags there."""
    return region is None or partition_of(region) not in _OTHER_PARTITIONS
