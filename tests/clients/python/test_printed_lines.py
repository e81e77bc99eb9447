"""What `make run` prints works as it is printed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import ollama

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
from stack import free_ports  # noqa: E402

SECONDS = 120


class MakeRun:
    """scripts/run on ports and in a folder of its own, up to its last line."""

    def __init__(self, folder, ports):
        auth, inference = ports
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOLLGATE_", "CLIENTS_"))}
        self.environment = {
            **kept,
            "TOLLGATE_DATA_DIR": folder,
            "TOLLGATE_AUTH_LISTEN": f"127.0.0.1:{auth}",
            "TOLLGATE_LISTEN": f"127.0.0.1:{inference}",
            "TOLLGATE_ENGINE": "embedded",
            # python3 is the one that has the SDK.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.process = subprocess.Popen([str(ROOT / "scripts" / "run")], env=self.environment, stdout=subprocess.PIPE, text=True)
        self.printed = ""
        for line in self.process.stdout:
            self.printed += line
            if line.startswith("Ctrl-C"):
                break

    def paragraph(self, word):
        """The indented lines that were printed together, of which the first has this word."""
        paragraphs = [textwrap.dedent(each) for each in self.printed.split("\n\n") if each.startswith("    ")]
        return next(each for each in paragraphs if word in each.splitlines()[0])

    def typed(self, lines):
        done = subprocess.run(["sh", "-c", lines], env=self.environment, capture_output=True, text=True, timeout=SECONDS)
        return done.returncode, done.stdout, done.stderr

    def key(self):
        return re.search(r"tg_[0-9A-Za-z]+", self.printed)[0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(SECONDS)
        finally:
            self.process.stdout.close()


class PrintedLines(unittest.TestCase):
    def test_each_printed_line_is_answered_and_the_next_run_prints_the_same_key(self):
        folder = tempfile.mkdtemp(prefix="tollgate-run-")
        self.addCleanup(shutil.rmtree, folder)
        ports = free_ports(2)
        run = MakeRun(folder, ports)
        try:
            self.assertIn("Ctrl-C", run.printed, "it came up")
            status, said, error = run.typed(run.paragraph("curl "))
            self.assertEqual(status, 0, error)
            self.assertIn('"finish_reason"', said)
            status, said, error = run.typed(run.paragraph("python3"))
            self.assertEqual(status, 0, error)
            self.assertTrue(said.strip())
            # As the stock command line has it: the key can't come in a header, so it is in the host's path.
            host = re.search(r"OLLAMA_HOST=(\S+) ollama run (\S+)", run.printed)
            client = ollama.Client(host=host[1])
            self.addCleanup(client.close)
            answer = client.chat(host[2], [{"role": "user", "content": "Hi."}], options={"num_predict": 4})
            self.assertTrue(answer.done)
        finally:
            self.assertEqual(run.stop(), 0)
        again = MakeRun(folder, ports)
        try:
            self.assertEqual(again.key(), run.key())
        finally:
            again.stop()
