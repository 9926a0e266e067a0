"""Waiting for what was declared to be ready, so that the next thing may be declared."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pulumi

from cluster.live import LiveCluster
from cluster.rollout import Workload
from cluster.wait import RolloutFailed, rolled_out


@dataclass(frozen=True)
class Rollout:
    """A declared workload. timeout: how long it may take to be ready."""

    resource: pulumi.CustomResource
    workload: Workload
    timeout: timedelta


async def wait_for(live: LiveCluster, *rollouts: Rollout) -> None:
    """Wait until all of them are ready; a preview does not wait.

    Raises pulumi.RunError when some are not, after each one's reason has been logged with its resource. As
    the program ends there, nothing that depends on these rollouts is changed, and nothing is deleted.
    """
    if pulumi.runtime.is_dry_run():
        return
    results = await asyncio.gather(*(_wait(live, rollout) for rollout in rollouts), return_exceptions=True)
    failed: list[str] = []
    for rollout, result in zip(rollouts, results, strict=True):
        if isinstance(result, RolloutFailed):
            pulumi.log.error(str(result), rollout.resource)
            failed.append(rollout.workload.title)
        elif isinstance(result, BaseException):
            raise result
    if failed:
        raise pulumi.RunError(
            f"not ready: {', '.join(failed)}. Nothing that had to wait for this was changed, and no pod that "
            "serves was taken away. Put it right, or put the earlier stack config back, and run `pulumi up` again."
        )


async def _wait(live: LiveCluster, rollout: Rollout) -> None:
    await rollout.resource.id.future()  # until the engine has applied it
    tell = partial(pulumi.log.info, resource=rollout.resource, ephemeral=True)
    await rolled_out(live, rollout.workload, rollout.timeout, tell)
