"""``ecs.on_drift``, owners of shared families, and older revisions found by their tags."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from fargate_agent.errors import PermanentError
from fargate_agent.runs import RevisionTerms
from fargate_agent.task_definitions import (
    FLOW_ID_TAG,
    FLOW_VERSION_TAG,
    HASH_TAG,
    MOST_CANDIDATES,
    OnDrift,
    content_hash,
)
from tests.support.revisions import revisions

PLAIN: dict[str, Any] = {
    "family": "etl",
    "cpu": "1024",
    "containerDefinitions": [{"name": "flow", "image": "etl:1"}],
}
HASH = content_hash(PLAIN)
WHOLE_ID = "fargate-agent/flow-id"
OWNER = {WHOLE_ID: "b1d2f3a4-0000-4000-8000-000000000001", FLOW_ID_TAG: "b1d2f3a4"}
TERMS = RevisionTerms(owner=OWNER)
KEY = "PREFECT__CLOUD__AUTH_TOKEN"


def version(number: int, flow: str = "b1d2f3a4") -> dict[str, str]:
    """Return a revision's tags, as the legacy agent wrote them."""
    return {FLOW_ID_TAG: flow, FLOW_VERSION_TAG: str(number)}


def definition(number: int = 3) -> dict[str, Any]:
    """Return what a run of this version of the flow asks for."""
    tags = [{"key": key, "value": value} for key, value in version(number).items()]
    return {**PLAIN, "tags": tags}


def registration(number: int = 3) -> dict[str, str]:
    """Return the tags of a new revision of it."""
    hash = content_hash(definition(number))
    return {**version(number), WHOLE_ID: OWNER[WHOLE_ID], HASH_TAG: hash}


# -- revise ----------------------------------------------------------------------------------------


def test_an_older_revision_of_the_same_content_is_run_again():
    with revisions() as aws:
        aws.describes("etl:9", {HASH_TAG: "other"})
        aws.searches(HASH_TAG, HASH, ["etl:7"])
        aws.describes("etl:7", {HASH_TAG: HASH}, asked=_arn("etl:7"))

        assert aws.definitions().ensure(PLAIN).name == "etl:7"


def test_older_revisions_are_looked_at_on_every_page_and_the_latest_first():
    with revisions() as aws:
        aws.describes("etl:19", {HASH_TAG: "other"})
        aws.searches(HASH_TAG, HASH, ["etl:9"], [], ["etl:10", "etl:8"])
        aws.describes("etl:10", {HASH_TAG: HASH}, asked=_arn("etl:10"))

        assert aws.definitions().ensure(PLAIN).name == "etl:10"


def test_without_the_right_to_search_a_new_revision_is_registered():
    with revisions() as aws:
        aws.describes("etl:9")
        aws.refuses_to_search("AccessDeniedException")
        aws.registers("etl:10", PLAIN, {HASH_TAG: HASH})

        assert aws.definitions().ensure(PLAIN).name == "etl:10"


def test_any_other_refusal_of_a_search_is_passed_on():
    with revisions() as aws:
        aws.describes("etl:9")
        aws.refuses_to_search("ThrottledException")

        with pytest.raises(ClientError, match="ThrottledException"):
            aws.definitions().ensure(PLAIN)


def test_revisions_of_other_families_are_left_alone():
    with revisions() as aws:
        aws.describes("etl:9")
        aws.searches(HASH_TAG, HASH, ["etl-2:7", "my-etl:8", "e:1"])
        aws.registers("etl:10", PLAIN, {HASH_TAG: HASH})

        assert aws.definitions().ensure(PLAIN).name == "etl:10"


def test_an_older_revision_is_run_only_as_ecs_describes_it():
    with revisions() as aws:
        aws.describes("etl:9")
        aws.searches(HASH_TAG, HASH, ["etl:6", "etl:7", "etl:8"])
        aws.describes("etl:8", {HASH_TAG: HASH}, asked=_arn("etl:8"), status="INACTIVE")
        aws.describes("etl:7", {HASH_TAG: "retagged"}, asked=_arn("etl:7"))
        aws.describes("etl:6", {HASH_TAG: HASH}, asked=_arn("etl:6"))

        assert aws.definitions().ensure(PLAIN).name == "etl:6"


def test_an_older_revision_that_is_gone_is_passed_over():
    with revisions() as aws:
        aws.describes("etl:9")
        aws.searches(HASH_TAG, HASH, ["etl:7"])
        aws.knows_no_family()
        aws.registers("etl:10", PLAIN, {HASH_TAG: HASH})

        assert aws.definitions().ensure(PLAIN).name == "etl:10"


def test_no_more_older_revisions_are_looked_at_than_a_few():
    latest_first = [f"etl:{number}" for number in range(30, 0, -1)]
    with revisions() as aws:
        aws.describes("etl:31")
        aws.searches(HASH_TAG, HASH, latest_first[:20], latest_first[20:])
        for name in latest_first[:MOST_CANDIDATES]:
            aws.describes(name, {HASH_TAG: HASH}, asked=_arn(name), status="INACTIVE")
        aws.registers("etl:32", PLAIN, {HASH_TAG: HASH})

        assert aws.definitions().ensure(PLAIN).name == "etl:32"


def test_an_owner_is_written_onto_a_new_revision_beside_the_users_tags():
    with revisions() as aws:
        aws.knows_no_family()
        aws.registers("etl:1", definition(), registration())

        aws.definitions().ensure(definition(), TERMS)


def test_two_flows_that_ask_for_the_same_content_are_not_confused_in_memory():
    other = {**OWNER, WHOLE_ID: "b1d2f3a4-0000-4000-8000-000000000002"}
    with revisions() as aws:
        aws.describes("etl:1", OWNER)
        aws.describes("etl:1", OWNER)
        aws.searches(FLOW_ID_TAG, "b1d2f3a4")
        aws.registers("etl:2", PLAIN, {**other, HASH_TAG: HASH})
        definitions = aws.definitions(on_drift=OnDrift.REUSE)

        assert definitions.ensure(PLAIN, TERMS).name == "etl:1"
        assert definitions.ensure(PLAIN, RevisionTerms(owner=other)).name == "etl:2"


# -- reuse -----------------------------------------------------------------------------------------


def test_reuse_runs_the_latest_revision_however_it_differs():
    with revisions() as aws:
        aws.describes("etl:9", {HASH_TAG: "other"}, cpu="256")

        assert aws.definitions(on_drift=OnDrift.REUSE).ensure(PLAIN).name == "etl:9"


def test_reuse_registers_where_there_is_nothing_to_reuse():
    with revisions() as aws:
        aws.describes("etl:9", status="INACTIVE")
        aws.registers("etl:10", PLAIN, {HASH_TAG: HASH})

        assert aws.definitions(on_drift=OnDrift.REUSE).ensure(PLAIN).name == "etl:10"


def test_reuse_runs_the_latest_revision_of_the_flow_whatever_its_version_tag():
    with revisions() as aws:
        aws.describes("etl:9", version(2))

        revision = aws.definitions(on_drift=OnDrift.REUSE).ensure(definition(3), TERMS)

    assert revision.name == "etl:9"


@pytest.mark.parametrize("tags", [{}, {FLOW_VERSION_TAG: "2"}])
def test_without_the_flows_tag_a_revision_in_a_family_of_flows_is_nobodys(tags: dict[str, str]):
    with revisions() as aws:
        aws.describes("etl:9", tags)
        aws.registers("etl:10", definition(3), registration(3))

        revision = aws.definitions(on_drift=OnDrift.REUSE).ensure(definition(3), TERMS)

    assert revision.name == "etl:10"


def test_without_revisions_a_family_that_names_no_owner_is_the_flows_as_ever():
    owner = {WHOLE_ID: OWNER[WHOLE_ID]}
    with revisions() as aws:
        aws.describes("etl:9", {"team": "data"})

        assert (
            aws.definitions(on_drift=OnDrift.REUSE).ensure(PLAIN, RevisionTerms(owner=owner)).name
            == "etl:9"
        )


def test_a_newer_version_of_the_flow_is_registered_without_a_search():
    with revisions() as aws:
        aws.describes("etl:9", version(2, flow="00000000"))
        aws.registers("etl:10", definition(3), registration(3))

        revision = aws.definitions(on_drift=OnDrift.REUSE).ensure(definition(3), TERMS)

    assert revision.name == "etl:10"


def test_an_older_version_of_the_flow_is_found_by_its_tag():
    with revisions() as aws:
        aws.describes("etl:9", version(5, flow="00000000"))
        aws.searches(FLOW_ID_TAG, "b1d2f3a4", ["other:99"], ["etl:4", "etl:6", "etl:5"])
        aws.describes("etl:6", version(3), asked=_arn("etl:6"), status="INACTIVE")
        aws.describes("etl:5", version(3, flow="moved"), asked=_arn("etl:5"))
        aws.describes("etl:4", version(3), asked=_arn("etl:4"))

        revision = aws.definitions(on_drift=OnDrift.REUSE).ensure(definition(3), TERMS)

    assert revision.name == "etl:4"


@pytest.mark.parametrize("text", ["v5", "", "3.0", "-1", "²"])
def test_a_version_that_is_no_number_only_costs_a_search(text: str):
    with revisions() as aws:
        aws.describes("etl:9", {FLOW_ID_TAG: "00000000", FLOW_VERSION_TAG: text})
        aws.searches(FLOW_ID_TAG, "b1d2f3a4")
        aws.registers("etl:10", definition(3), registration(3))

        revision = aws.definitions(on_drift=OnDrift.REUSE).ensure(definition(3), TERMS)

    assert revision.name == "etl:10"


def test_flows_whose_ids_begin_alike_do_not_run_each_others_revisions():
    other = {WHOLE_ID: "b1d2f3a4-ffff-4000-8000-000000000001", **version(3)}
    with revisions() as aws:
        aws.describes("etl:9", other)
        aws.searches(FLOW_ID_TAG, "b1d2f3a4", ["etl:9", "etl:8"])
        aws.describes("etl:9", other, asked=_arn("etl:9"))
        aws.describes("etl:8", {**OWNER, **version(2)}, asked=_arn("etl:8"))

        revision = aws.definitions(on_drift=OnDrift.REUSE).ensure(definition(3), TERMS)

    assert revision.name == "etl:8"


# -- fail ------------------------------------------------------------------------------------------


def test_fail_runs_the_latest_revision_where_nothing_sets_them_apart():
    with revisions() as aws:
        aws.describes("etl:9", revision=9, **_registered(cpu=0))

        assert aws.definitions(on_drift=OnDrift.FAIL).ensure(PLAIN).name == "etl:9"


def test_fail_names_the_revision_each_difference_and_the_remedy():
    with revisions() as aws:
        aws.describes("etl:9", **_registered(image="etl:2"), pidMode="task")

        with pytest.raises(PermanentError) as refusal:
            aws.definitions(on_drift=OnDrift.FAIL).ensure(PLAIN)

    assert str(refusal.value) == (
        "The task definition etl:9 differs from what this run asks for, and ecs.on_drift is "
        "\"fail\": pidMode is only there; container 'flow'.image is 'etl:1' here and 'etl:2' "
        'there. Deregister it, name another family, or set ecs.on_drift to "revise".'
    )


def test_fail_takes_a_revision_of_exactly_this_content_without_another_look():
    with revisions() as aws:
        aws.describes("etl:9", {HASH_TAG: HASH})

        assert aws.definitions(on_drift=OnDrift.FAIL).ensure(PLAIN).name == "etl:9"


@pytest.mark.parametrize("there", ["INACTIVE", None])
def test_fail_registers_where_there_is_no_active_revision(there: str | None):
    with revisions() as aws:
        if there:
            aws.describes("etl:9", status=there)
        else:
            aws.knows_no_family()
        aws.registers("etl:10", PLAIN, {HASH_TAG: HASH})

        assert aws.definitions(on_drift=OnDrift.FAIL).ensure(PLAIN).name == "etl:10"


def test_fail_is_told_again_for_the_next_run():
    with revisions() as aws:
        definitions = aws.definitions(on_drift=OnDrift.FAIL)
        for _ in range(2):
            aws.describes("etl:9", **_registered(image="etl:2"))
            with pytest.raises(PermanentError, match="image"):
                definitions.ensure(PLAIN)


def test_another_flows_revision_is_no_drift():
    with revisions() as aws:
        aws.describes("etl:9", version(2, flow="00000000"), **_registered(image="etl:2"))
        aws.registers("etl:10", definition(3), registration(3))

        revision = aws.definitions(on_drift=OnDrift.FAIL).ensure(definition(3), TERMS)

    assert revision.name == "etl:10"


# -- credentials -----------------------------------------------------------------------------------


@pytest.mark.parametrize("on_drift", [OnDrift.REUSE, OnDrift.FAIL])
def test_a_revision_without_the_flows_credentials_is_followed_by_one_that_has_them(
    on_drift: OnDrift,
):
    with revisions() as aws:
        aws.describes("etl:9", **_registered())
        aws.registers("etl:10", _with_key(), {HASH_TAG: content_hash(_with_key())})

        revision = aws.definitions(on_drift=on_drift).ensure(
            _with_key(), RevisionTerms(credentials=frozenset({KEY}))
        )

    assert revision.name == "etl:10"


@pytest.mark.parametrize("on_drift", [OnDrift.REUSE, OnDrift.FAIL])
def test_a_revision_with_the_flows_credentials_is_run(on_drift: OnDrift):
    secrets = _with_key()["containerDefinitions"][0]["secrets"]
    with revisions() as aws:
        aws.describes("etl:9", **_registered(secrets=secrets))

        revision = aws.definitions(on_drift=on_drift).ensure(
            _with_key(), RevisionTerms(credentials=frozenset({KEY}))
        )

    assert revision.name == "etl:9"


def test_missing_credentials_are_no_drift_but_all_else_is():
    with revisions() as aws:
        aws.describes("etl:9", **_registered(image="etl:2"))

        with pytest.raises(PermanentError, match="image") as refusal:
            aws.definitions(on_drift=OnDrift.FAIL).ensure(
                _with_key(), RevisionTerms(credentials=frozenset({KEY}))
            )

    assert KEY not in str(refusal.value)


def _with_key() -> dict[str, Any]:
    container = PLAIN["containerDefinitions"][0]
    return {
        **PLAIN,
        "containerDefinitions": [{**container, "secrets": [{"name": KEY, "valueFrom": "arn"}]}],
    }


def _registered(**container: Any) -> dict[str, Any]:
    """Return the definition as ECS describes it, with changes of its container."""
    filled = {"essential": True, "portMappings": [], "environment": [], "mountPoints": []}
    given = {**PLAIN["containerDefinitions"][0], **filled, **container}
    return {"family": "etl", "cpu": "1024", "volumes": [], "containerDefinitions": [given]}


def _arn(name: str) -> str:
    return f"arn:aws:ecs:eu-west-1:123456789012:task-definition/{name}"
