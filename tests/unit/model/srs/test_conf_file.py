"""What is secret in an srs.conf is in its Secret, and nowhere else."""

import copy
import json
from typing import Any

import pytest

from bad_configs import ALICLOUD, GOOD, SLB
from model.config.read import ConfigError, read_settings
from model.config.stack import StackSettings
from model.config.stack_warnings import config_warnings
from model.desired.confs import Confs, mounted_confs
from model.desired.context import Kept
from model.desired.render import render

KEY = "hunter2-hunter2"
SECRETS = {"hookKey": KEY, "pin": "12"}
HOOK = "http_hooks { enabled on; on_play http://auth/play?key=$(hookKey); }"
PLAIN = f"http_hooks {{ enabled on; on_play http://auth/play?key={KEY}; }}"


def read(vhost_directives: str = "", secret_keys: tuple[str, ...] = ("secrets",), **change: Any) -> StackSettings:
    config = copy.deepcopy(GOOD) | change
    config["edge"]["releases"]["r6"]["srs"] = {"vhostDirectives": vhost_directives}
    values = ALICLOUD | {f"srs:{key}": json.dumps(value) for key, value in config.items()}
    return read_settings(values, [f"srs:{key}" for key in secret_keys])


def confs(settings: StackSettings, key: str = "key") -> Confs:
    return mounted_confs(settings, key)


def test_a_reference_stands_for_a_secret() -> None:
    conf = confs(read(HOOK, secrets=SECRETS)).edges["r6"]
    assert f"on_play http://auth/play?key={KEY};" in conf.text
    assert "on_play http://auth/play?key=$(hookKey);" in conf.shown
    assert conf.is_secret
    assert not confs(read(HOOK, secrets=SECRETS)).edges["r5"].is_secret


def test_the_hook_is_secret_and_may_have_secrets() -> None:
    settings = read(secrets=SECRETS, publish={"hook": "http://auth/publish?key=$(hookKey)"})
    for release in ("r5", "r6"):
        conf = confs(settings).edges[release]
        assert f"on_publish http://auth/publish?key={KEY};" in conf.text
        assert "on_publish $(publish.hook);" in conf.shown
    assert not confs(settings).origin.is_secret
    assert KEY not in repr(settings) + settings.model_dump_json() + json.dumps(
        render(settings, Kept(conf_key="key"), "a/b/c").release_outputs()
    )


def test_all_that_is_added_is_secret_where_the_key_is() -> None:
    """Pulumi does not report which value of a map is secret."""
    conf = confs(read(PLAIN, secret_keys=("edge",))).edges["r6"]
    assert PLAIN.split()[-2] in conf.text
    assert KEY not in conf.shown
    assert "on_play [secret];" in conf.shown
    assert "origin srs-origin-service" in conf.shown
    assert not confs(read(secret_keys=("edge",))).edges["r6"].is_secret


def test_a_hash_is_no_oracle() -> None:
    settings = read(HOOK, secrets=SECRETS)
    assert confs(settings).edges["r6"].hash != confs(settings, "other").edges["r6"].hash
    assert confs(settings).edges["r5"].hash == confs(settings, "other").edges["r5"].hash
    assert (
        confs(settings).edges["r6"].hash != confs(read(HOOK, secrets=SECRETS | {"hookKey": "other"})).edges["r6"].hash
    )
    assert (
        confs(settings).edges["r6"].hash
        in render(settings, Kept(conf_key="key"), "a/b/c").release_outputs()["r6"]["configHash"]
    )


def test_earlier_texts_and_logs_are_shown_without_secrets() -> None:
    settings = read(HOOK, secrets=SECRETS)
    assert confs(settings).redact(f"12: http://auth?key={KEY} failed") == "12: http://auth?key=$(hookKey) failed"
    settings = read(PLAIN, secret_keys=("edge",))
    assert KEY not in confs(settings).redact(f"callback http://auth/play?key={KEY} failed")
    conf = confs(settings).edges["r6"]
    earlier = conf.without_secrets(f"listen 1935;\n    on_play http://auth?key={KEY};")
    assert earlier == "listen 1935;\n    on_play [secret]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"htp_hooks {{ on_play http://auth?key={KEY}; }}",
            "[secret] has [secret], which SRS does not know in 'vhost'",
        ),
        ("tcp_nodelay on\nplay { }", "[secret] must end 'tcp_nodelay' with"),
        (f"http_hooks {{ on_play http://auth?key={KEY} }}", "has no ';' at the end of 'on_play'"),
        (f"{KEY} a;", "has a directive, which SRS does not know"),
        ("hunter2 a;", "[secret] has [secret], which SRS does not know in 'vhost'"),
    ],
)
def test_no_message_contains_a_secret(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text, secret_keys=("edge",))
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)


def test_who_may_publish() -> None:
    eni = SLB | {"backend": "eni", "addressType": "internet", "vswitchId": None}
    edge = copy.deepcopy(GOOD["edge"]) | {"drain": {"timeout": "10m"}}
    for release in edge["releases"].values():
        release["image"] = "ossrs/srs:v6.0.157"
    settings = read(edge=edge, loadBalancer=eni, publish={"from": ["10.0.0.0/8", "203.0.113.7/32"]}, demo={})
    assert "allow publish 10.0.0.0/8;\n        allow publish 203.0.113.7;" in confs(settings).edges["r5"].text
    assert "security" not in confs(settings).origin.text
    assert not [line for line in config_warnings(settings) if "everyone" in line]

    publish = {
        "to": "origins",
        "exclusive": True,
        "hook": "http://auth/",
        "loadBalancer": SLB | {"eip": {"bandwidth": 5}},
    }
    settings = read(edge=edge, loadBalancer=eni, publish=publish)
    assert "deny publish all;" in confs(settings).edges["r5"].text
    assert "on_publish" not in confs(settings).edges["r5"].text
    assert "on_publish http://auth/;" in confs(settings).origin.text
    assert not [line for line in config_warnings(settings) if "everyone" in line]
    settings = read(edge=edge, loadBalancer=eni, publish=publish | {"hook": None})
    (warning,) = [line for line in config_warnings(settings) if "everyone" in line]
    assert warning.startswith("origins: everyone on the internet can publish, through srs:publish.loadBalancer")
