"""HLS: the origins write it to a shared volume, nginx serves it."""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ConfigMap, PersistentVolumeClaim, Service, ServicePortArgsDict
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from components.load_balancer import LoadBalancer
from components.manifest import metadata
from model.names import HLS, HLS_CLAIM, HTTPS_PORT, nginx_config, service_port_names
from model.settings.stack import StackSettings
from model.workload_specs import NGINX_PORT, hls_spec

LABELS = {"app": HLS}


class Hls(pulumi.ComponentResource):
    """The Services of HLS; `deploy` declares the rest.

    Each CLB of the edges that serves HLS has a Service of its own, because a Service in use cannot move to another CLB
    (clbv1/model_applier.go, `isLoadBalancerReusable`). The article's Service also exists without a CLB.
    """

    exposed: Mapping[str, Service]
    """The Services with a load balancer, by the name of the Service of the edges that has the same one."""
    claim: PersistentVolumeClaim
    deployment: Deployment

    def __init__(
        self,
        name: str,
        settings: StackSettings,
        namespace: pulumi.Input[str],
        load_balancers: Mapping[str, LoadBalancer],
        port_names: Mapping[str, Mapping[int, str]],
        backend_nodes: Mapping[str, Mapping[str, str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """load_balancers: by the name of their Service. port_names: of ports that keep their live name, and
        backend_nodes: labels that limit the backends, both by the name of the Service of HLS."""
        super().__init__("srs:hls:Hls", name, {}, opts)
        self._settings = settings
        self._namespace = namespace
        child = pulumi.ResourceOptions(parent=self)
        exposed: dict[str, Service] = {}
        for service, edges in settings.hls_services.items():
            bound = load_balancers[edges.name].bind(backend_nodes.get(service, {}))
            exposed[edges.name] = Service(
                service,
                metadata=metadata(service, namespace, LABELS, bound),
                spec={
                    "type": "LoadBalancer",
                    "selector": LABELS,
                    "ports": _ports(settings.hls.http_ports, settings.hls.https_ports, port_names.get(service, {})),
                },
                opts=child,
            )
        self.exposed = exposed
        if f"{HLS}-service" not in settings.hls_services:
            inside = settings.hls_ports
            http, https = ([inside[scheme]] if scheme in inside else [] for scheme in ("http", "https"))
            ports = _ports(http, https, port_names.get(f"{HLS}-service", {}))
            Service(
                f"{HLS}-service",
                metadata=metadata(f"{HLS}-service", namespace, LABELS),
                spec={"type": "ClusterIP", "selector": LABELS, "ports": ports},
                opts=child,
            )

    def deploy(self) -> None:
        """Declare the shared volume claim, nginx, its ConfigMap, PodDisruptionBudget and NetworkPolicy."""
        settings, namespace, hls = self._settings, self._namespace, self._settings.hls
        self.claim = PersistentVolumeClaim(
            HLS_CLAIM,
            metadata=metadata(HLS_CLAIM, namespace, LABELS),
            spec={
                "access_modes": ["ReadWriteMany"],
                "storage_class_name": hls.storage_class or "",
                "resources": {"requests": {"storage": hls.size}},
            },
            # No edit of the config deletes recordings; with the namespace the claim is deleted as well.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        # Named by its content, so that another nginx.conf rolls nginx.
        config = nginx_config(settings.nginx_conf)
        conf = ConfigMap(
            config,
            metadata=metadata(config, namespace, LABELS),
            data={"nginx.conf": settings.nginx_conf},
            immutable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.deployment = Deployment(
            f"{HLS}-deploy",
            metadata=metadata(f"{HLS}-deploy", namespace, LABELS),
            spec=hls_spec(settings),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.claim, conf]),
        )
        PodDisruptionBudget(
            HLS,
            metadata=metadata(HLS, namespace, LABELS),
            spec={
                "selector": {"match_labels": LABELS},
                "max_unavailable": 1,
                "unhealthy_pod_eviction_policy": "AlwaysAllow",
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        NetworkPolicy(
            HLS,
            metadata=metadata(HLS, namespace, LABELS),
            spec={
                "pod_selector": {"match_labels": LABELS},
                "policy_types": ["Ingress"],
                "ingress": [
                    {
                        "ports": [
                            {"port": port, "protocol": "TCP"}
                            for port in (NGINX_PORT, *([HTTPS_PORT] if settings.tls.secret_name else []))
                        ]
                    }
                ],
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _ports(http: Sequence[int], https: Sequence[int], live_names: Mapping[int, str]) -> list[ServicePortArgsDict]:
    names = service_port_names({**dict.fromkeys(http, "http"), **dict.fromkeys(https, "https")}, live_names)
    return [
        {"name": name, "port": port, "target_port": HTTPS_PORT if port in https else "http", "protocol": "TCP"}
        for port, name in names.items()
    ]
