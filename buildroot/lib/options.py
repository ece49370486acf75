"""Reads a Config.in and prints the options that it uses and does not define. Called by buildroot/check."""

import sys

import kconfiglib

kconfig = kconfiglib.Kconfig(sys.argv[1], warn_to_stderr=False)
# Whatever else kconfig doubts is a fault; that the options of Buildroot are not there is known.
faults = [text for text in kconfig.warnings if "undefined symbol" not in text]
if faults:
    sys.exit("\n".join(faults))
for symbol in sorted(
    name
    for name, symbol in kconfig.syms.items()
    if not symbol.nodes and not symbol.is_constant and name != "MODULES"
):
    print(symbol)
