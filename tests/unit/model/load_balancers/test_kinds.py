"""One interface, one module a kind: a new kind is one file and a line in `kinds.py`."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from bad_configs import NLB, SERVICE, SLB
from model.load_balancers.interface import IDENTITY
from model.load_balancers.kinds import KINDS, live_kind
from model.names import STACK_ANNOTATION

ROOT = Path(__file__).parents[4]
PRODUCT = ("model", "update", "cluster", "components", "rollout", "docgen")

ALLOWED = {
    "components/clb.py": {"clb"},  # the resources of a CLB
    "components/load_balancer.py": {"clb"},
    "model/config/stack.py": {"none"},  # the default
    "model/config/publish.py": {"none"},
    "model/load_balancers/kinds.py": {"none", "node_port", "clb", "nlb", "service"},
}


def test_nothing_but_the_table_of_kinds_knows_a_kind() -> None:
    found: dict[str, set[str]] = {}
    for folder in PRODUCT:
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            name = str(file.relative_to(ROOT))
            modules = set(re.findall(r"model\.load_balancers\.(none|node_port|clb|nlb|service|alibaba)\b", text))
            if name.startswith("model/load_balancers/"):
                modules -= {"alibaba"}
            if modules:
                found[name] = modules
            assert not re.search(r"load_balancer\.kind [=!]=|isinstance\([^)]*load_balancer", text), name
    assert not {name: more for name, modules in found.items() if (more := modules - ALLOWED.get(name, set()))}


def live(service_type: str, load_balancer_class: str | None = None, **annotations: str) -> dict[str, Any]:
    spec = {"type": service_type} | ({"loadBalancerClass": load_balancer_class} if load_balancer_class else {})
    return {"metadata": {"annotations": annotations}, "spec": spec}


OURS = {STACK_ANNOTATION: "organization/srs/dev"}
BACKEND = {"service.beta.kubernetes.io/backend-type": "ecs"}


@pytest.mark.parametrize(
    ("service", "kind"),
    [
        (live("ClusterIP"), "none"),
        (live("NodePort"), "nodePort"),
        (live("LoadBalancer"), "slb"),  # of a Service by hand, the controller of ACK makes a CLB
        (live("LoadBalancer", **OURS), "service"),
        (live("LoadBalancer", **OURS, **BACKEND), "slb"),
        (live("LoadBalancer", "alibabacloud.com/nlb"), "nlb"),
        (live("LoadBalancer", "alibabacloud.com/nlb", **OURS), "nlb"),
        (live("LoadBalancer", "service.k8s.aws/nlb"), "service"),
    ],
    ids=str,
)
def test_a_live_service_is_recognized(service: dict[str, Any], kind: str) -> None:
    assert live_kind(service).live_identity(service)["kind"] == kind


def test_the_recorded_identity_counts_more_than_what_is_read() -> None:
    recorded = live("LoadBalancer", **OURS, **BACKEND, **{IDENTITY: '{"kind": "slb", "backend": "eni"}'})
    assert live_kind(recorded).live_identity(recorded)["backend"] == "eni"


def test_each_kind_names_the_keys_that_are_safe_in_place() -> None:
    """A key of a new kind is unsafe until it is named, and a name that no key has is a mistake."""
    for kind in KINDS:
        assert kind.SAFE_IN_PLACE.keys() <= kind.model_fields.keys(), kind
    for config in (SLB, NLB, SERVICE):
        kind = next(kind for kind in KINDS if get_args(kind.model_fields["kind"].annotation) == (config["kind"],))
        identity = kind.model_validate(config, by_name=False, by_alias=True).identity
        assert not {"host", "protect", "service"} & identity.keys()
