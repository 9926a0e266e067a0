"""Carries out the steps of an update plan: declares the workloads of each, and waits for those that must be ready."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from cluster.aborted import is_aborted
from cluster.live import ConflictError, LiveCluster, Object, UnreachableError
from components.declare import Declarer
from model.desired.render import Desired
from model.desired.workloads import Workload
from model.srs.versions import format_version
from update.order import Step
from update.plan import UpdatePlan
from update.polling import RolloutError, RolloutResult, wait_for_rollout
from update.prediction import Change, applied

CORRECTIONS = 10
"""How often a workload is read again that was changed between the read and the write."""

DELETED_MEANWHILE = "was deleted during this update, after the engine had read it: run `pulumi up` again"

NOT_APPLIED = (
    "it was changed during this update, or left out of it. Run `pulumi up` again, without --target and --exclude: they "
    "would take edges away without their replacement"
)

Declarations = Mapping[str, Callable[[], object]]
"""By the name of a workload: declares it with everything that belongs to it."""

Follow = Callable[
    [Sequence[Workload], Collection[str], Callable[[Sequence[str]], Awaitable[None]]], Awaitable[Sequence[Workload]]
]
"""Decides which workloads of a step are declared next (`_follow` in update/run.py)."""


@dataclass(frozen=True)
class StepRunner:
    """Carries out the steps of a plan; a preview declares everything and waits for nothing.

    correct_objects: corrects declared objects that are no workloads. wait_for_claim: of HLS. check_not_aborted: raises
    pulumi.RunError for a workload that was aborted meanwhile.
    """

    plan: UpdatePlan
    live: LiveCluster
    desired: Desired
    declarer: Declarer
    declarations: Declarations
    correct_objects: Callable[[], Awaitable[None]]
    wait_for_claim: Callable[[], Awaitable[None]]
    check_not_aborted: Callable[[Workload], Awaitable[None]]
    follow: Follow
    _declared: dict[Workload, pulumi.CustomResource] = field(default_factory=dict[Workload, pulumi.CustomResource])

    async def run(self) -> None:
        """Carry them out. Raises pulumi.RunError when something is not ready in time."""
        for step in self.plan.steps:
            await self._carry_out(step)
        self._report(await self._wait(workload for workload in self._declared if workload in self.plan.awaited))
        if any(change.action == "delete" and change.workload.release for change in self.plan.changes):
            await self.follow((), self._awaited_releases(), self._wait_again)

    async def _carry_out(self, step: Step) -> None:
        left = step.declare
        while left:
            batch = await self.follow(left, self._awaited_releases(), self._wait_again)
            for workload in batch:
                await self._declare(workload)
            await self.correct_objects()
            for workload in batch:
                await self._correct(workload)
            left = tuple(workload for workload in left if workload not in batch)
            if left:
                await self._wait(workload for workload in batch if workload not in self.plan.paused)
        if step.claim:
            await self.wait_for_claim()
        await self._wait(step.awaited)

    async def _declare(self, workload: Workload) -> None:
        await self.check_not_aborted(workload)
        item = self.desired.workloads[workload]
        if not self.declarer.has(item):
            pending = self.declarations[workload.name]()
            if isinstance(pending, Awaitable):
                await pending
        self._declared[workload] = self.declarer.resource(item)
        if workload in self.plan.paused:
            pulumi.log.info(
                f"{workload.title} is paused: its rolling update continues when paused is false",
                self._declared[workload],
            )

    async def _correct(self, workload: Workload) -> None:
        unseen = [change for item in self.plan.changes if item.workload == workload for change in item.unseen]
        await correct(self.live, workload, self._declared[workload], unseen)

    async def _wait(self, workloads: Iterable[Workload]) -> dict[Workload, RolloutResult]:
        declared = {item: self._declared[item] for item in workloads}
        return await _wait(self.live, declared, self.desired, self.plan.pause_at)

    async def _wait_again(self, releases: Sequence[str]) -> None:
        await self._wait(workload for workload in self._declared if workload.release in releases)

    def _awaited_releases(self) -> list[str]:
        return [item.release for item in self._declared if item.release and item not in self.plan.paused]

    def _report(self, results: Mapping[Workload, RolloutResult]) -> None:
        """Say which new edges were not checked, and which releases run another version than the config declares."""
        unchecked = {item.release: result.unchecked for item, result in results.items() if result.unchecked}
        if unchecked:
            releases = ", ".join(sorted(map(str, unchecked)))
            reason = self.desired.confs.redact(next(iter(unchecked.values())))
            pulumi.log.info(f"not checked whether the new edges of {releases} reach an origin: {reason}")
        for workload, result in results.items():
            if result.running and workload.version:
                running, declared = format_version(result.running), format_version(workload.version)
                pulumi.log.warn(
                    f"{workload.title} runs SRS {running}, and the config declares {declared}: srs.conf and the "
                    "warnings are for that; correct its `version`",
                    self._declared[workload],
                )


async def _wait(
    live: LiveCluster,
    resources: Mapping[Workload, pulumi.CustomResource],
    desired: Desired,
    pause_at: Mapping[Workload, int],
) -> dict[Workload, RolloutResult]:
    """Wait until workloads are ready, and return what was found out; a preview does not wait.

    pause_at: as in the plan.
    """
    redact = desired.confs.redact
    results: dict[Workload, RolloutResult] = {}
    if pulumi.runtime.is_dry_run():
        return results

    async def wait(workload: Workload, resource: pulumi.CustomResource) -> None:
        await resource.id.future()  # until the engine has applied it
        with contextlib.suppress(UnreachableError):  # the wait reports it
            _check_applied(desired, workload, await asyncio.to_thread(live.object, workload.kind, workload.name))

        def on_progress(message: str) -> None:
            pulumi.log.info(redact(message), resource, ephemeral=True)

        results[workload] = await wait_for_rollout(live, workload, on_progress, pause_at.get(workload, 0))

    waits = {asyncio.ensure_future(wait(*item)): item for item in resources.items()}
    if not waits:
        return results
    done, running = await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)
    for task in running:  # the first failure ends the update: what else is not ready yet stays as it is
        task.cancel()
    failed: list[str] = []
    for task in done:
        workload, resource = waits[task]
        error = task.exception()
        if isinstance(error, RolloutError):
            pulumi.log.error(redact(str(error)), resource)
            failed.append(workload.title)
        elif error is not None:
            raise error
    if failed:
        raise pulumi.RunError(
            f"not ready: {', '.join(failed)}. Later steps did not run, and no ready pod was removed. "
            "Fix the cause, or restore the earlier stack config, and run `pulumi up` again."
        )
    return results


def _check_applied(desired: Desired, workload: Workload, current: Object | None) -> None:
    """Check that a workload is there, and has the edges that were declared; those of an autoscaler change.

    The rollout of one that was not written is complete, and says nothing about the edges that it is to replace.
    Raises RolloutError.
    """
    if current is None:
        raise RolloutError(f"{workload.kind} {workload.name} {DELETED_MEANWHILE}")
    if workload.release is None or desired.settings.edge.autoscaling:
        return
    replicas, declared = current["spec"]["replicas"], desired.workloads[workload].manifest["spec"]["replicas"]
    if replicas < declared:
        raise RolloutError(f"{workload.title} has {replicas} of {declared} declared edges: {NOT_APPLIED}")


async def correct(
    live: LiveCluster, workload: Workload, resource: pulumi.CustomResource, changes: Sequence[Change]
) -> None:
    """Make the changes that the provider does not see, such as the end of a pause that was made by hand."""
    if not changes or pulumi.runtime.is_dry_run():
        return
    await resource.id.future()  # until the engine has applied it
    read = live.deployment if workload.kind == "Deployment" else live.stateful_set
    for _ in range(CORRECTIONS):
        try:
            current = await asyncio.to_thread(read, workload.name)
            if current and not is_aborted(current):
                await asyncio.to_thread(live.replace, applied(current, changes))
        except ConflictError:
            continue  # changed meanwhile, for example by its controller or an abort
        except UnreachableError:
            pass  # the wait reports it
        return
