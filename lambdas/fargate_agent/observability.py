"""The one logger: JSON lines to CloudWatch Logs, one line per decision."""

from __future__ import annotations

from aws_lambda_powertools import Logger

logger = Logger(service="fargate-agent")
