"""docs/Dockerfile, as far as it can be checked without Docker: its files, options, health check and user."""

import fnmatch
import functools
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from segnet.cli.serve import build_parser

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "Dockerfile").read_text(encoding="utf-8")
LINES = [line.split(maxsplit=1) for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def arguments(word):
    return [rest for name, rest in LINES if name == word]


def test_the_copied_files_exist_and_are_not_ignored():
    rules = (ROOT / "docs" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    copied = [name for rest in arguments("COPY") if not rest.startswith("--from") for name in rest.split()[:-1]]
    assert "segnet" in copied
    assert "constraints.txt" in copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in rules
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied)
    assert not any(fnmatch.fnmatch("segnet/cli/serve.py", rule) for rule in rules[2:] if not rule.startswith("!"))


def test_the_package_can_be_built_from_the_copied_files():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    copied = " ".join(arguments("COPY"))
    needed = [project["project"]["readme"], *project["project"]["license-files"]]
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed += [*wheel["packages"], *wheel["force-include"]]
    assert all(re.search(rf"(^|\s){re.escape(name)}\s", copied) for name in needed)
    extras = re.search(r"ARG EXTRAS=(\S+)", TEXT)[1].split(",")
    assert set(extras) <= set(project["project"]["optional-dependencies"])
    named = re.search(r"EXTRAS=(serve,\w+)", TEXT)[1].split(",")
    assert set(named) <= set(project["project"]["optional-dependencies"])


def test_the_command_has_valid_options_and_the_exposed_port():
    (entry,), (command,), (port,) = map(arguments, ("ENTRYPOINT", "CMD", "EXPOSE"))
    program, verb, *options = [*json.loads(entry), *json.loads(command)]
    assert (program, verb) == ("segnet", "serve")
    parsed = build_parser().parse_args(options)
    assert (parsed.host, parsed.port, parsed.device) == ("0.0.0.0", int(port), "cpu")
    assert parsed.models == ["/models/best.ckpt"]
    assert f"best.ckpt:{parsed.models[0]}:ro" in TEXT
    assert parsed.timeout < int(re.search(r"docker stop --time (\d+)", TEXT)[1])


def test_the_server_is_not_root_and_gets_its_signal():
    names = [name for name, _ in LINES]
    assert names.index("USER") > max(index for index, name in enumerate(names) if name == "RUN")
    assert re.search(rf"useradd .*--create-home {arguments('USER')[0]}$", TEXT, re.MULTILINE)
    assert arguments("STOPSIGNAL") == ["SIGTERM"]  # what segnet.system.signals ends gracefully on
    assert arguments("ENTRYPOINT")[0].startswith("[")  # a shell in between would not pass it on


class _Health(BaseHTTPRequestHandler):
    def __init__(self, status, *rest):
        self.status = status
        super().__init__(*rest)

    def do_GET(self):
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_health_check_tells_a_server_that_answers(status, healthy):
    check = json.loads(arguments("HEALTHCHECK")[0].partition("CMD ")[2])
    port = arguments("EXPOSE")[0]
    assert f":{port}/health" in check[2]
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Health, status))
    threading.Thread(target=server.serve_forever).start()
    command = [sys.executable, "-I", *check[1:]]
    command[-1] = command[-1].replace(f":{port}/", f":{server.server_port}/")
    try:
        if status is None:
            server.shutdown()
            server.server_close()
        assert (subprocess.run(command, capture_output=True).returncode == 0) == healthy
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker")
def test_docker_accepts_the_file():
    command = ["docker", "build", "--check", "-f", "docs/Dockerfile", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if "Cannot connect to the Docker daemon" in done.stderr or "unknown flag" in done.stderr:
        pytest.skip("needs a running Docker")
    assert done.returncode == 0, done.stderr
