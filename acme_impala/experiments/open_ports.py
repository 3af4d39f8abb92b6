"""Which ports a program listens on, and who can reach them: said at every start."""

from collections.abc import Mapping

import launchpad as lp

from acme_impala.experiments import private_network

_LOCAL = ("localhost", "127.0.0.1")


def of_program(program: lp.Program) -> dict[str, str]:
    """The addresses, 'host:port', that a program's nodes listen on, by the nodes' names.

    Args:
        program: of `program.NodesProcess`es, whose addresses are bound.
    """
    return {
        name: address.resolve()
        for process in program.get_all_nodes()
        for name, address in zip(process.listening, process.addresses, strict=True)
    }


def describe(addresses: Mapping[str, str]) -> str:
    """Says which ports are open and to whom.

    Args:
        addresses: 'host:port' by the names of who listens there. Reverb and courier listen on all
            interfaces of their host, whatever the address says.
    """
    on_this_machine = all(address.rpartition(":")[0] in _LOCAL for address in addresses.values())
    ports = ", ".join(
        f"{name} {address.rpartition(':')[2] if on_this_machine else address}"
        for name, address in addresses.items()
    )
    if private_network.is_entered():
        return f"Open ports: {ports}, inside a network of this program's own and not outside it."
    interfaces = "all interfaces of " + ("this machine" if on_this_machine else "their hosts")
    closing = (
        "--private closes them." if on_this_machine else "A firewall must keep strangers away."
    )
    return (
        f"Open ports: {ports}, on {interfaces}, without authentication: whoever reaches them can "
        f"run code here (docs/security.md). {closing}"
    )
