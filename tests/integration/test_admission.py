"""Admission policies of the cluster, which change or deny what is declared: the plan says what will really happen."""

import re
from collections.abc import Generator
from contextlib import contextmanager

import yaml

from stack import DevStack, eventually, release

REGISTRY = "mirror.example.com/"

MUTATION = f"""
(object.spec.template.spec.containers[0].image.startsWith("{REGISTRY}") ? [] : [
  JSONPatch{{op: "replace", path: "/spec/template/spec/containers/0/image",
             value: "{REGISTRY}" + object.spec.template.spec.containers[0].image}}])
+ [JSONPatch{{op: "add", path: "/spec/template/metadata/labels/team", value: "video"}}]
"""
"""Images come from the registry of the cluster, and pods have a label: what policies of Kyverno do most."""

DENIAL = {
    "expression": "!object.spec.template.spec.containers.exists(item, item.image.endsWith(':v4.0.271'))",
    "message": "4.0.271 is not allowed here",
}


@contextmanager
def policy(stack: DevStack, kind: str, resources: list[str], **spec: object) -> Generator[None]:
    """An admission policy for a kind of objects in the stack's namespace, while the block runs."""
    version = "v1" if kind.startswith("Validating") else "v1beta1"
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": stack.namespace}}
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": resources}
    name = f"{stack.namespace}-{resources[0]}"
    head = {"apiVersion": f"admissionregistration.k8s.io/{version}", "metadata": {"name": name}}
    constraints = {"matchConstraints": {"namespaceSelector": namespace, "resourceRules": [rule]}}
    binding = {"policyName": name} | ({"validationActions": ["Deny"]} if version == "v1" else {})
    objects = [
        head | {"kind": kind, "spec": constraints | spec},
        head | {"kind": f"{kind}Binding", "spec": binding},
    ]
    file = stack.folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    stack.kubectl("apply", "-f", str(file))
    try:
        yield
    finally:
        stack.kubectl("delete", "-f", str(file))


@contextmanager
def mutation(stack: DevStack, resources: list[str], expression: str) -> Generator[None]:
    patch = {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}
    with policy(stack, "MutatingAdmissionPolicy", resources, reinvocationPolicy="Never", mutations=[patch]):
        yield


def is_in_force(stack: DevStack, kind: str, name: str) -> bool:
    """Whether the API server knows a policy that adds a label: it takes seconds."""
    patch = '{"metadata": {"annotations": {"any": "1"}}}'
    return "team: video" in stack.kubectl("patch", kind, name, "-p", patch, "--dry-run=server", "-o", "yaml")


def plan(stack: DevStack) -> str:
    """The plan that a preview prints."""
    result = stack.preview()
    assert result.ok, result.output
    text = re.search(r"    Update plan for namespace .*?\n\n", result.output, re.DOTALL)
    assert text, result.output
    return text[0]


def images(stack: DevStack, selector: str) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in stack.pods(selector)}


def test_what_the_cluster_changes_rolls_once_and_is_in_the_plan(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 50), r6=release("v4.0.6", 50))
    stack.must_update()
    with (
        mutation(stack, ["deployments", "statefulsets"], MUTATION),
        mutation(stack, ["services"], '[JSONPatch{op: "add", path: "/metadata/labels/team", value: "video"}]'),
    ):
        eventually(lambda: is_in_force(stack, "deployment", "srs-edge-r5-deploy"))
        eventually(lambda: is_in_force(stack, "service", "socs"))
        before, origins = stack.pod_names(), stack.pod_names("app=srs-origin")
        assert "Nothing changes for connections" in plan(stack), "nothing is written to any workload"

        stack.releases(r5=release("v4.0.5", 25), r6=release("v4.0.6", 75))
        text = plan(stack)
        image = f"image ossrs/srs:v4.0.5 -> {REGISTRY}ossrs/srs:v4.0.5 (by an admission policy of the cluster)"
        assert "edge release r5: rolling update, 2 -> 1 edge, 50 % -> 25 % of new viewers" in text
        assert image in text
        assert "Open connections stay open: 4 edges will drain" in text
        stack.must_update()
        assert not stack.pod_names() & before
        assert images(stack, "app=srs-edge") == {f"{REGISTRY}ossrs/srs:{tag}" for tag in ("v4.0.5", "v4.0.6")}
        assert stack.pod_names("app=srs-origin") == origins

        stack.config["origin"]["podAnnotations"] = {"example.com/owner": "video"}
        stack.must_update()
        (new,) = images(stack, "app=srs-origin")
        assert new.startswith(REGISTRY)
        origins = stack.pod_names("app=srs-origin")
        stack.kubectl("set", "env", "deployment/srs-edge-r6-deploy", "BY_HAND=1")
        assert "containers.srs.env: removed (set by kubectl-set)" in plan(stack)
        stack.must_update()
        edges = stack.pod_names()
        assert not any("env" in pod["spec"]["containers"][0] for pod in stack.pods("run=srs-edge-r6"))

        text = plan(stack)
        assert "Nothing changes for connections" in text
        assert "Service" not in text
        stack.must_update()
        assert stack.pod_names("app=srs-origin") == origins
        assert stack.pod_names() == edges


def test_a_shorter_grace_period_of_pods_is_warned_of(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 100))
    stack.must_update()
    shorter = 'JSONPatch{op: "replace", path: "/spec/terminationGracePeriodSeconds", value: 60}'
    with mutation(stack, ["pods"], f'request.operation == "CREATE" ? [{shorter}] : []'):

        def has_short_lived_pod() -> bool:
            stack.kubectl("delete", "pod", *list(stack.pod_names())[:1], "--grace-period=0", "--force")
            return any(pod["spec"]["terminationGracePeriodSeconds"] == 60 for pod in stack.pods())

        eventually(has_short_lived_pod)
    assert "(terminationGracePeriodSeconds: 43235 -> 60): they may end before their last connection" in plan(stack)


def test_what_the_cluster_denies_is_rejected_before_anything_changes(stack: DevStack) -> None:
    stack.releases(r5=release("v4.0.5", 50), r6=release("v4.0.6", 50))
    stack.must_update()
    with policy(stack, "ValidatingAdmissionPolicy", ["deployments"], validations=[DENIAL]):
        change = ("set", "image", "deployment/srs-edge-r6-deploy", "srs=x:v4.0.271", "--dry-run=server")
        eventually(lambda: "not allowed here" in stack.kubectl(*change, check=False))
        before = stack.snapshot()
        stack.releases(r5=release("v4.0.5", 25), r6=release("v4.0.6", 25), r7=release("v4.0.271", 50))
        for result in (stack.preview(), stack.update()):
            assert not result.ok
            assert (
                f"srs:kubernetes.namespace: '{stack.namespace}' rejects Deployment srs-edge-r7-deploy: "
                in result.output
            )
            assert "4.0.271 is not allowed here" in result.output
        assert stack.snapshot() == before
