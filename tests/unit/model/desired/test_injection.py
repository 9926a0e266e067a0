"""Texts of the stack config are rejected with path and reason, or end up as data: they never become a command of a
shell, a directive of srs.conf, or a part of a PromQL expression. `make test-input` tries more of them.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.state import LiveState
from model.config.read import ConfigError, read_settings
from model.desired.render import Desired, render
from model.srs.conf_file import resolve
from model.srs.grammar import parse
from model.srs.grammar import render as render_conf
from mutations import FULL, INPUTS, NASTY
from unit.model.srs.conf_tree import tree
from update.kept import read_kept


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all texts; one that ends with None is of the key itself."""
    if isinstance(value, str):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from texts(inner, (*path, key))
        if isinstance(key, str) and path:
            yield (*path, key, None)


def changed(path: tuple[Any, ...], form: str, text: str) -> dict[str, Any]:
    """FULL with a text in one place. form: `{old}` and `{new}` in their order."""
    config = copy.deepcopy(FULL)
    *parents, last = path[:-1] if path[-1] is None else path
    where = config
    for part in parents:
        where = where[part]
    value = where.pop(last) if path[-1] is None else where[last]
    old = last if path[-1] is None else value
    new = form.replace("{old}", old).replace("{new}", text)
    where[new if path[-1] is None else last] = value if path[-1] is None else new
    return config


def rendered(config: dict[str, Any]) -> Desired:
    values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    settings = read_settings(values, ["srs:secrets", "srs:images"])
    return render(settings, read_kept(settings, LiveState(), "key"), "organization/srs/test")


BASE = rendered(FULL)


def scripts(desired: Desired) -> Iterator[str]:
    """All that a shell runs, with N for numbers."""

    def visit(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            command = [*value.get("command", ()), *value.get("args", ())]
            if command and command[0].rpartition("/")[2] in ("sh", "bash"):
                yield re.sub(r"\d+", "N", command[-1])
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from visit(inner)

    for item in desired.objects.values():
        yield from visit(item.manifest)


def specs(desired: Desired) -> list[dict[str, Any]]:
    return [item.manifest.get("spec", {}) for item in desired.objects.values()]


def rules(desired: Desired) -> list[str]:
    """The expressions of the alert rules, with N for numbers and "" for quoted texts."""
    found = [rule["expr"] for spec in specs(desired) for group in spec.get("groups", ()) for rule in group["rules"]]
    return sorted(re.sub(r"\d+", "N", re.sub(r'"(\\.|[^"\\])*"', '""', expression)) for expression in found)


def queries(desired: Desired) -> list[str]:
    """The queries of the autoscalers."""
    return [trigger["metadata"]["query"] for spec in specs(desired) for trigger in spec.get("triggers", ())]


def query_of(desired: Desired) -> str:
    scaling = desired.settings.edge.autoscaling
    assert scaling is not None
    assert scaling.query is not None
    return scaling.query


def check(desired: Desired) -> None:
    """Whether everything but data is as without the text."""
    kinds = [sorted(item.kind for item in state.objects.values()) for state in (desired, BASE)]
    assert kinds[0] == kinds[1]

    for command in set(scripts(desired)) - set(scripts(BASE)):  # of the demo, the only one with a text of the config
        assert re.fullmatch(
            r"while true; do ffmpeg -re -i '[^']+' -c copy -f flv rtmp://[a-zN.-]+:N/[\w/-]+; sleep N; done", command
        )

    assert rules(desired) == rules(BASE)
    assert queries(desired) == [query.replace(query_of(BASE), query_of(desired)) for query in queries(BASE)]

    settings = desired.settings
    confs = [settings.srs_confs.origin, *settings.srs_confs.edges.values()]
    for conf, file in zip(confs, (desired.confs.origin, *desired.confs.edges.values()), strict=True):
        directives, findings = parse(file.text)
        assert not findings
        checked = resolve(render_conf(conf.directives), settings.secret_values())
        assert tree(directives) == tree(parse(checked)[0]), "SRS reads something else than what was checked"

    nginx = {item.manifest["data"]["nginx.conf"] for item in (*desired.hls, *BASE.hls) if item.kind == "ConfigMap"}
    assert len({re.sub(r"\d+", "N", text) for text in nginx}) == 1
    json.dumps([item.manifest for item in desired.objects.values()], ensure_ascii=False, allow_nan=False).encode()


FORMS = ["{new}", "{old}{new}", "{new}{old}", "{old} {new}"]


@example(("origin", "podAnnotations", "example.com/a"), "{new}", "\ud800")
@example(("origin", "srs", "directives"), "{old}{new}", "\u2028daemon on;")
@example(("edge", "autoscaling", "query"), "{old} {new}", "# x")
@given(st.sampled_from([*texts(FULL)]), st.sampled_from(FORMS), st.sampled_from(NASTY) | st.text(max_size=10))
@hypothesis.settings(max_examples=INPUTS)
def test_a_text_is_rejected_or_data(path: tuple[Any, ...], form: str, text: str) -> None:
    try:
        desired = rendered(changed(path, form, text))
    except ConfigError as error:
        problems = error.problems
    else:
        problems = []
        check(desired)
    assert all(problem.path and problem.allowed and problem.reason for problem in problems)
