"""How a launch takes its course."""

from __future__ import annotations

from fargate_agent.runs import claim_id
from tests.parity.ecs_worker.plan import Plan
from tests.parity.ecs_worker.prefect import DUE
from tests.parity.ecs_worker.rules.base import Rule, starts
from tests.parity.ecs_worker.rules.requests import of_flow

CLAIM = "FARGATE_AGENT_CLAIM_ID"


def _claimed(plan: Plan) -> Plan:
    claim = claim_id(plan.given.run_id, DUE)
    changed: Plan = of_flow(lambda _, env: {**env, CLAIM: claim})(plan)
    return changed.with_request(clientToken=claim, startedBy=plan.given.run_id)


LAUNCHES = (
    Rule(
        name="the agent's own network",
        why="A task without a network of its own runs in the network that the stack made, or "
        "that [ecs.kwargs] names: nobody asks EC2 for the default VPC at each run.",
        habits={"own_network": True},
        universal=True,
    ),
    Rule(
        name="one look-up of a VPC",
        why="The subnets of a VPC are asked for once by a function that stays warm, in one call; "
        "the worker made two at each run.",
        habits={"looks_up_once": True},
    ),
    Rule(
        name="a named definition is described once",
        why="A revision never changes, so a warm function asks for it once.",
        habits={"describes_once": True},
    ),
    Rule(
        name="what was described is run",
        why="A family that the run names is run as the revision that was looked at, by its ARN: "
        "another may be registered in between.",
        habits={"runs_what_it_described": True},
    ),
    Rule(
        name="a role is assumed once",
        why="The clients of one account share their session; the worker's each assumed the role "
        "at each run.",
        habits={"one_session": True},
    ),
    Rule(
        name="any started task is started",
        why="A reply that tells of failures and of a task means that the task runs. The worker "
        "forgot it and started another.",
        habits={"takes_any_task": True},
    ),
    Rule(
        name="the queue tries again",
        why="What another try cannot mend is told to the run at once. All else goes back to the "
        "queue, as often as the queue says, whatever a worker's settings of attempts were.",
        habits={"sorts_failures": True},
    ),
    Rule(
        name="checked, then found by content",
        why="A run that is refused registers nothing. A revision is found by the hash of its "
        "content, the family's latest first, and equal content is reused whoever registered it; "
        "the worker forgot at each restart, and took what ECS fills in for a difference.",
        habits={"checks_first": True, "by_content": True},
        universal=True,
    ),
    Rule(
        name="warm function",
        why="A definition that this process found or registered is neither described nor "
        "registered again.",
        habits={"warm": True},
    ),
    Rule(
        name="marked for the watch function",
        why="A definition that is to be deregistered is named to the task as well as tagged, so "
        "that the function that hears of its end knows which it was; and to every task of one "
        "that the agent registered, for the first may have failed to start.",
        habits={"marks_own": True},
        change=lambda plan: plan.changed(marks_by="FARGATE_AGENT_DEREGISTERS"),
    ),
    Rule(
        name="the cluster's ARN",
        why="The infrastructure's id names the cluster that ECS says the task runs in; the "
        "worker's was the variable, which may differ from what the request says.",
        habits={"names_cluster": False},
    ),
    Rule(
        name="claim",
        why="A task is started with a client token that names its run's claim, so that no retry "
        "starts a second; startedBy and a variable let events and people find the run.",
        applies=starts,
        change=_claimed,
        universal=True,
    ),
)
