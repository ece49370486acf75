"""Prints the packages of Buildroot's `show-info`, read from standard input: those of the type that is given, target or
host, by name. Called by buildroot/check."""

import json
import sys

packages = json.load(sys.stdin)
for name in sorted(packages):
    if packages[name]["type"] == sys.argv[1] and not packages[name]["virtual"]:
        print(name)
