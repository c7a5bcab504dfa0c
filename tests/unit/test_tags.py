"""The tags of a task: Prefect's labels and the users'."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fargate_agent.profiles.work_pool.tags import MAX_TAGS, prefect_labels, tags_of_task
from tests.support.values import RUN_ID, flow_run

TEXT = st.text(max_size=300)
LABELS = st.dictionaries(TEXT, TEXT, max_size=60)
TAGS = st.none() | st.lists(st.fixed_dictionaries({"key": TEXT, "value": st.none() | TEXT}))


def labels(run: Any = None, *, version: str | None = "3.8.8", **changes: str) -> dict[str, str]:
    fields = {"work_pool": "fargate", "work_pool_id": "pool-1", "worker": "agent", **changes}
    return prefect_labels(run or flow_run(), version=version, **fields)


def listed(*pairs: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in pairs]


def tags(
    labels: dict[str, str], templated: Any = None, *, weakest: Any = None, strongest: Any = None
) -> dict[str, str]:
    found = tags_of_task(labels, templated, weakest=weakest, strongest=strongest)
    made = {tag["key"]: tag["value"] for tag in found}
    assert len(made) == len(found), "a key stands twice"
    return made


# -- Prefect's labels ------------------------------------------------------------------------------


def test_prefects_labels_say_whose_the_task_is():
    assert labels() == {
        "prefect.io/flow-run-id": RUN_ID,
        "prefect.io/flow-run-name": "brave-otter",
        "prefect.io/version": "3.8.8",
        "prefect.io/work-pool-name": "fargate",
        "prefect.io/work-pool-id": "pool-1",
        "prefect.io/worker-name": "agent",
        "prefect.io/flow-id": "b1d2f3a4-0000-4000-8000-000000000001",
        "prefect.io/flow-name": "Load orders",
        "prefect.io/deployment-id": "d1d2f3a4-0000-4000-8000-000000000002",
        "prefect.io/deployment-name": "nightly",
        "prefect.io/deployment-updated": "2026-02-01T00:00:00+00:00",
    }


def test_what_is_not_known_is_no_label():
    run = flow_run(deployment_id=None, deployment_name=None, deployment_updated=None, flow_name="")

    missing = labels().keys() - labels(run, version=None).keys()

    assert missing == {
        "prefect.io/version",
        "prefect.io/flow-name",
        "prefect.io/deployment-id",
        "prefect.io/deployment-name",
        "prefect.io/deployment-updated",
    }


@pytest.mark.parametrize(
    "written", ["2026-02-01T00:00:00Z", "2026-02-01T02:00:00+02:00", "2026-01-31T19:00:00-05:00"]
)
def test_when_the_deployment_was_changed_is_told_in_utc(written: str):
    found = labels(flow_run(deployment_updated=written))

    assert found["prefect.io/deployment-updated"] == "2026-02-01T00:00:00+00:00"


# -- as the worker writes them ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Load orders", "Load-orders"),
        ("brave otter #1", "brave-otter-1"),
        ("a\nb\tc", "a-b-c"),
        ("Größe", "Gr-e"),
        ("a_b.c/d=e+f:g@h", "a_b.c/d=e+f:g@h"),
        ("  spaced  ", "spaced"),
        ("it's", "it-s"),
        ("1,000", "1000"),
    ],
)
def test_keys_and_values_of_labels_become_slugs(text: str, slug: str):
    assert tags({text: text}) == {slug: slug}


def test_a_tag_of_the_template_stands_under_the_label_of_its_name():
    templated = listed(("team", "template"), ("cost", "template"))

    assert tags({"team": "label"}, templated) == {"team": "label", "cost": "template"}


@pytest.mark.parametrize(
    "templated",
    [
        {"cost centre": "a b"},
        listed(("cost centre", "a b")),
        listed(("cost centre", "a b"), ("x", None)),
    ],
)
def test_the_templates_tags_may_be_a_table_and_become_slugs_too(templated: Any):
    assert tags({}, templated) == {"cost-centre": "a-b"}


@pytest.mark.parametrize("empty", [None, [], {}])
def test_there_need_be_no_tags(empty: Any):
    assert tags({}, empty, weakest=empty, strongest=empty) == {}


# -- layers ----------------------------------------------------------------------------------------


def test_the_agents_tags_stand_under_the_jobs_and_those_in_s3_above():
    given = {"weakest": listed(("a", "agent"), ("b", "agent"), ("c", "agent"))}

    assert tags({"b": "job", "c": "job"}, **given, strongest=listed(("c", "s3"))) == {
        "a": "agent",
        "b": "job",
        "c": "s3",
    }


def test_the_agents_tags_and_those_in_s3_stay_as_they_are_written():
    found = tags({}, weakest=listed(("cost centre", "a b")), strongest=listed(("The Team", "c d")))

    assert found == {"cost centre": "a b", "The Team": "c d"}


def test_two_labels_of_one_slug_are_one_tag():
    assert tags({"cost centre": "1", "cost-centre": "2"}) == {"cost-centre": "2"}


def test_two_tags_that_are_one_when_they_are_cut_are_one_tag():
    long = "k" * 128

    assert tags({f"{long}a": "1", f"{long}b": "2"}) == {long: "2"}


# -- what ECS takes --------------------------------------------------------------------------------


def test_prefects_labels_are_never_the_ones_that_are_cut():
    found = tags({**{f"label-{number}": "x" for number in range(60)}, **labels()})

    assert len(found) == MAX_TAGS == 50
    assert labels().keys() <= found.keys()
    assert "label-0" in found
    assert "label-59" not in found


def test_of_what_is_left_the_labels_come_before_the_agents_own():
    many = listed(*((f"agent-{number}", "x") for number in range(60)))

    assert {"a", "s3"} <= tags({"a": "x"}, weakest=many, strongest=listed(("s3", "x"))).keys()


def test_a_label_without_a_letter_that_ecs_takes_is_none():
    assert tags({"#!?": "x", "a": "#!?"}) == {"a": ""}


@given(LABELS, TAGS, TAGS, TAGS)
def test_whatever_is_given_ecs_takes_the_tags(
    given_labels: dict[str, str], templated: Any, weakest: Any, strongest: Any
):
    found = tags({**labels(), **given_labels}, templated, weakest=weakest, strongest=strongest)

    assert len(found) <= MAX_TAGS
    assert all(1 <= len(key) <= 128 and len(value) <= 256 for key, value in found.items())


@pytest.mark.parametrize("name", ["prefect.io/flow-name", "prefect.io/flow name"])
def test_a_label_that_the_user_gives_prefects_name_is_the_users(name: str):
    assert tags({**labels(), name: "mine"})["prefect.io/flow-name"] == "mine"
