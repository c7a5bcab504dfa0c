"""The two families of failure. All that is not a :class:`PermanentError` is worth another try."""

from __future__ import annotations


class PermanentError(Exception):
    """Trying again cannot help: the run is told so in Prefect and its message acknowledged.

    The message is read by a person in Prefect's UI: it names the source (file, key, line,
    setting), the cause and the remedy.
    """


class DeploymentDeleted(PermanentError):
    """The run's deployment is gone, and with it what to run: the run is cancelled."""


class NoSlot(Exception):
    """A concurrency limit is full and the run unchanged: to be tried again, however often."""


class NotDueYet(Exception):
    """A message that came before its run is due. Its visibility is set; nothing was attempted.

    Parameters
    ----------
    seconds
        How long the queue hides the message, in whole seconds.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"not due yet: hidden for {seconds} s")
        self.seconds = seconds
