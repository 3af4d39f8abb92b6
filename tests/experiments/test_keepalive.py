"""A process's TCP connections have keepalive, whoever opened them; nothing else is touched."""

import os
import socket

from acme_impala.experiments import keepalive


def has_keepalive(connection):
    return bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


def test_a_connection_has_it_at_both_ends_and_goes_on():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        assert not has_keepalive(client)
        keepalive.give_keepalive()
        assert has_keepalive(client)
        assert has_keepalive(server)
        client.sendall(b"still open")
        assert server.recv(10) == b"still open"


def test_sockets_of_ipv6_as_grpc_has_them_get_it_too():
    with socket.socket(socket.AF_INET6) as connection:
        keepalive.give_keepalive()
        assert has_keepalive(connection)


def test_what_its_owner_has_set_stays():
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1234)
        keepalive.give_keepalive()
        assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1234


def test_other_descriptors_are_left_and_none_is_kept(tmp_path):
    one, other = socket.socketpair()
    with one, other, socket.socket(type=socket.SOCK_DGRAM) as datagrams, open(tmp_path / "f", "w"):
        before = os.listdir("/proc/self/fd")
        keepalive.give_keepalive()
        assert os.listdir("/proc/self/fd") == before
        assert not any(map(has_keepalive, (one, other, datagrams)))
