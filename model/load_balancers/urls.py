"""Stream URLs of a stack."""

from collections.abc import Mapping

from model.config.stack import StackSettings
from model.load_balancers.exposed_service import ExposedService
from model.names import HLS


def urls(settings: StackSettings, addresses: Mapping[str, str]) -> dict[str, str]:
    """Where the stream `live/livestream` is published to (`publish`) and played from (`rtmp`, `flv`; `hls` if it is
    enabled; `httpsFlv` and `httpsHls` with TLS).

    addresses: of the load balancers, by Service name.
    """
    play = settings.edge_service
    publish = settings.publish_service or play
    encoder, viewer = _host(publish, addresses), _host(play, addresses)
    ports = {**play.service_ports, **play.node_ports}
    publish_port = {**publish.service_ports, **publish.node_ports}["rtmp"]
    found = {
        "publish": f"rtmp://{encoder}:{publish_port}/live/livestream",
        "rtmp": f"rtmp://{viewer}:{ports['rtmp']}/live/livestream",
        "flv": f"http://{viewer}:{ports['http']}/live/livestream.flv",
    }
    if "https" in ports:
        found["httpsFlv"] = f"https://{_authority(viewer, ports['https'], 443)}/live/livestream.flv"
    on_clb = next(iter(settings.hls_services.values()), None)
    host = _host(on_clb, addresses) if on_clb else f"{HLS}-service"  # without a port, only inside the cluster
    for name, port in settings.hls_ports.items():
        key = "hls" if name == "http" else "httpsHls"
        found[key] = f"{name}://{_authority(host, port, {'http': 80, 'https': 443}[name])}/live/livestream.m3u8"
    return found


def _authority(host: str, port: int, default: int) -> str:
    """Host and port of a URL, without the default port of its scheme."""
    return host if port == default else f"{host}:{port}"


def _host(exposed: ExposedService, addresses: Mapping[str, str]) -> str:
    return exposed.load_balancer.url_host(exposed.name, addresses)
