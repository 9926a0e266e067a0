"""The flow of `rollout run`: edit, preview, confirm, update and observe each step; revert a bad canary."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.live import UnreachableError
from cluster.run_record import StoredRun
from model.desired.pre_stop import deregister_seconds
from model.names import edge_deployment
from model.run_record import RunOptions, RunRecord, StepOutcome
from rollout.canary.outcome import ERROR_RETRY_SECONDS, Outcome
from rollout.canary.prometheus import Queries
from rollout.canary.run_state import RunHolder, RunLostError, abandoned
from rollout.canary.steps import (
    edges_at_pause,
    last_file,
    last_title,
    preview_file,
    preview_title,
    reverted,
    step_file,
    title,
    written,
)
from rollout.command import UPDATE_WAIT, CommandRejectedError, Context, Exit
from rollout.edges.abort import abort, abort_update
from rollout.edges.fleet import Fleet, earlier_revision, live_edges
from rollout.edges.rotation import serving, update_in_place
from rollout.errors import LockedError, OperationError, RejectedError
from rollout.stack.git import GitError
from rollout.stack.stack_file import StackFile

if TYPE_CHECKING:
    from rollout.canary.observer import Observation, Observer
    from rollout.canary.preview import PreviewObserver

HOW_TO_CONTINUE = "`rollout resume` continues it, `rollout abort` ends it"

ATTEMPTS = 3
"""How often a step is observed while its outcome is inconclusive or an error; each attempt lasts up to two pauses."""

PREVIEWS = 3
"""Previews of a step that may fail, one after the other, before it is not begun."""

API_TIMEOUT = timedelta(hours=1)
"""How long a revert, or a change of the run's record, is tried while the API server does not answer."""


def continue_run(context: Context, stored: StoredRun, stream_urls: tuple[str, ...] = ()) -> int:
    """Continue an interrupted run with the step that was begun last. stream_urls: instead of the recorded ones.

    Raises OpenRunError if another process carries it out.
    """
    stored = abandoned(context.live, stored, context.report)
    record = stored.record
    options = record.options
    if stream_urls:
        options = options.model_copy(update={"stream_urls": stream_urls, "partial": False})
    elif options.partial:
        raise CommandRejectedError("--stream-url is required: the URLs of this run have parts that are not recorded")
    observer = new_observer(context, record, options)
    preview = new_preview_observer(context, record, options) if record.index < 0 else None
    run = RunHolder.take_over(context.live, stored, index=max(record.index, 0) - 1)
    step = 0 if preview else run.record.index + 2
    context.report(f"the run of release {record.release} continues with step {step}")
    return Run(context, run, observer, options, preview).carry_out()


def new_observer(context: Context, record: RunRecord, options: RunOptions) -> "Observer":
    """The observer of a run, by its options."""
    # FFmpeg's libraries and SciPy take a second to load; `rollout abort` must not wait for it.
    from rollout.canary.observer import Observer
    from rollout.canary.sampling import Sampling

    sampling = None
    in_place = record.release if record.in_place else None
    if options.stream_urls:
        sampling = Sampling.of(context, options, in_place)
    return Observer(
        context.live,
        context.read_file,
        record.release,
        sampling,
        Queries.read(options.metrics) if options.metrics else None,
        len(record.steps) + 1,
        options.pause.total_seconds(),
        context.report,
        in_place,
    )


def new_preview_observer(context: Context, record: RunRecord, options: RunOptions) -> "PreviewObserver | None":
    """The observer of step 0, None without viewers: then nothing could be found out about a canary without any."""
    from rollout.canary.preview import PreviewObserver

    if not options.stream_urls:
        return None
    return PreviewObserver(
        context.live,
        record.preview_release,
        options.stream_urls,
        options.watch.total_seconds(),
        len(record.steps) + 1,
        context.report,
    )


Result = TypeVar("Result")


@dataclass(frozen=True)
class Verdict:
    """What became of a step. reasons: why it has not passed."""

    outcome: Outcome
    reasons: tuple[str, ...] = ()


PASSED = Verdict(Outcome.PASSED)


class Run:
    """A run that is carried out, from the step after `record.index` on."""

    def __init__(
        self,
        context: Context,
        run: RunHolder,
        observer: "Observer",
        options: RunOptions,
        preview: "PreviewObserver | None" = None,
    ) -> None:
        """preview: observes step 0, None if there is none, or if it has passed."""
        self._context, self._run, self._observer, self._options = context, run, observer, options
        self._preview_observer = preview
        self._steps: list[dict[str, Any]] = []
        context.yes = options.auto
        context.stack.run_token = run.record.token

    def carry_out(self) -> int:
        """All remaining steps; the exit code. Only a step that has passed is followed by another one."""
        context, run = self._context, self._run
        record = run.record
        run.start_heartbeat()
        try:
            if self._preview_observer and (verdict := self._step_0(self._preview_observer)) != PASSED:
                if verdict.outcome is Outcome.FAILED or self._options.auto:
                    return self._revert(verdict)
                return self._hold(verdict)
            for index in range(record.index + 1, len(record.steps)):
                verdict = self._step(index)
                if verdict.outcome is Outcome.FAILED:
                    return self._revert(verdict)
                if verdict.outcome is not Outcome.PASSED:
                    # An unattended run waits for no operator, so a canary of which nothing is known must not stay.
                    return self._revert(verdict) if self._options.auto else self._hold(verdict)
            if record.steps[-1] == 100 and (verdict := self._remove_control()).reasons:
                return self._revert(verdict)
            self._until_answered(run.close, "the end of the run is recorded")
        except RunLostError:
            return self._lost()
        except KeyboardInterrupt:
            if run.lost:
                return self._lost()
            run.stop()
            context.notify(f"interrupted; the run of release {record.release} stays open")
            context.report(f"interrupted; the run of release {record.release} stays open: {HOW_TO_CONTINUE}")
            return Exit.INTERRUPTED
        except BaseException:
            run.stop()
            raise
        percent = record.steps[-1]
        text = f"the run of release {record.release} is complete, with {percent} % of new viewers"
        if percent == 100:
            text += f"\n`rollout promote --release {record.release} --remove` removes the other releases"
        self._report_end(self._result("complete"), text)
        return Exit.DONE

    def _step_0(self, observer: "PreviewObserver") -> Verdict:
        """Let the canary run out of rotation, and observe it: no real viewer reaches it."""
        context, run = self._context, self._run
        before = context.read_file()
        edited = preview_file(before, run.record)
        heading = preview_title(run.record)
        self._record(**written(edited, run.record))
        try:
            if edited.content != before.content:
                edited.write()
            context.report(f"{heading}\n{self._preview()}")
            self._confirm(heading)
            if run.record.commit:
                edited.commit(f"Canary {run.record.release}: {heading}")
        except (OperationError, CommandRejectedError, GitError):
            self._undo(before, edited)
            self._until_answered(run.close, "the end of the run is recorded")
            raise
        except BaseException:
            self._undo(before, edited)
            raise
        step: dict[str, Any] = {"title": heading, "percent": 0}
        self._steps.append(step)
        if reasons := self._update(heading, step):
            self._record()  # an abort elsewhere ends the update as well
            return Verdict(Outcome.FAILED, reasons)
        observation = self._observe(step, observer.observe)
        self._record_outcome(0, observation)
        return Verdict(observation.outcome, tuple(observation.problems))

    def _record(self, **changes: Any) -> None:
        """Change the record of the run. Raises RunLostError."""
        self._until_answered(lambda: self._run.update(**changes), "the run is recorded")

    def _until_answered(self, call: Callable[[], Result], what: str) -> Result:
        """The result of a call that is made again while the API server does not answer: one timeout ends no run.

        Raises UnreachableError after API_TIMEOUT.
        """
        deadline = time.monotonic() + API_TIMEOUT.total_seconds()
        while True:
            try:
                return call()
            except UnreachableError as error:
                if time.monotonic() > deadline:
                    raise
                self._context.report(f"{what} again in {ERROR_RETRY_SECONDS:g} s: {error}")
            time.sleep(ERROR_RETRY_SECONDS)

    def _confirm(self, heading: str) -> None:
        if not self._context.yes:
            self._context.notify(f"waits for a yes to begin {heading}")
        self._context.confirm(f"Begin {heading}?")

    def _report_end(self, data: Mapping[str, Any], text: str) -> None:
        """Print the result of the run, and notify."""
        self._context.notify(text)
        self._context.result(data, text)

    def _record_outcome(self, step: int, observation: "Observation") -> None:
        run = self._run
        outcome = StepOutcome(
            step=step,
            percent=run.record.steps[step - 1] if step else 0,
            outcome=observation.outcome.value,
            problems=tuple(observation.problems),
        )
        self._record(outcomes=(*run.record.outcomes, outcome))

    def _step(self, index: int) -> Verdict:
        """Edit, preview, ask, update, and observe."""
        context, run = self._context, self._run
        before = context.read_file()
        live = self._until_answered(lambda: live_edges(context, before), "the fleet is counted")
        edited = step_file(before, run.record, index, live)
        heading = title(edited, run.record, index, live)
        previous = run.record
        pause_at = edges_at_pause(edited.edges.total(live), previous.steps[index]) if previous.in_place else 0
        self._record(index=index, pause_at=pause_at, **written(edited, run.record))
        try:
            if edited.content != before.content:
                edited.write()
            context.report(f"{heading}\n{self._preview()}")
            self._confirm(heading)
            if previous.commit:
                edited.commit(f"Canary {previous.release}: {heading}")
        except (OperationError, CommandRejectedError, GitError) as error:
            self._undo(before, edited)
            if index == 0:
                self._record(index=-1, pause_at=0, weights=previous.weights, written=previous.written)
                if self._preview_observer:  # the edge of step 0 is removed
                    self._until_answered(self._try_revert, "the revert is tried")
                else:
                    self._until_answered(run.close, "the end of the run is recorded")
                raise
            self._record(
                index=index - 1, pause_at=previous.pause_at, weights=previous.weights, written=previous.written
            )
            if self._options.auto and not isinstance(error, RejectedError | CommandRejectedError):
                return Verdict(Outcome.ERROR, (f"{heading} was not begun: {error}",))
            raise CommandRejectedError(
                f"{error}\n{heading} was not begun, and the run stays open: {HOW_TO_CONTINUE}"
            ) from error
        except BaseException:
            # Interrupted or lost: nothing of this step has been updated yet.
            self._undo(before, edited)
            raise
        step: dict[str, Any] = {"title": heading, "percent": run.record.steps[index]}
        self._steps.append(step)
        reasons = () if pause_at and self._is_paused_at(pause_at) else self._update(heading, step)
        if reasons:
            self._record()  # an abort elsewhere ends the update as well
            return Verdict(Outcome.FAILED, reasons)
        observation = self._observe(step, self._observe_step)
        self._record_outcome(index + 1, observation)
        return Verdict(observation.outcome, tuple(observation.problems))

    def _is_paused_at(self, edges: int) -> bool:
        """Whether the step before has updated as many edges in place: a batch is not divided."""
        context, release = self._context, self._run.record.release

        def read() -> bool:
            deployment = context.live.deployment(edge_deployment(release)) or {"spec": {}}
            fleet = Fleet.read(context.live, context.read_file(), release)
            serves_earlier = bool(fleet.pods_of(earlier_revision(release)))
            return bool(deployment["spec"].get("paused")) and serves_earlier and fleet.ready[release] >= edges

        return self._until_answered(read, "the new edges are counted")

    def _undo(self, before: StackFile, edited: StackFile) -> None:
        """Take back the edit of a step that is not begun; what was written to the file since then stays."""
        present = self._context.read_file()
        if present.content == edited.content:
            before.write()
        elif self._run.record.index <= 0:
            reverted(present, self._run.record)[0].write()
        else:
            weights = before.edges.weights
            present.with_releases({name: {"weight": weights[name]} for name in self._run.record.releases}).write()

    def _preview(self) -> str:
        """The plan of the stack file. A failure is tried again, a rejection is final. Raises OperationError."""
        for _ in range(PREVIEWS - 1):
            try:
                return self._context.stack.preview().text
            except RejectedError:
                raise
            except OperationError as error:
                self._context.report(f"the preview failed, and is tried again: {error}")
                time.sleep(ERROR_RETRY_SECONDS)
        return self._context.stack.preview().text

    def _update(self, heading: str, step: dict[str, Any]) -> tuple[str, ...]:
        """Update; why it failed. step: gets the seconds."""
        try:
            outcome = self._context.stack.update(self._context.report, heading, UPDATE_WAIT)
        except LockedError:
            raise
        except OperationError as error:
            return (f"the update failed: {error}",)
        step["updateSeconds"] = round(outcome.seconds, 1)
        return ()

    def _observe_step(self, attempt: int) -> "Observation":
        if self._options.stream_urls:
            # Until then load balancers may send viewers to terminating edges.
            time.sleep(_deregister_seconds(self._context))
        return self._observer.observe_step(attempt)

    def _observe(self, step: dict[str, Any], observe: "Callable[[int], Observation]") -> "Observation":
        """Observe a step until its outcome is known, at most ATTEMPTS times.

        step: gets what was seen. observe: an attempt, by its number; it may raise UnreachableError.
        """
        context = self._context
        from rollout.canary.observer import Observation
        from rollout.canary.outcome import error
        from rollout.tables import sample_table

        observation = Observation()
        for attempt in range(ATTEMPTS):
            try:
                observation = observe(attempt)
            except UnreachableError as unreachable:
                time.sleep(ERROR_RETRY_SECONDS)
                observation = Observation([error("ApiServerUnreachable", str(unreachable))])
            outcome = observation.outcome
            step |= {
                "outcome": outcome,
                "attempts": attempt + 1,
                "observedSeconds": round(observation.seconds, 1),
                "figures": observation.figures,
                "problems": observation.problems,
                "reasons": sorted({finding.reason for finding in observation.findings}),
            }
            if observation.figures:
                data = {**observation.figures, "problems": observation.problems, "outcome": outcome}
                context.report(sample_table(data))
            if outcome in (Outcome.PASSED, Outcome.FAILED):
                break
            context.report(
                _lines(f"the outcome of attempt {attempt + 1} of {ATTEMPTS} is: {outcome}", observation.problems)
            )
        return observation

    def _remove_control(self) -> Verdict:
        """After the last step has passed: the edges that the other releases had until then, for the canary."""
        context, run = self._context, self._run
        before = context.read_file()
        edited = last_file(before, run.record)
        if edited.content == before.content and not run.record.in_place:
            return PASSED
        self._record(pause_at=0, **written(edited, run.record))
        edited.write()
        heading = last_title(run.record)
        if run.record.commit:
            edited.commit(f"Canary {run.record.release}: {heading}")
        step: dict[str, Any] = {"title": heading, "percent": 100}
        self._steps.append(step)
        context.report(heading)
        reasons = self._update(heading, step)
        self._record()
        return Verdict(Outcome.FAILED, reasons) if reasons else PASSED

    def _hold(self, verdict: Verdict) -> int:
        """Leave the run open with its present step: nothing is known, and the operator decides."""
        state = self._run.record
        self._run.stop()
        self._report_end(
            self._result("open") | {"outcome": verdict.outcome, "reasons": verdict.reasons},
            _lines(
                f"the outcome of step {state.index + 1} is: {verdict.outcome}. The run of release {state.release} "
                f"stays open, with the share of this step: {HOW_TO_CONTINUE}",
                verdict.reasons,
            ),
        )
        return Exit.INCONCLUSIVE

    def _revert(self, verdict: Verdict) -> int:
        """Take the canary out of rotation, revert what the run has written, and update."""
        context, state = self._context, self._run.record
        detected = time.time()
        found = "has failed" if verdict.outcome is Outcome.FAILED else f"is {verdict.outcome}"
        context.report(_lines(f"the canary {found}:", verdict.reasons))
        revert = self._until_answered(self._try_revert, "the revert is tried")
        seconds = revert.get("seconds")
        out = f"; it was out of rotation {seconds:.1f} s after that" if seconds is not None else ""
        ended = "failed" if verdict.outcome is Outcome.FAILED else f"has not passed (outcome: {verdict.outcome})"
        result = self._result("reverted") | {
            "outcome": verdict.outcome,
            "reasons": verdict.reasons,
            "detectedAt": round(detected, 1),
            "revert": revert,
        }
        self._report_end(result, _lines(f"release {state.release} {ended} and is reverted{out}:", verdict.reasons))
        return Exit.NOT_ACCEPTED

    def _try_revert(self) -> dict[str, Any]:
        context, run = self._context, self._run
        record = run.record
        if record.in_place and record.index >= 0:
            if update := update_in_place(context.live, record.release):
                return abort_update(context, update, record.commit, time.time(), lambda: run)
            self._record(pause_at=0)
        ready = serving(context.live)
        # In step 0, nothing of the canary is in rotation.
        if record.index >= 0 and sum(ready.values()) > ready.get(record.release, 0):
            return abort(context, record.release, run, record.commit)
        restored, notes = reverted(context.read_file(), record)
        restored.write()
        for note in notes:
            context.report(note)
        if record.commit:
            restored.commit(f"Revert canary {record.release}")
        outcome = context.stack.update(context.report, f"Revert canary {record.release}", UPDATE_WAIT)
        run.close()
        return {"release": record.release, "update": outcome.as_json()}

    def _lost(self) -> int:
        """Another process ends or continues the run: revert what it has written into this stack file, and stop."""
        context, record = self._context, self._run.record
        restored, notes = reverted(context.read_file(), record)
        restored.write()
        if record.commit:
            restored.commit(f"Revert canary {record.release}")
        lines = [f"{self._run.lost}; {restored.name} has no change of this run any more", *notes]
        self._report_end(self._result("aborted") | {"reasons": [self._run.lost]}, "\n".join(lines))
        return Exit.NOT_ACCEPTED

    def _result(self, result: str) -> dict[str, Any]:
        return {"release": self._run.record.release, "result": result, "steps": self._steps}


def _lines(head: str, reasons: Sequence[str]) -> str:
    return "\n".join([head, *(f"  {reason}" for reason in reasons)])


def _deregister_seconds(context: Context) -> float:
    """How long load balancers may still send viewers to terminating edges of any release."""
    deployments = (context.live.objects("Deployment") or {}).values()
    containers = (item for deployment in deployments for item in deployment["spec"]["template"]["spec"]["containers"])
    return max(map(deregister_seconds, containers), default=0.0)
