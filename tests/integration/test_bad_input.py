"""What the program accepts of mutated stack configs, the API server accepts; and the engine shows no traceback.

`make test-input` runs many more of them (INPUTS).
"""

import copy
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, example, given
from kubernetes import config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError

import keda
from bad_configs import GOOD
from integration.test_declared_objects import install_prometheus_kinds
from mutations import INPUTS, rendered, stack_configs
from stack import DevStack
from testbed.cluster import EmbeddedCluster

NAMESPACE = "bad-input"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

ODD = (
    "".join(map(chr, range(32))).translate({10: "", 13: ""})
    + "\x85\xa0\xad\u2028\u202e\ue000\ufdd0\ufeff\ufffd\U0010ffff"
)
"""Characters that JSON or YAML can have only escaped, or that some programs do not print."""

generated = hypothesis.settings(
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
)


@pytest.fixture(scope="module")
def api(cluster: EmbeddedCluster) -> Iterator[DynamicClient]:
    """A client of the cluster, which has all kinds of objects, and a namespace for pods that are restricted."""
    install_prometheus_kinds(cluster)
    keda.install(cluster.kubeconfig)
    created = DynamicClient(config.new_client_from_config(str(cluster.kubeconfig)))
    namespaces = created.resources.get(api_version="v1", kind="Namespace")
    namespaces.create({"metadata": {"name": NAMESPACE, "labels": RESTRICTED}})
    yield created
    namespaces.delete(NAMESPACE)


def pod_of(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """A pod of a workload, without what must exist before it."""
    template = manifest.get("spec", {}).get("template")
    if not template:
        return None
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
    pod["metadata"]["name"] = "pod"
    for key in ("serviceAccountName", "priorityClassName"):
        pod["spec"].pop(key, None)
    return pod


def rejection(api: DynamicClient, manifest: dict[str, Any]) -> str:
    """Why the API server would reject an object; "" if it would not."""
    body = copy.deepcopy(manifest)
    if body["kind"] != "Namespace":
        body["metadata"]["namespace"] = NAMESPACE
    resource = api.resources.get(api_version=body["apiVersion"], kind=body["kind"])
    text = json.dumps(body, ensure_ascii=False).encode()  # as Go writes it: not ASCII
    name = body["metadata"]["name"]
    try:
        api.server_side_apply(resource, text, name, NAMESPACE, field_manager="bad-input", dry_run="All")
    except DynamicApiError as error:
        message = json.loads(error.body)["message"]
        if "field not declared in schema" in message:  # newer than the cluster, which drops it; the preview shows that
            return ""
        return f"{body['kind']} {name}: {message}"
    return ""


def test_the_api_server_accepts_what_is_accepted(api: DynamicClient) -> None:
    """Each manifest of each accepted config, and a pod of each workload, by a server-side dry run."""
    manifests: dict[str, dict[str, Any]] = {}
    configs: dict[str, dict[str, Any]] = {}

    @given(stack_configs())
    @example(GOOD | {"origin": GOOD["origin"] | {"podAnnotations": {"a": ODD}, "srs": {"directives": f"# {ODD}"}}})
    @hypothesis.settings(generated, max_examples=INPUTS)
    def collect(mutated: dict[str, Any]) -> None:
        desired = rendered(mutated)
        if isinstance(desired, list):
            return
        namespace = [desired.namespace] if desired.namespace else []
        for item in (*namespace, *desired.objects.values()):
            for manifest in filter(None, (item.manifest, pod_of(item.manifest))):
                text = json.dumps(manifest, sort_keys=True)
                manifests[text] = manifest
                configs.setdefault(text, mutated)

    collect()
    with ThreadPoolExecutor(8) as pool:
        reasons = pool.map(lambda manifest: rejection(api, manifest), manifests.values())
    rejected = [(reason, configs[text]) for text, reason in zip(manifests, reasons, strict=True) if reason]
    print(f"{len(manifests)} different manifests, of which the API server rejects {len(rejected)}")
    for reason, mutated in rejected:
        print(reason, json.dumps(mutated)[:3000])
    assert not [reason for reason, _ in rejected]


def test_a_rejected_config_ends_the_update_before_it_changes_anything(stack: DevStack) -> None:
    """With the real engine; a small part of the inputs, because each update takes seconds."""
    kubernetes = stack.config["kubernetes"]
    stack.write()

    @given(stack_configs())
    @hypothesis.settings(generated, max_examples=max(1, INPUTS // 250))
    def check(mutated: dict[str, Any]) -> None:
        own = mutated.get("kubernetes")
        stack.config = mutated | ({"kubernetes": own | kubernetes} if isinstance(own, dict) else {})
        done = stack.update() if isinstance(rendered(stack.config), list) else stack.preview()
        assert "Traceback" not in done.output, done.output
        assert not stack.get("deployments,statefulsets,services,configmaps,secrets")["items"]

    check()
