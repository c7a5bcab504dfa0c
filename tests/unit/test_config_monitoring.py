import pytest

from infra.config import runtime_settings
from tests.support.agent_toml import VALID, read, refusal

TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"


def test_monitoring_is_on_and_the_functions_know_of_their_metrics():
    off = read(VALID + "[monitoring]\nmetrics = false\n")

    assert runtime_settings(read())["metrics"] is True
    assert runtime_settings(off)["metrics"] is False


def test_a_topic_of_any_partition_is_taken():
    for topic in (TOPIC, TOPIC.replace("aws:sns:us-east-1", "aws-cn:sns:cn-north-1")):
        given = read(VALID + f'[monitoring]\nalarms_topic = "{topic}"\n')
        assert given.monitoring.alarms_topic == topic


@pytest.mark.parametrize("topic", ["alarms", "arn:aws:sns:us-east-1:alarms", f"{TOPIC}.fifo"])
def test_what_is_no_topic_for_alarms_is_refused(topic: str):
    assert refusal(VALID + f'[monitoring]\nalarms_topic = "{topic}"\n') == (
        "FILE: monitoring.alarms_topic: must be the ARN of an SNS topic, such as "
        "arn:aws:sns:us-east-1:123456789012:alarms; alarms take no FIFO topic; it is "
        f"{topic!r}"
    )


def test_a_topic_without_alarms_is_refused():
    text = VALID + f'[monitoring]\nalarms = false\nalarms_topic = "{TOPIC}"\n'

    assert "monitoring.alarms_topic: is of no use while monitoring.alarms is false" in refusal(text)


def test_an_unknown_key_is_refused():
    assert "Did you mean 'dashboard'?" in refusal(VALID + "[monitoring]\ndashbord = true\n")


def test_a_topic_of_another_region_is_refused():
    text = VALID + f'[monitoring]\nalarms_topic = "{TOPIC}"\n[deployment]\nregion = "eu-west-1"\n'

    assert refusal(text) == (
        "FILE: deployment.region: is 'eu-west-1', and monitoring.alarms_topic is in 'us-east-1': "
        "CloudWatch takes only topics of the alarm's own region"
    )
