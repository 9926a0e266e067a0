"""`gracefulShutdown`: backend eni without its ceiling, if the controller knows it and the edges keep serving."""

import copy
import json
from typing import Any

import pytest

from bad_configs import GOOD, NLB, SLB
from model.config.problems import Problem
from model.config.read import ConfigError, read_settings
from model.config.stack import StackSettings
from model.load_balancers.alibaba import PREFIX
from model.load_balancers.exposed_service import service_annotations

ENI: dict[str, Any] = {"backend": "eni", "gracefulShutdown": True, "controllerVersion": "2.15"}
SERVING: dict[str, Any] = {"timeout": "12h", "keepServing": True}
both_kinds = pytest.mark.parametrize("kind", [SLB, NLB], ids=lambda kind: kind["kind"])


def read(load_balancer: dict[str, Any], drain: dict[str, Any]) -> StackSettings:
    config = copy.deepcopy(GOOD) | {"loadBalancer": load_balancer}
    config["edge"]["drain"] = drain
    values = {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    return read_settings(values | {"alicloud:region": "cn-beijing"})


def problems(load_balancer: dict[str, Any], drain: dict[str, Any]) -> list[Problem]:
    with pytest.raises(ConfigError) as error:
        read(load_balancer, drain)
    return error.value.problems


@both_kinds
@pytest.mark.parametrize("version", ["2.15", "2.15.0", "v2.15.1", "2.16", "3.0"])
def test_a_drain_of_hours_is_accepted_from_the_version_on_that_keeps_it(kind: dict[str, Any], version: str) -> None:
    settings = read(kind | ENI | {"controllerVersion": version}, SERVING)
    assert settings.load_balancer.max_connection_time is None
    annotations = service_annotations(settings.load_balancer, {})
    assert annotations[f"{PREFIX}graceful-shutdown"] == "true"


@both_kinds
@pytest.mark.parametrize("version", ["2.14", "v2.14.9", "1.9.3", None])
def test_an_older_or_unknown_controller_would_ignore_it(kind: dict[str, Any], version: str | None) -> None:
    load_balancer = kind | ENI | {"controllerVersion": version}
    if version is None:
        del load_balancer["controllerVersion"]
    (problem,) = problems(load_balancer, SERVING)
    assert problem.reason == "ControllerTooOld"
    assert "must be 2.15 or later" in str(problem)


@both_kinds
def test_edges_that_do_not_keep_serving_would_lose_their_connections(kind: dict[str, Any]) -> None:
    (problem,) = problems(kind | ENI, {"timeout": "12h"})
    assert (problem.path, problem.reason) == (("edge", "drain", "keepServing"), "DrainWithoutServing")


@both_kinds
@pytest.mark.parametrize("scheduler", ["sch", "tch"])
def test_a_scheduler_without_weights_would_select_draining_pods(kind: dict[str, Any], scheduler: str) -> None:
    found = problems(kind | ENI | {"scheduler": scheduler}, SERVING)
    assert [problem.reason for problem in found] == ["SchedulerIgnoresWeights"]


@both_kinds
def test_it_has_no_effect_on_nodes(kind: dict[str, Any]) -> None:
    found = problems(kind | ENI | {"backend": "ecs"}, SERVING)
    assert [problem.path[-1] for problem in found] == ["gracefulShutdown"]


@both_kinds
def test_without_it_the_service_has_no_such_annotation(kind: dict[str, Any]) -> None:
    settings = read(kind | {"backend": "eni"}, {"timeout": "10m"})
    assert f"{PREFIX}graceful-shutdown" not in service_annotations(settings.load_balancer, {})


@both_kinds
def test_it_can_be_switched_on_in_use_but_not_off(kind: dict[str, Any]) -> None:
    load_balancer = read(kind | ENI, SERVING).load_balancer
    assert load_balancer.is_safe_change("gracefulShutdown", False, True)
    assert not load_balancer.is_safe_change("gracefulShutdown", True, False)
    assert "controllerVersion" not in load_balancer.identity


def test_the_annotation_that_disables_it_is_rejected() -> None:
    more = {"annotations": {f"{PREFIX}ignore-weight-update": "on"}}
    (problem,) = problems(SLB | ENI | more, SERVING)
    assert "gracefulShutdown would have no effect" in str(problem)
