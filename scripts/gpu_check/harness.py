"""Parts of a call to a machine that is at hand for minutes: each has a process group and a time limit of its own.

Whatever becomes of a part, or of the call, the call's JSON says what was found so far, and no process stays behind.
"""
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
import traceback

# Maximum bytes of the log, which must fit one returned file, and of a part's output.
LOG = 12 << 20
KEPT = 1 << 20
# Seconds for a part to end after SIGTERM, and seconds that must be left to start a part.
GRACE = 2
LEAST = 3


class Interrupted(Exception):
    """The call was asked to end."""


class Part:
    """A command that runs, or has run. `status` is None until it has ended, and then its exit status or a reason."""

    def __init__(self, name, process, most):
        self.name, self.process, self.most = name, process, most
        self.begin = time.monotonic()
        self.deadline = self.begin + most
        self.seconds, self.status, self.expired = None, None, False
        self.text, self.unfinished = "", b""

    @property
    def succeeded(self):
        return self.status == 0


def left_out(name, reason):
    part = Part(name, None, 0)
    part.status, part.seconds = reason, 0.0
    return part


def kill(group, which=signal.SIGKILL):
    try:
        os.killpg(group, which)
    except (ProcessLookupError, PermissionError):
        pass


def watchman():
    """A process that kills what is left of the parts when this one is gone, by whatever means. Returns where to tell it of them:
    `+GROUP` and `-GROUP`, a line each."""
    reading, writing = os.pipe()
    if os.fork() != 0:
        os.close(reading)
        return writing
    # Not in the process group that receives a signal for the call.
    os.setpgid(0, 0)
    for which in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(which, signal.SIG_IGN)
    os.close(writing)
    # A reader of the call's output does not wait for this process.
    with open(os.devnull, "r+b") as nothing:
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    groups = set()
    with os.fdopen(reading) as lines:
        for line in lines:
            (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        kill(group)
    os._exit(0)


class Call:
    """One call: `results` is written to OUT/NAME.json after every part, the output of all parts to OUT/NAME.log."""

    def __init__(self, name, out, seconds, environment):
        os.makedirs(out, exist_ok=True)
        self.name, self.out, self.limit, self.environment = name, out, seconds, environment
        self.begin = time.monotonic()
        self.scratch = tempfile.TemporaryDirectory(prefix="gpu_check_")
        self.path = os.path.join(out, name + ".json")
        self.log = open(os.path.join(out, name + ".log"), "wb", buffering=0)
        self.logged, self.saved = 0, 0.0
        self.results = {"call": name, "state": "running", "seconds": 0.0, "parts": {}}
        self.running, self.signal = [], None
        self.selector = selectors.DefaultSelector()
        self.watchman = watchman()
        for which in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(which, self.interrupt)
        self.save()

    def interrupt(self, which, _):
        self.signal = which

    def elapsed(self):
        return time.monotonic() - self.begin

    def left(self):
        return self.limit - self.elapsed()

    def say(self, text):
        print(f"[{self.elapsed():5.1f}] {text}", flush=True)
        self.write(f"[{self.elapsed():5.1f}] {text}\n".encode())

    def write(self, line):
        if self.logged <= LOG < self.logged + len(line):
            self.log.write(b"... the log is full\n")
        elif self.logged <= LOG:
            self.log.write(line)
        self.logged += len(line)

    def save(self):
        """Writes what is known, whole or not at all."""
        self.results["seconds"] = round(self.elapsed(), 1)
        self.results["running"] = [part.name for part in self.running]
        # If the process is killed while it writes, the file of this name is returned.
        half = os.path.join(self.out, self.name + ".json.half")
        with open(half, "w") as file:
            json.dump(self.results, file, indent=1)
            file.write("\n")
        os.replace(half, self.path)
        self.saved = time.monotonic()

    def note(self, key, value):
        self.results[key] = value
        self.save()

    def start(self, name, command, most, environment=None):
        """Begins a part, which has at most `most` seconds, and no more than the call has."""
        if self.left() < LEAST:
            return self.ended(left_out(name, "left out: the time is up"))
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
                env={**self.environment, **(environment or {})},
            )
        except OSError as error:
            return self.ended(left_out(name, str(error)))
        os.write(self.watchman, f"+{process.pid}\n".encode())
        part = Part(name, process, min(most, self.left()))
        os.set_blocking(process.stdout.fileno(), False)
        self.selector.register(process.stdout, selectors.EVENT_READ, part)
        self.running.append(part)
        return part

    def run(self, name, command, most, environment=None):
        return self.wait(self.start(name, command, most, environment))

    def wait(self, part, until=None):
        """Waits for a part to end, at most until `until`, a time of time.monotonic(), when it is made to."""
        if until is not None and until < part.deadline:
            part.deadline, part.most = until, until - part.begin
        while part.status is None:
            self.pump()
        return part

    def run_all(self, parts, at_once):
        """Runs parts, (name, command, most, environment) each, so many at a time. Returns them in their order."""
        all_parts = []
        for arguments in parts:
            while sum(part.status is None for part in all_parts) >= at_once:
                self.pump()
            all_parts.append(self.start(*arguments))
        return [self.wait(part) for part in all_parts]

    def pump(self):
        """Takes in what the parts have printed, and looks after the time, for a moment."""
        if self.signal is not None:
            raise Interrupted(signal.Signals(self.signal).name)
        if self.running:
            for key, _ in self.selector.select(0.1):
                self.read(key.data)
        else:
            time.sleep(0.05)
        now = time.monotonic()
        for part in list(self.running):
            if part.process.poll() is not None:
                self.finish(part)
            elif now > part.deadline + GRACE:
                kill(part.process.pid)
            elif now > part.deadline and not part.expired:
                part.expired = True
                kill(part.process.pid, signal.SIGTERM)
        if now > self.saved + 5:
            self.save()

    def read(self, part):
        """One portion of a part's output; whether there was one."""
        try:
            data = os.read(part.process.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            # Its output is closed, but the process may still run.
            if part.process.stdout in self.selector.get_map():
                self.selector.unregister(part.process.stdout)
            return False
        part.text += data.decode(errors="replace")
        if len(part.text) > KEPT:
            part.text = part.text[: KEPT // 2] + "\n...\n" + part.text[-KEPT // 4 :]
        *lines, part.unfinished = (part.unfinished + data).split(b"\n")
        for line in lines:
            self.write(f"{part.name}: ".encode() + line + b"\n")
        return True

    def finish(self, part):
        part.seconds = round(time.monotonic() - part.begin, 1)
        while self.read(part):
            pass
        if part.unfinished:
            self.write(f"{part.name}: ".encode() + part.unfinished + b"\n")
        if part.process.stdout in self.selector.get_map():
            self.selector.unregister(part.process.stdout)
        part.process.stdout.close()
        # The processes that it started and left behind.
        kill(part.process.pid)
        os.write(self.watchman, f"-{part.process.pid}\n".encode())
        self.running.remove(part)
        status = part.process.returncode
        if part.expired:
            status = f"took longer than {part.most:.0f} s"
        elif status < 0:
            status = f"ended by {signal.Signals(-status).name}"
        part.status = status
        self.ended(part)

    def ended(self, part):
        row = {"status": part.status, "seconds": part.seconds}
        if not part.succeeded:
            row["output"] = part.text[-1500:]
        self.results["parts"][part.name] = row
        self.say(f"{part.name}: {'done' if part.succeeded else part.status} in {part.seconds:.1f} s")
        self.save()
        return part

    def close(self, state):
        """Kills what runs, says how the call ended, and writes all."""
        for part in list(self.running):
            kill(part.process.pid)
            part.process.wait()
            self.finish(part)
        self.results["state"] = state
        self.save()
        os.close(self.watchman)
        self.log.close()
        self.scratch.cleanup()


def conduct(call, work):
    """Does `work`, and ends the call however that ends. Returns the exit status: 0, or 1 if something failed."""
    try:
        passed = work(call)
        call.close("done")
        return 0 if passed else 1
    except Interrupted as interrupted:
        call.close(f"ended by {interrupted}")
        return 128 + call.signal
    except Exception:
        reason = traceback.format_exc()
        print(reason, flush=True)
        call.write(reason.encode())
        call.close(f"failed: {reason.splitlines()[-1]}")
        return 1
