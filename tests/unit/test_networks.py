"""The network of a work pool's task: its own, its VPC's, the agent's, or the default."""

from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.kwargs import Kwargs
from tests.support.rendering import FakeAccount, rendered
from tests.support.values import agent

VPCS = FakeAccount({None: ["subnet-default"], "vpc-1": ["subnet-1", "subnet-2"]})


def network(*subnets: str, **more: Any) -> dict[str, Any]:
    return {"awsvpcConfiguration": {"subnets": [*subnets], **more}}


def looked_up(*subnets: str) -> dict[str, Any]:
    return network(*subnets, assignPublicIp="ENABLED", securityGroups=[])


MINE = agent(kwargs=Kwargs(request={"networkConfiguration": network("subnet-mine")}))
FILE = Kwargs(request={"networkConfiguration": network("subnet-s3")})
TEMPLATED = {"task_run_request": {"networkConfiguration": network("subnet-template")}}
INSTANCES = {"task_run_request": {"launchType": "EC2"}}


def found(job: Any = None, **layers: Any) -> Any:
    return rendered(job, **{"account": VPCS, **layers}).request.get("networkConfiguration")


def test_the_agents_own_network_is_used_where_the_job_names_none():
    assert found(agent=MINE) == network("subnet-mine")


def test_without_any_network_it_is_the_default_vpcs():
    assert found() == looked_up("subnet-default")


def test_a_vpc_of_the_job_stands_above_the_agents_network():
    assert found({"vpc_id": "vpc-1"}, agent=MINE) == looked_up("subnet-1", "subnet-2")


def test_a_network_of_the_template_stands_above_the_agents_and_a_vpc():
    assert found(TEMPLATED, agent=MINE) == network("subnet-template")
    assert found({**TEMPLATED, "vpc_id": "vpc-1"}, agent=MINE) == network("subnet-template")


def test_a_network_of_the_job_stands_above_the_templates_and_is_sent_as_it_is():
    job = {
        "vpc_id": "vpc-1",
        "network_configuration": {"subnets": ["subnet-2"], "securityGroups": []},
    }

    assert found({**TEMPLATED, **job}, agent=MINE) == network("subnet-2", securityGroups=[])


def test_a_network_in_s3_stands_above_all():
    job = {"vpc_id": "vpc-1", "network_configuration": {"subnets": ["subnet-2"]}}

    assert found({**TEMPLATED, **job}, agent=MINE, external=FILE) == network("subnet-s3")


def test_a_network_in_s3_is_looked_up_nowhere():
    assert found({"vpc_id": "vpc-none"}, external=FILE) == network("subnet-s3")


def test_subnets_of_another_vpc_are_refused_by_their_names():
    job = {"vpc_id": "vpc-1", "network_configuration": {"subnets": ["subnet-9", "subnet-1"]}}

    with pytest.raises(
        PermanentError, match=r"^The subnets subnet-9 \(network_configuration\) are"
    ):
        found(job)


def test_a_network_without_subnets_is_sent_as_it_is():
    job = {"vpc_id": "vpc-1", "network_configuration": {"securityGroups": ["sg-1"]}}

    assert found(job) == {"awsvpcConfiguration": {"securityGroups": ["sg-1"]}}


# -- where there is no network interface of its own ------------------------------------------------


def test_on_instances_no_network_is_looked_up_or_sent():
    assert found(INSTANCES, agent=MINE, account=FakeAccount()) is None
    assert found({**INSTANCES, "vpc_id": "vpc-1"}, account=FakeAccount()) is None


def test_on_instances_with_a_network_of_their_own_the_agents_is_used():
    job = {"task_definition": {"networkMode": "awsvpc"}, **INSTANCES}

    assert found(job, agent=MINE) == network("subnet-mine")
    assert found(job) == looked_up("subnet-default")


def test_on_instances_a_network_of_the_template_stays_for_ecs_to_judge():
    request = {**TEMPLATED["task_run_request"], "launchType": "EC2"}

    assert found({"task_run_request": request}, agent=MINE) == network("subnet-template")


@pytest.mark.parametrize("mode", ["bridge", "host"])
def test_a_network_in_s3_stays_for_ecs_to_judge(mode: str):
    job = {"task_definition": {"networkMode": mode}, **INSTANCES}

    assert found(job, external=FILE) == network("subnet-s3")
