#!/usr/bin/env python3
"""`sacct` without an accounting database: the controller answers.

sacct -o JobID,State,NodeList --parsable2 -j ID [-j ID ...]
"""

import subprocess
import sys
from itertools import pairwise


def row(record: str) -> str:
    facts = dict(word.split("=", 1) for word in record.split() if "=" in word)
    name = facts["JobId"]
    if "ArrayJobId" in facts:
        task = facts["ArrayTaskId"]
        name = f"{facts['ArrayJobId']}_{task if task.isdigit() else f'[{task}]'}"  # waiting tasks share a record
    return f"{name}|{facts['JobState']}|{facts.get('NodeList', '')}"


words = sys.argv[1:]
print("JobID|State|NodeList")
for job in [value for word, value in pairwise(words) if word == "-j"]:
    shown = subprocess.run(["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True)
    for record in shown.stdout.splitlines():
        if record.startswith("JobId="):
            print(row(record))
