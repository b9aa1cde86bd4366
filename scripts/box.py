#!/usr/bin/python3
"""box.py holds the conversations of scripts/box with a box, which are lines of JSON
on two sockets in the box's folder (the current directory):

  qmp.sock  QMP, to QEMU: the machine, its devices, its state
  qga.sock  the guest agent, to a program inside: files and processes

It starts no machine and knows no network; that is scripts/box. Every wait ends.

usage: box.py exec SECONDS [-i] CMD…       exit status of CMD, 124 if it took longer
       box.py push SECONDS FILE DEST
       box.py qmp COMMAND [JSON]…          prints the last answer
       box.py save FILE                    stops the machine, writes its memory to FILE
       box.py restore FILE                 reads it back, continues, sets the clock
       box.py insert FILE                  plugs in a USB stick with these contents
       box.py remove                       pulls it out
"""

import base64
import json
import os
import socket
import sys
import time

UNREACHABLE = 255  # exit status when the box itself failed, as ssh does
PIECE = 1 << 20  # bytes per guest-file-write
PATIENCE = 30  # seconds for one answer of the guest agent: what a reboot swallows never comes
GREETING = 2  # seconds for its first answer, which may be asked for again


class Refused(Exception):
    """The other side answered with an error."""


class Line:
    """A conversation: one JSON object per line, each wait ended by the deadline
    (time.monotonic), or before it after so many seconds of patience."""

    def __init__(self, path, deadline):
        self.deadline, self.patience = deadline, float("inf")
        self.socket = socket.socket(socket.AF_UNIX)
        self.wait(self.socket.connect, path)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def wait(self, call, *args):
        left = min(self.deadline - time.monotonic(), self.patience)
        if left <= 0:
            raise TimeoutError("no answer in time")
        self.socket.settimeout(left)
        return call(*args)

    def send(self, command, arguments, prefix=b""):
        message = {"execute": command, "arguments": arguments}
        self.wait(self.socket.sendall, prefix + json.dumps(message).encode() + b"\n")

    def receive(self):
        line = self.wait(self.file.readline)
        if not line.endswith(b"\n"):
            raise ConnectionError("QEMU is gone")
        return line

    def call(self, command, **arguments):
        self.send(command, arguments)
        while True:
            answer = json.loads(self.receive())
            if "error" in answer:
                raise Refused(f"{command}: {answer['error']['desc']}")
            if "return" in answer:  # anything else is an event
                return answer["return"]


class QMP(Line):
    def __init__(self, seconds=60):
        super().__init__("qmp.sock", time.monotonic() + seconds)
        self.receive()  # greeting
        self.call("qmp_capabilities")

    def until(self, done, seconds_between=0.02):
        """Calls done until it is true."""
        while not done():
            if time.monotonic() > self.deadline:
                raise TimeoutError("the machine did not get there in time")
            time.sleep(seconds_between)


class Agent(Line):
    """The guest agent's channel takes one client at a time; others wait in connect
    or in their first answer. So nobody keeps it for longer than a second."""

    def __init__(self, deadline):
        super().__init__("qga.sock", deadline)
        self.patience = GREETING
        while not self.greet():
            self.file = self.socket.makefile("rb")  # one that timed out reads no more
        self.patience = PATIENCE

    def greet(self):
        """Says whether the agent answers. What it was asked while the box went down
        is never answered."""
        # Answers to an earlier, impatient client may still be on their way: a 0xff
        # resets the agent's parser and comes back in front of the answer to this.
        token = time.monotonic_ns() & 0x7FFFFFFF
        self.send("guest-sync-delimited", {"id": token}, prefix=b"\xff")
        while True:
            try:
                answer = self.receive().rpartition(b"\xff")[2]
                if json.loads(answer).get("return") == token:
                    return True
            except ValueError:
                pass
            except TimeoutError:
                if time.monotonic() >= self.deadline:
                    raise
                return False


ENVIRONMENT = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
]


def execute(seconds, argv, stdin=b""):
    """Runs argv inside; returns its exit status, standard output and error."""
    deadline = time.monotonic() + seconds
    with Agent(deadline) as agent:
        # The agent cannot kill what it started: timeout(1) does it, inside.
        pid = agent.call("guest-exec", path="/usr/bin/timeout", env=ENVIRONMENT,
                         arg=["--kill-after=5", str(seconds), *argv],
                         **{"capture-output": True},
                         **({"input-data": base64.b64encode(stdin).decode()} if stdin else {}))["pid"]
        agent.deadline = deadline = time.monotonic() + seconds + 10
        status, pause, release = {"exited": False}, 0.005, time.monotonic() + 0.5
        while not status["exited"] and time.monotonic() < release:
            status = agent.call("guest-exec-status", pid=pid)
            if not status["exited"]:
                time.sleep(pause)
                pause = min(pause * 2, 0.1)
    while not status["exited"]:
        time.sleep(0.2)
        with Agent(deadline) as agent:
            status = agent.call("guest-exec-status", pid=pid)
    if status.get("out-truncated") or status.get("err-truncated"):
        raise Refused("more than 16 MB of output: write it to a file and fetch it in pieces")
    return (status.get("exitcode", 128 + status.get("signal", 0)),
            base64.b64decode(status.get("out-data", "")),
            base64.b64decode(status.get("err-data", "")))


def push(seconds, source, dest):
    with open(source, "rb") as file, Agent(time.monotonic() + seconds) as agent:
        handle = agent.call("guest-file-open", path=dest, mode="w")
        try:
            while piece := file.read(PIECE):
                agent.call("guest-file-write", handle=handle,
                           **{"buf-b64": base64.b64encode(piece).decode()})
        finally:
            agent.call("guest-file-close", handle=handle)
        mode = os.fstat(file.fileno()).st_mode & 0o777
    status, _, err = execute(seconds, ["chmod", f"{mode:o}", dest])
    if status:
        raise Refused(err.decode())


def quoted(path):
    return "'" + path.replace("'", "'\\''") + "'"


def save(path):
    with QMP(120) as qmp:
        qmp.call("stop")
        qmp.call("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        qmp.call("migrate", uri=f"exec:cat > {quoted(path)}")

        def done():
            status = qmp.call("query-migrate")["status"]
            if status in ("failed", "cancelled"):
                raise Refused("writing the machine's memory: see qemu.log")
            return status == "completed"
        qmp.until(done)


def restore(path):
    with QMP() as qmp:
        qmp.call("migrate-incoming", uri=f"exec:cat {quoted(path)}")
        # It was saved stopped, so it comes back stopped.
        qmp.until(lambda: qmp.call("query-status")["status"] == "paused")
        qmp.call("cont")
    # The clock inside still says when the memory was saved.
    execute(30, ["date", "--set", f"@{time.time():.3f}"])


def insert(path):
    with QMP() as qmp:
        qmp.call("blockdev-add", driver="raw", **{"node-name": "stick"},
                 file={"driver": "file", "filename": path})
        try:
            qmp.call("device_add", driver="usb-storage", id="stick", drive="stick", bus="xhci.0")
        except Refused:
            qmp.call("blockdev-del", **{"node-name": "stick"})
            raise


def remove():
    with QMP() as qmp:
        qmp.call("device_del", id="stick")

        def gone():
            try:
                qmp.call("blockdev-del", **{"node-name": "stick"})
                return True
            except Refused:  # the device still holds it
                return False
        qmp.until(gone)


def main(verb, *args):
    if verb == "exec":
        seconds, argv = int(args[0]), list(args[1:])
        stdin = sys.stdin.buffer.read() if argv[0] == "-i" and argv.pop(0) else b""
        status, out, err = execute(seconds, argv, stdin)
        sys.stdout.buffer.write(out)
        sys.stderr.buffer.write(err)
        return status
    if verb == "push":
        push(int(args[0]), *args[1:])
    elif verb == "qmp":
        with QMP() as qmp:
            answer = qmp.call(args[0], **json.loads(args[1] if len(args) > 1 else "{}"))
            print(answer if isinstance(answer, str) else json.dumps(answer))
    else:
        {"save": save, "restore": restore, "insert": insert, "remove": remove}[verb](*args)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (OSError, Refused) as problem:
        print(f"box: {problem}", file=sys.stderr)
        sys.exit(UNREACHABLE)
