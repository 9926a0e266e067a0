"""The config reference and Pulumi.yaml say what the models say."""

from pathlib import Path

import yaml

from docgen.config_reference import config_reference
from model.config.stack import CONFIG_KEYS

ROOT = Path(__file__).parents[3]


def test_the_config_reference_is_up_to_date() -> None:
    assert (ROOT / "docs/config.md").read_text() == config_reference(), "run `make docs`"


def test_pulumi_yaml_declares_the_keys_of_the_models() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert {key: each["description"] for key, each in declared.items()} == {
        f"srs:{key}": description for key, description in CONFIG_KEYS.items()
    }
