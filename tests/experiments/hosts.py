"""Hosts of a cluster, made of Linux's network namespaces: each has an address and a link."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import psutil

from .runs import Command, nodes_among, wait_until_gone

_NETWORK = "10.77.0"
_PORT = 6379


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30)


def why_not():
    """Why there can be no such hosts here; None: there can."""
    if not shutil.which("ip"):
        return "there is no command ip (package iproute2)"
    name = f"probe-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        try:
            _ip("-n", name, "link", "add", "switch", "type", "bridge")
            _ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "other")
        finally:
            _ip("netns", "delete", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not permitted here: {error.stderr.strip()}"
    return None


class Host:
    """A network namespace with one link into a switch, and Ray in it.

    All hosts of a cluster have the files of Ray in the same folder, and there each sees its own.
    """

    def __init__(self, switch, number, folder):
        self.name = f"{switch}-{number}"
        self.address = f"{_NETWORK}.{number}"
        self._own = pathlib.Path(tempfile.mkdtemp(prefix="host-"))
        # Each command has mounts of its own in it.
        mount = f'mount --bind {self._own} {folder} && exec "$@"'
        self.inside = ["ip", "netns", "exec", self.name, "sh", "-c", mount, "sh"]
        self._folder = folder
        self._switch = switch
        self._port = f"port{number}"
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip(
            *("-n", switch, "link", "add", self._port, "type", "veth"),
            *("peer", "name", "eth0", "netns", self.name),
        )
        _ip("-n", switch, "link", "set", self._port, "master", "switch")
        _ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")
        self.set_link("up")

    def set_link(self, state):
        """Takes the link 'up' or 'down'."""
        _ip("-n", self._switch, "link", "set", self._port, state)

    def start_ray(self, *words, **environment):
        """Starts what `ray start` starts on a host."""
        self.ray = Command(
            self._own,
            *("-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
            *(f"--node-ip-address={self.address}", "--object-store-memory=80000000", *words),
            inside=self.inside,
            TMPDIR=self._folder,
            **environment,
        )

    def processes(self):
        """All that run on it."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.name], check=True, capture_output=True, text=True
        )
        found = []
        for number in listed.stdout.split():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(number)))
        return found

    def nodes(self):
        """A program's processes on it, by their names."""
        return nodes_among(self.processes())

    def stop_ray(self):
        """Ends Ray; returns what is left on the host after a while."""
        self.ray.stop(signal.SIGTERM)
        return wait_until_gone(self)

    def remove(self):
        """Kills whatever runs on it, and takes it away."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _ip("netns", "delete", self.name)
        shutil.rmtree(self._own)


@contextlib.contextmanager
def cluster(number, resources, **environment):
    """Makes hosts and starts Ray on them, on the first its head.

    Args:
        number: of hosts.
        resources: of each, as `ray start --resources` takes them.
        environment: variables of Ray's.

    Yields:
        The hosts.
    """
    switch = f"switch-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        _ip("netns", "add", switch)
        stack.callback(_ip, "netns", "delete", switch)
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        # Ray's sockets are in it, whose paths must be short.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hosts-", dir="/tmp"))
        hosts = []
        for index in range(1, number + 1):
            hosts.append(Host(switch, index, folder))
            stack.callback(hosts[-1].remove)
        for host, has in zip(hosts, resources, strict=True):
            where = [f"--address={address(hosts)}"]
            if host is hosts[0]:
                where = ["--head", f"--port={_PORT}", f"--temp-dir={folder}"]
                where.append("--include-dashboard=false")
            host.start_ray(*where, "--num-cpus=2", f"--resources={has}", **environment)
            if host is hosts[0]:
                _wait_for_port(host)
        yield hosts


def address(hosts):
    """The cluster's, as `--ray_address` takes it."""
    return f"{hosts[0].address}:{_PORT}"


def _wait_for_port(host, seconds=60.0):
    deadline = time.monotonic() + seconds
    code = f"import socket; socket.create_connection(({host.address!r}, {_PORT}), 2)"
    while subprocess.run(
        [*host.inside, sys.executable, "-c", code], capture_output=True
    ).returncode:
        assert time.monotonic() < deadline, host.ray.output
        time.sleep(0.5)
