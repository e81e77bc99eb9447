#!/usr/bin/env python3
"""Stands in for Ollama in scripts/try-compose, where no image of it can be had or none is wanted: it answers what inference-service asks, a
word every TOKEN_MS. `ollama serve` listens at OLLAMA_HOST; `ollama list` asks whether it does."""

import json
import os
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "0.32.15"
MODEL = "stand-in:latest"
TOKEN_MS = float(os.environ.get("TOKEN_MS", "20"))
DETAILS = {"format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "1M", "quantization_level": "Q4_1"}
SHOWN = {
    "details": DETAILS,
    "capabilities": ["completion"],
    "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
    "modified_at": "2026-01-01T00:00:00Z",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        model = {"name": MODEL, "model": MODEL, "modified_at": SHOWN["modified_at"], "size": 1, "digest": "0" * 64, "details": DETAILS}
        answers = {"/api/version": {"version": VERSION}, "/api/tags": {"models": [model]}, "/api/ps": {"models": []}}
        if self.path == "/":
            self.answer(200, b"Ollama is running", "text/plain")
        elif self.path in answers:
            self.answer(200, json.dumps(answers[self.path]).encode())
        else:
            self.answer(404, b"404 page not found", "text/plain")

    do_HEAD = do_GET

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        if self.path == "/api/show":
            self.answer(200, json.dumps(SHOWN).encode())
        elif self.path in ("/api/chat", "/api/generate"):
            self.stream(request)
        else:
            self.answer(404, b"404 page not found", "text/plain")

    def stream(self, request):
        """As many words as may be generated, or ten."""
        words = max(1, min(request.get("options", {}).get("num_predict", 10), 4000))
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        started = time.monotonic_ns()

        def line(content, **more):
            said = {"message": {"role": "assistant", "content": content}} if self.path == "/api/chat" else {"response": content}
            body = json.dumps({"model": request.get("model"), "created_at": SHOWN["modified_at"], **said, "done": False, **more}).encode()
            self.wfile.write(b"%x\r\n%s\n\r\n" % (len(body) + 1, body))
            self.wfile.flush()

        try:
            for number in range(words):
                time.sleep(TOKEN_MS / 1000)
                line(f"word{number} ")
            took = time.monotonic_ns() - started
            line("", done=True, done_reason="length", total_duration=took, load_duration=0, prompt_eval_count=8, eval_count=words)
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            # The caller has gone, as callers do.
            self.close_connection = True

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def main():
    host, _, port = os.environ.get("OLLAMA_HOST", "127.0.0.1:11434").rpartition(":")
    if sys.argv[1:] == ["list"]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/tags", timeout=3) as answer:
            sys.exit(0 if answer.status == 200 else 1)
    with Server((host, int(port)), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
