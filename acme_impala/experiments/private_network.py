"""A network of a command's own, which nothing outside can reach: a namespace of Linux.

It has a loopback device and no other, so a command in it reaches nothing outside either. Imports
nothing but Python: this file is also the script that enters the namespace, for a process may do
that only while it has a single thread, and whoever has imported numpy has more.
"""

import ctypes
import errno
import fcntl
import os
import pathlib
import socket
import struct
import sys

# The environment variable that names the namespace, for those inside.
_VARIABLE = "ACME_IMPALA_PRIVATE_NETWORK"
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # Of linux/sched.h.
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1  # Of linux/sockios.h and linux/if.h.
_INTERFACE = struct.Struct("16sh22x")  # Its struct ifreq: name, flags.
# Settings by which a kernel forbids it, and the value that does.
_FORBIDDING = {
    "user/max_user_namespaces": 0,
    "user/max_net_namespaces": 0,
    "kernel/unprivileged_userns_clone": 0,
    "kernel/apparmor_restrict_unprivileged_userns": 1,
}


def is_entered() -> bool:
    """Whether this process is in a private network."""
    return os.environ.get(_VARIABLE) == _namespace()


def enter():
    """Starts this process's command anew in a private network; returns if it is in one already.

    To be called first of all: whatever the process has done and opened is gone. Where the kernel
    does not allow it the process ends with status 1, and says what would do.
    """
    if not is_entered():
        sys.stdout.flush()
        sys.stderr.flush()
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execv(sys.executable, [sys.executable, "-I", __file__, *command])


def _namespace() -> str:
    return os.readlink("/proc/self/ns/net")


def _unshare():
    """Makes the namespace: as who may, or as an ordinary user, in a user namespace around it.

    Raises:
        OSError: the kernel does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    process = pathlib.Path("/proc/self")
    (process / "setgroups").write_text("deny")  # Else no ordinary user may name groups.
    (process / "uid_map").write_text(f"{user} {user} 1")
    (process / "gid_map").write_text(f"{group} {group} 1")


def _start_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _INTERFACE.pack(b"lo", 0))
        name, flags = _INTERFACE.unpack(asked)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _INTERFACE.pack(name, flags | _IFF_UP))


def _reason(error: OSError) -> str:
    found = []
    for name, forbidding in _FORBIDDING.items():
        path = pathlib.Path("/proc/sys", name)
        if path.exists() and int(path.read_text()) == forbidding:
            found.append(f"{name.replace('/', '.')} is {forbidding}")
    if found:
        return f"The setting {' and '.join(found)}; an administrator can change that with sysctl."
    if error.errno == errno.ENOSYS:
        return "The kernel has no namespaces."
    return (
        "No setting forbids it, so this may be a container whose seccomp profile does (Docker's "
        "own does): run the container itself without a network (docker run --network=none), which "
        "is as private, or with a profile that allows unshare."
    )


def main():
    """Enters the namespace and becomes the command that the arguments are."""
    try:
        _unshare()
        _start_loopback()
    except OSError as error:
        name = errno.errorcode.get(error.errno, error.strerror)
        sys.exit(
            f"--private: the kernel allows no network namespace here ({name}). {_reason(error)}"
        )
    os.environ[_VARIABLE] = _namespace()
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
