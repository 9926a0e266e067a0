"""The Go tests of the stand-in for SRS, of the load client and of the RTMP that both speak."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from testbed.toolchain.install import ToolSettings

FOLDER = Path(__file__).parents[3] / "testbed/streaming"
FETCHED = ToolSettings.from_environment().cache / "go-toolchain/go/bin/go"
GO = shutil.which("go") or (str(FETCHED) if FETCHED.exists() else None)


@pytest.mark.skipif(GO is None, reason="Go is not installed")
@pytest.mark.timeout(300)
def test_go_tests_of_streaming() -> None:
    assert GO is not None
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run(
        [GO, "test", "./..."], cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok  \t") >= 4, done.stdout
