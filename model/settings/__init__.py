"""The stack config as typed settings: every key, its default, and every rule that holds between keys."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

from model import alibaba, srs_conf
from model.base import NonEmpty, PositiveInt, Settings, Switch, Text, Weight
from model.names import (
    API_PORT,
    EDGE_APP,
    EDGE_SERVICE,
    HLS,
    HTTP_PORT,
    ORIGIN,
    ORIGIN_SERVICE,
    PUBLISH_SERVICE,
    RTMP_PORT,
    config_hash,
    edge_deployment,
    origin_hosts,
)
from model.problems import Problem, RuleBroken
from model.replicas import Share, shares
from model.settings.load_balancer import (
    CloudLoadBalancer,
    Front,
    LoadBalancerSettings,
    NoLoadBalancer,
    PublishSettings,
    SlbLoadBalancer,
    clashes,
    drain_problems,
    warnings,
)
from model.srs_version import (
    Version,
    capabilities,
    check_supported,
    format_version,
    parse_version,
)
from model.values import (
    DnsLabel,
    Duration,
    Image,
    Quantity,
    ReleaseName,
    format_duration,
    natural_key,
    parse_image,
    seconds,
)

DRAIN_MARGIN = timedelta(seconds=30)
"""Between the end of the drain time and SIGKILL (ACK advises at least 30 s after preStop)."""


def _path(value: str) -> str:
    if "\n" in value or "apiVersion" in value:
        raise ValueError("must be the path of a kubeconfig, never its content: that has credentials in it")
    return value


class KubernetesSettings(Settings):
    """The cluster that the stack is deployed to."""

    kubeconfig: Annotated[NonEmpty, AfterValidator(_path)] = Field(
        description="Path of the kubeconfig file, relative to the project. Never its content: "
        "a path keeps credentials out of the stack's state."
    )
    context: NonEmpty | None = Field(
        default=None, description="Context in that file; default: the file's current context."
    )
    cluster_id: NonEmpty = Field(
        description="A name for the cluster that never changes, such as ACK's cluster id. With it, another API "
        "address of the same cluster changes nothing. Changing it later replaces every object."
    )
    namespace: DnsLabel = Field(default="live", description="Namespace of all objects.")
    create_namespace: Switch = Field(
        default=True, description="Whether the stack makes (and deletes) the namespace or finds it there."
    )
    cluster_domain: NonEmpty = Field(default="cluster.local", description="DNS domain of the cluster.")
    namespace_timeout: Duration = Field(
        default=timedelta(minutes=1),
        description="How long `up` waits for a namespace that is still terminating before it gives up.",
    )


_LABEL = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?")


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError("must be the key of a label, such as example.com/pool")
    return value


def _label_value(value: str) -> str:
    if not _LABEL_VALUE.fullmatch(value):
        raise ValueError("must be the value of a label: at most 63 letters, digits, '-', '_' and '.'")
    return value


LabelKey = Annotated[NonEmpty, AfterValidator(_label)]
LabelValue = Annotated[Text, AfterValidator(_label_value)]


class Toleration(Settings):
    """A taint of nodes that pods may run on in spite of it."""

    key: LabelKey = Field(description="Key of the taint.")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="Whether the taint's value must be `value`, or may be any."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; default: all of them."
    )

    @model_validator(mode="after")
    def _value_fits_operator(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise RuleBroken([Problem(("value",), self.value, "must be left out with operator Exists")])
        if self.operator == "Equal" and self.value is None:
            raise RuleBroken([Problem(("value",), None, "must be given with Equal; or set operator: Exists")])
        return self


class Placement(Settings):
    """Which nodes pods may run on."""

    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that a node must have to run them."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list[Toleration], description="Taints of nodes that they may run on in spite of them."
    )


class Resources(Settings):
    """Requests and limits of a container. No CPU limit: throttling stalls every viewer of that pod."""

    cpu: Quantity = Field(default="100m", description="CPU request, in cores.")
    memory: Quantity = Field(default="256Mi", description="Memory request and limit, in bytes.")


class SrsSettings(Settings):
    """What can be set in an srs.conf besides what the program writes itself."""

    max_connections: Annotated[int, Field(strict=True, ge=1, le=65535)] = Field(
        default=1000, description="Connections that one SRS takes; needs an open-files limit a little above."
    )
    directives: Text = Field(
        default="", description="More directives for the top level of srs.conf, as SRS writes them."
    )
    vhost_directives: Text = Field(
        default="", description="More directives for `vhost __defaultVhost__`, as SRS writes them."
    )

    @model_validator(mode="after")
    def _directives_are_whole(self) -> Self:
        broken: list[Problem] = []
        for field, scope in (("directives", "global"), ("vhost_directives", "vhost")):
            text: str = getattr(self, field)
            try:
                srs_conf.check_directives(text, scope)
            except ValueError as error:
                broken.append(Problem((to_camel(field),), text, str(error)))
        if broken:
            raise RuleBroken(broken)
        return self


class ImageSettings(Settings):
    """An SRS image and the version in it."""

    image: Image = Field(description="SRS image with a tag that names a version, or with a digest and `version`.")
    version: NonEmpty | None = Field(
        default=None,
        description="SRS version in the image, such as 4.0.6; needed where the tag does not say it.",
    )

    @model_validator(mode="after")
    def _version_is_known(self) -> Self:
        reference = parse_image(self.image)
        if self.version is not None:
            path, value, version = "version", self.version, parse_version(self.version)
            unknown = "must be an SRS version such as 4.0.6"
        else:
            path, value, version = "image", self.image, parse_version(reference.tag or "")
            unknown = (
                "has no tag that names one SRS version (such as v4.0.6), and what is written into srs.conf depends "
                "on the version; name such a tag, or give `version`"
            )
        if version is None:
            raise RuleBroken([Problem((path,), value, unknown)])
        try:
            check_supported(version)
        except ValueError as error:
            raise RuleBroken([Problem((path,), value, str(error))]) from error
        return self

    @property
    def srs_version(self) -> Version:
        """The SRS version in the image."""
        version = parse_version(self.version or parse_image(self.image).tag or "")
        assert version is not None  # checked above
        return version


def _rollout_can_end(
    min_ready: timedelta, rollout_timeout: timedelta, warm_up: timedelta = timedelta()
) -> list[Problem]:
    """A pod cannot be available before warmUp and minReady are over; the API server itself refuses a Deployment
    whose deadline is not later than minReady."""
    if rollout_timeout > warm_up + min_ready:
        return []
    of = f"warmUp and minReady together ({format_duration(warm_up + min_ready)})"
    if not warm_up:
        of = f"minReady ({format_duration(min_ready)})"
    return [Problem(("rolloutTimeout",), rollout_timeout, f"must be longer than {of}")]


class OriginSettings(ImageSettings, Placement):
    """The origins: they take the streams."""

    replicas: PositiveInt = Field(default=3, description="Number of origins. Another number rolls every edge.")
    min_ready: Duration = Field(
        default=timedelta(seconds=15),
        description="How long an origin must be ready before the next one changes.",
    )
    rollout_timeout: Duration = Field(
        default=timedelta(minutes=10),
        description="`up` fails when the origins are not ready after this time.",
    )
    srs: SrsSettings = Field(default_factory=SrsSettings, description="More srs.conf settings.")
    resources: Resources = Field(default_factory=Resources, description="Resources of each origin.")
    pod_annotations: dict[NonEmpty, Text] = Field(
        default_factory=dict, description="More annotations of the origin pods."
    )

    @model_validator(mode="after")
    def _rollout_can_end(self) -> Self:
        if problems := _rollout_can_end(self.min_ready, self.rollout_timeout):
            raise RuleBroken(problems)
        return self


class DrainSettings(Settings):
    """How an edge pod goes."""

    deregister: Duration = Field(
        default=timedelta(seconds=5),
        description="How long a pod that is to go serves on, so that every load balancer learns of it first; "
        "default behind `slb` and `nlb`: `30s`.",
    )
    timeout: Duration = Field(
        default=timedelta(hours=12),
        description="How long open connections may then last. It must outlast the longest stream.",
    )

    @model_validator(mode="after")
    def _timeout_outlasts_deregister(self) -> Self:
        if self.timeout < self.deregister:
            raise RuleBroken(
                [Problem(("timeout",), self.timeout, "must not be shorter than drain.deregister")],
            )
        return self

    @property
    def grace_seconds(self) -> int:
        """`terminationGracePeriodSeconds` of an edge pod."""
        return seconds(self.deregister + self.timeout + DRAIN_MARGIN)


class ReleaseSettings(ImageSettings):
    """One release of the edges: an image, its config and its weight."""

    weight: Weight = Field(
        description="Share of the edge replicas, relative to the other releases' weights (not per cent). "
        "0 keeps the release without pods."
    )
    srs: SrsSettings = Field(default_factory=SrsSettings, description="More srs.conf settings.")
    resources: Resources = Field(default_factory=Resources, description="Resources of each edge.")
    pod_annotations: dict[NonEmpty, Text] = Field(
        default_factory=dict, description="More annotations of the edge pods."
    )
    paused: Switch = Field(
        default=False,
        description="Holds a rolling update of this release (`kubectl rollout pause`); `up` then does not wait for it.",
    )
    allow_cuts: Switch = Field(
        default=False,
        description="Accepts an SRS version that cannot drain: every update of it cuts its connections.",
    )

    @model_validator(mode="after")
    def _version_can_drain(self) -> Self:
        if not capabilities(self.srs_version).drains and not self.allow_cuts:
            raise RuleBroken(
                [
                    Problem(
                        ("image",),
                        self.image,
                        f"is SRS {format_version(self.srs_version)}, which cuts every connection when it quits "
                        "(ossrs/srs #3805); take 4.0.x or 6.0.132 and later, or set allowCuts: true",
                    )
                ]
            )
        return self


class EdgeSettings(Placement):
    """The edges: they serve the viewers, and encoders may push through them."""

    replicas: PositiveInt = Field(description="Number of edges, all releases together.")
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How an edge pod goes.")
    warm_up: Duration = Field(
        default=timedelta(seconds=10),
        description="How long a new edge must run before it gets connections: one that crashes within this time after "
        "its start hurts nobody.",
    )
    min_ready: Duration = Field(
        default=timedelta(seconds=5),
        description="How long an edge must then be ready before it counts, so that a crash under its first connections "
        "stops a rollout.",
    )
    rollout_timeout: Duration = Field(
        default=timedelta(minutes=10), description="`up` fails when a release is not ready after this time."
    )
    releases: dict[ReleaseName, ReleaseSettings] = Field(
        min_length=1, description="The releases by name; normally one, two while a canary runs."
    )

    @model_validator(mode="after")
    def _releases_fit_together(self) -> Self:
        broken = _rollout_can_end(self.min_ready, self.rollout_timeout, self.warm_up)
        weights = self.weights
        served = [name for name, weight in weights.items() if weight > 0]
        if not served:
            broken.append(Problem(("releases",), weights, "at least one release must have a weight above 0"))
        elif self.replicas < len(served):
            broken.append(
                Problem(
                    ("replicas",),
                    self.replicas,
                    f"must be at least {len(served)}: that many releases have a weight, and each needs a replica",
                )
            )
        first_of: dict[object, str] = {}
        for name in sorted(self.releases):  # the engine sorts them, too
            first = first_of.setdefault(natural_key(name), name)
            if first != name:
                broken.append(
                    Problem(
                        ("releases", name),
                        name,
                        f"is the same name as {first!r} in natural order; rename one of them",
                    )
                )
        if broken:
            raise RuleBroken(broken)
        return self

    @property
    def weights(self) -> dict[str, int]:
        """Weight of each release, in natural order."""
        return {name: self.releases[name].weight for name in sorted(self.releases, key=natural_key)}

    @property
    def shares(self) -> dict[str, Share]:
        """Replicas and shares of each release, in natural order."""
        return shares(self.replicas, self.weights)


class HlsSettings(Placement):
    """HLS: written by the origins to a shared volume, served by nginx."""

    enabled: Switch = Field(default=False, description="Whether HLS is written and served.")
    storage_class: NonEmpty | None = Field(
        default=None, description="Storage class of the shared volume; it must offer ReadWriteMany."
    )
    size: Quantity = Field(default="10Gi", description="Size of the shared volume, in bytes.")
    image: Image = Field(
        default="nginxinc/nginx-unprivileged:1.28.0", description="nginx image that runs without root."
    )
    replicas: PositiveInt = Field(default=1, description="Number of nginx pods.")
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = Field(
        default=None,
        description="Port of the `slb` load balancer on which HLS is offered; default: only inside the cluster.",
    )

    @model_validator(mode="after")
    def _storage_is_named(self) -> Self:
        if self.enabled and self.storage_class is None:
            raise RuleBroken(
                [
                    Problem(
                        ("storageClass",),
                        None,
                        "must name a storage class with ReadWriteMany while hls.enabled is true: "
                        "a cluster's default class hardly ever has it",
                    )
                ]
            )
        return self


class DemoSettings(Settings):
    """A demo stream, so that a new cluster can be looked at."""

    enabled: Switch = Field(default=False, description="Whether a demo stream is published.")
    image: Image = Field(default="ossrs/srs:encoder", description="Image with ffmpeg and a sample file.")
    source: Annotated[str, StringConstraints(strict=True, pattern=r"^[\w./-]+$")] = Field(
        default="./doc/source.flv", description="File in the image that is published in a loop."
    )
    stream: Annotated[str, StringConstraints(strict=True, pattern=r"^[\w-]+/[\w-]+$")] = Field(
        default="live/livestream", description="Application and stream name."
    )


class RegistrySettings(Settings):
    """An image registry that wants to know who pulls."""

    server: NonEmpty = Field(description="Host of the registry.")
    username: NonEmpty = Field(description="Who pulls.")
    password: Annotated[SecretStr, Field(min_length=1)] = Field(
        description="His password: `pulumi config set --secret --path srs:images.registry.password`."
    )


class ImagesSettings(Settings):
    """How images are pulled."""

    pull_secrets: list[DnsLabel] = Field(
        default_factory=list[str], description="Names of pull secrets that are in the namespace already."
    )
    registry: RegistrySettings | None = Field(
        default=None, description="A registry for which the stack makes a pull secret."
    )

    @property
    def secret_names(self) -> list[str]:
        """All pull secrets of the pods."""
        return [*self.pull_secrets, *([REGISTRY_SECRET] if self.registry else [])]


REGISTRY_SECRET = "srs-registry"


class StackSettings(Settings):
    """The whole stack config; each field is a key `srs:<name>`."""

    kubernetes: KubernetesSettings = Field(description="The cluster that the stack is deployed to.")
    origin: OriginSettings = Field(description="The origins: they take the streams.")
    edge: EdgeSettings = Field(description="The edges: they serve the viewers.")
    load_balancer: LoadBalancerSettings = Field(
        default=NoLoadBalancer(kind="none"), description="What stands in front of the edges."
    )
    former_load_balancer: LoadBalancerSettings = Field(
        default=NoLoadBalancer(kind="none"),
        description="A load balancer that is being left: it stays as it is until this key is removed, so that nobody "
        "who is connected through it is cut.",
    )
    publish: PublishSettings = Field(
        default_factory=PublishSettings,
        description="Where encoders publish to, if not through the load balancer of the viewers.",
    )
    images: ImagesSettings = Field(default_factory=ImagesSettings, description="How images are pulled.")
    hls: HlsSettings = Field(default_factory=HlsSettings, description="HLS: written by the origins, served by nginx.")
    demo: DemoSettings = Field(default_factory=DemoSettings, description="A demo stream.")

    @model_validator(mode="wrap")
    @classmethod
    def _deregister_default(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Behind a load balancer of the cloud, a pod that is to go needs more time until all know of it."""
        settings = handler(data)
        drain = settings.edge.drain
        if "deregister" not in drain.model_fields_set and settings.cloud_fronts:
            drain = drain.model_copy(update={"deregister": alibaba.DEREGISTER})
            settings = settings.model_copy(update={"edge": settings.edge.model_copy(update={"drain": drain})})
        if problems := list(settings.front_problems()):
            raise RuleBroken(problems)
        return settings

    @property
    def front(self) -> Front:
        """The Service of the viewers."""
        return Front(("loadBalancer",), self.load_balancer.service or EDGE_SERVICE, self.load_balancer)

    @property
    def former_front(self) -> Front | None:
        """The Service that is being left, None if there is none."""
        former = self.former_load_balancer
        if isinstance(former, NoLoadBalancer):
            return None
        return Front(("formerLoadBalancer",), former.service or EDGE_SERVICE, former)

    @property
    def publish_front(self) -> Front | None:
        """The Service of encoders, None if they use that of the viewers."""
        load_balancer = self.publish.load_balancer
        if isinstance(load_balancer, NoLoadBalancer):
            return None
        app = EDGE_APP if self.publish.to == "edges" else ORIGIN
        service = load_balancer.service or PUBLISH_SERVICE
        return Front(("publish", "loadBalancer"), service, load_balancer, app, {"rtmp": RTMP_PORT})

    @property
    def fronts(self) -> list[Front]:
        """All Services that are reached from outside."""
        return [front for front in (self.front, self.former_front, self.publish_front) if front]

    @property
    def cloud_fronts(self) -> list[Front]:
        """Those with a load balancer of the cloud that leads to edges."""
        return [
            front
            for front in self.fronts
            if front.app == EDGE_APP and isinstance(front.load_balancer, CloudLoadBalancer)
        ]

    @property
    def readiness_gates(self) -> list[str]:
        """Conditions that an edge needs besides its probes (see `alibaba.readiness_gate`).

        The Service that is being left has none: its pods would never get ready again once it is gone.
        """
        return [
            alibaba.readiness_gate(front.service)
            for front in (self.front, self.publish_front)
            if front
            and front.app == EDGE_APP
            and isinstance(front.load_balancer, CloudLoadBalancer)
            and front.load_balancer.backend == "eni"
        ]

    def front_problems(self) -> Iterator[Problem]:
        """What does not fit together between load balancers, drain and HLS."""
        drain = self.edge.drain
        path = ("edge", "drain", "timeout")
        yield from drain_problems(self.fronts, drain.deregister, drain.timeout, path)
        if self.cloud_fronts and drain.timeout < drain.deregister:
            yield Problem(
                path,
                drain.timeout,
                f"must not be shorter than {format_duration(drain.deregister)}, the default "
                "of drain.deregister behind a load balancer of the cloud",
            )
        yield from clashes(self.fronts, {ORIGIN_SERVICE: "the origins", f"{HLS}-service": "hls"})
        yield from self._hls_port_problems()

    def _hls_port_problems(self) -> Iterator[Problem]:
        path, port = ("hls", "port"), self.hls.port
        if port is None:
            return
        if not self.hls.enabled:
            yield Problem(path, port, "has no effect while hls.enabled is false; leave it out")
        if not isinstance(self.load_balancer, SlbLoadBalancer):
            kind = self.load_balancer.kind
            yield Problem(
                path, port, f"needs loadBalancer.kind slb (it is {kind}): only a CLB can have several Services"
            )
        if port in (RTMP_PORT, HTTP_PORT, API_PORT):
            yield Problem(path, port, f"must not be {RTMP_PORT}, {HTTP_PORT} or {API_PORT}: they are SRS's")

    def warnings(self) -> Iterator[str]:
        """What may hurt but is the operator's choice, a line each."""
        served = [name for name, weight in self.edge.weights.items() if weight > 0]
        for front in self.fronts:
            yield from warnings(front, served)

    @property
    def origins(self) -> list[str]:
        """Host names of the origins."""
        return origin_hosts(self.origin.replicas, self.kubernetes.namespace, self.kubernetes.cluster_domain)

    @property
    def origin_conf(self) -> str:
        """srs.conf of the origins."""
        srs = self.origin.srs
        return srs_conf.render_origin(
            self.origins, self.hls.enabled, srs.max_connections, srs.directives, srs.vhost_directives
        )

    def edge_conf(self, release: str) -> str:
        """srs.conf of a release."""
        settings = self.edge.releases[release]
        return srs_conf.render_edge(
            settings.srs_version,
            self.origins,
            settings.srs.max_connections,
            settings.srs.directives,
            settings.srs.vhost_directives,
        )

    def outputs(self) -> dict[str, dict[str, Any]]:
        """What is told of each release in the stack's outputs, in natural order."""
        return {
            name: {
                "image": self.edge.releases[name].image,
                "deployment": edge_deployment(name),
                "replicas": share.replicas,
                "weight": self.edge.releases[name].weight,
                "wishedPercent": round(share.wished, 1),
                "realPercent": round(share.real, 1),
                "configHash": config_hash(self.edge_conf(name)),
                "paused": self.edge.releases[name].paused,
            }
            for name, share in self.edge.shares.items()
        }


CONFIG_KEYS: Mapping[str, str] = {
    field.alias or name: field.description or "" for name, field in StackSettings.model_fields.items()
}
"""The keys of the stack config with their descriptions; `Pulumi.yaml` declares the same ones."""
