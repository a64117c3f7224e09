"""The entry point: a command's status and all of its output arrive, though the process ends at once."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--version"], 0), (["--help"], 0), (["nonesuch"], 2), (["apps", "list", "--vault", "nowhere"], 1)],
    ids=["version", "help", "usage", "failure"],
)
def test_status_and_output_arrive(arguments, status, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "vault", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert (done.stdout if status == 0 else done.stderr).endswith("\n")


def test_reader_that_leaves_early_causes_no_traceback(tmp_path):
    command = f"{sys.executable} -m vault --help | head -c 1"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
