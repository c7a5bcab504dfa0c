"""The tasks' network: subnets with a way out, and security groups that let them take it.

What a task on Fargate must reach: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cli.doctor.findings import Finding, failure, ok, unknown
from cli.doctor.subject import Subject
from fargate_agent.accounts import Account
from fargate_agent.task_definitions import TaskDefinitions

EVERYWHERE = "0.0.0.0/0"
IMAGE_ENDPOINTS = ("ecr.api", "ecr.dkr", "s3")
"""The services by which a task without a way out gets an image of ECR."""

_WAYS = {
    "NatGatewayId": "a NAT gateway",
    "TransitGatewayId": "a transit gateway",
    "VpcPeeringConnectionId": "a peered VPC",
    "NetworkInterfaceId": "an instance",
    "CoreNetworkArn": "a core network",
}

_USABLE = (None, "Available", "available")
"""The states of a VPC endpoint that works; EC2's documentation writes them with a capital."""


def checks(subject: Subject) -> Iterator[Finding]:
    """Check what a task is given as its network."""
    definition, request = subject.placed
    network = request.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if definition.get("networkMode") != "awsvpc":
        yield ok("network", f"mode {definition.get('networkMode')}: that of the instances")
        return
    ec2 = subject.task_client("ec2")
    if network is None:
        network = {"subnets": _default_subnets(subject, ec2), "assignPublicIp": "ENABLED"}
    subnets = _found(ec2.describe_subnets, "Subnets", "SubnetId", "subnet-id", network["subnets"])
    missing = [id for id in network["subnets"] if id not in subnets]
    if missing:
        yield failure(
            "subnets",
            f"do not exist in {ec2.meta.region_name}: {', '.join(missing)}",
            "Correct networkConfiguration in [ecs.kwargs], and deploy.",
        )
    vpcs = {subnet["VpcId"] for subnet in subnets.values()}
    if len(vpcs) > 1:
        yield failure(
            "subnets",
            f"are of {len(vpcs)} VPCs: {', '.join(sorted(vpcs))}",
            "Name subnets of one VPC in networkConfiguration of [ecs.kwargs], and deploy.",
        )
    public = network.get("assignPublicIp") == "ENABLED"
    for id, subnet in subnets.items():
        if subnet.get("AvailableIpAddressCount") == 0:
            yield failure(
                f"addresses of {id}",
                "none is free: no task starts in it",
                "Free some, or name other subnets in networkConfiguration of [ecs.kwargs].",
            )
        yield _way_out(ec2, id, subnet["VpcId"], _services(subject), public=public)
    yield from _security_groups(ec2, network.get("securityGroups", []), vpcs)


def _services(subject: Subject) -> list[str]:
    """Name the services of AWS that every task asks: for its image, its log and its key."""
    container, settings = subject.kwargs.container, subject.settings
    needed = [*IMAGE_ENDPOINTS]
    if container.get("logConfiguration", {}).get("logDriver") == "awslogs":
        needed.append("logs")
    if settings.api_key_secret or settings.auth_string_secret or container.get("secrets"):
        needed.append("secretsmanager")
    return needed


def _default_subnets(subject: Subject, ec2: Any) -> list[str]:
    """Find the subnets that a run gets when nobody names any, as the agent does."""
    ecs = subject.task_client("ecs")
    tagging = subject.task_client("resourcegroupstaggingapi")
    return Account(ecs, TaskDefinitions(ecs, tagging), lambda: ec2).subnets(None)


def _found(
    describe: Any, key: str, id: str, filter: str, wanted: Iterable[str]
) -> dict[str, Mapping[str, Any]]:
    """Describe what exists of some ids; a call that names them fails for any that is missing."""
    wanted = list(wanted)
    found = describe(Filters=[{"Name": filter, "Values": wanted}])[key] if wanted else []
    return {item[id]: item for item in found if item[id] in wanted}


def _way_out(ec2: Any, subnet: str, vpc: str, services: list[str], *, public: bool) -> Finding:
    check = f"way out of {subnet}"
    routes = _routes(ec2, subnet, vpc)
    default = [route for route in routes if route.get("DestinationCidrBlock") == EVERYWHERE]
    if not default:
        elsewhere = next((told for r in routes for key, told in _WAYS.items() if r.get(key)), None)
        return _by_endpoints(ec2, vpc, check, services, elsewhere)
    (route,) = default
    if route.get("State") == "blackhole":
        return failure(
            check,
            "its default route leads to something that is gone",
            "Mend the route, or name other subnets in networkConfiguration of [ecs.kwargs].",
        )
    if str(route.get("GatewayId", "")).startswith("igw-"):
        if public:
            return ok(check, f"{route['GatewayId']}, with a public address")
        return failure(
            check,
            f"it leads to {route['GatewayId']}, and tasks get no public address",
            'Set assignPublicIp = "ENABLED" in networkConfiguration of [ecs.kwargs], or name '
            "subnets with a NAT gateway.",
        )
    way = next((told for key, told in _WAYS.items() if route.get(key)), None)
    return ok(check, way or str(route.get("GatewayId")))


def _routes(ec2: Any, subnet: str, vpc: str) -> list[Mapping[str, Any]]:
    """Return the routes of a subnet's own table, or of the VPC's main one."""
    of_subnet = [{"Name": "association.subnet-id", "Values": [subnet]}]
    main = [
        {"Name": "vpc-id", "Values": [vpc]},
        {"Name": "association.main", "Values": ["true"]},
    ]
    for filters in (of_subnet, main):
        for table in ec2.describe_route_tables(Filters=filters)["RouteTables"]:
            return list(table["Routes"])
    return []


def _by_endpoints(
    ec2: Any, vpc: str, check: str, needed: list[str], elsewhere: str | None
) -> Finding:
    """Judge a subnet without a default route.

    Parameters
    ----------
    elsewhere
        Where another of its routes leads, behind which there may be endpoints too.
    """
    found = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    there = [e["ServiceName"] for e in found["VpcEndpoints"] if e.get("State") in _USABLE]
    missing = [s for s in needed if not any(name.endswith(f".{s}") for name in there)]
    if missing and elsewhere:
        return unknown(
            check,
            f"it has no default route, and {vpc} no endpoints of {', '.join(missing)}; what lies "
            f"behind its route by {elsewhere} is not seen from here",
            "'./fargate-agent doctor --launch' tells.",
        )
    if missing:
        return failure(
            check,
            f"it has no default route, and {vpc} no endpoints of {', '.join(missing)}",
            "Name subnets with a NAT or internet gateway in networkConfiguration of [ecs.kwargs], "
            "or make those endpoints.",
        )
    return ok(check, f"endpoints of {vpc}; Prefect must be reachable inside it too")


def _security_groups(ec2: Any, ids: list[str], vpcs: set[str]) -> Iterator[Finding]:
    check = "security groups"
    if not ids:
        yield unknown(check, "none are named: the VPC's default group is used")
        return
    groups = _found(ec2.describe_security_groups, "SecurityGroups", "GroupId", "group-id", ids)
    missing = [id for id in ids if id not in groups]
    elsewhere = [id for id, group in groups.items() if vpcs and group["VpcId"] not in vpcs]
    open_ = [id for id, group in groups.items() if _lets_out(group)]
    if missing:
        yield failure(
            check,
            f"do not exist: {', '.join(missing)}",
            "Correct networkConfiguration in [ecs.kwargs], and deploy.",
        )
    if elsewhere:
        yield failure(
            check,
            f"are of another VPC than the subnets: {', '.join(elsewhere)}",
            "Name groups of the subnets' VPC in networkConfiguration of [ecs.kwargs], and deploy.",
        )
    if groups and not open_:
        yield failure(
            check,
            f"none of {', '.join(groups)} lets HTTPS (TCP 443) out",
            "Add an egress rule for TCP 443: images, logs and Prefect are reached by it.",
        )
    if not missing and not elsewhere and open_:
        yield ok(check, f"{', '.join(groups)}: HTTPS goes out")


def _lets_out(group: Mapping[str, Any]) -> bool:
    return any(_is_https(permission) for permission in group.get("IpPermissionsEgress", []))


def _is_https(permission: Mapping[str, Any]) -> bool:
    protocol = str(permission.get("IpProtocol"))
    if protocol == "-1":
        return True
    ports = range(permission.get("FromPort", 0), permission.get("ToPort", 0) + 1)
    return protocol in ("tcp", "6") and 443 in ports
