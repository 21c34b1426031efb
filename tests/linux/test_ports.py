"""Which TCP ports were asked: from the kernel's tables, made up and for real."""

from __future__ import annotations

import socket

import pytest

from slimagent.linux.ports import AskedPorts, asked

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(here: str, there: str, state: str) -> str:
    return f"   0: {here} {there} {state} 00000000:00000000 00:00000000 00000000     0        0 0 1\n"


def test_a_server_that_only_listens_was_not_asked() -> None:
    """And neither was one to which a connection was only tried."""
    assert (
        asked(HEAD + row("0100007F:1F90", "00000000:0000", "0A") + row("0100007F:9C40", "0100007F:1F90", "02")) == set()
    )


@pytest.mark.parametrize("state", ["01", "06", "08"])
@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("0100007F:9C40", "0100007F:1F90"),  # the client's end is left
        ("0100007F:1F90", "0100007F:9C40"),  # the server's end is left
        ("050011AC:9C40", "050011AC:1F90"),  # an address of its own that is not loopback
        ("00000000000000000000000001000000:9C40", "00000000000000000000000001000000:1F90"),
        ("0000000000000000FFFF00000100007F:9C40", "0000000000000000FFFF00000100007F:1F90"),
    ],
)
def test_a_connection_within_the_container_names_both_ends(here: str, there: str, state: str) -> None:
    """Whichever end is left: the port that was asked is among the two."""
    assert 0x1F90 in asked(HEAD + row(here, there, state))


def test_a_port_of_another_machine_is_not_ours() -> None:
    """A download from port 443 elsewhere asks nothing here."""
    assert 443 not in asked(HEAD + row("050011AC:9C40", "08080808:01BB", "01"))


def test_a_real_connection_is_seen_after_it_was_closed() -> None:
    """As a client does that asks once and leaves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with AskedPorts() as before:
            before.look()
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            client.close()
            accepted.close()
        with AskedPorts() as after:
            after.look()
    assert port not in before.ports
    assert port in after.ports
