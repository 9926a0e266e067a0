"""Carries out an update plan: declares resources step by step and waits for what must be ready."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import pulumi
import pulumi_kubernetes as k8s

from cluster.live import LiveCluster, Object, UnreachableError
from cluster.state import LiveState, address
from components.demo_stream import DemoStream
from components.edge_fleet import EdgeFleet
from components.hls import Hls
from components.load_balancer import LoadBalancer, urls
from components.monitoring import Monitoring
from components.namespace import namespace_name
from components.origin_cluster import OriginCluster
from components.pull_secret import registry_secret
from model import workloads
from model.alerts import alert_rules
from model.alibaba import PREFIX
from model.exposed_service import ADDRESS
from model.names import DEMO, HLS, HLS_CLAIM, MONITORING, ORIGIN, hls_service
from model.settings.load_balancer import ExternalLoadBalancer, SlbLoadBalancer
from model.settings.stack import StackSettings
from model.srs_version import format_version
from model.workloads import Workload
from update.apply import Change, applied
from update.plan import UpdatePlan
from update.polling import (
    AddressError,
    ClaimError,
    RolloutError,
    RolloutResult,
    wait_for_address,
    wait_for_claim,
    wait_for_rollout,
)


async def run(plan: UpdatePlan, settings: StackSettings, live: LiveCluster, state: LiveState) -> None:
    """Carry out a plan; a preview declares everything and waits for nothing.

    Raises pulumi.RunError when something is not ready in time, after its reason has been logged with its resource.
    As the program ends there, later steps do not happen and nothing is deleted.
    """
    if plan.trims and not pulumi.runtime.is_dry_run():
        for deployment, replicas in plan.trims.items():
            pulumi.log.info(f"removing pods of Deployment {deployment} that are not ready")
            await asyncio.to_thread(live.scale, deployment, replicas)
    provider = k8s.Provider(
        "kubernetes",
        kubeconfig=settings.kubernetes.kubeconfig,
        context=settings.kubernetes.context,
        # Without it, another API address of the same cluster would replace every object.
        cluster_identifier=settings.kubernetes.cluster_id,
        # Another password of the image registry is an update; replaced, the Secret would be missing for a moment.
        enable_secret_mutable=True,
    )
    opts = pulumi.ResourceOptions(provider=provider)
    namespace = namespace_name(settings, opts)
    if settings.images.registry:
        registry_secret(settings.images.registry, namespace, opts)
    load_balancers = [
        LoadBalancer(
            service.name,
            service,
            namespace,
            f"{settings.kubernetes.namespace}-{service.name}",
            plan.port_names.get(service.name, {}),
            plan.backend_nodes.get(service.name, {}),
            opts,
        )
        for service in settings.exposed_services
    ]
    by_service = {load_balancer.exposed.name: load_balancer for load_balancer in load_balancers}
    hls = None
    if settings.hls.enabled:
        hls = Hls(HLS, settings, namespace, by_service, plan.port_names, plan.backend_nodes, opts)
    # Before any pod changes: a release cannot become ready behind a load balancer that was never created.
    addresses = await _wait_for_addresses(live, load_balancers, hls, state.services)
    outputs = {
        "namespace": namespace,
        "urls": urls(settings, addresses),
        "releases": settings.release_outputs(),
        "origins": settings.origins,
    }
    if settings.monitoring.kind == "podMonitor":
        Monitoring(MONITORING, settings, namespace, opts)
    elif settings.monitoring.kind == "annotations":
        outputs["alertRules"] = alert_rules(settings)
    for key, value in outputs.items():
        pulumi.export(key, value)
    declarations, claim = _declarations(settings, namespace, hls, plan.port_names, opts)
    await _run_steps(plan, live, declarations, partial(_wait_for_claim, live, settings, claim), settings.redact)


Declarations = Mapping[str, Callable[[], pulumi.CustomResource]]
"""By the name of a workload: declares it with everything that belongs to it."""


def _declarations(
    settings: StackSettings,
    namespace: pulumi.Input[str],
    hls: Hls | None,
    port_names: Mapping[str, Mapping[int, str]],
    opts: pulumi.ResourceOptions,
) -> tuple[Declarations, pulumi.CustomResource | None]:
    """How to declare each workload, and the claim of HLS."""
    fleet = EdgeFleet("srs-edge", settings, namespace, opts)
    claim = None
    declarations: dict[str, Callable[[], pulumi.CustomResource]] = {}
    if hls:
        hls.deploy()
        claim = hls.claim
        declarations[workloads.hls(settings).name] = lambda: hls.deployment
    declarations[workloads.demo(settings).name] = lambda: DemoStream(DEMO, settings, namespace, opts).deployment
    declarations[ORIGIN] = lambda: OriginCluster(ORIGIN, settings, namespace, port_names, claim, opts).stateful_set
    for release in settings.edge.releases:
        declarations[workloads.edges(settings, release).name] = partial(_edges, fleet, release)
    return declarations, claim


def _edges(fleet: EdgeFleet, release: str) -> pulumi.CustomResource:
    return fleet.release(release).deployment


async def _run_steps(
    plan: UpdatePlan,
    live: LiveCluster,
    declarations: Declarations,
    wait_for_claim_of_hls: Callable[[], Awaitable[None]],
    redact: Callable[[str], str],
) -> None:
    declared: dict[Workload, pulumi.CustomResource] = {}
    corrections = {change.workload: change.unseen for change in plan.changes if change.unseen}
    for step in plan.steps:
        for workload in step.declare:
            declared[workload] = declarations[workload.name]()
            if workload in plan.paused:
                pulumi.log.info(
                    f"{workload.title} is paused: its rolling update continues when paused is false",
                    declared[workload],
                )
        if step.claim:
            await wait_for_claim_of_hls()
        await _wait(live, {workload: declared[workload] for workload in step.awaited}, corrections, redact)
    unpaused = {workload: resource for workload, resource in declared.items() if workload not in plan.paused}
    for workload, result in (await _wait(live, unpaused, corrections, redact)).items():
        if result.unchecked:
            pulumi.log.info(
                f"{workload.title}: not checked whether its edges reach an origin: {redact(result.unchecked)}",
                declared[workload],
            )
        if result.running and workload.version:
            pulumi.log.warn(
                f"{workload.title} runs SRS {format_version(result.running)}, and the config declares "
                f"{format_version(workload.version)}: srs.conf and the warnings are for that; correct its `version`",
                declared[workload],
            )


async def _wait(
    live: LiveCluster,
    resources: Mapping[Workload, pulumi.CustomResource],
    corrections: Mapping[Workload, tuple[Change, ...]],
    redact: Callable[[str], str],
) -> dict[Workload, RolloutResult]:
    """Wait until workloads are ready, and return what was found out; a preview does not wait.

    corrections: changes that the provider does not see. redact: removes secrets from the logs of pods.
    """
    results: dict[Workload, RolloutResult] = {}
    if pulumi.runtime.is_dry_run():
        return results

    async def wait(workload: Workload, resource: pulumi.CustomResource) -> None:
        await resource.id.future()  # until the engine has applied it
        await _correct(live, workload, corrections.get(workload, ()))

        def on_progress(message: str) -> None:
            pulumi.log.info(redact(message), resource, ephemeral=True)

        results[workload] = await wait_for_rollout(live, workload, on_progress)

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


async def _correct(live: LiveCluster, workload: Workload, changes: Sequence[Change]) -> None:
    """Make the changes that the provider does not see, such as the end of a pause that was made by hand."""
    if changes:
        with contextlib.suppress(UnreachableError):  # the wait reports it
            read = live.deployment if workload.kind == "Deployment" else live.stateful_set
            if current := await asyncio.to_thread(read, workload.name):
                await asyncio.to_thread(live.replace, applied(current, changes))


async def _wait_for_claim(live: LiveCluster, settings: StackSettings, claim: pulumi.CustomResource | None) -> None:
    """Wait until the claim of HLS is bound; a preview does not wait."""
    if claim is None or pulumi.runtime.is_dry_run():
        return
    await claim.id.future()  # until the engine has applied it
    on_progress = partial(pulumi.log.info, resource=claim, ephemeral=True)
    try:
        await wait_for_claim(live, HLS_CLAIM, workloads.hls(settings), settings.hls.bind_timeout, on_progress)
    except ClaimError as error:
        pulumi.log.error(str(error), claim)
        raise pulumi.RunError(
            f"not bound: claim {HLS_CLAIM}. No origin and no edge was changed. "
            "Fix the cause, or restore the earlier stack config, and run `pulumi up` again."
        ) from None


async def _wait_for_addresses(
    live: LiveCluster, load_balancers: Sequence[LoadBalancer], hls: Hls | None, services: Mapping[str, Object]
) -> dict[str, str]:
    """Wait until all Services of type LoadBalancer have an address, and return the addresses by Service.

    services: the live ones before the update; a preview reads the addresses from them, and does not wait.
    """
    addresses: dict[str, str] = {}
    failed: list[str] = []
    for load_balancer in load_balancers:
        exposed = load_balancer.exposed
        if not isinstance(exposed.load_balancer, ExternalLoadBalancer):
            continue
        resources = {exposed.name: load_balancer.service}
        if hls and exposed.name in hls.exposed:
            resources |= {hls_service(exposed.name): hls.exposed[exposed.name]}
        for name, resource in resources.items():
            before = services.get(name)
            if pulumi.runtime.is_dry_run():
                await _report_lost(live, load_balancer, resource, name, before)
                if host := address(before):
                    addresses[name] = host
                continue
            await resource.id.future()  # until the engine has applied it
            try:
                await _report_lost(live, load_balancer, resource, name, before)
                addresses[name] = await wait_for_address(
                    live,
                    name,
                    exposed.load_balancer.address_timeout,
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
    live: LiveCluster, load_balancer: LoadBalancer, resource: pulumi.Resource, name: str, before: Object | None
) -> None:
    """Warn about a CLB or an EIP that the provider has not found any more; the update gives its Service a new one.

    A released EIP: the provider removes it and its association from the state (resource_alicloud_eip_address.go and
    resource_alicloud_eip_association.go: `d.SetId("")` where they are not found).
    """
    annotations: dict[str, str] = (before or {"metadata": {}})["metadata"].get("annotations") or {}
    clb, exposed = load_balancer.clb, load_balancer.exposed.load_balancer
    lost = annotations.get(f"{PREFIX}id")
    if not clb or not lost:
        return
    assert isinstance(exposed, SlbLoadBalancer)
    had_eip = annotations.get(f"{PREFIX}external-ip-type") == "eip"
    # None in a preview that would create it.
    lost_clb = await clb.created_id.future() != lost
    lost_address = await clb.address.future() != annotations.get(ADDRESS, address(before))
    where = f"of Service {name} does not exist any more in this region and account; another one replaces it"
    changed = f", with another address than {address(before)}: check DNS" if lost_address else ""
    if lost_clb:
        pulumi.log.warn(f"CLB {lost} {where}{changed}", resource)
    elif had_eip and exposed.eip and lost_address:
        pulumi.log.warn(f"EIP {address(before)} {where}{changed}", resource)
    if lost_clb and exposed.eip is None and not pulumi.runtime.is_dry_run():
        await asyncio.to_thread(live.release_address, name)


async def _report_warning(live: LiveCluster, resource: pulumi.Resource, name: str) -> None:
    """Warn if a load balancer that the provider does not see may be gone: its Service keeps the old address."""
    with contextlib.suppress(UnreachableError):
        if warning := await asyncio.to_thread(live.last_warning, name):
            message = f"the last event of Service {name} is a warning, its load balancer may be gone: {warning}"
            pulumi.log.warn(message, resource)
