"""The ready files of docs/security.md, as far as they can be checked here."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from acme_impala.experiments import private_network

TEXT = pathlib.Path(__file__).parents[1].joinpath("docs/security.md").read_text()


def block(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return found


def test_the_network_policy_lets_in_the_clusters_own_pods_and_its_operator():
    policy = yaml.safe_load(block("yaml"))
    assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    own, operator = spec["ingress"]
    assert own == {"from": [{"podSelector": spec["podSelector"]}]}
    assert [port["port"] for port in operator["ports"]] == [8265]


def test_the_firewall_is_understood_by_nft(tmp_path):
    path = tmp_path / "cluster.nft"
    path.write_text(block("nft"))
    nft = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not nft:
        pytest.skip("There is no nft here.")
    # Even to check a file it looks at the kernel's tables, which an ordinary user may do inside.
    enter = [sys.executable, "-I", private_network.__file__]
    done = subprocess.run(
        [*enter, nft, "--check", "--file", path], capture_output=True, text=True, timeout=60
    )
    if done.stderr.startswith("--private") or "Operation not permitted" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr


def test_every_setting_that_forbids_a_private_network_is_explained():
    for name in private_network._FORBIDDING:
        assert f"`{name.replace('/', '.')}`" in TEXT
