"""`rollout status`: what serves now, and what an update would do."""

import argparse
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from pydantic.alias_generators import to_camel
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cluster.aborted import is_aborted, is_update_aborted
from cluster.live import Object, UnreachableError
from cluster.rollout_status import pod_reason
from cluster.srs_api import Stream, streams
from cluster.state import read_state
from cluster.terminating import is_terminating, open_connections
from model.config.values import natural_key, plural
from model.desired.replicas import shares
from model.names import EDGE_APP, ORIGIN, edge_run
from model.run_record import RunRecord
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.edges.fleet import edges_of
from rollout.errors import OperationError
from rollout.show import age, now, save_svg, short_image, text_of
from rollout.stack.stack_file import StackFileError

INTERVAL, PLAN_INTERVAL = 2.0, 60.0
"""Seconds between two reads of the cluster, and between two previews, of --watch."""


@dataclass(frozen=True)
class Release:
    """A release: what the stack file wants, and what is there.

    image, config_hash, change_cause: of the live edges. weight, desired_percent: by the stack file. actual_percent: of
    the ready edges in rotation. desired, ready, terminating: its edges. connections: of edges that do not terminate;
    draining_connections: of those that do, by their logs; None if it is unknown. until: when the last terminating edge
    is killed. since: when the oldest edge was created.
    """

    name: str
    image: str | None
    config_hash: str | None
    weight: int | None
    desired_percent: float | None
    actual_percent: float
    desired: int
    ready: int
    terminating: int
    connections: int | None
    draining_connections: int | None
    until: str | None
    restarts: int
    since: str | None
    change_cause: str | None
    paused: bool
    aborted: bool
    update_aborted: bool = False


@dataclass(frozen=True)
class Origin:
    """An origin. streams: those that are published to it, None if it does not answer. until: when it is
    killed, None if it does not drain."""

    name: str
    ready: bool
    restarts: int
    since: str
    streams: list[str] | None
    until: str | None = None


@dataclass(frozen=True)
class Fleet:
    """The size of a fleet that autoscalers set: its edges of all releases, between two limits of the stack file."""

    edges: int
    minimum: int
    maximum: int


@dataclass(frozen=True)
class Status:
    """The state of a stack at a moment.

    run: the open `rollout run`. problem: why there are no desired shares. fleet: None of one with a fixed size.
    """

    stack: str
    namespace: str
    at: str
    releases: list[Release]
    origins: list[Origin]
    run: Mapping[str, Any] | None
    problem: str | None
    fleet: Fleet | None = None

    def as_json(self) -> dict[str, Any]:
        """For --json, with keys in camelCase."""
        return cast("dict[str, Any]", _camel(asdict(self)))


def read_status(context: Context) -> Status:
    """Read the status. Raises UnreachableError, and ConfigError if the stack file does not lead to a cluster."""
    live = context.live
    state = read_state(live)
    weights, desired, fleet, problem = _desired(context, edges_of(state, context.stack_name))
    edges = [pod for pod in (*state.pods, *state.terminating) if pod["metadata"]["labels"]["app"] != ORIGIN]
    origins = [pod for pod in state.pods if pod["metadata"]["labels"]["app"] == ORIGIN] + list(state.draining_origins)
    deployments = {name.removeprefix("srs-edge-").removesuffix("-deploy"): item for name, item in state.edges.items()}
    answering = [pod["metadata"]["name"] for pod in state.pods if pod_reason(pod) is None]
    answering += [pod["metadata"]["name"] for pod in state.draining_origins]
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(streams, live, answering)
        logged = pool.submit(open_connections, live, state.terminating, None)
        found, draining = asked.result(), {name: status.count for name, status in logged.result().items()}
    clients = {name: sum(stream.clients for stream in items) for name, items in found.items()}
    rotation = sum(_in_rotation(pod) for pod in edges)
    releases = [
        _release(
            name,
            deployments.get(name),
            [pod for pod in edges if pod["metadata"]["labels"].get("run") == edge_run(name)],
            weights.get(name),
            desired.get(name),
            rotation,
            clients,
            draining,
        )
        for name in sorted({*weights, *deployments, *map(_release_of, edges)}, key=natural_key)
    ]
    run = state.run
    return Status(
        context.stack_name,
        live.namespace,
        now().isoformat(timespec="seconds").replace("+00:00", "Z"),
        releases,
        [_origin(pod, found) for pod in sorted(origins, key=lambda pod: natural_key(pod["metadata"]["name"]))],
        run_status(run, now()) if run else None,
        problem,
        fleet,
    )


def run_status(run: RunRecord, moment: datetime) -> dict[str, Any]:
    """An open run for --json and for the text."""
    hint = ""
    if run.aborted_by:
        hint = "; its abort is not complete: run `rollout abort` again if its process has ended"
    elif run.is_dead(moment):
        hint = f"; its process has ended ({run.heartbeat:%H:%M:%S} UTC): `rollout resume` or `rollout abort`"
    data = run.model_dump(mode="json", by_alias=True, exclude={"token", "written", "holder", "baseline", "options"})
    return data | {"holder": str(run.holder) if run.holder else None, "title": run.title, "hint": hint}


def _desired(context: Context, live: int | None) -> tuple[dict[str, int], dict[str, float], Fleet | None, str | None]:
    """Weights and desired shares by release, or why there are none (a preview has the details). live: all edges."""
    try:
        edges = context.read_file().edges
        weights = edges.weights
        by_weight = shares(edges.total(live), weights)
    except (StackFileError, ValueError) as error:
        return {}, {}, None, f"the stack file cannot be used: {error}"
    scaling = edges.autoscaling
    fleet = Fleet(live or 0, scaling.minimum, scaling.maximum) if scaling else None
    return weights, {name: share.desired for name, share in by_weight.items()}, fleet, None


def _release(
    name: str,
    deployment: Object | None,
    pods: Sequence[Object],
    weight: int | None,
    desired_percent: float | None,
    rotation: int,
    clients: Mapping[str, int],
    draining: Mapping[str, int],
) -> Release:
    terminating = [pod for pod in pods if is_terminating(pod)]
    live = [pod for pod in pods if not is_terminating(pod)]
    ready = [pod["metadata"]["name"] for pod in live if pod_reason(pod) is None]
    annotations: dict[str, str] = (deployment["metadata"].get("annotations") or {}) if deployment else {}
    cause = annotations.get("kubernetes.io/change-cause")
    return Release(
        name,
        _image(deployment["spec"]["template"] if deployment else pods[0] if pods else None),
        cause.rpartition("config=")[2] if cause and "config=" in cause else None,
        weight,
        None if desired_percent is None else round(desired_percent, 1),
        round(100 * sum(map(_in_rotation, pods)) / rotation, 1) if rotation else 0.0,
        int(deployment["spec"].get("replicas", 1)) if deployment else 0,
        len(ready),
        len(terminating),
        _sum(ready, clients),
        _sum([pod["metadata"]["name"] for pod in terminating], draining),
        max((str(pod["metadata"]["deletionTimestamp"]) for pod in terminating), default=None),
        sum(map(_restarts, live)),
        min((pod["metadata"]["creationTimestamp"] for pod in live), default=None),
        cause,
        bool(deployment and deployment["spec"].get("paused")),
        bool(deployment and is_aborted(deployment) and not is_update_aborted(deployment)),
        bool(deployment and is_update_aborted(deployment)),
    )


def _origin(pod: Object, found: Mapping[str, list[Stream]]) -> Origin:
    name = pod["metadata"]["name"]
    published = sorted(stream.name for stream in found[name] if stream.published) if name in found else None
    return Origin(
        name,
        pod_reason(pod) is None,
        _restarts(pod),
        pod["metadata"]["creationTimestamp"],
        published,
        pod["metadata"].get("deletionTimestamp"),
    )


def _in_rotation(pod: Object) -> bool:
    """Whether new viewers reach an edge."""
    return pod_reason(pod) is None and pod["metadata"]["labels"]["app"] == EDGE_APP


def _release_of(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("run", "")).removeprefix(edge_run(""))


def _image(pod: Object | None) -> str | None:
    containers: list[Object] = pod["spec"]["containers"] if pod else []
    return next((str(container["image"]) for container in containers if container["name"] == "srs"), None)


def _restarts(pod: Object) -> int:
    return sum(container.get("restartCount", 0) for container in pod.get("status", {}).get("containerStatuses", []))


def _sum(pods: Sequence[str], numbers: Mapping[str, int]) -> int | None:
    """The sum over pods; None if the number of one is unknown."""
    return sum(numbers[pod] for pod in pods) if all(pod in numbers for pod in pods) else None


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {to_camel(str(key)): _camel(inner) for key, inner in cast("dict[Any, Any]", value).items()}
    return [_camel(inner) for inner in cast("list[Any]", value)] if isinstance(value, list) else value


def render(status: Status, plan: str) -> RenderableType:
    """The status for a terminal of 80 columns. plan: as text."""
    moment = datetime.fromisoformat(status.at.replace("Z", "+00:00"))
    table = Table(box=None, pad_edge=False, title_justify="left", header_style="bold")
    for column in ("release", "image", "config"):
        table.add_column(column, overflow="fold")
    for column in ("desired", "actual", "edges", "conn.", "restarts", "age"):
        table.add_column(column, justify="right", no_wrap=True)
    for release in status.releases:
        table.add_row(
            Text(release.name, style="bold red" if release.aborted else "bold"),
            short_image(release.image),
            release.config_hash or "",
            _percent(release.desired_percent),
            _percent(release.actual_percent),
            Text(f"{release.ready}/{release.desired}", style="" if release.ready == release.desired else "yellow"),
            _number(release.connections),
            Text(str(release.restarts), style="red" if release.restarts else ""),
            age(release.since, moment),
        )
    origins = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("origin", "ready", "restarts", "age", "streams"):
        origins.add_column(column, justify="right" if column in ("restarts", "age") else "left")
    for origin in status.origins:
        names = "unknown" if origin.streams is None else ", ".join(origin.streams[:5])
        more = len(origin.streams or []) - 5
        origins.add_row(
            origin.name,
            "yes" if origin.ready else f"drains until {origin.until}" if origin.until else Text("no", style="red"),
            str(origin.restarts),
            age(origin.since, moment),
            f"{names} and {more} more" if more > 0 else names,
        )
    head = Text(f"stack {status.stack}, namespace {status.namespace}, {status.at}", style="dim")
    notes = Text("\n".join(_notes(status)), style="yellow")
    parts: list[RenderableType] = [head, "", table, *([notes] if notes else []), "", origins]
    return Group(*parts, *(["", Text(plan)] if plan else []))


def _notes(status: Status) -> Iterator[str]:
    if status.problem:
        yield status.problem
    if fleet := status.fleet:
        limits = f"{fleet.minimum} to {fleet.maximum}"
        yield f"the fleet has {plural(fleet.edges, 'edge')}, as its autoscalers want ({limits})"
    if status.run:
        yield f"{status.run['title']} is open{status.run['hint']}"
        for outcome in status.run["outcomes"][-1:]:
            problems = "".join(f"; {problem}" for problem in outcome["problems"])
            yield f"  step {outcome['step']} ({outcome['percent']} %): {outcome['outcome']}{problems}"
    for release in status.releases:
        if release.aborted:
            yield f"{release.name} is aborted: it receives no new viewers"
        elif release.update_aborted:
            yield f"the update of {release.name} is aborted: the edges of its earlier revision serve"
        elif release.paused:
            yield f"{release.name} is paused"
        if release.terminating:
            connections = "an unknown number of connections"
            if release.draining_connections is not None:
                connections = plural(release.draining_connections, "connection")
            edges = plural(release.terminating, "edge")
            verb = "drains" if release.terminating == 1 else "drain"
            yield f"{release.name}: {edges} {verb} {connections}, until {release.until} at the latest"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} %"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def plan_of(context: Context) -> tuple[Mapping[str, Any] | None, str]:
    """What an update would do, as JSON and as text; None and the reason if there is no plan."""
    try:
        outcome = context.stack.preview()
    except OperationError as error:
        return None, f"An update would fail: {error}"
    if all(workload["action"] == "none" for workload in outcome.plan.get("workloads", [])):
        return outcome.plan, "An update would change no workload."
    lines = [line for line in outcome.text.splitlines() if ": unchanged, " not in line]
    return outcome.plan, "\n".join(lines).replace("Update plan for", "An update would do this in")


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Print the status, once or until Ctrl-C."""
    if arguments.watch:
        if context.as_json:
            raise CommandRejectedError("--watch cannot be combined with --json")
        return _watch(context, not arguments.no_plan)
    with ThreadPoolExecutor(1) as pool:
        planned = None if arguments.no_plan else pool.submit(plan_of, context)
        status = read_status(context)
        plan, text = planned.result() if planned else (None, "")
    if arguments.svg:
        save_svg(render(status, text), arguments.svg, f"rollout status --watch --stack {status.stack}")
    data = status.as_json() | ({} if arguments.no_plan else {"plan": plan, "planError": None if plan else text})
    context.result(data, text_of(render(status, text)))
    return Exit.DONE


def _watch(context: Context, with_plan: bool) -> int:
    plan = "An update: previewing …" if with_plan else ""
    done = threading.Event()

    def preview() -> None:
        nonlocal plan
        content = b""
        deadline = 0.0
        while not done.wait(INTERVAL / 4):
            # At once after an edit of the stack file, and regularly, since the cluster changes.
            file = context.read_file().content
            if file != content or time.monotonic() > deadline:
                content, deadline = file, time.monotonic() + PLAN_INTERVAL
                plan = plan_of(context)[1]

    if with_plan:
        threading.Thread(target=preview, daemon=True).start()
    console = Console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as screen:
        try:
            while True:
                try:
                    screen.update(render(read_status(context), plan), refresh=True)
                except UnreachableError as error:
                    screen.update(Text(f"{error}; trying again", style="red"), refresh=True)
                time.sleep(INTERVAL)
        finally:
            done.set()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="redraw every 2 seconds, until Ctrl-C")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="also write a picture of the terminal")
    parser.add_argument("--no-plan", action="store_true", help="without the preview of an update")


VERB = Verb(
    "status",
    "releases, origins, connections, and what an update would do",
    "Shows each release with its image, the hash of its srs.conf, its desired and its actual share of new "
    "viewers, its edges, their connections, restarts and age; edges that drain, and how long they may; the "
    "origins with the streams that are published to them; and what an update would do now. Connections are read "
    "from the HTTP API of SRS, through the kubelet, and of draining edges from their logs: the user of the "
    "kubeconfig needs `get` on `pods/log` and `get` and `create` on `pods/portforward`. `-` is an unknown number.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED,),
    json="`stack`, `namespace`, `at`, `releases`, `origins`, `run` (the open `rollout run`), `problem` (of the stack "
    "file), `fleet` (with autoscaling: its `edges` now, `minimum` and `maximum`), and `plan`, as SRS_PLAN_FILE "
    "has it, or `planError`. A release has `name`, `image`, `configHash`, `weight`, "
    "`desiredPercent`, `actualPercent`, the number of edges `desired`, `ready` and `terminating`, "
    "`connections` and `drainingConnections` (null if unknown), `until` (end of the drain), `restarts`, `since`, "
    "`changeCause`, `paused`, `aborted` and `updateAborted`; an origin `name`, `ready`, `restarts`, `since` and "
    "`streams`.",
)
