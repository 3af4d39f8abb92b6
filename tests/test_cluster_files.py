"""The files for clusters are what their tools can read, and fit launch/train.py."""

import re
import subprocess
import sys

import pytest
import yaml

from .experiments.runs import ROOT

SLURM = ROOT / "clusters" / "slurm.sbatch"
KUBERAY = ROOT / "clusters" / "kuberay.yaml"


@pytest.fixture(scope="module")
def documents():
    """Those of the KubeRay file, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(KUBERAY.read_text())}


def test_bash_can_read_the_batch_script():
    subprocess.run(["bash", "-n", SLURM], check=True)
    lines = SLURM.read_text().splitlines()
    commands = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert len(options) >= 5
    assert max(options) < min(commands)  # Slurm reads none after the first command.


def test_flags_in_the_files_are_the_commands():
    text = SLURM.read_text() + KUBERAY.read_text() + (ROOT / "docs" / "clusters.md").read_text()
    commands = [line for line in text.replace("\\\n", " ").splitlines() if "train.py" in line]
    named = set(re.findall(r"--(\w+)=", " ".join(commands)))
    assert {"launcher", "ray_address", "workdir", "resources"} <= named
    help_text = subprocess.run(
        [sys.executable, "launch/train.py", "--helpfull"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert [name for name in named if not re.search(rf"--(\[no\])?{name}\b", help_text)] == []


def test_only_the_clusters_own_pods_reach_its_pods(documents):
    policy, cluster = documents["NetworkPolicy"]["spec"], documents["RayCluster"]
    # The label that the operator gives all pods of a cluster.
    own = {"ray.io/cluster": cluster["metadata"]["name"]}
    assert policy["podSelector"]["matchLabels"] == own
    assert policy["policyTypes"] == ["Ingress"]
    (rule,) = policy["ingress"]
    assert rule == {"from": [{"podSelector": {"matchLabels": own}}]}


def test_all_pods_see_the_run_directories(documents):
    claim, cluster = documents["PersistentVolumeClaim"], documents["RayCluster"]["spec"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        for container in pod["containers"]:
            (mount,) = container["volumeMounts"]
            assert mount == {"name": volume["name"], "mountPath": "/runs"}


def test_the_clusters_ray_is_the_one_that_is_installed(documents):
    locked = (ROOT / "requirements.lock").read_text()
    assert f"\nray=={documents['RayCluster']['spec']['rayVersion']}\n" in locked
