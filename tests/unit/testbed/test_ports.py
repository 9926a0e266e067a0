import os
import socket

from testbed.ports import free_ports, listener, ports_in_use


def test_a_port_in_use_is_named_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (free,) = free_ports(1)
        assert listener(port).startswith(f"process {os.getpid()} (")
        (used,) = ports_in_use({"kwok": port, "etcd": free})
        assert used.startswith(f"{port} (kwok) by process {os.getpid()} ")


def test_free_ports_are_distinct_and_below_those_of_outgoing_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(16000 <= port < 30000 for port in ports)
