"""Runs commands of the product one after the other, as a user would, and tells what reached for the network.

    python tests/offline_run.py COMMANDS.json

The file is a list of argument lists. Prints a JSON object: exit codes by command, and every host that was looked up or
connected to. Meant for a network namespace without interfaces: there nothing can be reached, and nothing may try to.
"""

import json
import sys
from pathlib import Path
from typing import Any

reached: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note attempts; those over a Unix socket stay on the machine."""
    if event == "socket.getaddrinfo":
        reached.append(str(arguments[0]))
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        reached.append(str(arguments[1][0]))


def main() -> None:
    """Run them all in this process, which imports the libraries once."""
    sys.addaudithook(watch)
    import cli

    codes: dict[str, Any] = {}
    for arguments in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        sys.argv = ["duet", *arguments]
        try:
            cli.main()
        except SystemExit as end:
            codes[" ".join(arguments[:2])] = end.code
    print("\n" + json.dumps({"codes": codes, "reached": reached}))


if __name__ == "__main__":
    main()
