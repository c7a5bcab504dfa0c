import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from local.client_tokens import LIFETIME_SECONDS, ClientTokens, Conflict

REQUEST = {"clientToken": "claim-1", "taskDefinition": "etl:7"}


class Fargate:
    """Starts tasks by counting them."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def start(self) -> list[str]:
        return [f"task-{next(self._numbers)}"]


@pytest.fixture
def fargate() -> Fargate:
    return Fargate()


def test_a_first_request_starts_its_tasks(fargate: Fargate):
    assert ClientTokens().run("flows", REQUEST, fargate.start) == (["task-1"], True)


def test_the_same_request_again_returns_the_first_ones_tasks(fargate: Fargate):
    tokens = ClientTokens()
    tokens.run("flows", REQUEST, fargate.start)

    again = dict(reversed(REQUEST.items()))

    assert tokens.run("flows", again, fargate.start) == (["task-1"], False)


def test_another_request_under_the_token_is_a_conflict_that_names_the_tasks(fargate: Fargate):
    tokens = ClientTokens()
    tokens.run("flows", REQUEST, fargate.start)

    with pytest.raises(Conflict) as conflict:
        tokens.run("flows", {**REQUEST, "taskDefinition": "etl:8"}, fargate.start)

    assert conflict.value.task_arns == ["task-1"]
    assert tokens.run("flows", REQUEST, fargate.start) == (["task-1"], False)


def test_two_tokens_start_two_tasks(fargate: Fargate):
    tokens = ClientTokens()
    tokens.run("flows", REQUEST, fargate.start)

    other = {**REQUEST, "clientToken": "claim-2"}

    assert tokens.run("flows", other, fargate.start) == (["task-2"], True)


def test_a_token_belongs_to_its_cluster(fargate: Fargate):
    tokens = ClientTokens()
    tokens.run("flows", REQUEST, fargate.start)

    assert tokens.run("other", REQUEST, fargate.start) == (["task-2"], True)


@pytest.mark.parametrize("request_", [{}, {"clientToken": ""}, {"clientToken": None}])
def test_a_request_without_a_token_always_starts_tasks(fargate: Fargate, request_: dict):
    tokens = ClientTokens()

    assert tokens.run("flows", request_, fargate.start) == (["task-1"], True)
    assert tokens.run("flows", request_, fargate.start) == (["task-2"], True)


@pytest.mark.parametrize(
    ("seconds", "outcome"),
    [(LIFETIME_SECONDS - 1, (["task-1"], False)), (LIFETIME_SECONDS, (["task-2"], True))],
)
def test_a_token_is_held_for_24_hours(
    fargate: Fargate, seconds: int, outcome: tuple[list[str], bool]
):
    clock = [1000.0]
    tokens = ClientTokens(now=lambda: clock[0])
    tokens.run("flows", REQUEST, fargate.start)

    clock[0] += seconds

    assert LIFETIME_SECONDS == 86_400
    assert tokens.run("flows", REQUEST, fargate.start) == outcome


def test_a_token_that_was_forgotten_conflicts_with_nothing(fargate: Fargate):
    clock = [1000.0]
    tokens = ClientTokens(now=lambda: clock[0])
    tokens.run("flows", REQUEST, fargate.start)

    clock[0] += LIFETIME_SECONDS

    changed = {**REQUEST, "taskDefinition": "etl:8"}
    assert tokens.run("flows", changed, fargate.start) == (["task-2"], True)


def test_a_request_that_raised_leaves_no_token_behind(fargate: Fargate):
    tokens = ClientTokens()

    def fail() -> list[str]:
        raise RuntimeError("no such definition")

    with pytest.raises(RuntimeError, match="no such definition"):
        tokens.run("flows", REQUEST, fail)

    changed = {**REQUEST, "taskDefinition": "etl:8"}
    assert tokens.run("flows", changed, fargate.start) == (["task-1"], True)


def test_a_request_that_started_nothing_leaves_no_token_behind(fargate: Fargate):
    tokens = ClientTokens()

    assert tokens.run("flows", REQUEST, list) == ([], True)
    assert tokens.run("flows", REQUEST, fargate.start) == (["task-1"], True)


def test_concurrent_requests_with_one_token_start_one_task(fargate: Fargate):
    threads = 16

    def start() -> list[str]:
        for _ in range(1000):
            time.sleep(0)  # lets every other thread in that may come in
        return fargate.start()

    tokens, ready = ClientTokens(), threading.Barrier(threads, timeout=30)

    def request(_: int) -> tuple[list[str], bool]:
        ready.wait()
        return tokens.run("flows", REQUEST, start)

    with ThreadPoolExecutor(threads) as pool:
        outcomes = list(pool.map(request, range(threads)))

    assert [arns for arns, _ in outcomes] == [["task-1"]] * threads
    assert [started for _, started in outcomes].count(True) == 1
