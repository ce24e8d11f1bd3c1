"""Asks the ports in turn for a key at a steady rate until it reads a line, then prints every wait in milliseconds."""

import select
import socket
import sys
import time

REQUEST = b"*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n"
INTERVAL = 0.001


def main() -> None:
    """Ask, measure and print."""
    links = [socket.create_connection(("127.0.0.1", int(port))) for port in sys.argv[1:]]
    for link in links:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    waits = []
    sys.stdout.write("asking\n")
    sys.stdout.flush()
    turn = 0
    first = time.perf_counter()
    # After a delay it sends the next ones at once, until it has caught up with the rate.
    while not select.select([sys.stdin], [], [], max(0.0, first + turn * INTERVAL - time.perf_counter()))[0]:
        link = links[turn % len(links)]
        turn += 1
        began = time.perf_counter()
        link.sendall(REQUEST)
        link.recv(4096)
        waits.append((time.perf_counter() - began) * 1000)
    sys.stdout.write(" ".join(f"{wait:.3f}" for wait in waits) + "\n")


if __name__ == "__main__":
    main()
