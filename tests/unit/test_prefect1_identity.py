"""Who the agent is to Prefect 1: its registration, tenant, credentials and configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fargate_agent.errors import PermanentError
from fargate_agent.orchestrators.http import ApiError, CredentialsExpired
from fargate_agent.orchestrators.prefect1_states import CORE_VERSION
from fargate_agent.orchestrators.states import Claim
from fargate_agent.tasks import Task
from tests.support.prefect1_agent import prefect1, run_of
from tests.support.prefect1_server import Prefect1Server
from tests.support.prefect1_values import KEY_SECRET
from tests.support.values import CLUSTER_ARN, TASK_ARN

NOW = datetime.now(UTC)


def names(server: Prefect1Server) -> list[str]:
    return [call.operation for call in server.calls]


def headers(server: Prefect1Server, name: str) -> list[str | None]:
    return [call.headers[name] for call in server.calls]


# -- registration ----------------------------------------------------------------------------------


def test_an_agent_registers_once_and_names_itself_from_then_on():
    with Prefect1Server() as server:
        agent = prefect1(server, agent_name="night", agent_labels=("b", "a"))
        agent.heartbeat(10)
        agent.heartbeat(10)
        agent.due_runs(NOW)

        (kept,) = server.agents
        assert names(server) == ["tenant", "register_agent", "get_runs_in_queue"]
        assert headers(server, "X-PREFECT-AGENT-ID") == [None, None, kept["id"]]
    assert {*headers(server, "X-PREFECT-CORE-VERSION")} == {CORE_VERSION}
    assert (
        kept.items()
        >= {
            "type": "FargateAgent",
            "name": "night",
            "labels": ["a", "b"],
            "tenant_id": server.tenant_id,
            "core_version": CORE_VERSION,
            "agent_config_id": None,
        }.items()
    )
    assert kept["last_queried"] is not None


def test_the_functions_of_an_agent_are_one_agent_and_its_claims_show_it():
    with Prefect1Server() as server:
        row = server.add_run(server.add_flow(), due=NOW)
        prefect1(server).heartbeat(10)
        dispatch = prefect1(server)

        state = dispatch.run_states([row["id"]])[row["id"]]
        assert dispatch.claim(run_of(row), state)[0] is Claim.OURS

        (kept,) = server.agents
    assert row["agent_id"] == kept["id"]
    assert server.history(row["id"])[-1]["agent_id"] == kept["id"]


def test_a_registration_that_failed_is_made_again():
    with Prefect1Server() as server:
        agent = prefect1(server)
        server.fail_next("register_agent", error="Something broke")
        with pytest.raises(ApiError):
            agent.heartbeat(10)

        agent.heartbeat(10)

        assert len(server.agents) == 1


# -- tenant and credentials ------------------------------------------------------------------------


def test_the_open_source_server_is_asked_for_its_tenant_once_and_gets_no_credentials():
    with Prefect1Server() as server:
        agent = prefect1(server)
        for _ in range(2):
            agent.due_runs(NOW)

        assert names(server) == [
            "tenant",
            "register_agent",
            "get_runs_in_queue",
            "get_runs_in_queue",
        ]
        assert server.calls[-1].variables["input"]["tenant_id"] == server.tenant_id
        assert {*headers(server, "Authorization"), *headers(server, "X-PREFECT-TENANT-ID")} == {
            None
        }
        assert agent.tenant_of_key() is None


def test_a_runners_token_names_no_tenant():
    with Prefect1Server("token") as server:
        row = server.add_run(server.add_flow(), due=NOW)
        agent = prefect1(server)
        agent.heartbeat(10)

        assert [run.id for run in agent.due_runs(NOW).runs] == [row["id"]]
        assert agent.tenant_of_key() is None
        assert names(server).count("auth_info") == 1
        assert "tenant" not in names(server)
        assert {*headers(server, "Authorization")} == {"Bearer token"}
        assert {*headers(server, "X-PREFECT-TENANT-ID")} == {None}
        (queried,) = server.calls_of("get_runs_in_queue")
        assert queried.variables["input"]["tenant_id"] is None


def test_an_api_key_is_asked_for_its_tenant_which_is_named_from_then_on():
    with Prefect1Server("key", api_key=True) as server:
        row = server.add_run(server.add_flow(), due=NOW)
        agent = prefect1(server)

        assert [run.id for run in agent.due_runs(NOW).runs] == [row["id"]]
        assert agent.tenant_of_key() == server.tenant_id
        first, *rest = headers(server, "X-PREFECT-TENANT-ID")
        assert (first, {*rest}) == (None, {server.tenant_id})
        assert names(server).count("auth_info") == 1


def test_every_first_call_names_the_tenant_of_the_key():
    for call in ("heartbeat", "due_runs", "run_states", "claim", "launched", "crash", "cancelled"):
        with Prefect1Server("key", api_key=True) as server:
            row = server.add_run(server.add_flow(), due=NOW)
            run = run_of(row)
            arguments: dict[str, tuple[Any, ...]] = {
                "heartbeat": (10,),
                "due_runs": (NOW,),
                "run_states": ([run.id],),
                "claim": (run, None),
                "launched": (run, Task(arn=TASK_ARN, cluster_arn=CLUSTER_ARN), "x"),
            }

            agent = prefect1(server)
            getattr(agent, call)(*arguments.get(call, (run.id, "told")))
            agent.flush()

            assert server.calls[-1].headers["X-PREFECT-TENANT-ID"] == server.tenant_id, call
            if call == "launched":
                assert len(server.logs(run.id)) == 1


def test_a_tenant_of_the_settings_is_asked_for_nowhere():
    with Prefect1Server("key", api_key=True) as server:
        agent = prefect1(server, tenant_id=server.tenant_id)
        agent.due_runs(NOW)

        assert agent.tenant_of_key() == server.tenant_id
        assert names(server) == ["register_agent", "get_runs_in_queue"]
        assert headers(server, "X-PREFECT-TENANT-ID") == [server.tenant_id] * 2


def test_a_server_that_knows_no_keys_may_stand_behind_one():
    with Prefect1Server() as server:
        agent = prefect1(server, key="proxy", tenant_id=server.tenant_id)
        agent.heartbeat(10)

        assert agent.due_runs(NOW).runs == []


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("api_key", [True, False])
def test_a_key_that_is_not_known_is_worth_another_try_and_the_secret_is_named(
    status: Any, api_key: bool
):
    with Prefect1Server("key", api_key=api_key, unauthorized_status=status) as server:
        agent = prefect1(server, key="wrong")

        with pytest.raises(CredentialsExpired, match=r"prefect\.api_key_secret"):
            agent.due_runs(NOW)


def test_a_tenant_that_could_not_be_asked_for_is_asked_for_again():
    with Prefect1Server() as server:
        agent = prefect1(server)
        server.fail_next("tenant", error="Something broke")
        with pytest.raises(ApiError):
            agent.due_runs(NOW)

        assert agent.due_runs(NOW).runs == []


def test_a_server_in_trouble_does_not_make_a_key_a_token():
    with Prefect1Server("key", api_key=True) as server:
        row = server.add_run(server.add_flow(), due=NOW)
        agent = prefect1(server)
        server.fail_next("auth_info", error="Something broke")
        with pytest.raises(ApiError):
            agent.due_runs(NOW)

        assert [run.id for run in agent.due_runs(NOW).runs] == [row["id"]]


@pytest.mark.parametrize(
    ("url", "path"), [("https://api.prefect.io", "/"), ("http://host:4200/graphql", "")]
)
def test_an_address_without_a_path_gets_the_root(url: str, path: str):
    with Prefect1Server() as server:
        agent = prefect1(server, api_url=url)

        assert agent._graphql._path == path


# -- the agent configuration of the server ---------------------------------------------------------


def test_a_configuration_is_read_once_and_stands_above_the_settings():
    with Prefect1Server() as server:
        config = server.add_agent_config(
            {"name": "configured", "labels": ["a"], "env_vars": {"TZ": "UTC"}, "cpu": 1024}
        )
        row = server.add_run(server.add_flow(), due=NOW, labels=["a"])
        agent = prefect1(server, agent_config_id=config["id"], agent_labels=("deployed",))

        agent.heartbeat(10)
        assert [run.id for run in agent.due_runs(NOW).runs] == [row["id"]]

        settings = agent.settings()
        assert names(server).count("agent_config") == 1
        (kept,) = server.agents
    assert (settings.agent_env, settings.ecs_kwargs) == ({"TZ": "UTC"}, {"cpu": 1024})
    assert (kept["name"], kept["labels"]) == ("configured", ["a"])
    assert kept["agent_config_id"] == config["id"]


def test_without_a_configuration_none_is_asked_for():
    with Prefect1Server() as server:
        agent = prefect1(server)
        agent.due_runs(NOW)

        assert "agent_config" not in names(server)


@pytest.mark.parametrize(("quiet", "lines"), [(True, 0), (False, 1)])
def test_a_configuration_may_keep_the_agent_quiet(quiet: bool, lines: int):
    with Prefect1Server() as server:
        config = server.add_agent_config({"no_cloud_logs": quiet, "name": "configured"})
        row = server.add_run(server.add_flow())
        agent = prefect1(server, agent_config_id=config["id"])

        agent.launched(run_of(row), Task(arn=TASK_ARN, cluster_arn=CLUSTER_ARN), "x")
        agent.flush()

        assert [line["name"] for line in server.logs(row["id"])] == ["configured"] * lines


def test_a_configuration_that_is_not_there_is_named():
    with Prefect1Server() as server:
        agent = prefect1(server, agent_config_id="c1")

        with pytest.raises(ApiError, match=r"prefect\.agent_config_id 'c1' does not exist"):
            agent.due_runs(NOW)


def test_a_configuration_of_no_use_is_refused_by_name():
    with Prefect1Server() as server:
        config = server.add_agent_config({"labels": "a"})

        with pytest.raises(PermanentError, match=config["id"]):
            prefect1(server, agent_config_id=config["id"]).due_runs(NOW)


def test_a_configuration_without_settings_is_empty():
    with Prefect1Server("key", api_key=True) as server:
        config = server.add_agent_config({})
        config["settings"] = None
        agent = prefect1(server, agent_config_id=config["id"])

        assert agent.settings().api_key_secret == KEY_SECRET
        assert agent.settings().agent_name == "fargate-agent"
