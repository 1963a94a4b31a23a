"""A stand-in for ``vllm serve``: healthy at once, streams tokens, and ends as well or badly as ``FAKE_END`` says.

well, ignores-term, exits-1, leaves-child, leaves-memory, slow, drops (a drain cuts the running request off),
accepts (a drain refuses nothing), refuses-late (only when the running request is all but over),
rank-1-dies, rank-1-hangs, rank-1-lies, one-serves-all, never-up, holds-stream (an abort leaves it open).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOW = os.environ["FAKE_END"]
DRAINS = "--shutdown-timeout=0" not in sys.argv
PIECE = 50
ended = threading.Event()
nearly = threading.Event()
streaming = threading.Lock()
served = {"0": 0, "1": 0}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...

    def page(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        rows = [
            f'vllm:request_success_total{{engine="{engine}",finished_reason="length"}} {count}.0'
            for engine, count in served.items()
        ]
        self.page("\n".join(rows) if self.path == "/metrics" else "ok")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if ended.is_set() and HOW != "accepts" and (HOW != "refuses-late" or nearly.is_set()):
            self.page("shutting down", 503)
        elif asked["stream"]:
            self.stream(asked["max_tokens"])
        else:
            self.complete(asked)

    def complete(self, asked: dict[str, Any]) -> None:
        rank = self.headers.get("X-data-parallel-rank", "0")
        if rank == "1" and HOW == "rank-1-dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if rank == "1" and HOW == "rank-1-hangs":
            time.sleep(60)
        first = len(asked["prompt"]) + (rank == "1" and HOW == "rank-1-lies")
        served["0" if HOW == "one-serves-all" else rank] += 1
        tokens = [(first + place) % 256 for place in range(asked["max_tokens"])]
        self.page(json.dumps({"choices": [{"token_ids": tokens, "finish_reason": "length"}]}))

    def stream(self, tokens: int) -> None:
        self.send_response(200)
        self.end_headers()
        with streaming:
            for begin in range(0, tokens, PIECE):
                if ended.is_set() and (not DRAINS or HOW == "drops"):
                    if HOW == "holds-stream":
                        self.wait_for_the_client()
                    return
                piece = list(range(begin, min(tokens, begin + PIECE)))
                reason = "length" if begin + PIECE >= tokens else None
                choice = {"token_ids": piece, "finish_reason": reason}
                self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
                time.sleep(0.05)
                if begin + 2 * PIECE >= tokens:
                    nearly.set()
                    time.sleep(0.3)

    def wait_for_the_client(self) -> None:
        """Block until it has closed its side."""
        self.connection.recv(1)


def main() -> int:
    port = next(int(word.partition("=")[2]) for word in sys.argv if word.startswith("--port="))
    if HOW == "never-up":
        return 3
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: None if HOW == "ignores-term" else ended.set())
    if HOW == "ignores-term":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    while not ended.wait(0.05):
        pass
    if DRAINS or HOW == "holds-stream":
        streaming.acquire(timeout=30)
    leave()
    return 1 if HOW == "exits-1" else 0


def leave() -> None:
    if HOW == "slow":
        time.sleep(1.5)
    if HOW == "leaves-child":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    if HOW == "leaves-memory":
        Path(os.environ["FAKE_SEGMENT"]).write_bytes(b"x")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
