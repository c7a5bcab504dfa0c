"""What is examined: a deployed agent, its settings, and what every run is started with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from cli.deployed_agent import DeployedAgent
from fargate_agent import clients
from fargate_agent.kwargs import Kwargs, KwargsModel
from fargate_agent.orchestrators.http import HASTY, JsonClient
from fargate_agent.placement import place, without_needless_network
from fargate_agent.sessions import task_client
from fargate_agent.settings import Settings
from infra.config import AgentConfig


@dataclass(eq=False)
class Subject:
    """One agent.

    Parameters
    ----------
    config
        The settings' file here, to compare with; None where there is none, or it is wrong.
    drift
        CloudFormation is to look whether the stack's resources were changed, which takes minutes.
    """

    agent: DeployedAgent
    settings: Settings
    config: AgentConfig | None = None
    drift: bool = False
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _made: dict[tuple[str, str], Any] = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)

    def client(self, service: str) -> Any:
        """Return a client of the agent's own account and region."""
        return self._once("agent", service, self.agent.client)

    def task_client(self, service: str) -> Any:
        """Return a client of where the tasks run, as whom the agent runs them.

        Raises
        ------
        PermanentError
            The secret in ``aws.credentials_secret`` does not hold a key.
        """
        return self._once("tasks", service, task_client(self.settings, clients.secrets_manager))

    def _once(self, whose: str, service: str, make: Callable[[str], Any]) -> Any:
        with self._making:  # one session's clients are made one after the other
            if (whose, service) not in self._made:
                self._made[whose, service] = make(service)
            return self._made[whose, service]

    @cached_property
    def prefect(self) -> JsonClient:
        """The API of Prefect, with the agent's key, and less patience than the agent has."""
        return clients.api(self.settings, retries=HASTY)

    @cached_property
    def kwargs(self) -> Kwargs:
        """What every run is started with: the stack's kwargs under ``[ecs.kwargs]``."""
        model = KwargsModel(self.client("ecs"))
        return model.of_agent(
            self.settings.stack_kwargs, self.settings.ecs_kwargs, "agent.toml: ecs.kwargs"
        )

    @cached_property
    def placed(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The definition and the request of a run that asks for nothing of its own."""
        definition, request = place(
            self.kwargs.definition, self.kwargs.request, self.settings.launch_type
        )
        made = self.settings.stack_kwargs.get("networkConfiguration")
        return definition, without_needless_network(definition, request, made)

    @property
    def cluster(self) -> str:
        """The cluster's name or ARN, as ``run_task`` is told."""
        return str(self.kwargs.request.get("cluster", "default"))

    def role(self, key: str) -> str | None:
        """Return the ARN of ``executionRoleArn`` or ``taskRoleArn``, if one is named."""
        overrides = self.kwargs.request.get("overrides", {})
        return overrides.get(key) or self.kwargs.definition.get(key)
