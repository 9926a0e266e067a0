"""`rollout run`: a canary from its first step to its last, judged by pods, viewers and Prometheus."""

import argparse
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from model.config.values import format_duration
from model.run_record import RunOptions, RunRecord
from rollout.canary.flow import Run, new_observer, new_preview_observer
from rollout.canary.run_state import RunHolder, reject_open_run
from rollout.canary.steps import (
    last_file,
    last_title,
    new_record,
    preview_file,
    preview_title,
    step_file,
    title,
)
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.edges.fleet import live_edges
from rollout.edges.rotation import serving
from rollout.options import add_notify, add_viewer_arguments, duration
from rollout.stack.change import check_commit_first
from rollout.stack.stack_file import StackFile


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Begin a run."""
    context.notify_url = arguments.notify
    reject_open_run(context.live)
    check_commit_first(context, arguments.commit)
    file = context.read_file()
    release: str = arguments.release
    record = new_record(file, release, arguments.image, arguments.conf, arguments.steps)
    live = live_edges(context, file)
    step_file(file, record, 0, live)  # rejects what cannot begin
    if record.in_place and (others := sorted(set(serving(context.live)) - {release})):
        raise CommandRejectedError(
            f"{release} is the only release of the stack file with viewers, but edges of {', '.join(others)} serve as "
            "well: an update in place is compared with the earlier revision, and nothing else may serve"
        )
    options = RunOptions(
        pause=arguments.pause,
        auto=arguments.auto,
        stream_urls=tuple(arguments.stream_url),
        viewers=arguments.viewers,
        watch=arguments.watch,
        parallel=arguments.parallel,
        metrics=arguments.metrics and arguments.metrics.absolute(),
    )
    if arguments.dry_run:
        return _dry_run(context, list(_updates(file, record, live, viewers=not arguments.no_viewers)))
    if not (options.stream_urls or arguments.no_viewers):
        options = options.model_copy(update={"stream_urls": (_default_stream_url(context),)})
    observer = new_observer(context, record, options)
    if observer.sampling:
        observer.sampling.check_identity(step_file(file, record, 0, live))
    context.report("baseline: viewers of the other releases" if options.stream_urls else "no viewers")
    observer.observe_baseline()
    # The weights that a failed step restores are the present ones: the baseline has taken a while.
    record = new_record(context.read_file(), release, arguments.image, arguments.conf, arguments.steps)
    changes = {"options": options, "commit": arguments.commit, "stack": context.stack_name}
    holder = RunHolder.begin(context.live, record.model_copy(update=changes))
    preview = new_preview_observer(context, holder.record, options)
    return Run(context, holder, observer, options, preview).carry_out()


def _default_stream_url(context: Context) -> str:
    """The RTMP URL in the outputs of the stack. Raises CommandRejectedError."""
    url = context.stack.outputs().get("urls", {}).get("rtmp")
    if not url:
        raise CommandRejectedError("the stack has no URL; --stream-url of a live stream, or --no-viewers is required")
    return str(url)


def _updates(
    file: StackFile, record: RunRecord, live: int | None, viewers: bool
) -> Iterator[tuple[str, int, StackFile]]:
    """Title, per cent and stack file of every update of a run that passes.

    live: see `rollout.edges.fleet.live_edges`. viewers: without them there is no step 0.
    """
    if viewers:
        yield preview_title(record), 0, preview_file(file, record)
    for index, percent in enumerate(record.steps):
        edited = step_file(file, record, index, live)
        yield title(edited, record, index, live), percent, edited
    edited, last = step_file(file, record, len(record.steps) - 1, live), last_file(file, record)
    if last.content != edited.content:  # the step of 100 % keeps a control
        yield last_title(record), record.steps[-1], last


def _dry_run(context: Context, updates: list[tuple[str, int, StackFile]]) -> int:
    """Print the plan of every update."""
    plans: list[dict[str, Any]] = []
    texts: list[str] = []
    for heading, percent, edited in updates:
        with tempfile.TemporaryDirectory() as temporary:
            config_file = Path(temporary) / edited.name
            config_file.write_bytes(edited.content)
            outcome = context.stack.preview(config_file=config_file)
        plans.append({"title": heading, "percent": percent, "plan": outcome.plan})
        texts.append(f"{heading}\n{outcome.text}")
    context.result({"steps": plans}, "\n\n".join([*texts, "Each plan begins with the stack as it is now."]))
    return Exit.DONE


def _steps(text: str) -> tuple[int, ...]:
    """Parse `10,25,50,100`."""
    try:
        steps = tuple(int(part) for part in text.split(","))
    except ValueError:
        steps = ()
    if not steps or not all(1 <= step <= 100 for step in steps) or any(a >= b for a, b in pairwise(steps)):
        raise argparse.ArgumentTypeError(f"{text!r} must be per cent from 1 to 100 that rise, such as 10,25,50,100")
    return steps


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    default = timedelta(minutes=10)
    parser.add_argument(
        "--release",
        metavar="NAME",
        required=True,
        help="the canary: new, or one of weight 0; or the only release, which is then updated in place",
    )
    parser.add_argument("--image", metavar="IMAGE", help="its image (default: that of the largest other release)")
    parser.add_argument("--conf", metavar="FILE", help="its srs.conf, relative to the stack file (`srs.conf`)")
    parser.add_argument(
        "--steps", metavar="PERCENT,…", type=_steps, default=(10, 25, 50, 100), help="default: 10,25,50,100"
    )
    parser.add_argument(
        "--pause",
        metavar="DURATION",
        type=duration(),
        default=default,
        help=f"how long each step is observed (default: {format_duration(default)})",
    )
    parser.add_argument("--auto", action="store_true", help="do not ask before each step")
    parser.add_argument("--dry-run", action="store_true", help="print the plan of every step, and change nothing")
    parser.add_argument("--commit", action="store_true", help="commit the stack file in each step")
    parser.add_argument(
        "--stream-url",
        metavar="URL",
        action="append",
        default=[],
        help="of a live stream, for the viewers; see `rollout sample`; may be repeated (default: the RTMP URL in the "
        "outputs of the stack)",
    )
    # Its former name.
    parser.add_argument("--address", dest="stream_url", action="append", help=argparse.SUPPRESS)
    parser.add_argument("--no-viewers", action="store_true", help="judge by pods and Prometheus alone")
    add_viewer_arguments(parser, 20)
    add_notify(parser)
    parser.add_argument(
        "--metrics", metavar="FILE", type=Path, help="Prometheus queries with their limits; see docs/canary.md"
    )


VERB = Verb(
    "run",
    "a canary in steps, judged by real viewers, and reverted if it is bad",
    "Step 0 runs one edge of the canary out of rotation and lets viewers play it through its kubelet, beside edges of "
    "the other releases: what is black, slow or refuses connections is reverted without a real viewer. Each further "
    "step edits the weights in the stack file, shows the plan, asks (not with --auto), updates, and observes the "
    "canary until the pause is over: its pods must be ready and must not restart, the shares of the viewers must fit, "
    "and its viewers must not be worse off than those of the other releases at the same time (first frame, stalls, "
    "failures). All tests of a run end a good canary with a probability of at most 1 %. If a step fails, the canary is "
    "out of rotation at once (as by `rollout abort`), and what the run has written into the stack file is reverted and "
    "updated. A step of which nothing is known (no viewers, the stream has ended, a server does not answer) is "
    "observed again, and is not passed: with --auto the canary is then out of rotation as well, otherwise the run "
    "stays open. The step of 100 % keeps some edges of the other releases until it has passed. The only release is "
    "updated in place: each step pauses its rolling update, and edges of its earlier revision take the part of the "
    "other releases. The run is recorded in the cluster: `rollout abort` ends it from any machine, `rollout resume` "
    "continues an interrupted one, another run is rejected, and so is an update that would change its releases.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED, Exit.NOT_ACCEPTED, Exit.INCONCLUSIVE, Exit.INTERRUPTED),
    json="`release`, `result` (`complete`, `reverted`, `open` or `aborted`), `steps` (`title`, `percent`, "
    "`updateSeconds`, `observedSeconds`, `attempts`, `outcome` (`passed`, `failed`, `inconclusive` or `error`), "
    "`reasons` in CamelCase, `problems`, `figures` as in `rollout sample`); of a run that has not passed `outcome`, "
    "`reasons`, and of a reverted one `detectedAt` and `revert` (as in `rollout abort`). With --dry-run: `steps` with "
    "`title`, `percent` and `plan`.",
)
