"""The desired state of a stack as a value: every object, rendered once in a run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from model.config.edge import EdgeSettings
from model.config.stack import StackSettings
from model.desired import demo, edges, hls, monitoring, namespace, origins, services
from model.desired.confs import Confs, mounted_confs
from model.desired.context import Context, Kept
from model.desired.objects import DesiredObject, Kind
from model.desired.replicas import Share, shares
from model.desired.workloads import Workload
from model.names import edge_deployment
from model.srs.conf_file import ConfFile


@dataclass(frozen=True)
class Desired:
    """Every object of a stack, by the part of it that they belong to, in the order of their declaration.

    exposed: Services by their names. hls_services: the Services of HLS. releases: by name, in natural order.
    """

    settings: StackSettings
    kept: Kept
    stack: str
    confs: Confs
    shares: Mapping[str, Share]
    namespace: DesiredObject | None
    registry_secret: DesiredObject | None
    exposed: Mapping[str, DesiredObject]
    hls_services: tuple[DesiredObject, ...]
    hls_claim: DesiredObject | None
    hls: tuple[DesiredObject, ...]
    monitoring: tuple[DesiredObject, ...]
    fleet: tuple[DesiredObject, ...]
    releases: Mapping[str, tuple[DesiredObject, ...]]
    origins: tuple[DesiredObject, ...]
    demo: tuple[DesiredObject, ...]

    @cached_property
    def objects(self) -> Mapping[tuple[Kind, str], DesiredObject]:
        """Every object in the namespace, by kind and name."""
        return {(item.kind, item.name): item for item in self._objects()}

    def _objects(self) -> Iterator[DesiredObject]:
        if self.registry_secret:
            yield self.registry_secret
        yield from self.exposed.values()
        yield from self.hls_services
        if self.hls_claim:
            yield self.hls_claim
        for part in (*self.releases.values(), self.fleet, self.origins, self.hls, self.demo, self.monitoring):
            yield from part

    @cached_property
    def workloads(self) -> Mapping[Workload, DesiredObject]:
        """The workloads: edges in natural order, origins, HLS, demo."""
        return {item.workload: item for item in self.objects.values() if item.workload}

    @staticmethod
    def workloads_of(part: Iterable[DesiredObject]) -> list[Workload]:
        """The workloads of a part."""
        return [item.workload for item in part if item.workload]

    def conf(self, workload: Workload) -> ConfFile | None:
        """The srs.conf of a workload; None for one without SRS."""
        if workload.release is not None:
            return self.confs.edges[workload.release]
        return self.confs.origin if workload in self.workloads_of(self.origins) else None

    def edges(self, release: str) -> Workload:
        """The edges of a release of the config."""
        return next(workload for workload in self.workloads if workload.release == release)

    def with_origins_from(self, start: int) -> "Desired":
        """The same state with other names of the origins. start: the ordinal of the first one."""
        return self._with_origin_spec({"ordinals": {"start": start}})

    def with_origin_strategy(self, strategy: Mapping[str, Any]) -> "Desired":
        """The same state with another update strategy of the origins."""
        return self._with_origin_spec({"updateStrategy": strategy})

    def _with_origin_spec(self, fields: Mapping[str, Any]) -> "Desired":
        def changed(item: DesiredObject) -> DesiredObject:
            if item.kind != "StatefulSet":
                return item
            return replace(item, manifest=item.manifest | {"spec": {**item.manifest["spec"], **fields}})

        return replace(self, origins=tuple(changed(item) for item in self.origins))

    @property
    def origin_set(self) -> DesiredObject:
        """The StatefulSet of the origins."""
        return next(item for item in self.origins if item.kind == "StatefulSet")

    def release_outputs(self) -> dict[str, dict[str, Any]]:
        """The stack output `releases`: each release in natural order."""
        releases = self.settings.edge.releases
        return {
            name: {
                "image": releases[name].image,
                "deployment": edge_deployment(name),
                "replicas": share.replicas,
                "weight": releases[name].weight,
                "desiredPercent": round(share.desired, 1),
                "actualPercent": round(share.actual, 1),
                "configHash": self.confs.edges[name].hash,
                "paused": releases[name].paused,
            }
            for name, share in self.shares.items()
        }


def render(settings: StackSettings, kept: Kept, stack: str) -> Desired:
    """Render the desired state. kept: what the live state fixes of it. stack: organization/project/stack."""
    context = Context(settings, kept, stack, mounted_confs(settings, kept.conf_key), kept_shares(settings.edge, kept))
    claim = hls.claim(context) if settings.hls.enabled else None
    return Desired(
        settings,
        kept,
        stack,
        context.confs,
        context.shares,
        namespace.namespace(context),
        namespace.registry_secret(context),
        exposed={exposed.name: services.exposed_service(context, exposed) for exposed in settings.exposed_services},
        hls_services=hls.services(context) if claim else (),
        hls_claim=claim,
        hls=hls.nginx(context, claim) if claim else (),
        monitoring=monitoring.monitoring(context) if settings.monitoring.kind == "podMonitor" else (),
        fleet=edges.fleet(context),
        releases={name: edges.release(context, name) for name in context.shares},
        origins=origins.origins(context, claim),
        demo=demo.demo(context) if settings.demo.enabled else (),
    )


def kept_shares(edge: EdgeSettings, kept: Kept) -> dict[str, Share]:
    """Replicas and shares of each release, in natural order; with autoscaling, of the live fleet."""
    if edge.autoscaling is None or kept.edges is None:
        return edge.shares
    by_weight = shares(kept.edges, edge.weights)
    replicas = {name: kept.replicas.get(name, share.replicas) for name, share in by_weight.items()}
    total = sum(replicas.values())
    return {
        name: replace(share, replicas=replicas[name], actual=100 * replicas[name] / total)
        for name, share in by_weight.items()
    }
