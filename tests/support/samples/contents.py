"""Email contents that are easily damaged in transit."""

from __future__ import annotations

CONTENTS = [
    "",
    "\n",
    "Hello",
    "Hello\n",
    "a\n.\nMAIL FROM:<x>",
    "\r.\r",
    "\n.\r\n",
    "\r\n.\n",
    "\r\r\n.\r\n",
    ".",
    "..",
    ".x\n..y\n...\n\n.\n",
    "lone \r and \n and \r\n and \n\r",
    "trailing  \nspaces\t\n \n\t\n \t \nend ",
    "x" * 5_000,
    "你" * 5_000,
    "😀" * 5_000,
    "." * 5_000,
    "x" * 998,
    "x" * 999,
    ("." + "y" * 75) * 40,
    "你好 " * 333 + "\n.end",
    "next\x85line \u2028 separator \u2029 \x0b \x0c \x1c \x7f \x1b[31m",
    "\ufeffBOM and \u202eRTL",
    "From the start\n>From\n-- \nsignature",
    "=41 =\n=3D soft=\nbreak",
    "%s %d %% {0} {{x}}",
    "--=_T0ken_0\n--=_T0ken_0--\n",
]
