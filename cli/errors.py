"""What the command line tells of failures: one line, with the cause and the remedy."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators.graphql import QueryRefused
from fargate_agent.orchestrators.http import ApiError, CredentialsExpired
from infra.config import ConfigError


class CommandError(Exception):
    """The command cannot do what was asked; the text tells why and what to do."""


EXPECTED = (
    ApiError,
    BotoCoreError,
    ClientError,
    CommandError,
    ConfigError,
    CredentialsExpired,
    PermanentError,
    QueryRefused,
)
"""What is told in a line; anything else is a defect, and shows its traceback."""


def told(error: Exception) -> str:
    """Tell an error, with the remedy where it is one that a person at a shell can mend."""
    match error:
        case NoCredentialsError():
            return "There are no AWS credentials: log in, name a --profile, or set AWS_PROFILE."
        case NoRegionError():
            return "No AWS region is set: name a --region, or set AWS_REGION."
        case ClientError():
            detail = error.response["Error"]
            return f"{error.operation_name}: {detail['Code']}: {detail.get('Message', '')}"
        case _:
            return str(error)
