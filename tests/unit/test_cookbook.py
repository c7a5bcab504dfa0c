"""Every file of the cookbook is one that a launch takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.kwargs.objects import checked
from fargate_agent.external_kwargs import KwargsFiles
from tests.support.aws import kwargs_model
from tests.support.rendering import rendered

COOKBOOK = Path(__file__).parents[2] / "docs" / "kwargs-cookbook.md"
RECIPES = re.findall(r"^```json\n(.*?)^```$", COOKBOOK.read_text(), re.MULTILINE | re.DOTALL)


def test_the_cookbook_has_recipes() -> None:
    assert len(RECIPES) >= 10


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.split('"')[1])
def test_a_recipe_makes_a_launch(recipe: str) -> None:
    model = kwargs_model()
    files = KwargsFiles(None, None, "", model)  # type: ignore[arg-type]  # nothing is read
    file = checked(recipe.encode(), "recipe", files)
    given = model.split(file.values, "recipe")

    launch = rendered({"task_run_request": {"launchType": "FARGATE"}}, external=given)

    model.check(launch.definition, launch.request)
    (container,) = launch.definition["containerDefinitions"]
    assert {**launch.definition, **given.definition} == launch.definition
    assert {**container, **given.container} == container
    asked = {k: v for k, v in launch.request.items() if k in given.request and k != "tags"}
    assert asked == given.request
