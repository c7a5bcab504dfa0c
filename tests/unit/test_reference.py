"""The README's table of settings is that of the model."""

from infra.config import AgentConfig
from infra.reference import README, table, written


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text()

    assert written(text) == text, "run: python3 -m infra.reference"


def test_every_setting_says_what_it_is() -> None:
    rows = table().splitlines()[2:]

    keys = {row.split("`")[1] for row in rows}
    for section, field in AgentConfig.model_fields.items():
        assert {f"{section}.{name}" for name in field.annotation.model_fields} <= keys
    assert not [row for row in rows if row.endswith("|  |")]
