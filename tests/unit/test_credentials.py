import base64
from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators.credentials import authorization

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prefect-AbCdEf"


class FakeSecrets:
    """Holds one secret, whose values follow one another as it is read."""

    def __init__(self, *values: str | None) -> None:
        self.reads: list[str] = []
        self._values = list(values)

    def __call__(self) -> Any:
        return self

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:
        self.reads.append(SecretId)
        value = self._values.pop(0)
        return {} if value is None else {"SecretString": value}


def no_client() -> Any:
    raise AssertionError("nobody needs Secrets Manager")


def test_a_cloud_key_is_sent_as_bearer():
    secrets = FakeSecrets("pnu_1")

    header = authorization(secrets, api_key_secret=ARN, auth_string_secret=None)

    assert header(False) == "Bearer pnu_1"
    assert secrets.reads == [ARN]


def test_an_auth_string_is_sent_as_basic():
    header = authorization(
        FakeSecrets("admin:pässword"), api_key_secret=None, auth_string_secret=ARN
    )

    scheme, _, credentials = str(header(False)).partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(credentials).decode() == "admin:pässword"


def test_white_space_around_a_secret_is_no_part_of_it():
    header = authorization(FakeSecrets(" pnu_1\n"), api_key_secret=ARN, auth_string_secret=None)

    assert header(False) == "Bearer pnu_1"


def test_a_server_without_authentication_needs_no_secret_and_no_client():
    header = authorization(no_client, api_key_secret=None, auth_string_secret=None)

    assert header(False) is None
    assert header(True) is None


def test_no_client_is_made_before_the_first_call():
    authorization(no_client, api_key_secret=ARN, auth_string_secret=None)


def test_a_secret_is_read_once():
    secrets = FakeSecrets("pnu_1")
    header = authorization(secrets, api_key_secret=ARN, auth_string_secret=None)

    assert [header(False), header(False)] == ["Bearer pnu_1", "Bearer pnu_1"]
    assert secrets.reads == [ARN]


def test_a_rotated_secret_is_read_again_and_kept():
    secrets = FakeSecrets("old", "new")
    header = authorization(secrets, api_key_secret=ARN, auth_string_secret=None)

    assert [header(False), header(True), header(False)] == [
        "Bearer old",
        "Bearer new",
        "Bearer new",
    ]
    assert secrets.reads == [ARN, ARN]


@pytest.mark.parametrize("value", ["", " \n", None])
def test_an_empty_secret_is_a_permanent_error_that_names_it(value: str | None):
    header = authorization(FakeSecrets(value), api_key_secret=ARN, auth_string_secret=None)

    with pytest.raises(PermanentError) as refusal:
        header(False)
    assert str(refusal.value) == (
        f"The secret {ARN} is empty: store the Prefect key as plain text."
    )
