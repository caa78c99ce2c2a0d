"""Look the installed packages up in the database of known vulnerabilities; exit 1 where one is known.

pip-audit itself says that nothing is known of packages that it could not look up. Here that is told apart, and is no
failure: not every place where this runs reaches the database.
"""

import json
import subprocess
import sys
from typing import Any

COMMAND = [
    sys.executable,
    "-m",
    "pip_audit",
    "--local",
    "--skip-editable",
    "--progress-spinner",
    "off",
    "--format",
    "json",
]
TIMEOUT_S = 600


def main() -> int:
    """Run pip-audit; the exit code."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return not_audited(f"no answer within {TIMEOUT_S} s")
    except (ValueError, KeyError):
        return not_audited((done.stderr.strip().splitlines() or ["it printed nothing"])[-1])
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        return not_audited(f"none of {len(packages)} packages was found in it")
    known = [(package, vulnerability) for package in audited for vulnerability in package["vulns"]]
    for package, vulnerability in known:
        print(line(package, vulnerability))
    skipped = len(packages) - len(audited)
    print(f"{len(audited)} packages looked up, {skipped} not found, {len(known)} known vulnerabilities")
    return 1 if known else 0


def line(package: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    """What is wrong with which version, and which versions are better."""
    fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
    return f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}"


def not_audited(why: str) -> int:
    """Say so, loudly enough to be seen in a log."""
    print(f"NOT AUDITED: the database of known vulnerabilities can not be reached from here ({why});")
    print("run `make audit` where it can")
    return 0


if __name__ == "__main__":
    sys.exit(main())
