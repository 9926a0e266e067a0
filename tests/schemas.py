"""python tests/schemas.py FOLDER MODULE: the schemas of Kubernetes for kubeconform, from its OpenAPI 2.0 document.

MODULE is the folder of the Go module k8s.io/kubernetes in the pinned version. Each kind has a file, with the name that
kubeconform looks for (pkg/registry/registry.go, `schemaPath`), and all of them refer to one with the definitions. A
field that Kubernetes does not have is rejected.
"""

import json
import sys
from pathlib import Path
from typing import Any

DEFINITIONS = "definitions.json"
NUMBER_OR_TEXT = ("io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString")
"""What OpenAPI 2.0 can only call a string."""


def schemas(swagger: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The content of each file, by its name."""
    definitions = swagger["definitions"]
    files: dict[str, dict[str, Any]] = {DEFINITIONS: {"definitions": definitions}}
    for name, definition in definitions.items():
        if "properties" in definition:
            definition["additionalProperties"] = False
        if name in NUMBER_OR_TEXT:
            definition["type"] = ["string", "number"]
        for identity in definition.get("x-kubernetes-group-version-kind", []):
            group = identity["group"].split(".")[0]
            parts = [identity["kind"], *([group] if group else []), identity["version"]]
            files["-".join(parts).lower() + ".json"] = {"$ref": f"{DEFINITIONS}#/definitions/{name}"}
    return files


def main() -> None:
    """Write the files."""
    folder, module = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    swagger = json.loads((module / "api/openapi-spec/swagger.json").read_text())
    for name, content in schemas(swagger).items():
        (folder / name).write_text(json.dumps(content))


if __name__ == "__main__":
    main()
