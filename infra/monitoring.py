"""What tells how an agent is doing: a dashboard, alarms, and saved queries of its logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from fargate_agent.observability import AGENT, CAUSE, NAMESPACE, Metric
from infra.config import AgentConfig

Graphs = Mapping[str, Sequence[cloudwatch.IMetric]]
"""What each graph of a row shows, by its title."""

FIVE_MINUTES = Duration.minutes(5)

SILENCE_SECONDS = 300
"""Without a successful poll for so long something is wrong; with a longer interval, two polls."""

FIGURES_LATE_SECONDS = 120
"""CloudWatch shows what a function did about so much later: one poll that failed is no silence."""

OLDEST_SECONDS = 3600
"""A message older than this and the poll interval is late by no rule of the queue: a run may be
enqueued an interval ahead, wait 50 minutes for a slot of a concurrency limit, and a burst of 50,000
takes 42 minutes at the 20 launches a second that ECS grants."""

LASTING = 3
"""Errors and throttles in so many periods in a row are no restart of something, nor a burst."""

PRICES = {
    "request": 0.20e-6,
    "arm64": 0.0000133334,
    "x86_64": 0.0000166667,
    "fifo": 0.50e-6,
    "standard": 0.40e-6,
}
"""US dollars in us-east-1, list prices: Lambda's requests, and GB-seconds by architecture; SQS's
requests. https://aws.amazon.com/lambda/pricing/ and https://aws.amazon.com/sqs/pricing/"""

SECONDS_A_MONTH = 730 * 3600

QUERIES = {
    "What happened to one flow run": """\
fields @timestamp, level, message, reason, error, cause, state, claim, seconds, claim_id, task_arn
| filter flow_run_id = 'PUT-THE-FLOW-RUN-ID-HERE'
| sort @timestamp""",
    "Launches with their delay": """\
fields @timestamp, flow_run_id, delay_seconds, task_definition, definition, task_arn
| filter message = 'launched'
| sort delay_seconds desc
| limit 200""",
    "Failures by cause": """\
filter message in ['crashed', 'relaunched', 'failed for good']
| stats count(*) as runs, latest(flow_run_id) as last_run by message, coalesce(cause, error) as why
| sort runs desc""",
    "What is tried again, and why": """\
filter message in ['will try again', 'not told yet', 'not cancelled yet', 'not reconciled']
| stats count(*) as times, count_distinct(flow_run_id) as runs by message, error
| sort times desc""",
    "What the healing pass mended": """\
fields @timestamp, checked, crashed, relaunched, enqueued, failed
| filter message = 'reconciled'
| sort @timestamp desc""",
}
"""Queries of CloudWatch Logs Insights, by their names. The fields are those of the log lines."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The parts of an agent that are looked at, by their names.

    ``functions`` are poll, dispatch and watch. Of ``queues``, "runs" is that of the runs.
    """

    config: AgentConfig
    functions: Mapping[str, lambda_.Function]
    memory_mb: int
    queues: Mapping[str, sqs.Queue]
    dead_letters: Mapping[str, sqs.Queue]


class Monitoring(Construct):
    """What ``[monitoring]`` asks for.

    Attributes
    ----------
    alarms
        By what they are about; empty without ``monitoring.alarms``.
    dashboard
        None without ``monitoring.dashboard``.
    """

    def __init__(self, scope: Construct, id: str, watched: Watched) -> None:
        super().__init__(scope, id)
        self._watched = watched
        self._settings = watched.config.monitoring
        topic = self._settings.alarms_topic
        self._topic = sns.Topic.from_topic_arn(self, "Topic", topic) if topic else None
        self.alarms: dict[str, cloudwatch.Alarm] = {}
        if self._settings.alarms:
            self._alarms()
        self.dashboard = self._dashboard() if self._settings.dashboard else None
        self._queries()

    # -- metrics

    def metric(self, metric: Metric, statistic: str = "Sum") -> cloudwatch.Metric:
        """Return one of the agent's own metrics, over five minutes."""
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=metric.value,
            dimensions_map={AGENT: self._watched.config.agent.name},
            statistic=statistic,
            period=FIVE_MINUTES,
            label=None if statistic == "Sum" else statistic,
        )

    def _good_polls(self, period: Duration) -> cloudwatch.MathExpression:
        """Count the polls of the schedule and its ticks that ended well.

        Missing values are filled in: an alarm evaluates real ones older than its periods in their
        place, so it would ring minutes late. What comes by the function URL is taken away: a
        caller without the secret, or one that asks for the agent's health, polls nothing.
        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
        """
        poll = self._watched.functions["poll"]
        counted = {"invocations": "Invocations", "errors": "Errors"}
        others = "errors"
        if self._watched.config.agent.url:
            counted["requests"] = "UrlRequestCount"
            others = "SUM([errors, requests])"  # which takes a metric without any value for none
        return cloudwatch.MathExpression(
            expression=f"FILL(invocations, 0) - FILL({others}, 0)",
            using_metrics={
                name: poll.metric(metric, period=period, statistic="Sum")
                for name, metric in counted.items()
            },
            label="polls that ended well",
            period=period,
        )

    # -- alarms

    def _alarms(self) -> None:
        """Make them of few metrics, for each is paid for.

        Errors and throttles of ``poll`` are not watched for themselves: a poll that fails is made
        up for by the next, and where none succeeds there is an alarm.
        """
        for name, queue in self._watched.dead_letters.items():
            self._alarm(
                name,
                queue.metric_approximate_number_of_messages_visible(period=FIVE_MINUTES),
                "A message was given up after its last try. Read it and the function's log.",
            )
        interval = self._watched.config.agent.poll_interval_seconds
        self._alarm(
            "OldestMessage",
            self._watched.queues["runs"].metric_approximate_age_of_oldest_message(
                period=FIVE_MINUTES
            ),
            "A flow run waits in the queue for longer than any wait that is meant.",
            threshold=OLDEST_SECONDS + interval,
        )
        if self._watched.config.agent.enabled:
            self._no_poll_alarm(interval)
        if self._settings.metrics:
            self._alarm(
                "LaunchFailures",
                self.metric(Metric.PERMANENT_FAILURES),
                "A flow run could not be launched and was told so in Prefect, with the reason.",
            )
        for name in ("dispatch", "watch"):
            for what in ("Errors", "Throttles"):
                self._alarm(
                    f"{name.capitalize()}{what}",
                    self._watched.functions[name].metric(
                        what, period=FIVE_MINUTES, statistic="Sum"
                    ),
                    f"{what} of {name} that last. Its messages come back until they succeed.",
                    periods=LASTING,
                )

    def _no_poll_alarm(self, interval: int) -> None:
        """Alarm where no poll ended well; a schedule that is long dead shows as missing data."""
        seconds = max(SILENCE_SECONDS, 2 * interval + FIGURES_LATE_SECONDS)
        self._alarm(
            "NoPoll",
            self._good_polls(Duration.minutes(1)),
            f"No poll has ended well for {seconds // 60} minutes: nothing new is launched.",
            threshold=1,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            periods=seconds // 60,
            missing=cloudwatch.TreatMissingData.BREACHING,
        )

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        description: str,
        *,
        threshold: float = 0,
        comparison: cloudwatch.ComparisonOperator = (
            cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
        ),
        periods: int = 1,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        agent = self._watched.config.agent.name
        alarm = self.alarms[name] = cloudwatch.Alarm(
            self,
            name,
            alarm_description=f"Fargate agent {agent}: {description}",
            metric=metric,
            threshold=threshold,
            comparison_operator=comparison,
            evaluation_periods=periods,
            treat_missing_data=missing,
        )
        if self._topic:
            action = actions.SnsAction(self._topic)
            alarm.add_alarm_action(action)
            alarm.add_ok_action(action)

    # -- dashboard

    def _dashboard(self) -> cloudwatch.Dashboard:
        architecture = self._watched.config.deployment.architecture
        return cloudwatch.Dashboard(
            self,
            "Dashboard",
            default_interval=Duration.days(1),
            widgets=[
                [_heading("Is it working?", "Polls end well, runs are launched, no dead letters.")],
                *([[self._states()]] if self.alarms else []),
                _graphs(self._is_it_working()),
                [_heading("How late?", "From a run's scheduled time to its task, in seconds.")],
                _graphs(self._how_late()),
                [_heading("What fails?", "The saved queries of CloudWatch Logs name the runs.")],
                _graphs(self._what_fails()),
                [_heading("What does it cost?", _about_the_cost(architecture), height=4)],
                [self._cost()],
            ],
        )

    def _states(self) -> cloudwatch.AlarmStatusWidget:
        return cloudwatch.AlarmStatusWidget(
            title="Alarms", alarms=list(self.alarms.values()), width=24, height=3
        )

    def _is_it_working(self) -> Graphs:
        poll, runs = self._watched.functions["poll"], self._watched.queues["runs"]
        return {
            "Polls": [
                self._good_polls(FIVE_MINUTES),
                poll.metric_errors(period=FIVE_MINUTES),
            ],
            "Runs": self._own(Metric.RUNS_ENQUEUED, Metric.RUNS_LAUNCHED),
            "Task definitions": self._own(Metric.DEFINITIONS_REGISTERED, Metric.DEFINITIONS_REUSED),
            "Messages": [
                runs.metric_approximate_number_of_messages_visible(label="to be launched"),
                runs.metric_approximate_number_of_messages_not_visible(label="in work, or hidden"),
                *(
                    queue.metric_approximate_number_of_messages_visible(label=name)
                    for name, queue in self._watched.dead_letters.items()
                ),
            ],
        }

    def _how_late(self) -> Graphs:
        delays = ("p50", "p90", "p99", "Maximum") if self._settings.metrics else ()
        return {
            "Delay of launches": [self.metric(Metric.LAUNCH_DELAY, delay) for delay in delays],
            "Age of the oldest message": [
                queue.metric_approximate_age_of_oldest_message(label=name)
                for name, queue in self._watched.queues.items()
                if name != "ticks"
            ],
            "Duration of invocations, p90": [
                function.metric_duration(statistic="p90", label=name)
                for name, function in self._watched.functions.items()
            ],
        }

    def _what_fails(self) -> Graphs:
        return {
            "Launches": self._own(
                Metric.PERMANENT_FAILURES, Metric.TRANSIENT_FAILURES, Metric.CLAIMS_LOST
            ),
            "Crashes by cause": [self._crashes_by_cause()] if self._settings.metrics else [],
            "Mended": self._own(Metric.CRASHES, Metric.RELAUNCHES, Metric.RECONCILED),
            "Errors and throttles of functions": [
                metric
                for name, function in self._watched.functions.items()
                for metric in (
                    function.metric_errors(label=f"{name}: errors"),
                    function.metric_throttles(label=f"{name}: throttles"),
                )
            ],
        }

    def _crashes_by_cause(self) -> cloudwatch.MathExpression:
        agent, name = self._watched.config.agent.name, Metric.CRASHES.value
        search = f'{{{NAMESPACE},{AGENT},{CAUSE}}} {AGENT}="{agent}" MetricName="{name}"'
        return cloudwatch.MathExpression(
            expression=f"SEARCH('{search}', 'Sum', {FIVE_MINUTES.to_seconds():.0f})",
            using_metrics={},
            label="",
            period=FIVE_MINUTES,
        )

    def _own(self, *metrics: Metric) -> list[cloudwatch.IMetric]:
        """Return metrics of the agent's own, where those are written."""
        return [self.metric(metric) for metric in metrics] if self._settings.metrics else []

    def _cost(self) -> cloudwatch.SingleValueWidget:
        """Estimate, from the use in the time that is shown, what a month costs.

        Each value is of that whole time: the last one of a day's period is of a day not yet over.
        """
        watched = self._watched
        return cloudwatch.SingleValueWidget(
            title="US dollars a month, at the pace of the time shown",
            metrics=[
                *(
                    self._cost_of_lambda(name, function)
                    for name, function in watched.functions.items()
                ),
                *(_cost_of_queue(name, queue) for name, queue in watched.queues.items()),
            ],
            set_period_to_time_range=True,
            width=24,
            height=4,
        )

    def _cost_of_lambda(self, name: str, function: lambda_.Function) -> cloudwatch.MathExpression:
        gb_seconds = f"{name}_ms / 1000 * {self._watched.memory_mb / 1024}"
        gb_second = PRICES[self._watched.config.deployment.architecture]
        return cloudwatch.MathExpression(
            expression=(
                f"{_a_month(f'{name}_calls')} * ({name}_calls * {PRICES['request']:.10f}"
                f" + {gb_seconds} * {gb_second:.10f})"
            ),
            using_metrics={
                f"{name}_calls": function.metric_invocations(statistic="Sum"),
                f"{name}_ms": function.metric_duration(statistic="Sum"),
            },
            label=f"Lambda: {name}",
        )

    # -- queries

    def _queries(self) -> None:
        agent = self._watched.config.agent.name
        for name, query in QUERIES.items():
            # Not numbered: CloudWatch refuses a name that is there already, as it would be in an
            # update that moves each name to the next resource.
            logs.CfnQueryDefinition(
                self,
                f"Query {name}",
                name=f"{agent}/{name}",
                query_string=query,
                log_group_names=[
                    function.log_group.log_group_name
                    for function in self._watched.functions.values()
                ],
            )


def _about_the_cost(architecture: str) -> str:
    return (
        "An estimate from Lambda's invocations and durations and SQS's messages, at the list "
        f"prices of us-east-1 in US dollars: {PRICES['request'] * 1e6:.2f} a million invocations, "
        f"{PRICES[architecture]:.10f} a GB-second on {architecture}, {PRICES['fifo'] * 1e6:.2f} "
        f"and {PRICES['standard'] * 1e6:.2f} a million requests to FIFO and standard queues. No "
        "free tier; batched requests are counted by their messages, which is too much. Not in it: "
        "the flows' own Fargate time, logs, the schedule, secrets, and what this monitoring costs."
    )


def _a_month(metric: str) -> str:
    """Return how many of a metric's periods are in a month."""
    return f"{SECONDS_A_MONTH} / PERIOD({metric})"


def _cost_of_queue(name: str, queue: sqs.Queue) -> cloudwatch.MathExpression:
    """Count a request for each message sent, two for each received, one for each empty receive.

    What is received is deleted or hidden by another request.
    """
    metrics = {
        f"{name}_sent": queue.metric_number_of_messages_sent(statistic="Sum"),
        f"{name}_received": queue.metric_number_of_messages_received(statistic="Sum"),
        f"{name}_empty": queue.metric_number_of_empty_receives(statistic="Sum"),
    }
    price = PRICES["fifo" if queue.fifo else "standard"]
    requests = f"FILL({name}_sent, 0) + 2 * FILL({name}_received, 0) + FILL({name}_empty, 0)"
    return cloudwatch.MathExpression(
        expression=f"{_a_month(f'{name}_sent')} * {price:.10f} * ({requests})",
        using_metrics=metrics,
        label=f"SQS: {name}",
    )


def _heading(question: str, text: str, *, height: int = 2) -> cloudwatch.TextWidget:
    return cloudwatch.TextWidget(markdown=f"## {question}\n{text}", width=24, height=height)


def _graphs(graphs: Graphs) -> list[cloudwatch.IWidget]:
    """Return a row of graphs, but those that show nothing."""
    shown = {title: metrics for title, metrics in graphs.items() if metrics}
    return [
        cloudwatch.GraphWidget(title=title, left=list(metrics), width=24 // len(shown), height=6)
        for title, metrics in shown.items()
    ]
