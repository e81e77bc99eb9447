"""Tollgate's two services as processes of a script: started, waited for, killed, stopped. Ended by process id, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
import time

from machine import SetupError


class Interrupted(Exception):
    """Ctrl-C, SIGTERM, or a terminal that was closed."""


def interrupt_on_signals():
    """Turns the first signal that asks for an end into `Interrupted`; later ones find the default again, and end the script at once."""

    def interrupted(number, _frame):
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.default_int_handler)
        raise Interrupted(number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupted)


# Sockets that are bound and don't listen, for as long as this script runs.
_reserved = []


def free_ports(count):
    """So many different ports of 127.0.0.1 that nobody listens on.

    On Linux they are kept: a port that is bound is given to nobody who asks for any, and a service that asks for it by its number gets it,
    since both sides set SO_REUSEADDR. Elsewhere they are free again, and were unused a moment ago.
    """
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    if sys.platform == "linux":
        _reserved.extend(sockets)
    else:
        for each in sockets:
            each.close()
    return ports


class Service:
    """One of the two services, as a child process with a configuration of its own."""

    def __init__(self, program, environment, log=None):
        """`log` is the file that its output goes to; None: the terminal."""
        self.program = program
        self.environment = environment
        self.log = log
        self.process = None

    @property
    def name(self):
        return self.program.name

    def start(self):
        output = open(self.log, "ab") if self.log else None
        try:
            # A session of its own: Ctrl-C reaches this script alone, which stops the services in their order.
            self.process = subprocess.Popen(
                [str(self.program)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if output:
                output.close()

    def wait_until_healthy(self, seconds=60, live=False):
        """Asks with the service's own `healthcheck`, as a container's health check does. `live`: whatever it waits for itself."""
        command = [str(self.program), "healthcheck", *(["--live"] if live else [])]
        deadline = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise SetupError(f"{self.name} ended at its start, with exit status {self.process.returncode}{self.last_lines()}")
            asked = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True)
            if asked.returncode == 0:
                return
            if time.monotonic() > deadline:
                said = asked.stderr.decode(errors="replace").strip()
                raise SetupError(f"{self.name} was not healthy within {seconds} s: {said}{self.last_lines()}")
            time.sleep(0.05)

    def kill(self):
        """SIGKILL: no last word, as when a machine fails."""
        self.process.kill()
        return self.process.wait()

    def stop(self, seconds):
        """SIGTERM, and SIGKILL when the drain takes longer than so many seconds. The exit status; None when it was not running."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def last_lines(self, count=12):
        """The end of its log, to be put after an error; empty when the log was on the terminal anyway."""
        if not self.log or not os.path.exists(self.log):
            return ""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()[-count:]
        return "".join(f"\n    {line}" for line in ["", f"the end of {self.name}'s log:", *lines])
