"""Which ports a program opens, and that with --private nothing connects to them from outside."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from acme_impala.experiments import open_ports, private_network
from acme_impala.experiments.run_directory import RunDirectory

from .runs import ENDED_EARLY, FOR_EVER, Command, column, train

LISTENING = "0A"  # In /proc/net/tcp.
NODES = {"learner/0", "actor/0"}
WITHOUT_PRIVILEGE = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
ENTER = [sys.executable, "-I", private_network.__file__]


def enter(*command, before=()):
    """Runs a command by way of the script that enters a private network."""
    return subprocess.run(
        [*before, *ENTER, *map(str, command)], capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module", autouse=True)
def _is_allowed():
    done = enter("/bin/true")
    if done.returncode:
        pytest.skip(done.stderr)


def ports_of(process):
    """The TCP ports that a process listens on, in whatever network it is."""
    inodes = set()
    for number in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # Closed meanwhile.
            inodes.add(os.readlink(number))
    ports = set()
    for kind in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/{process.pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def connects(port):
    """Whether a stranger on this machine can connect to a port, by any address of the machine."""
    addresses = [
        address.address
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family in (socket.AF_INET, socket.AF_INET6)
    ]
    for address in addresses:
        try:
            socket.create_connection((address, port), timeout=1.0).close()
        except OSError:
            continue
        return True
    return False


def run(path, *flags):
    """A program of processes until its end, and a stranger who tries its ports meanwhile."""
    command = train(path, FOR_EVER, "--num_actors=1", *flags)
    directory = RunDirectory(str(path / "run"))
    try:
        command.wait_until(lambda: set(command.nodes()) == NODES)
        command.wait_until(lambda: len(ports_of(command.nodes()["learner/0"])) == 3)
        ports = set().union(*(ports_of(process) for process in command.processes()))
        network = os.readlink(f"/proc/{command.nodes()['learner/0'].pid}/ns/net")
        reached = {port for port in ports if connects(port)}
        command.wait_until(lambda: column(directory, "learner", "frames"))  # It learns.
        status, _ = command.stop(signal.SIGINT)
        left = command.processes()
    finally:
        command.kill()
    return SimpleNamespace(
        ports=ports,
        reached=reached,
        network=network,
        said=[
            int(port) for port in re.findall(r"(?:replay|counter|learner) (\d+)", command.output)
        ],
        status=status,
        output=command.output,
        left=left,
    )


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    return run(tmp_path_factory.mktemp("private"), "--private")


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    return run(tmp_path_factory.mktemp("public"))


def test_without_private_a_stranger_connects(public):
    """Or else the test below could not fail."""
    assert public.reached == public.ports
    assert public.network == os.readlink("/proc/self/ns/net")


def test_with_private_nothing_connects_from_outside(private):
    assert len(private.ports) == 3
    assert private.reached == set()
    assert private.network != os.readlink("/proc/self/ns/net")


def test_with_private_the_program_runs_to_its_end(private):
    assert private.status == ENDED_EARLY, private.output
    assert "Traceback" not in private.output
    assert "Accounts: " in private.output
    assert private.left == []


def test_the_start_says_all_ports_and_who_reaches_them(private, public):
    assert set(public.said) == public.ports
    assert "all interfaces of this machine, without authentication" in public.output
    assert "--private" in public.output
    assert set(private.said) == private.ports
    assert "inside a network of this program's own" in private.output
    assert "without authentication" not in private.output


def test_on_other_hosts_the_addresses_are_named():
    text = open_ports.describe({"learner": "10.0.0.1:4000", "replay": "10.0.0.2:4001"})
    assert "learner 10.0.0.1:4000, replay 10.0.0.2:4001" in text
    assert "--private" not in text


INSIDE = """
import os, socket, sys
server = socket.create_server(("localhost", 0))
socket.create_connection(server.getsockname()).close()
interfaces = [name for _, name in socket.if_nameindex()]
print(os.getuid(), os.getgid(), os.readlink("/proc/self/ns/net"), interfaces, sys.argv[1:])
"""


def test_inside_there_is_a_loopback_and_the_user_is_the_same():
    done = enter(sys.executable, "-c", INSIDE, "a b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{os.getuid()} {os.getgid()} ")
    assert os.readlink("/proc/self/ns/net") not in done.stdout
    assert done.stdout.strip().endswith("['lo'] ['a b']")


@pytest.mark.skipif(os.getuid() != 0, reason="Whoever runs the tests is an ordinary user already.")
def test_it_needs_no_privilege():
    done = enter(sys.executable, "-c", INSIDE, before=WITHOUT_PRIVILEGE)
    assert done.returncode == 0, done.stderr
    assert "['lo']" in done.stdout


def test_a_command_starts_itself_anew_inside_with_its_own_arguments(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        f"sys.path.insert(0, {os.path.dirname(private_network.__file__)!r})\n"
        "import private_network\n"
        "private_network.enter()\n"
        "print(private_network.is_entered(), os.getpid(), sys.argv[1:])\n"
    )
    command = Command(tmp_path / "command", script, "a b", "--c")
    assert command.wait() == 0, command.output
    assert f"True {command.process.pid} ['a b', '--c']" in command.output


def test_where_the_kernel_forbids_it_the_message_names_the_setting(tmp_path):
    """In a user namespace that allows no further ones."""
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    shell = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    done = enter("/bin/true", before=[*shell, *WITHOUT_PRIVILEGE])
    assert done.returncode == 1
    assert "user.max_user_namespaces is 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_setting_to_blame_it_points_at_the_container(monkeypatch):
    def forbid():
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(private_network, "_unshare", forbid)
    with pytest.raises(SystemExit) as error:
        private_network.main()
    assert "EPERM" in str(error.value)
    assert "docker run --network=none" in str(error.value)
