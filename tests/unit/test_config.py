from pathlib import Path

import pytest

from infra.config import ConfigError, load
from tests.support.agent_toml import VALID, read, refusal

ROOT = Path(__file__).parents[2]
PREFECT_1_DEFAULTS = {
    "agent_config_id": None,
    "backend": None,
    "tenant_id": None,
    "logging_level": "INFO",
    "extra_loggers": [],
}
DEPLOYMENT_DEFAULTS = {
    "account": None,
    "region": None,
    "description": "Serverless Fargate Agent: Prefect flow runs on ECS Fargate",
    "architecture": "arm64",
    "subnets": [],
    "security_groups": [],
    "kms_key": None,
    "readable_kms_keys": [],
    "permissions_boundary": None,
    "tags": {},
    "log_retention_days": 30,
    "removal_policy": None,
}
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-AbCdEf"


def test_a_short_file_gets_the_defaults():
    assert read().model_dump() == {
        "agent": {
            "name": "fargate-agent",
            "enabled": True,
            "poll_interval_seconds": 10,
            "labels": [],
            "env": {},
            "send_logs": True,
            "url": False,
        },
        "prefect": {
            "version": 3,
            "api_url": "https://prefect.example.com/api",
            "api_key_secret": None,
            "auth_string_secret": None,
            "work_pool": "fargate",
            "work_queues": [],
            **PREFECT_1_DEFAULTS,
        },
        "aws": {
            "credentials_secret": None,
            "role_arn": None,
            "region": None,
            "botocore": {},
            "assumable_roles": [],
        },
        "ecs": {
            "launch_type": "FARGATE",
            "enable_task_revisions": False,
            "on_drift": "revise",
            "relaunch_attempts": 2,
            "kwargs": {},
            "allowed_roles": [],
            "allowed_clusters": [],
        },
        "external_kwargs": {
            "enabled": True,
            "bucket": None,
            "prefix": "kwargs",
            "allow": None,
        },
        "monitoring": {
            "metrics": True,
            "dashboard": True,
            "alarms": True,
            "alarms_topic": None,
        },
        "deployment": DEPLOYMENT_DEFAULTS,
    }


def test_a_whole_file_is_read_as_it_is_written():
    config = read(f"""
        [agent]
        name = "night-shift"
        enabled = false
        poll_interval_seconds = 120
        env = {{ TZ = "UTC" }}
        send_logs = false
        url = true
        [prefect]
        version = 3
        api_url = "https://api.prefect.cloud/api/accounts/a/workspaces/w/"
        api_key_secret = "{SECRET}"
        work_pool = "fargate"
        work_queues = ["night"]
        [aws]
        region = "eu-central-1"
        assumable_roles = ["arn:aws:iam::210987654321:role/tenant"]
        [aws.botocore]
        retries = {{ mode = "standard" }}
        [ecs]
        launch_type = "FARGATE"
        on_drift = "reuse"
        relaunch_attempts = 5
        allowed_roles = ["arn:aws:iam::123456789012:role/etl"]
        allowed_clusters = ["arn:aws:ecs:eu-west-1:123456789012:cluster/etl"]
        [ecs.kwargs]
        cpu = 512
        cluster = "etl"
        networkConfiguration = {{ awsvpcConfiguration = {{ subnets = ["subnet-1"] }} }}
        [external_kwargs]
        enabled = false
        bucket = "etl-kwargs"
        prefix = "team/kwargs"
        allow = ["cpu", "overrides.containerOverrides.environment"]
        [monitoring]
        metrics = false
        dashboard = false
        alarms_topic = "arn:aws:sns:eu-west-1:123456789012:alarms"
    """)

    assert config.model_dump() == {
        "agent": {
            "name": "night-shift",
            "enabled": False,
            "poll_interval_seconds": 120,
            "labels": [],
            "env": {"TZ": "UTC"},
            "send_logs": False,
            "url": True,
        },
        "prefect": {
            "version": 3,
            "api_url": "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "api_key_secret": SECRET,
            "auth_string_secret": None,
            "work_pool": "fargate",
            "work_queues": ["night"],
            **PREFECT_1_DEFAULTS,
        },
        "aws": {
            "credentials_secret": None,
            "role_arn": None,
            "region": "eu-central-1",
            "botocore": {"retries": {"mode": "standard"}},
            "assumable_roles": ["arn:aws:iam::210987654321:role/tenant"],
        },
        "ecs": {
            "launch_type": "FARGATE",
            "enable_task_revisions": False,
            "on_drift": "reuse",
            "relaunch_attempts": 5,
            "kwargs": {
                "cpu": 512,
                "cluster": "etl",
                "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
            },
            "allowed_roles": ["arn:aws:iam::123456789012:role/etl"],
            "allowed_clusters": ["arn:aws:ecs:eu-west-1:123456789012:cluster/etl"],
        },
        "external_kwargs": {
            "enabled": False,
            "bucket": "etl-kwargs",
            "prefix": "team/kwargs",
            "allow": ["cpu", "overrides.containerOverrides.environment"],
        },
        "deployment": DEPLOYMENT_DEFAULTS,
        "monitoring": {
            "metrics": False,
            "dashboard": False,
            "alarms": True,
            "alarms_topic": "arn:aws:sns:eu-west-1:123456789012:alarms",
        },
    }


def test_the_file_that_is_shipped_needs_an_address_and_nothing_else():
    url = "https://prefect.example.com/api"

    assert load(ROOT / "agent.toml", {"prefect.api_url": url}).prefect.api_url == url
    with pytest.raises(ConfigError) as error:
        load(ROOT / "agent.toml", {})
    assert "agent.toml: prefect.api_url: must be the address of Prefect's API" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named_with_the_flag_that_names_another(tmp_path: Path):
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "none.toml", {})

    assert str(error.value) == (
        f"{tmp_path / 'none.toml'}: no such file; name one with -c agent=FILE"
    )


def test_a_file_that_is_not_toml_is_told_with_the_line():
    message = refusal(f"{VALID}work_queues\n")

    assert message.startswith("FILE: is not TOML: ")
    assert "line 5" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[agnet]\n", "FILE: agnet: no such setting. Did you mean 'agent'?"),
        (
            "[agent]\npoll_interval = 5\n",
            "FILE: agent.poll_interval: no such setting. Did you mean 'poll_interval_seconds'?",
        ),
        ("[ecs]\nxyz = 1\n", "FILE: ecs.xyz: no such setting. Remove it, or correct its name."),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(text: str, message: str):
    assert refusal(VALID + text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[agent]\nenabled = 'yes'\n", "agent.enabled: Input should be a valid boolean; it is"),
        ("[agent]\nenabled = 1\n", "agent.enabled: Input should be a valid boolean; it is 1"),
        ("[agent]\nname = 5\n", "agent.name: Input should be a valid string; it is 5"),
        ("[agent]\nname = '5'\n", "agent.name: String should match pattern "),
        ("[agent]\nenv = { A = 1 }\n", "agent.env.A: Input should be a valid string"),
        ("[agent]\npoll_interval_seconds = '10'\n", "agent.poll_interval_seconds: Input should be"),
        ("work_queues = 'one'\n", "prefect.work_queues: Input should be a valid list; it is 'one'"),
        ("work_queues = [1]\n", "prefect.work_queues.0: Input should be a valid string; it is 1"),
        ("api_key_secret = 'x'\n", "prefect.api_key_secret: must be the full ARN of a Secrets"),
        ("version = 4\n", "prefect.version: Input should be 1, 2 or 3; it is 4"),
        ("[ecs]\nallowed_roles = ['x']\n", "ecs.allowed_roles.0: must be an ARN such as arn:aws:"),
        ("[ecs]\nallowed_clusters = ['x']\n", "ecs.allowed_clusters.0: must be an ARN such as"),
        ("[ecs]\nlaunch_type = 'ECS'\n", "ecs.launch_type: Input should be 'FARGATE', 'FARGATE_SP"),
        ("[ecs]\nrelaunch_attempts = -1\n", "ecs.relaunch_attempts: Input should be greater than"),
        ("[ecs]\nrelaunch_attempts = 11\n", "ecs.relaunch_attempts: Input should be less than"),
        ("[ecs]\nrelaunch_attempts = '2'\n", "ecs.relaunch_attempts: Input should be a valid int"),
        ("[ecs]\non_drift = 'x'\n", "ecs.on_drift: Input should be 'revise', 'reuse' or 'fail'"),
        ("[aws]\nregion = 'Paris'\n", "aws.region: must be a region of AWS, such as"),
        ("[aws]\nrole_arn = 'x'\n", "aws.role_arn: must be an ARN such as arn:aws:"),
        ("[aws]\nassumable_roles = ['x']\n", "aws.assumable_roles.0: must be an ARN such as"),
        ("[aws]\nassumable_roles = 'x'\n", "aws.assumable_roles: Input should be a valid list"),
        ("[aws]\ncredentials_secret = 'x'\n", "aws.credentials_secret: must be the full ARN"),
        ("[external_kwargs]\nbucket = 'A_b'\n", "external_kwargs.bucket: String should match"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(text: str, message: str):
    found = refusal(VALID + text)

    assert found.startswith(f"FILE: {message}")
    assert "\n" not in found


@pytest.mark.parametrize("url", ["", "prefect.example.com/api", "https://host", "ftp://host/api"])
def test_an_address_that_is_not_prefects_api_is_refused(url: str):
    message = refusal(f"[prefect]\napi_url = '{url}'\nwork_pool = 'fargate'\n")

    assert message.startswith("FILE: prefect.api_url: must be ")
    assert "Prefect's API" in message
    assert "https://host/api" in message


@pytest.mark.parametrize("key", ["api_url", "work_pool"])
def test_a_key_that_is_missing_is_told_with_both_remedies(key: str):
    text = "\n".join(line for line in VALID.splitlines() if not line.startswith(key))

    assert refusal(text) == (
        f"FILE: prefect.{key}: must be set, in the file or with -c prefect.{key}=VALUE"
    )


def test_each_problem_has_a_line():
    assert refusal("[prefect]\nwork_pol = 'x'\n").splitlines() == [
        "FILE: prefect.api_url: must be set, in the file or with -c prefect.api_url=VALUE",
        "FILE: prefect.work_pool: must be set, in the file or with -c prefect.work_pool=VALUE",
        "FILE: prefect.work_pol: no such setting. Did you mean 'work_pool'?",
    ]


def test_two_secrets_are_one_too_many():
    message = refusal(f"{VALID}api_key_secret = '{SECRET}'\nauth_string_secret = '{SECRET}'\n")

    assert message.startswith("FILE: prefect: api_key_secret and auth_string_secret are both set")


@pytest.mark.parametrize("key", ["api_key_secret", "auth_string_secret"])
def test_either_secret_is_enough(key: str):
    assert getattr(read(f"{VALID}{key} = '{SECRET}'\n").prefect, key) == SECRET


@pytest.mark.parametrize("seconds", [5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 3600])
def test_an_interval_divides_a_minute_or_is_minutes(seconds: int):
    config = read(f"{VALID}[agent]\npoll_interval_seconds = {seconds}\n")

    assert config.agent.poll_interval_seconds == seconds


@pytest.mark.parametrize("seconds", [-60, 0, 1, 4, 7, 45, 61, 90, 3601, 3660])
def test_any_other_interval_is_refused(seconds: int):
    assert refusal(f"{VALID}[agent]\npoll_interval_seconds = {seconds}\n") == (
        "FILE: agent.poll_interval_seconds: must divide 60 (5, 6, 10, 12, 15, 20, 30, 60) or be "
        f"120, 180, ... 3600; it is {seconds}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[ecs.kwargs]\nexecutionRoleArn = 'my-role'\n",
            "executionRoleArn: must be the role's ARN",
        ),
        (
            "[ecs.kwargs.overrides]\ntaskRoleArn = 'my-role'\n",
            "taskRoleArn: must be the role's ARN",
        ),
        (
            "api_key_secret = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:prefect'\n",
            "with the six characters at its end",
        ),
        ("[agent]\nname = 'x-'\n", "agent.name: String should match pattern"),
    ],
)
def test_what_could_not_be_deployed_is_refused(text: str, words: str):
    assert words in refusal(VALID + text)
