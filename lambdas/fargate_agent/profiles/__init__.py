"""What a flow run asks of ECS, by what it is a run of: the steps are the same for all.

``work_pool`` renders runs of Prefect 2 and 3, ``prefect1`` those of Prefect 1, either for the
agent's own kind of container (``flow_run``) or for that of a ``FargateTaskEnvironment``
(``task_environment``).
"""

from __future__ import annotations

from typing import Any, Protocol

from fargate_agent.kwargs import Kwargs
from fargate_agent.orchestrators.states import RunState
from fargate_agent.runs import FlowRun, Launch


class Profile(Protocol):
    """Renders the launches of one orchestrator's runs."""

    def defaults(self) -> Kwargs:
        """Return what every run is started with."""

    def place(
        self, definition: dict[str, Any], request: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make a definition of one container and a request fit each other and the launch type."""

    def render(self, run: FlowRun, state: RunState | None) -> tuple[Launch, str | None]:
        """Render a run that is claimed.

        Returns
        -------
        The launch, and the URL of the flow's kwargs file where there is one.

        Raises
        ------
        PermanentError
            The run asks for something that cannot be launched; the text tells what to correct.
        """
