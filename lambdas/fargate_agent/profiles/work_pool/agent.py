"""What the agent itself brings to every launch, from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fargate_agent.kwargs import Kwargs, KwargsModel
from fargate_agent.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The weakest layer of every launch: names, defaults, and secrets by reference."""

    name: str
    work_pool: str
    api_url: str
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variable to secret ARN: the API key never travels in plain overrides."""
    kwargs: Kwargs = field(default_factory=Kwargs)
    users_kwargs: Kwargs = field(default_factory=Kwargs)
    """Those of ``kwargs`` that are not the stack's own cluster, network, roles and log group."""
    launch_type: str = "FARGATE"

    def elsewhere(self) -> Agent:
        """Return the agent as it is in an account that its stack has made nothing in."""
        return replace(self, kwargs=self.users_kwargs)

    @classmethod
    def from_settings(cls, settings: Settings, model: KwargsModel) -> Agent:
        """Read the agent out of its settings; the user's kwargs stand above the stack's.

        Raises
        ------
        PermanentError
            ``[ecs.kwargs]`` is not valid; ``cdk synth`` would have said so.
        """
        secrets = {
            "PREFECT_API_KEY": settings.api_key_secret,
            "PREFECT_API_AUTH_STRING": settings.auth_string_secret,
        }
        logging = {} if settings.send_logs else {"PREFECT_LOGGING_TO_API_ENABLED": "false"}
        source = "agent.toml: ecs.kwargs"
        return cls(
            name=settings.agent_name,
            work_pool=settings.work_pool,
            api_url=settings.api_url,
            env={**logging, **settings.agent_env},
            secrets={name: arn for name, arn in secrets.items() if arn},
            kwargs=model.of_agent(settings.stack_kwargs, settings.ecs_kwargs, source),
            users_kwargs=model.of_agent({}, settings.ecs_kwargs, source),
            launch_type=settings.launch_type,
        )
