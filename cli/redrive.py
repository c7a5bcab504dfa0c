"""``redrive``: what was given up is tried again, run by run, and nothing is started twice."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cli import prefect, queues
from cli.dead_letters import Letter, Remedy, judge, received
from cli.deployed_agent import DeployedAgent
from cli.errors import EXPECTED, CommandError, told
from cli.output import AsJson, console, show
from cli.prefect import Run
from fargate_agent import clients
from fargate_agent.orchestrators.http import JsonClient
from fargate_agent.orchestrators.states import RunState
from fargate_agent.poll import NotAllSent, Poller
from fargate_agent.running_tasks import RunningTasks

RUNS_AT_ONCE = 100

MESSAGE = "Given up before, and scheduled again by hand ('fargate-agent redrive')."


@dataclass(frozen=True, slots=True)
class Case:
    """A letter, how its run stands, and what is to be done."""

    letter: Letter
    state: RunState | None
    run: Run | None
    remedy: Remedy
    why: str

    def told(self, outcome: str) -> dict[str, Any]:
        """Return it as plain values."""
        letter = self.letter
        return {
            "message_id": letter.message_id,
            "kind": "task event" if letter.event else "poison" if letter.is_poison else "run",
            "flow_run_id": letter.flow_run_id,
            "run": self.run.name if self.run else letter.run.name if letter.run else None,
            "flow": letter.run.flow_name if letter.run else None,
            "state": self.run.state if self.run else None,
            "error": self.run.message if self.run else None,
            "sent": letter.sent,
            "remedy": self.remedy.value,
            "because": self.why,
            "outcome": outcome,
        }


def redrive(
    context: typer.Context,
    runs: Annotated[list[str] | None, typer.Argument(help="The ids of runs to try again.")] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="All of them, without being asked.")] = False,
    delete: Annotated[
        bool, typer.Option(help="Delete messages that nobody can make anything of.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the dead letters, and try again those that you choose."""
    redriver = Redriver(context.obj)
    with ExitStack() as held:
        cases = redriver.cases(held)
        chosen = _chosen(cases, set(runs or []), all_=all_)
        if not chosen and not as_json:
            console.print(drawn([case.told("") for case in cases]))
            if cases and sys.stdin.isatty() and typer.confirm("Do that with all of them?"):
                chosen = cases
        outcomes = {case.letter.message_id: redriver.mend(case, delete=delete) for case in chosen}
    rows = [case.told(outcomes.get(case.letter.message_id, "")) for case in cases]
    if as_json or outcomes:
        show(rows, drawn(rows), as_json=as_json)
    if any(outcome.startswith("failed") for outcome in outcomes.values()):
        raise typer.Exit(1)


def _chosen(cases: list[Case], wanted: set[str], *, all_: bool) -> list[Case]:
    """Return the cases that were asked for.

    Raises
    ------
    CommandError
        There is no dead letter of a run.
    """
    missing = wanted - {str(case.letter.flow_run_id) for case in cases}
    if missing:
        raise CommandError(f"There is no dead letter of {', '.join(sorted(missing))}.")
    return cases if all_ else [case for case in cases if case.letter.flow_run_id in wanted]


@dataclass(eq=False)
class Redriver:
    """Looks at the dead letters of one agent, and mends what they are about."""

    agent: DeployedAgent

    def cases(self, held: ExitStack) -> list[Case]:
        """Take all dead letters in hand for as long as ``held`` lasts, and judge them."""
        runs, events = queues.runs(self.agent), queues.task_events(self.agent, self._sqs)
        letters = [
            *held.enter_context(received(self._sqs, runs.dead_letters_url)),
            *held.enter_context(received(self._sqs, events.dead_letters_url, events=True)),
        ]
        return self._judged(letters)

    def _judged(self, letters: Iterable[Letter]) -> list[Case]:
        """Read how the letters' runs stand now, and judge them by that."""
        letters = list(letters)
        ids = {letter.run.id for letter in letters if letter.run}
        known = prefect.runs(self._settings, self._api, ids)
        states = self._states(ids)
        return [self._case(letter, states, known) for letter in letters]

    def _states(self, ids: Iterable[str]) -> dict[str, RunState]:
        """Read how runs stand; those that are deleted, and no others, are missing.

        Raises
        ------
        CommandError
            A run was left out of the answer, and is not deleted.
        """
        wanted = sorted(ids)
        found: dict[str, RunState] = {}
        for start in range(0, len(wanted), RUNS_AT_ONCE):
            found |= self.agent.orchestrator.run_states(wanted[start : start + RUNS_AT_ONCE])
        for id in wanted:
            if id not in found and not self.agent.orchestrator.is_deleted(id):
                raise CommandError(f"Prefect does not tell how the run {id} stands: try again.")
        return found

    def _case(
        self, letter: Letter, states: Mapping[str, RunState], runs: Mapping[str, Run]
    ) -> Case:
        id = letter.flow_run_id or ""
        run = runs.get(id)
        remedy, why = judge(letter, states.get(id), run.message if run else "")
        return Case(letter, states.get(id), run, remedy, why)

    @cached_property
    def _settings(self) -> Any:
        return self.agent.settings("poll")

    @cached_property
    def _api(self) -> JsonClient:
        return clients.api(self._settings)

    @cached_property
    def _sqs(self) -> Any:
        return self.agent.client("sqs")

    @cached_property
    def _tasks(self) -> RunningTasks:
        return RunningTasks(lambda: clients.ecs(self._settings), self._settings.clusters)

    def mend(self, case: Case, *, delete: bool) -> str:
        """Do what the case asks for; delete its letter only once that is accepted."""
        try:
            # Its run may have moved on while somebody made up his mind.
            (case,) = self._judged([case.letter])
            outcome = self._mended(case)
        except (*EXPECTED, NotAllSent) as error:
            return f"failed, and the letter stays: {told(error)}"
        if case.remedy is Remedy.LEAVE and not (delete and case.letter.is_poison):
            return "left"
        try:
            self._sqs.delete_message(
                QueueUrl=case.letter.queue_url, ReceiptHandle=case.letter.receipt
            )
        except EXPECTED as error:  # its receipt has expired: another 'redrive' drops it
            return f"{outcome}, but the letter stays: {told(error)}"
        return outcome

    def _mended(self, case: Case) -> str:
        letter = case.letter
        match case.remedy:
            case Remedy.SCHEDULE:
                return self._scheduled(case)
            case Remedy.SEND if letter.run:
                poller = Poller(
                    settings=self._settings, prefect=self.agent.orchestrator, sqs=self._sqs
                )
                poller.enqueue_again([letter.run])
                return "sent again"
            case Remedy.SEND:
                url = queues.task_events(self.agent, self._sqs).url
                self._sqs.send_message(QueueUrl=url, MessageBody=letter.body)
                return "sent again"
        return "deleted"

    def _scheduled(self, case: Case) -> str:
        """Let the next poll find the run.

        Raises
        ------
        CommandError
            A task of the run still lives, or Prefect did not accept it.
        """
        run, state = case.letter.run, case.state
        assert run is not None
        assert state is not None
        living = self._tasks.of_run(run.id)
        if living:
            raise CommandError(
                f"its task {living[0]['taskArn']} still runs: cancel the run or stop the task first"
            )
        self.agent.orchestrator.relaunch(
            run.id, state, run.claim_id, due=datetime.now(UTC), message=MESSAGE
        )
        now = self.agent.orchestrator.run_states([run.id]).get(run.id)
        if now is not None and now.type == state.type:
            raise CommandError(f"Prefect leaves the run {now.type.capitalize()}: retry it there")
        return "scheduled again"


def drawn(rows: list[dict[str, Any]]) -> Table | Text:
    """Draw the letters."""
    if not rows:
        return Text("There are no dead letters.")
    table = Table(title=f"{len(rows)} dead letters", title_justify="left")
    for column in ("sent", "run", "flow run", "state, and why", "what is done"):
        table.add_column(column, overflow="fold", no_wrap=column == "flow run")
    for row in rows:
        name = " of ".join(filter(None, [row["run"], row["flow"]])) or row["kind"]
        state = ": ".join(filter(None, [row["state"], row["error"]]))
        done = row["outcome"] or f"{row['remedy']}: {row['because']}"
        sent = f"{row['sent']:%m-%d %H:%M:%S}"
        table.add_row(sent, Text(name), row["flow_run_id"] or "", Text(state), Text(done))
    return table
