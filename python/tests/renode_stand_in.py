"""A program with the command line of Renode that replays a recorded conversation.

    renode_stand_in.py CONVERSATION.json [Renode's options]

The file has what the real Renode answered, in order. Asked for anything else, the stand-in says so
in its answer and on standard output. If VP_RECORD_RENODE names a real Renode, that answers instead,
and the file is written anew. Paths are kept as the names that VP_RENODE_PLACES gives them.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

RECORD_VARIABLE = "VP_RECORD_RENODE"
PLACES_VARIABLE = "VP_RENODE_PLACES"
EXIT_STATUS = 7


class Conversation:
    """The file, with the places of this run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        places = json.loads(os.environ.get(PLACES_VARIABLE, "{}"))
        # Longest first: one may lie in another.
        self._places = sorted(places.items(), key=lambda place: -len(place[1]))

    def load(self) -> dict[str, Any]:
        text = self.path.read_text()
        for name, place in self._places:
            text = text.replace(f"<{name}>", place)
        conversation: dict[str, Any] = json.loads(text)
        return conversation

    def save(self, conversation: dict[str, Any]) -> None:
        text = json.dumps(conversation, indent=1)
        for name, place in self._places:
            text = text.replace(place, f"<{name}>")
        self.path.write_text(text + "\n")


class Replay:
    def __init__(self, exchanges: list[dict[str, Any]]) -> None:
        self._exchanges = exchanges

    def __call__(self, keyword: str, arguments: list[str]) -> Any:
        exchange = self._exchanges.pop(0) if self._exchanges else {"keyword": "the end"}
        if [keyword, arguments] != [exchange["keyword"], exchange.get("arguments")]:
            expected = f"{exchange['keyword']} {exchange.get('arguments')}"
            return {"status": "FAIL", "error": f"asked {keyword} {arguments} but not {expected}"}
        if "dies" in exchange:
            print(exchange["dies"], flush=True)
            os._exit(EXIT_STATUS)
        if "fault" in exchange:
            raise xmlrpc.client.Fault(1, exchange["fault"])
        return exchange["answer"]


class Recording:
    def __init__(self, conversation: Conversation, program: str, version: str) -> None:
        self._file = conversation
        self._record: dict[str, Any] = {"version": version, "exchanges": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        subprocess.Popen([program, "--disable-gui", "--plain", "--robot-server-port", str(port)])
        self._server = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/", allow_none=True)
        while True:
            try:
                self._server.get_keyword_names()
                return
            except OSError:
                time.sleep(0.1)

    def __call__(self, keyword: str, arguments: list[str]) -> Any:
        answer = self._server.run_keyword(keyword, arguments)
        assert isinstance(answer, dict)
        kept = {key: answer[key] for key in ("status", "return", "error") if key in answer}
        exchange = {"keyword": keyword, "arguments": arguments, "answer": kept}
        self._record["exchanges"].append(exchange)
        self._file.save(self._record)
        return answer


def main() -> None:
    conversation = Conversation(Path(sys.argv[1]))
    options = sys.argv[2:]
    real = os.environ.get(RECORD_VARIABLE)
    if "--version" in options:
        if real:
            print(subprocess.check_output([real, "--version"], text=True))
        else:
            print(conversation.load()["version"])
        return
    port = int(options[options.index("--robot-server-port") + 1])
    run: Recording | Replay
    if real:
        said = subprocess.check_output([real, "--version"], text=True)
        version = re.search(r"Renode v[\d.]+", said)
        assert version is not None, said
        run = Recording(conversation, real, version[0])
    else:
        run = Replay(conversation.load()["exchanges"])
    with SimpleXMLRPCServer(("127.0.0.1", port), logRequests=False, allow_none=True) as server:
        server.register_function(lambda: ["ExecuteCommand", "ResetEmulation"], "get_keyword_names")
        server.register_function(run, "run_keyword")
        server.serve_forever()


if __name__ == "__main__":
    main()
