"""`rollout run`: a canary from its first step to its last, judged by pods, viewers and Prometheus."""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.replicas import shares
from model.values import format_duration, natural_key, plural
from rollout.change import reject_open_run
from rollout.command import CommandRejectedError, Context, Exit, Verb
from rollout.commands.abort import abort
from rollout.commands.sample import add_viewer_arguments
from rollout.errors import OperationError, RejectedError
from rollout.options import duration
from rollout.prometheus import Queries
from rollout.rotation import serving
from rollout.run_state import RunOptions, RunState
from rollout.stack_file import StackFile

if TYPE_CHECKING:
    from rollout.canary import Observation, Observer

HOW_TO_CONTINUE = "`rollout resume` continues it, `rollout abort` ends it"

UPDATE_WAIT = timedelta(minutes=15)
"""How long an update in progress may take to end: that of an interrupted run."""


def run(context: Context, arguments: argparse.Namespace) -> int:
    """Begin a run."""
    reject_open_run(context)
    file = context.read_file()
    release: str = arguments.release
    patch = _patch(file, release, arguments.image, arguments.conf)
    options = RunOptions(
        pause=arguments.pause,
        auto=arguments.auto,
        addresses=tuple(arguments.address),
        viewers=arguments.viewers,
        watch=arguments.watch,
        parallel=arguments.parallel,
        metrics=arguments.metrics and arguments.metrics.absolute(),
    )
    state = RunState(
        release=release,
        patch=patch,
        steps=arguments.steps,
        stack_file_before=file.content,
        started_at=datetime.now(UTC),
        commit=arguments.commit,
        pid=os.getpid(),
        options=options,
    )
    if arguments.dry_run:
        return _dry_run(context, state, file)
    if not (options.addresses or arguments.no_viewers):
        state.options = options = options.model_copy(update={"addresses": (_default_address(context),)})
    observer = _observer(context, state)
    if observer.sampling:
        observer.sampling.check_identity(_step_file(file, state, 0))
    context.report("baseline: viewers of the other releases" if options.addresses else "no viewers")
    observer.observe_baseline()
    # The file that a failed step restores is the present one: the baseline has taken a while.
    state.stack_file_before = context.read_file().content
    try:
        state.create(context.folder, context.stack_name)
    except FileExistsError:
        reject_open_run(context)
        raise
    return _Run(context, state, observer).carry_out()


def continue_run(context: Context, state: RunState) -> int:
    """Continue an interrupted run with the step that was begun last."""
    if state.is_running:
        raise CommandRejectedError(f"the run of release {state.release} is still running (process {state.pid})")
    state.pid = os.getpid()
    state.index = max(state.index, 0) - 1
    state.write(context.folder, context.stack_name)
    context.report(f"the run of release {state.release} continues with step {state.index + 2}")
    return _Run(context, state, _observer(context, state)).carry_out()


def step_weights(before: StackFile, release: str, percent: int) -> dict[str, int]:
    """The weights of all releases in a step. before: the stack file before the run; its other weights keep their ratio.

    Raises CommandRejectedError if there is no other release with a weight.
    """
    others = {
        name: int(settings.get("weight", 0))
        for name, settings in before.releases.items()
        if name != release and settings.get("weight", 0)
    }
    if not others:
        raise CommandRejectedError(f"no release besides {release} has a weight: there is nothing to compare it with")
    total = sum(others.values())
    weights = {name: weight * (100 - percent) for name, weight in others.items()} | {release: percent * total}
    # As small as possible, and per cent where that is a whole number.
    divisor = math.gcd(*weights.values())
    weights = {name: weight // divisor for name, weight in weights.items()}
    scale, rest = divmod(100, sum(weights.values()))
    return {name: weight * (scale if not rest else 1) for name, weight in weights.items()}


def _default_address(context: Context) -> str:
    """The RTMP address in the outputs of the stack. Raises CommandRejectedError."""
    address = context.stack.outputs().get("urls", {}).get("rtmp")
    if not address:
        raise CommandRejectedError("the stack has no address; --address of a live stream, or --no-viewers is required")
    return str(address)


def _patch(file: StackFile, release: str, image: str | None, conf: str | None) -> dict[str, Any]:
    """The settings of the canary: a new one is like the other release with the largest weight."""
    patch: dict[str, Any] = {}
    if release not in file.releases:
        if not (image or conf):
            raise CommandRejectedError(f"there is no release {release}; --image or --conf is required for a new one")
        others = sorted(file.releases, key=natural_key)
        patch = dict(file.releases[max(others, key=lambda name: file.releases[name].get("weight", 0))])
    if image:
        patch |= {"image": image, "version": None}
    if conf:
        patch["srs"] = {**patch.get("srs", {}), "conf": conf}
    return {key: value for key, value in patch.items() if key not in ("weight", "paused")}


def _step_file(file: StackFile, state: RunState, index: int) -> StackFile:
    """The stack file of a step: the present one with the weights of the step."""
    before = replace(file, content=state.stack_file_before)
    weights = step_weights(before, state.release, state.steps[index])
    patches: dict[str, dict[str, Any]] = {name: {"weight": weight} for name, weight in weights.items()}
    patches[state.release] = {**state.patch, **patches[state.release]}
    return file.with_releases(patches)


def _title(file: StackFile, state: RunState, index: int) -> str:
    """`step 1 of 4: 10 % of new viewers to r6 (1 of 4 edges, 25 %)`."""
    total = int(file.config["srs:edge"]["replicas"])
    percent = state.steps[index]
    head = f"step {index + 1} of {len(state.steps)}: {percent} % of new viewers to {state.release}"
    try:
        share = shares(total, step_weights(replace(file, content=state.stack_file_before), state.release, percent))
    except ValueError as error:
        return f"{head} ({error})"
    actual = share[state.release]
    return f"{head} ({actual.replicas} of {plural(total, 'edge')}, {actual.actual:.0f} %)"


def _dry_run(context: Context, state: RunState, file: StackFile) -> int:
    """Print the plan of every step."""
    plans: list[dict[str, Any]] = []
    texts: list[str] = []
    for index in range(len(state.steps)):
        edited = _step_file(file, state, index)
        with tempfile.TemporaryDirectory() as temporary:
            config_file = Path(temporary) / file.name
            config_file.write_bytes(edited.content)
            outcome = context.stack.preview(config_file=config_file)
        title = _title(edited, state, index)
        plans.append({"title": title, "percent": state.steps[index], "plan": outcome.plan})
        texts.append(f"{title}\n{outcome.text}")
    context.result({"steps": plans}, "\n\n".join([*texts, "Each plan begins with the stack as it is now."]))
    return Exit.DONE


def _observer(context: Context, state: RunState) -> "Observer":
    # FFmpeg's libraries and SciPy take a second to load; `rollout abort` must not wait for it.
    from rollout.canary import Observer
    from rollout.sampling import Sampling

    options = state.options
    sampling = None
    if options.addresses:
        sampling = Sampling.of(context, options)
    return Observer(
        context.live,
        context.read_file,
        state.release,
        sampling,
        Queries.read(options.metrics) if options.metrics else None,
        len(state.steps),
        options.pause.total_seconds(),
        context.report,
    )


class _Run:
    """A run that is carried out, from the step after `state.index` on."""

    def __init__(self, context: Context, state: RunState, observer: "Observer") -> None:
        self._context, self._state, self._observer = context, state, observer
        self._steps: list[dict[str, Any]] = []
        context.yes = state.options.auto

    def carry_out(self) -> int:
        """All remaining steps; the exit code."""
        context, state = self._context, self._state
        try:
            for index in range(state.index + 1, len(state.steps)):
                reasons = self._step(index)
                if reasons:
                    return self._revert(reasons)
        except KeyboardInterrupt:
            context.report(f"interrupted; the run of release {state.release} stays open: {HOW_TO_CONTINUE}")
            return Exit.INTERRUPTED
        RunState.close(context.folder, context.stack_name)
        percent = state.steps[-1]
        text = f"the run of release {state.release} is complete, with {percent} % of new viewers"
        if percent == 100:
            text += f"\n`rollout promote --release {state.release} --remove` removes the other releases"
        context.result(self._result("complete"), text)
        return Exit.DONE

    def _step(self, index: int) -> list[str]:
        """Edit, preview, ask, update, and observe; why it failed, empty if it did not."""
        context, state = self._context, self._state
        before = context.read_file()
        edited = _step_file(before, state, index)
        title = _title(edited, state, index)
        state.index = index
        state.write(context.folder, context.stack_name)
        try:
            if edited.content != before.content:
                edited.write()
            context.report(f"{title}\n{context.stack.preview().text}")
            context.confirm(f"Begin {title}?")
        except (RejectedError, CommandRejectedError) as error:
            before.write()
            if index == 0:
                RunState.close(context.folder, context.stack_name)
                raise
            state.index = index - 1
            state.write(context.folder, context.stack_name)
            raise CommandRejectedError(
                f"{error}\n{title} was not begun, and the run stays open: {HOW_TO_CONTINUE}"
            ) from error
        if state.commit:
            edited.commit(f"Canary {state.release}: {title}")
        step: dict[str, Any] = {"title": title, "percent": state.steps[index]}
        self._steps.append(step)
        try:
            step["updateSeconds"] = round(context.stack.update(context.report, title, UPDATE_WAIT).seconds, 1)
        except OperationError as error:
            return [f"the update failed: {error}"]
        observation = self._observe()
        step |= {
            "observedSeconds": round(observation.seconds, 1),
            "figures": observation.figures,
            "problems": observation.problems,
        }
        return observation.problems

    def _observe(self) -> "Observation":
        deregister = _deregister_seconds(self._context)
        if self._state.options.addresses:
            time.sleep(deregister)  # until then load balancers may send viewers to terminating edges
        from rollout.tables import sample_table

        observation = self._observer.observe_step()
        if observation.figures:
            self._context.report(sample_table({**observation.figures, "problems": observation.problems}))
        return observation

    def _revert(self, reasons: list[str]) -> int:
        """Take the canary out of rotation, restore the stack file, and update."""
        context, state = self._context, self._state
        detected = time.time()
        context.report("\n".join(["the canary has failed:", *(f"  {reason}" for reason in reasons)]))
        ready = serving(context.live)
        if sum(ready.values()) > ready.get(state.release, 0):
            reverted = abort(context, state.release, state, state.commit)
        else:
            restored = replace(context.read_file(), content=state.stack_file_before)
            restored.write()
            if state.commit:
                restored.commit(f"Revert canary {state.release}")
            outcome = context.stack.update(context.report, f"Revert canary {state.release}", UPDATE_WAIT)
            RunState.close(context.folder, context.stack_name)
            reverted = {"release": state.release, "update": outcome.as_json()}
        seconds = reverted.get("seconds")
        out = f"; it was out of rotation {seconds:.1f} s after that" if seconds is not None else ""
        text = "\n".join(
            [f"release {state.release} failed and is reverted{out}:", *(f"  {reason}" for reason in reasons)]
        )
        result = self._result("reverted") | {"reasons": reasons, "detectedAt": round(detected, 1), "revert": reverted}
        context.result(result, text)
        return Exit.NOT_ACCEPTED

    def _result(self, result: str) -> dict[str, Any]:
        return {"release": self._state.release, "result": result, "steps": self._steps}


def _deregister_seconds(context: Context) -> float:
    """How long terminating edges of any release still accept connections: the sleep of their preStop."""
    sleeps: list[float] = [0.0]
    for deployment in context.live.objects("Deployment").values():
        containers: list[Mapping[str, Any]] = deployment["spec"]["template"]["spec"]["containers"]
        for container in containers:
            pre_stop = container.get("lifecycle", {}).get("preStop", {})
            sleeps.append(float(pre_stop.get("sleep", {}).get("seconds", 0)))
    return max(sleeps)


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
    parser.add_argument("--release", metavar="NAME", required=True, help="the canary; new, or one of weight 0")
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
        "--address",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="of a live stream, for the viewers; see `rollout sample`; may be repeated (default: the RTMP address in "
        "the outputs of the stack)",
    )
    parser.add_argument("--no-viewers", action="store_true", help="judge by pods and Prometheus alone")
    add_viewer_arguments(parser, 20)
    parser.add_argument(
        "--metrics", metavar="FILE", type=Path, help="Prometheus queries with their limits; see docs/canary.md"
    )


VERB = Verb(
    "run",
    "a canary in steps, judged by real viewers, and reverted if it is bad",
    "Each step edits the weights in the stack file, shows the plan, asks (not with --auto), updates, and observes the "
    "canary until the pause is over: its pods must be ready and must not restart, the shares of the viewers must fit, "
    "and its viewers must not be worse off than those of the other releases (first frame, stalls, failures). All tests "
    "of a run end a good canary with a probability of at most 1 %. If a step fails, the canary is out of rotation at "
    "once (as by `rollout abort`), and the stack file is restored and updated. An interrupted run stays open: `rollout "
    "resume` continues it, `rollout abort` ends it, and another run is rejected.",
    run,
    _add_arguments,
    exits=(Exit.REJECTED, Exit.NOT_ACCEPTED, Exit.INTERRUPTED),
    json="`release`, `result` (`complete` or `reverted`), `steps` (`title`, `percent`, `updateSeconds`, "
    "`observedSeconds`, `figures` as of `rollout sample`, `problems`); of a reverted run `reasons`, `detectedAt` and "
    "`revert` (as of `rollout abort`). With --dry-run: `steps` with `title`, `percent` and `plan`.",
)
