"""How far a cargo build is, and how long it will take.

cargo draws its progress bar for terminals alone, and it names no time. Here it is asked to draw it always, and is read:
`Building [==>  ] 12/390: half, syn`. It counts units: a package, a build script, and the run of one are three.
"""

import os
import re
import subprocess
import sys
import time

# Seconds that a processor takes for most units, and for those that take far longer. Measured on one machine: how fast another one is shows
# while it builds.
UNIT_SECONDS = 0.45
LONG_UNITS = {
    "candle-core": 70,
    "aws-lc-sys(build)": 30,
    "libsqlite3-sys(build)": 20,
    "tokenizers": 20,
    "inference-service": 10,
    "redis": 10,
}
# A build of fewer units finds those there already.
LONG_BUILD_UNITS = 300
# For so long the speed of that machine counts as much as what was seen of this one.
TRUST_SECONDS = 30
# Between two lines, where a line can't be drawn anew, and before the first one: most builds are done by then.
LINE_SECONDS = 15
FIRST_LINE_SECONDS = 3

BAR = re.compile(r"Building \[[=> ]*\] (\d+)/(\d+)(?::\s*(.*))?$")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# What cargo says of each unit. The count says it shorter.
STATUS = re.compile(r"\s*(Compiling|Fresh|Dirty|Downloaded) ")


class Progress:
    """What a build's progress bar has shown so far. Times are seconds since the build began."""

    def __init__(self, processors):
        self.processors = processors
        # Units that were there already, which cargo counts first and at once. Nothing is known before the first bar.
        self.fresh = None
        self.done = 0
        self.total = 0
        self.running = set()
        # Of the long units: when each began, and which are done.
        self.long_began = {}
        self.long_done = set()

    def read(self, line, elapsed):
        """Takes a line of cargo's output. Whether it was the progress bar."""
        bar = BAR.search(ANSI.sub("", line).rstrip())
        if not bar:
            return False
        self.done, self.total = int(bar[1]), int(bar[2])
        self.running = {name.strip() for name in (bar[3] or "").split(",")}
        for name in self.running & LONG_UNITS.keys():
            self.long_began.setdefault(name, elapsed)
        self.long_done = self.long_began.keys() - self.running
        if self.fresh is None:
            self.fresh = self.done
        return True

    def seconds_left(self, elapsed):
        """An estimate."""
        done = (self.done - self.fresh) * UNIT_SECONDS + sum(LONG_UNITS[name] for name in self.long_done)
        # Of one processor, compared with the machine that was measured.
        speed = (done / self.processors + TRUST_SECONDS) / (elapsed + TRUST_SECONDS)
        expected = LONG_UNITS.keys() if self.total - self.fresh >= LONG_BUILD_UNITS else self.long_began.keys()
        long_left = [self.long_seconds_left(name, elapsed, speed) for name in expected - self.long_done]
        left = (self.total - self.done) * UNIT_SECONDS + sum(long_left)
        # The longest one runs on a single processor.
        return max(left / self.processors, max(long_left, default=0)) / speed

    def long_seconds_left(self, name, elapsed, speed):
        """Of a long unit that isn't done. While it runs, never nothing."""
        seconds = LONG_UNITS[name]
        return max(seconds - (elapsed - self.long_began.get(name, elapsed)) * speed, seconds / 10)

    def sentence(self, elapsed):
        """For example: compiling: 212 of 390, about 4 minutes left."""
        minutes = round(self.seconds_left(elapsed) / 60)
        left = "less than a minute left" if minutes < 1 else f"about {minutes} minute{'s' if minutes > 1 else ''} left"
        return f"compiling: {self.done} of {self.total}, {left}"


def run(command, folder):
    """Runs a cargo command that compiles, and says on standard error how far it is. Its exit status; what cargo has to say is passed on."""
    terminal = sys.stderr.isatty()
    environment = {
        **os.environ,
        "CARGO_TERM_PROGRESS_WHEN": "always",
        # Wide enough for the names of all units that run at a time.
        "CARGO_TERM_PROGRESS_WIDTH": "1000",
        "CARGO_TERM_COLOR": "always" if terminal else "never",
    }
    progress = Progress(os.cpu_count() or 1)
    began = time.monotonic()
    next_line = began + FIRST_LINE_SECONDS
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.PIPE)
    try:
        for line, is_whole in lines(process.stderr.fileno()):
            now = time.monotonic()
            if progress.read(line, now - began):
                if terminal:
                    print(f"\r\x1b[K{progress.sentence(now - began)}", end="", file=sys.stderr, flush=True)
                elif now >= next_line:
                    next_line = now + LINE_SECONDS
                    print(progress.sentence(now - began), file=sys.stderr, flush=True)
            elif is_whole and not STATUS.match(ANSI.sub("", line)):
                print(("\r\x1b[K" if terminal else "") + line, file=sys.stderr, flush=True)
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def lines(descriptor):
    """What a pipe brings, line by line, and whether the line is there to stay: one that is drawn anew ends with a carriage return."""
    rest = b""
    while read := os.read(descriptor, 65536):
        *parts, rest = re.split(rb"([\r\n])", rest + read)
        for text, end in zip(parts[::2], parts[1::2]):
            yield text.decode(errors="replace"), end == b"\n"
    if rest:
        yield rest.decode(errors="replace"), True
