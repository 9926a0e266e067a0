"""Waiting for what was declared to be ready, so that the next thing may be declared."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pulumi

from cluster.live import LiveCluster, Object
from cluster.rollout_status import Workload
from cluster.state import address
from components.load_balancer import LoadBalancer
from model.settings.load_balancer import CloudLoadBalancer
from update.polling import RolloutFailed, addressed, rolled_out


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


async def wait_for_addresses(
    live: LiveCluster, load_balancers: Sequence[LoadBalancer], services: Mapping[str, Object]
) -> dict[str, str]:
    """Wait until the Services with a load balancer of the cloud have an address, and return the addresses.

    services: those that are live; a preview takes the addresses that it finds there, and does not wait.
    Raises pulumi.RunError when one has none in time, after the reason has been logged with its Service.
    """
    found: dict[str, str] = {}
    failed: list[str] = []
    for each in load_balancers:
        front = each.front
        if not isinstance(front.load_balancer, CloudLoadBalancer):
            continue
        if pulumi.runtime.is_dry_run():
            if known := address(services.get(front.service)):
                found[front.service] = known
            continue
        await each.service.id.future()  # until the engine has applied it
        tell = partial(pulumi.log.info, resource=each.service, ephemeral=True)
        try:
            found[front.service] = await addressed(live, front.service, front.load_balancer.address_timeout, tell)
        except RolloutFailed as failure:
            pulumi.log.error(str(failure), each.service)
            failed.append(front.service)
    if failed:
        raise pulumi.RunError(
            f"no address: {', '.join(failed)}. No pod was touched. Put it right and run `pulumi up` again."
        )
    return found


async def _wait(live: LiveCluster, rollout: Rollout) -> None:
    await rollout.resource.id.future()  # until the engine has applied it
    tell = partial(pulumi.log.info, resource=rollout.resource, ephemeral=True)
    await rolled_out(live, rollout.workload, rollout.timeout, tell)
