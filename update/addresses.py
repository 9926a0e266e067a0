"""Waits for the addresses of load balancers, and says which load balancers were lost."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from functools import partial

import pulumi

from cluster.live import LiveCluster, Object, UnreachableError
from cluster.state import address
from components.hls import Hls
from components.load_balancer import LoadBalancer
from model.load_balancers.exposed_service import ADDRESS
from model.load_balancers.interface import live_annotations
from model.load_balancers.kinds import live_kind
from model.names import hls_service
from update.polling import AddressError, wait_for_address


async def wait_for_addresses(
    live: LiveCluster, load_balancers: Sequence[LoadBalancer], hls: Hls | None, services: Mapping[str, Object]
) -> dict[str, str]:
    """Wait until all Services of type LoadBalancer have an address, and return the addresses by Service.

    services: the live ones before the update; a preview reads the addresses from them, and does not wait.
    """
    addresses: dict[str, str] = {}
    failed: list[str] = []
    for load_balancer in load_balancers:
        exposed = load_balancer.exposed
        if (timeout := exposed.load_balancer.address_wait) is None:
            continue
        resources = {exposed.name: load_balancer.service}
        if hls and exposed.name in hls.exposed:
            resources |= {hls_service(exposed.name): hls.exposed[exposed.name]}
        for name, resource in resources.items():
            before = services.get(name)
            if pulumi.runtime.is_dry_run():
                await _report_lost(load_balancer, resource, name, before)
                if host := address(before):
                    addresses[name] = host
                continue
            await resource.id.future()  # until the engine has applied it
            try:
                await _report_lost(load_balancer, resource, name, before)
                addresses[name] = await wait_for_address(
                    live,
                    name,
                    timeout,
                    partial(pulumi.log.info, resource=resource, ephemeral=True),
                    await load_balancer.clb.address.future() if load_balancer.clb else None,
                )
            except (AddressError, UnreachableError) as error:
                pulumi.log.error(str(error), resource)
                failed.append(name)
                continue
            if not load_balancer.clb:
                await _report_warning(live, resource, name)
    if failed:
        raise pulumi.RunError(
            f"no address: {', '.join(failed)}. No pod was changed. Fix the cause and run `pulumi up` again."
        )
    return addresses


async def _report_lost(
    load_balancer: LoadBalancer, resource: pulumi.Resource, name: str, before: Object | None
) -> None:
    """Warn about a CLB or an EIP that the provider has not found any more; the update gives its Service a new one.

    A released EIP: the provider removes it and its association from the state (resource_alicloud_eip_address.go and
    resource_alicloud_eip_association.go: `d.SetId("")` where they are not found).
    """
    clb, kind = load_balancer.clb, load_balancer.exposed.load_balancer
    lost = kind.live_instance_id(before) if before else None
    if not clb or not before or not lost:
        return
    had_eip = kind.live_address_is_elastic(before)
    # None in a preview that would create it.
    lost_clb = await clb.created_id.future() != lost
    # The controller removes the address of a released EIP from the status as soon as it looks; the annotation stays.
    earlier = live_annotations(before).get(ADDRESS, address(before))
    lost_address = await clb.address.future() != earlier
    where = f"of Service {name} does not exist any more in this region and account; another one replaces it"
    changed = f", with another address than {earlier}: check DNS" if lost_address else ""
    if lost_clb:
        pulumi.log.warn(f"CLB {lost} {where}{changed}", resource)
    elif had_eip and clb.has_eip and lost_address:
        pulumi.log.warn(f"EIP {earlier} {where}{changed}", resource)


async def release_addresses(live: LiveCluster, services: Mapping[str, Object], names: Sequence[str], clb: str) -> str:
    """Remove the addresses of a lost CLB from its Services, before they get the id of another one; return the id.

    In the other order the controller rejects the other CLB (see `LiveCluster.release_address`), and that an address
    has been removed is no event for it: it would see that when it retries, up to 300 s later (service_controller.go,
    `add`). services: the live ones before the update.
    """
    for name in names if not pulumi.runtime.is_dry_run() else ():
        if (before := services.get(name)) is None:
            continue
        kind = live_kind(before)
        # An elastic address goes on, and no CLB is rejected for it.
        if kind.live_instance_id(before) not in (None, clb) and not kind.live_address_is_elastic(before):
            try:
                await asyncio.to_thread(live.release_address, name)
            except UnreachableError as error:
                raise pulumi.RunError(f"the address of Service {name} cannot be released: {error}") from None
    return clb


async def _report_warning(live: LiveCluster, resource: pulumi.Resource, name: str) -> None:
    """Warn if a load balancer that the provider does not see may be gone: its Service keeps the old address."""
    with contextlib.suppress(UnreachableError):
        if warning := await asyncio.to_thread(live.last_warning, name):
            message = f"the last event of Service {name} is a warning, its load balancer may be gone: {warning}"
            pulumi.log.warn(message, resource)
