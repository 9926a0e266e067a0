"""Carries out an update plan: declares resources step by step and waits for what must be ready."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar, cast

import pulumi
import pulumi_kubernetes as k8s

from cluster.aborted import WITHOUT_MARK, is_aborted
from cluster.live import ConflictError, Kind, LiveCluster, Object, UnreachableError
from cluster.run_record import read_run
from cluster.state import LiveState, address
from components.declare import Declarer
from components.demo_stream import DemoStream
from components.edge_fleet import EdgeFleet
from components.hls import Hls
from components.load_balancer import LoadBalancer
from components.monitoring import Monitoring
from components.origin_cluster import OriginCluster
from model.desired.alerts import alert_rules
from model.desired.objects import DesiredObject
from model.desired.render import Desired
from model.desired.workloads import Workload
from model.load_balancers.exposed_service import ADDRESS
from model.load_balancers.interface import live_annotations
from model.load_balancers.kinds import live_kind
from model.load_balancers.urls import urls
from model.names import DEMO, HLS, HLS_CLAIM, MONITORING, ORIGIN, hls_service, origin_hosts
from model.srs.versions import format_version
from update.live_fleet import AutoscalerError, follow_fleet, next_releases, retire
from update.object_changes import correction, differences
from update.open_run import is_superseded
from update.origin_rollout import bring_up, replace_in_place
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
from update.prediction import Change, applied

T = TypeVar("T")

CORRECTIONS = 10
"""How often a workload is read again that was changed between the read and the write."""


async def run(plan: UpdatePlan, desired: Desired, live: LiveCluster, state: LiveState, run_token: str = "") -> None:
    """Carry out a plan; a preview declares everything and waits for nothing.

    run_token: of the open `rollout run` that this update belongs to, "" for none.

    Raises pulumi.RunError when something is not ready in time, after its reason has been logged with its resource.
    As the program ends there, later steps do not happen and nothing is deleted.
    """
    desired = desired.with_origins_from(plan.origins.start)
    settings = desired.settings
    if plan.early_scale_downs and not pulumi.runtime.is_dry_run():
        for deployment, replicas in plan.early_scale_downs.items():
            pulumi.log.info(f"removing pods of Deployment {deployment} that are not ready")
            await asyncio.to_thread(live.scale, deployment, replicas)
    provider = k8s.Provider(
        "kubernetes",
        # Not None: the SDK would put the path in KUBECONFIG into the state, and the next refresh would use it.
        kubeconfig=settings.kubernetes.kubeconfig or "",
        context=settings.kubernetes.context,
        # Without it, another API address of the same cluster would replace every object.
        cluster_identifier=settings.kubernetes.cluster_id,
        # Another password of the image registry is an update; replaced, the Secret would be missing for a moment.
        enable_secret_mutable=True,
    )
    opts = pulumi.ResourceOptions(provider=provider)
    declarer = Declarer(settings.kubernetes.namespace)
    if desired.namespace:
        declarer.declare_namespace(desired.namespace, opts)
        await _check_namespace(live, declarer.resource(desired.namespace))
    if desired.registry_secret:
        declarer.declare(desired.registry_secret, opts)
    load_balancers = {
        service.name: LoadBalancer(
            service,
            desired,
            declarer,
            partial(_release_addresses, live, state.services, (service.name, hls_service(service.name))),
            opts,
        )
        for service in settings.exposed_services
    }
    hls = Hls(HLS, desired, declarer, load_balancers, opts) if settings.hls.enabled else None
    correct = partial(_correct_objects, live, declarer, _corrections(plan, desired))
    await correct()
    # Before any pod changes: a release cannot become ready behind a load balancer that was never created.
    addresses = await _wait_for_addresses(live, list(load_balancers.values()), hls, state.services)
    outputs = {
        "namespace": declarer.namespace,
        "urls": urls(settings, addresses),
        "releases": desired.release_outputs(),
        "origins": origin_hosts(
            plan.origins.ordinals or (), settings.kubernetes.namespace, settings.kubernetes.cluster_domain
        ),
    }
    if desired.monitoring:
        Monitoring(MONITORING, desired, declarer, opts)
    elif settings.monitoring.kind == "annotations":
        outputs["alertRules"] = alert_rules(settings)
    for key, value in outputs.items():
        pulumi.export(key, value)
    fleet = EdgeFleet("srs-edge", desired, declarer, opts)
    declarations = _declarations(plan, live, desired, declarer, fleet, hls, opts)
    for name in plan.taken_back if not pulumi.runtime.is_dry_run() else ():
        # Not before: an update in flight must see the mark until it has ended.
        await asyncio.to_thread(live.patch, "Deployment", name, WITHOUT_MARK)
    aborted = {name for name, deployment in state.edges.items() if is_aborted(deployment)}
    marked = frozenset(aborted - set(plan.taken_back))
    check = partial(_check_not_aborted, live, marked, run_token)
    claim = partial(_wait_for_claim, live, desired, hls)
    follow = partial(_follow, plan, live, desired, fleet)
    await _run_steps(plan, live, desired, declarer, declarations, correct, claim, check, follow)
    if not pulumi.runtime.is_dry_run():
        await asyncio.to_thread(_delete, plan, live)


def _delete(plan: UpdatePlan, live: LiveCluster) -> None:
    """Delete what the plan deletes.

    The engine deletes after the program, but only what its state has: after a lost state, or the import of an earlier
    one, a removed release would go on receiving viewers.
    """
    workloads = [(change.workload.kind, change.workload.name) for change in plan.changes if change.action == "delete"]
    objects = [(change.kind, change.name) for change in plan.objects if change.action == "delete"]
    try:
        for kind, name in (*workloads, *objects):
            live.delete(cast("Kind", kind), name)
    except UnreachableError as error:
        raise pulumi.RunError(f"not deleted: {error}. Run `pulumi up` again.") from None


Declarations = Mapping[str, Callable[[], object]]
"""By the name of a workload: declares it with everything that belongs to it."""


def _declarations(
    plan: UpdatePlan,
    live: LiveCluster,
    desired: Desired,
    declarer: Declarer,
    fleet: EdgeFleet,
    hls: Hls | None,
    opts: pulumi.ResourceOptions,
) -> Declarations:
    """How to declare each workload."""
    declarations: dict[str, Callable[[], object]] = {}
    if hls:
        hls.deploy()  # what mounts the claim depends on it
    for release in desired.releases:
        declarations[desired.edges(release).name] = partial(fleet.release, release)
    for workload in desired.workloads_of(desired.origins):
        declarations[workload.name] = partial(_origins, plan, live, desired, declarer, opts)
    for workload in desired.workloads_of(desired.demo):
        declarations[workload.name] = partial(DemoStream, DEMO, desired, declarer, opts)
    return declarations


Follow = Callable[
    [Sequence[Workload], Collection[str], Callable[[Sequence[str]], Awaitable[None]]], Awaitable[Sequence[Workload]]
]
"""See `_follow`."""


async def _run_steps(
    plan: UpdatePlan,
    live: LiveCluster,
    desired: Desired,
    declarer: Declarer,
    declarations: Declarations,
    correct: Callable[[], Awaitable[None]],
    wait_for_claim_of_hls: Callable[[], Awaitable[None]],
    check_not_aborted: Callable[[Workload], Awaitable[None]],
    follow: Follow,
) -> None:
    redact = desired.confs.redact
    declared: dict[Workload, pulumi.CustomResource] = {}
    corrections = {change.workload: change.unseen for change in plan.changes if change.unseen}

    async def wait_again(releases: Sequence[str]) -> None:
        again = {workload: resource for workload, resource in declared.items() if workload.release in releases}
        await _wait(live, again, redact)

    for step in plan.steps:
        left = step.declare
        while left:
            batch = await follow(left, _awaited_releases(plan, declared), wait_again)
            for workload in batch:
                await check_not_aborted(workload)
                if not declarer.has(desired.workloads[workload]):
                    declared_now = declarations[workload.name]()
                    if isinstance(declared_now, Awaitable):
                        await declared_now
                declared[workload] = declarer.resource(desired.workloads[workload])
                if workload in plan.paused:
                    pulumi.log.info(
                        f"{workload.title} is paused: its rolling update continues when paused is false",
                        declared[workload],
                    )
            await correct()
            for workload in batch:
                await _correct(live, workload, declared[workload], corrections.get(workload, ()))
            left = tuple(workload for workload in left if workload not in batch)
            if left:
                awaited = {workload: declared[workload] for workload in batch if workload not in plan.paused}
                await _wait(live, awaited, redact)
        if step.claim:
            await wait_for_claim_of_hls()
        await _wait(live, {workload: declared[workload] for workload in step.awaited}, redact)
    waits = {workload: resource for workload, resource in declared.items() if workload in plan.awaited}
    results = await _wait(live, waits, redact)
    if unchecked := {workload.release: result.unchecked for workload, result in results.items() if result.unchecked}:
        releases, reason = ", ".join(sorted(map(str, unchecked))), redact(next(iter(unchecked.values())))
        pulumi.log.info(f"not checked whether the new edges of {releases} reach an origin: {reason}")
    for workload, result in results.items():
        if result.running and workload.version:
            pulumi.log.warn(
                f"{workload.title} runs SRS {format_version(result.running)}, and the config declares "
                f"{format_version(workload.version)}: srs.conf and the warnings are for that; correct its `version`",
                declared[workload],
            )
    if any(change.action == "delete" and change.workload.release for change in plan.changes):
        await follow((), _awaited_releases(plan, declared), wait_again)


def _awaited_releases(plan: UpdatePlan, declared: Collection[Workload]) -> list[str]:
    return [workload.release for workload in declared if workload.release and workload not in plan.paused]


async def _follow(
    plan: UpdatePlan,
    live: LiveCluster,
    desired: Desired,
    fleet: EdgeFleet,
    left: Sequence[Workload],
    declared: Collection[str],
    wait: Callable[[Sequence[str]], Awaitable[None]],
) -> Sequence[Workload]:
    """Which of the workloads that are left of a step are declared next, for the live fleet of now.

    Autoscalers that their releases have no longer are deleted before. left: none before the engine deletes releases.
    """
    releases = [workload.release for workload in left if workload.release]
    if pulumi.runtime.is_dry_run() or (left and not releases):
        return left
    try:
        if retired := [item for item in plan.retired if item.release in releases]:
            await retire(live, retired)
        if desired.settings.edge.autoscaling is None:
            return left
        current, ready = await follow_fleet(live, desired, plan.binding.stacks, declared, wait)
    except (AutoscalerError, UnreachableError) as error:
        raise pulumi.RunError(f"{error}. No ready edge was removed for it; run `pulumi up` again.") from None
    fleet.follow(current)
    following = next_releases(releases, current, ready)
    return [workload for workload in left if workload.release is None or workload.release in following]


_DELETED = "was deleted during this update, after the engine had read it: run `pulumi up` again"


async def _check_namespace(live: LiveCluster, resource: pulumi.CustomResource) -> None:
    """End an update whose namespace was deleted while the engine refreshed, which then creates nothing in it.

    Raises pulumi.RunError.
    """
    if pulumi.runtime.is_dry_run():
        return
    await resource.id.future()  # until the engine has applied it
    with contextlib.suppress(UnreachableError):  # the waits report it
        namespace = await asyncio.to_thread(live.live_namespace)
        if namespace is None or "deletionTimestamp" in namespace["metadata"]:
            raise pulumi.RunError(f"namespace {live.namespace} {_DELETED}")


async def _check_not_aborted(live: LiveCluster, marked: frozenset[str], run_token: str, workload: Workload) -> None:
    """Read the marks of an abort again before a release is declared: it would bring the release back.

    marked: Deployments that were aborted before; the plan has decided about them. Raises pulumi.RunError.
    """
    if workload.release is None or pulumi.runtime.is_dry_run():
        return
    deployment = await asyncio.to_thread(live.deployment, workload.name)
    if deployment and is_aborted(deployment) and workload.name not in marked:
        raise pulumi.RunError(f"{workload.title} was taken out of rotation meanwhile (rollout abort)")
    if run_token:
        stored = await asyncio.to_thread(read_run, live)
        if is_superseded(stored.record if stored else None, run_token):
            raise pulumi.RunError("the rollout run of this update was aborted or taken over meanwhile")


async def _origins(
    plan: UpdatePlan, live: LiveCluster, desired: Desired, declarer: Declarer, opts: pulumi.ResourceOptions
) -> None:
    """Declare the origins, when new ones are ready next to those that they replace; a preview does not wait."""
    origins = OriginCluster(ORIGIN, desired, declarer, opts)

    def on_progress(message: str) -> None:
        pulumi.log.info(desired.confs.redact(message), origins, ephemeral=True)

    async def carry_out(
        change: Callable[[], Awaitable[T]], applied_before: Sequence[pulumi.CustomResource], effect: str
    ) -> T | None:
        if pulumi.runtime.is_dry_run():
            return None
        for resource in applied_before:
            await resource.id.future()  # until the engine has applied it
        try:
            return await change()
        except (RolloutError, UnreachableError) as error:
            pulumi.log.error(desired.confs.redact(str(error)), origins)
            raise pulumi.RunError(
                f"not ready: new origins. {effect}. "
                "Fix the cause, or restore the earlier stack config, and run `pulumi up` again."
            ) from None

    if plan.origins.surges:
        edges = [workload for workload in desired.workloads if workload.release is not None]
        unchecked = await carry_out(
            lambda: bring_up(live, desired.origin_set, plan.origins, edges, on_progress),
            origins.needed,
            "The earlier ones serve, and no publisher was dropped",
        )
        if unchecked:
            pulumi.log.info(f"not checked whether the new origins accept a stream: {desired.confs.redact(unchecked)}")
    origins.deploy()
    if plan.origins.in_place:
        await carry_out(
            lambda: replace_in_place(live, desired.origin_set, plan.origins, on_progress),
            [declarer.resource(desired.origin_set)],
            "The other ones serve, and were not replaced",
        )


async def _wait(
    live: LiveCluster,
    resources: Mapping[Workload, pulumi.CustomResource],
    redact: Callable[[str], str],
) -> dict[Workload, RolloutResult]:
    """Wait until workloads are ready, and return what was found out; a preview does not wait.

    redact: removes secrets from the logs of pods.
    """
    results: dict[Workload, RolloutResult] = {}
    if pulumi.runtime.is_dry_run():
        return results

    async def wait(workload: Workload, resource: pulumi.CustomResource) -> None:
        await resource.id.future()  # until the engine has applied it
        with contextlib.suppress(UnreachableError):  # the wait reports it
            if await asyncio.to_thread(live.object, workload.kind, workload.name) is None:
                raise RolloutError(f"{workload.kind} {workload.name} {_DELETED}")

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


async def _correct(
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


def _corrections(plan: UpdatePlan, desired: Desired) -> list[DesiredObject]:
    """The objects in which the plan has found changes, except workloads."""
    return [desired.objects[change.kind, change.name] for change in plan.objects if change.action == "update"]


async def _correct_objects(live: LiveCluster, declarer: Declarer, pending: list[DesiredObject]) -> None:
    """Make the changes of declared objects that the provider does not see, such as a key in a Service's selector.

    pending: the objects; those that have been corrected are removed.
    """
    if pulumi.runtime.is_dry_run():
        return
    declared = [item for item in pending if declarer.has(item)]
    for item in declared:
        pending.remove(item)
        resource = declarer.resource(item)
        await resource.id.future()  # until the engine has applied it
        try:
            await asyncio.to_thread(_correct_object, live, item)
        except UnreachableError as error:
            pulumi.log.error(f"{item.kind} {item.name} cannot be corrected: {error}", resource)
            raise pulumi.RunError(f"not corrected: {item.kind} {item.name}. Run `pulumi up` again.") from None


def _correct_object(live: LiveCluster, item: DesiredObject) -> None:
    kind = cast("Kind", item.kind)
    if (current := live.object(kind, item.name)) and (changes := list(differences(item, current))):
        live.correct(kind, item.name, correction(item, current, changes))


async def _wait_for_claim(live: LiveCluster, desired: Desired, hls: Hls | None) -> None:
    """Wait until the claim of HLS is bound; a preview does not wait."""
    if hls is None or pulumi.runtime.is_dry_run():
        return
    await hls.claim.id.future()  # until the engine has applied it
    on_progress = partial(pulumi.log.info, resource=hls.claim, ephemeral=True)
    (nginx,) = desired.workloads_of(desired.hls)
    try:
        await wait_for_claim(live, HLS_CLAIM, nginx, desired.settings.hls.bind_timeout, on_progress)
    except ClaimError as error:
        pulumi.log.error(str(error), hls.claim)
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


async def _release_addresses(live: LiveCluster, services: Mapping[str, Object], names: Sequence[str], clb: str) -> str:
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
