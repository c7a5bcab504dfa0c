"""Who asks, and what time it is: the AWS credentials, and the clocks of all who take part."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3

from cli.deployed_agent import DeployedAgent
from cli.doctor.findings import Finding, failure, ok, unknown, warning
from cli.doctor.subject import Subject

REFUSED_AFTER = timedelta(minutes=5)
"""AWS refuses a request whose time is further off: Signature Version 4."""

NOTICED_AFTER = timedelta(seconds=5)
"""Whole seconds, and the time that an answer takes, are no skew."""

_CLOCK = "clocks"


def credentials(agent: DeployedAgent) -> Finding:
    """Tell who calls AWS; raise what boto3 does where that is nobody."""
    sts = agent.client("sts")
    who = sts.get_caller_identity()
    region = sts.meta.region_name
    return ok("AWS credentials", f"{who['Arn']}, account {who['Account']}, region {region}")


def remedy(error: Exception) -> str:
    """Tell what to do where AWS refuses the caller: to log in, or to set the clock.

    The words are those of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
    """
    words = ("signature expired", "not yet current")
    if any(word in str(error).lower() for word in words):
        return "Set this machine's clock: it is too far off AWS's."
    return "Log in, or name another --profile."


def clocks(subject: Subject) -> Iterator[Finding]:
    """Compare the clocks of AWS, of Prefect and of this machine."""
    here = subject.now()
    aws = _aws_time(subject.client("sts"))
    if aws is None:
        yield unknown(_CLOCK, "AWS's answer has no Date header")
        return
    off = abs(aws - here)
    if off > REFUSED_AFTER:
        yield failure(
            _CLOCK,
            f"this machine's clock is {_told(off)} off AWS's, which refuses such requests",
            "Set this machine's clock.",
        )
        return
    server = _date_of(subject.settings.api_url)
    if server is None:
        yield unknown(_CLOCK, "Prefect's time is not known, for it does not answer from here")
        return
    # Runs start by AWS's clock and are due by Prefect's; this machine's matters to no run.
    apart = abs(server - aws) - abs(subject.now() - here)
    if apart > NOTICED_AFTER:
        yield warning(
            _CLOCK,
            f"Prefect's clock is {_told(apart)} off AWS's: runs start so much early or late",
            "Set the clock of Prefect's server.",
        )
    elif off > NOTICED_AFTER:
        yield warning(
            _CLOCK,
            f"this machine's clock is {_told(off)} off; AWS's and Prefect's agree",
            "Set this machine's clock, for the ages told here are wrong by as much.",
        )
    else:
        yield ok(_CLOCK, "AWS's, Prefect's and this machine's agree")


def _told(difference: timedelta) -> str:
    return f"{difference.total_seconds():.0f} s"


def _aws_time(sts: Any) -> datetime | None:
    headers = sts.get_caller_identity()["ResponseMetadata"]["HTTPHeaders"]
    return _parsed(headers.get("date"))


def _date_of(url: str) -> datetime | None:
    try:
        answer = urllib3.request("GET", f"{url}/health", retries=False, timeout=5)
    except urllib3.exceptions.HTTPError:
        return None
    return _parsed(answer.headers.get("Date"))


def _parsed(text: str | None) -> datetime | None:
    return parsedate_to_datetime(text).astimezone(UTC) if text else None
