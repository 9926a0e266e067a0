"""The committed stack files: people run them, so they are accepted and safe by default."""

import json
import re

import pytest
import yaml

from model.config.read import read_settings
from model.config.stack import StackSettings
from model.config.stack_warnings import config_warnings
from stack import ROOT

SAMPLES = ("Pulumi.dev.yaml", "Pulumi.staging.yaml", "Pulumi.prod.yaml")
CLOUD = SAMPLES[1:]


def sample(name: str) -> StackSettings:
    """The settings of a stack file, each value as the engine passes it to the program."""
    config = yaml.safe_load((ROOT / name).read_text())["config"]
    return read_settings({key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()})


@pytest.mark.parametrize("name", SAMPLES)
def test_it_is_accepted(name: str) -> None:
    assert sample(name).edge.replicas


@pytest.mark.parametrize("name", CLOUD)
def test_nobody_on_the_internet_can_publish(name: str) -> None:
    assert not [warning for warning in config_warnings(sample(name)) if "can publish" in str(warning)]


@pytest.mark.parametrize("name", CLOUD)
def test_all_images_have_a_registry_and_none_is_a_mirror_of_others(name: str) -> None:
    text = (ROOT / name).read_text()
    images = re.findall(r"image: \"?([\w.-]+)/", text)
    assert images
    assert all(registry.endswith(".aliyuncs.com") for registry in images)
    assert "mirror:" not in text


def test_in_production_nothing_preempts_pods_that_serve_streams() -> None:
    settings = sample("Pulumi.prod.yaml")
    assert settings.edge.priority_class == settings.origin.priority_class == "srs-live"
