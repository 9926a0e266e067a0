"""The schemas that the manifests of the committed stacks are checked against."""

from schemas import DEFINITIONS, NUMBER_OR_TEXT, schemas


def test_each_kind_has_a_file_and_no_other_fields() -> None:
    kinds = [
        {"group": "apps.k8s.io", "kind": "Scale", "version": "v1"},
        {"group": "", "kind": "Scale", "version": "v1"},
    ]
    scale = {"properties": {"size": {"type": "string"}}, "x-kubernetes-group-version-kind": kinds}
    files = schemas({"definitions": {"Scale": scale, NUMBER_OR_TEXT[1]: {"type": "string"}, "Labels": {}}})
    definitions = files.pop(DEFINITIONS)["definitions"]
    assert definitions["Scale"]["additionalProperties"] is False
    assert definitions[NUMBER_OR_TEXT[1]] == {"type": ["string", "number"]}
    assert definitions["Labels"] == {}
    reference = {"$ref": "definitions.json#/definitions/Scale"}
    assert files == {"scale-apps-v1.json": reference, "scale-v1.json": reference}
