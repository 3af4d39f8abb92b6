"""A Ray cluster for a program: found or started, and whether it has what the program needs."""

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from acme_impala.experiments import cores, ray_warden, signals

_CONNECT_SECONDS = 5.0
# Ray's names for what has a name of its own here.
_RAY_NAMES = {"cpus": "CPU", "gpus": "GPU", "memory": "memory"}
# Ray's own store of objects, of which a program has none; the least that Ray takes.
_OBJECT_STORE_BYTES = 80 << 20
_TEMPORARY_PREFIX = "impala-ray-"
# Of a socket's path there may be 107 bytes, of which Ray takes many for itself.
_LONGEST_BASE = 107 - len(
    f"/{_TEMPORARY_PREFIX}12345678/session_2026-11-26_12-00-00_123456_1234567/sockets/plasma_store"
)


@dataclasses.dataclass(frozen=True)
class RayOptions:
    """How a program uses Ray.

    Attributes:
        address: of the cluster, 'host:port' or 'auto'; None: Ray is started on this machine.
        resources: of each process of a group ('learner', 'actor'), by name: 'cpus' (1 by default),
            'gpus' (1 by default for the learner, if any host has one; 0 for actors), 'memory' in
            bytes (0 by default: Ray does not count it), or a resource that the cluster's hosts
            were given ('ray start --resources').
        max_deaths: of one process within `deaths_seconds`, which end the run.
        deaths_seconds: see `max_deaths`.

    Raises:
        ValueError: a number is impossible, or a group is not known.
    """

    address: str | None = None
    resources: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    max_deaths: int = 5
    deaths_seconds: float = 600.0

    def __post_init__(self):
        if self.max_deaths < 1:
            raise ValueError(f"max_deaths must be 1 or more, got {self.max_deaths}.")
        if self.deaths_seconds <= 0:
            raise ValueError(f"deaths_seconds must be above 0, got {self.deaths_seconds}.")
        for group, amounts in self.resources.items():
            if group not in ("learner", "actor"):
                raise ValueError(
                    f"resources are given for the group {group!r}; there are learner and actor."
                )
            for name, amount in amounts.items():
                if amount < 0:
                    raise ValueError(f"resources: {group}:{name} must not be negative: {amount}.")


def parse_resources(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Reads resources as flags have them: 'learner:gpus=1', 'actor:cpus=2,memory=4G'.

    Raises:
        ValueError: a text is not of this form.
    """
    found: dict[str, dict[str, float]] = {}
    for text in texts:
        group, colon, amounts = text.partition(":")
        for amount in amounts.split(","):
            name, equals, number = amount.partition("=")
            try:
                if not (group and colon and name and equals):
                    raise ValueError
                found.setdefault(group, {})[name] = _number(number)
            except ValueError:
                raise ValueError(
                    f"resources={text!r} is not of the form GROUP:NAME=AMOUNT,NAME=AMOUNT, such as "
                    "learner:gpus=1,memory=8G or actor:cpus=2."
                ) from None
    return found


def _number(text: str) -> float:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    return float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)


@contextlib.contextmanager
def connected(options: RayOptions, groups: Mapping[str, int]) -> Iterator[dict[str, dict]]:
    """Connects to a cluster, or starts Ray on this machine, and gives it back at the end.

    Args:
        options: which cluster, and what each group's processes need there.
        groups: how many processes each group has.

    Yields:
        The options for Ray's actors of each group.

    Raises:
        ValueError: Ray is not installed, the cluster cannot be reached, or has not what is needed.
    """
    ray = _import_ray()
    if ray.is_initialized():
        raise ValueError(
            "This process is connected to a Ray cluster already; call ray.shutdown() first."
        )
    _check_address(options.address)
    with contextlib.ExitStack() as stack:
        settings = {}
        if options.address is None:
            cpus = sum(n * _needs(options, group, False)["CPU"] for group, n in groups.items())
            settings = {
                "num_cpus": max(cores.num_cores(), -int(-cpus // 1)),
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_temp_dir": stack.enter_context(_temporary_directory()),
            }
        try:
            with signals.kept():  # Ray's would end the launcher at once.
                ray.init(options.address or "local", logging_level="WARNING", **settings)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ValueError(
                f"Ray could not be {'reached' if options.address else 'started'}: {error}"
            ) from error
        stack.callback(ray.shutdown)
        hosts = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        has_gpu = any(host.get("GPU") for host in hosts)
        needs = {group: _needs(options, group, has_gpu) for group in groups}
        _check_fit(needs, groups, hosts)
        yield {group: _actor_options(group, need) for group, need in needs.items()}


def _import_ray():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # It would report home.
    os.environ.setdefault("RAY_worker_niceness", "0")  # Nodes have their own; Ray's would be 15.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # Two actors may say the same, and both count.
    try:
        import ray
    except ImportError as error:
        raise ValueError(
            "The launcher 'ray' needs Ray, which is not installed: pip install 'acme-impala[ray]'."
        ) from error
    return ray


def _check_address(address: str | None):
    """Looks whether somebody listens there, which Ray itself would try for minutes.

    Raises:
        ValueError: nobody does.
    """
    if address in (None, "auto"):
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(
            f"ray_address={address} cannot be used: {error}. It must be the host:port that "
            "'ray start --head' has printed, or auto on one of the cluster's hosts; without it Ray "
            "is started on this machine."
        ) from error


def _needs(options: RayOptions, group: str, has_gpu: bool) -> dict[str, float]:
    """What a process of a group needs, by Ray's names."""
    default = {"cpus": 1.0, "gpus": float(group == "learner" and has_gpu)}
    amounts = {**default, **options.resources.get(group, {})}
    return {_RAY_NAMES.get(name, name): amount for name, amount in amounts.items()}


def _check_fit(
    needs: Mapping[str, Mapping[str, float]],
    groups: Mapping[str, int],
    hosts: Sequence[Mapping[str, float]],
):
    """Looks whether every process finds a host that has what it needs left.

    Raises:
        ValueError: one does not.
    """
    left = [dict(host) for host in hosts]
    for group in sorted(groups, key=lambda group: -sum(needs[group].values())):
        for number in range(groups[group]):
            need = needs[group]
            for host in left:
                if all(host.get(name, 0.0) >= amount for name, amount in need.items()):
                    for name, amount in need.items():
                        host[name] = host.get(name, 0.0) - amount
                    break
            else:
                wanted = ", ".join(f"{amount:g} {name}" for name, amount in need.items() if amount)
                there = "; ".join(_describe(host) for host in hosts)
                raise ValueError(
                    f"The cluster has no room for {group} {number + 1} of {groups[group]}, which "
                    f"needs {wanted}. Its hosts have: {there}. Ask for less with --resources "
                    f"(such as {group}:cpus=0.5) or a smaller --num_actors, or add hosts."
                )


def _describe(host: Mapping[str, float]) -> str:
    amounts = [
        f"{amount:g} {name}"
        for name, amount in sorted(host.items())
        if not name.startswith(("node:", "object_store", "accelerator_type"))
    ]
    return ", ".join(amounts) or "nothing"


def _actor_options(group: str, need: Mapping[str, float]) -> dict:
    custom = {name: n for name, n in need.items() if name not in _RAY_NAMES.values()}
    return {
        "num_cpus": need["CPU"],
        "num_gpus": need["GPU"],
        "memory": int(need.get("memory", 0)) or None,
        "resources": custom or None,
        # Actors everywhere; the learner wherever what it needs is.
        "scheduling_strategy": "SPREAD" if group == "actor" else "DEFAULT",
        "max_restarts": -1,
        "max_concurrency": 4,
    }


@contextlib.contextmanager
def _temporary_directory() -> Iterator[str]:
    """A folder for Ray's sockets and logs, which goes, with its daemons, when this process does."""
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_BASE:
        base = "/tmp"
    folder = tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=base)
    warden = subprocess.Popen([sys.executable, ray_warden.__file__, folder], stdin=subprocess.PIPE)
    try:
        yield folder
    finally:
        warden.communicate()
