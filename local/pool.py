"""A work pool as a team has made it its own: a sidecar, a secret from a block, a variable."""

from __future__ import annotations

from typing import Any

from fargate_agent.orchestrators.http import JsonClient

TOKEN, WAREHOUSE = "demo-token", "demo_warehouse"

SIDECAR = {
    "name": "metrics",
    "image": "example/metrics:1",
    "command": ["sleep", "600"],
    "essential": False,
}


def customise(api: JsonClient, work_pool: str) -> None:
    """Give a pool a sidecar, and variables that come from a block and a Prefect variable."""
    secret = api.get("/block_types/slug/secret")
    schemas = {"block_schemas": {"block_type_id": {"any_": [secret["id"]]}}}
    (schema, *_) = api.post("/block_schemas/filter", schemas)
    api.post(
        "/block_documents/",
        {
            "name": TOKEN,
            "data": {"value": "opensesame"},
            "block_type_id": secret["id"],
            "block_schema_id": schema["id"],
        },
    )
    api.post("/variables/", {"name": WAREHOUSE, "value": "blue"})
    template: dict[str, Any] = api.get(f"/work_pools/{work_pool}")["base_job_template"]
    template["job_configuration"]["task_definition"]["containerDefinitions"].append(SIDECAR)
    template["variables"]["properties"]["env"]["default"] = {
        "TOKEN": f"{{{{ prefect.blocks.secret.{TOKEN} }}}}",
        "WAREHOUSE": f"the {{{{ prefect.variables.{WAREHOUSE} }}}} one",
    }
    api.send("PATCH", f"/work_pools/{work_pool}", {"base_job_template": template})
