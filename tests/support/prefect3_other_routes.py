"""Endpoints of a Prefect 3 server about blocks, variables, logs, events and the server."""

from __future__ import annotations

from typing import Any

from tests.support.json_http import Answer
from tests.support.prefect3_answers import NOTHING, Body, Store, created
from tests.support.prefect3_queries import filtered
from tests.support.prefect3_store import NotFound, found
from tests.support.prefect3_templates import worker_views

# -- blocks and variables


def find_blocks(store: Store, body: Body) -> Any:
    asked = dict(body)
    slugs = (asked.pop("block_types", None) or {}).get("slug", {}).get("any_")
    rows = store.blocks.values()
    rows = [row for row in rows if slugs is None or row["block_type"]["slug"] in slugs]
    return filtered("block_documents", rows, asked)


def create_block(store: Store, body: Body) -> Any:
    slug = str(body["block_type_id"]).removeprefix("type-of-")
    value = body["data"]["value"] if slug == "secret" else body["data"]
    row = store.add_block(value, type_slug=slug, name=body.get("name"))
    row["is_anonymous"] = body.get("is_anonymous", False)
    return created(row)


def read_block(store: Store, _body: Body, id: str, query: Any = None) -> Any:
    return found(store.blocks, id, "Block document")


def change_block(store: Store, body: Body, id: str) -> Any:
    store.change(found(store.blocks, id, "Block document"), **body)
    return NOTHING


def named_block(store: Store, _body: Body, slug: str, name: str, query: Any = None) -> Any:
    for row in store.blocks.values():
        if (row["block_type"]["slug"], row["name"]) == (slug, name):
            return row
    raise NotFound("Block document not found")


def block_type(_store: Store, _body: Body, slug: str) -> Any:
    return {"id": f"type-of-{slug}", "slug": slug, "name": slug}


def block_schemas(_store: Store, body: Body) -> Any:
    return [{"id": f"schema-of-{id}"} for id in body["block_schemas"]["block_type_id"]["any_"]]


def find_variables(store: Store, body: Body) -> Any:
    return filtered("variables", store.variables.values(), body)


def create_variable(store: Store, body: Body) -> Any:
    return created(store.add_variable(body["name"], body["value"]))


def read_variable(store: Store, _body: Body, name: str) -> Any:
    return found(store.variables, name, "Variable")


def change_variable(store: Store, body: Body, name: str) -> Any:
    store.change_variable(name, body["value"])
    return NOTHING


# -- the rest


def write_logs(store: Store, body: Any) -> Any:
    store.log_lines += body
    return Answer(201, "")


def find_logs(store: Store, body: Body) -> Any:
    return filtered("logs", store.log_lines, body)


def write_events(store: Store, body: Any) -> Any:
    if store.is_2:
        raise NotFound("Events are not enabled.")
    for event in body:
        store.record(event)
    return NOTHING


def version(store: Store, _body: Body) -> Any:
    return store.version


def views(_store: Store, _body: Body, view: str) -> Any:
    if view != "aggregate-worker-metadata":
        raise NotFound(f"View {view} not found")
    return worker_views()


def health(_store: Store, _body: Body) -> Any:
    return True
