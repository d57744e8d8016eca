"""A Dockerfile carried out without a container engine: its COPY list and RUN steps, in empty folders.

Each stage has a folder of its own that stands for `/`. Only what the file copies is there, and what
`.dockerignore` leaves out is not; paths of the image in commands are replaced by those in the folder.
Steps that change the system (users, owners) are left out, as an engine does them as root.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_SYSTEM = ("useradd", "groupadd", "install", "apt-get", "chown")


class Image(NamedTuple):
    """What comes out: the folder of the last stage, and how its program is started."""

    root: Path
    command: list[str]
    entrypoint: list[str]
    environment: dict[str, str]

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start it with these words, or as the file says, in its work folder."""
        command = [*self.entrypoint, *(words or self.command)]
        inside = [self._inside(word) for word in command]
        work = self.root / "var/lib/penstock"
        work.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            inside,
            cwd=work,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _inside(self, word: str) -> str:
        return str(self.root) + word if word.startswith("/") else word


def build(dockerfile: Path, context: Path, folder: Path) -> Image:
    """Carry out a Dockerfile. Raises where a step fails or what it copies is missing."""
    ignored = _ignored(context / ".dockerignore")
    stages: dict[str, Path] = {}
    root, work = folder, Path("/")
    parts: dict[str, list[str]] = {"ENTRYPOINT": [], "CMD": []}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    for word, rest in _instructions(dockerfile.read_text()):
        match word:
            case "FROM":
                root = folder / f"stage-{len(stages)}"
                root.mkdir()
                named = re.search(r" AS (\w+)$", rest)
                stages[named[1] if named else str(len(stages))] = root
                work = Path("/")
            case "WORKDIR":
                work = Path(rest)
                _in(root, work).mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(rest, context, ignored, stages, root, work)
            case "ENV":
                for name, value in re.findall(r"(\w+)=(\S+)", rest):
                    inside = re.sub(r"(?<![\w$])/", f"{root}/", value)
                    environment[name] = inside.replace("$PATH", environment["PATH"])
            case "RUN":
                _run(rest, root, _in(root, work), environment)
            case "ENTRYPOINT" | "CMD":
                parts[word] = json.loads(rest)
    return Image(root, parts["CMD"], parts["ENTRYPOINT"], environment)


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined]


def _in(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _copy(
    rest: str, context: Path, ignored: list[str], stages: dict[str, Path], root: Path, work: Path
) -> None:
    words = shlex.split(rest)
    from_stage = [word.partition("=")[2] for word in words if word.startswith("--from=")]
    *sources, target = [word for word in words if not word.startswith("--")]
    to = _in(root, work / target)
    for source in sources:
        if from_stage:
            origin = _in(stages[from_stage[0]], Path(source))
        else:
            origin = context / source
            if _is_ignored(source, ignored):
                raise FileNotFoundError(f"COPY {source}: .dockerignore leaves it out")
        if origin.is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(origin, to, symlinks=True, ignore=left_out, dirs_exist_ok=True)
            if from_stage:
                _move_scripts(to, origin)
        else:
            to.mkdir(parents=True, exist_ok=True) if target.endswith("/") else None
            shutil.copy(origin, to)


def _move_scripts(folder: Path, origin: Path) -> None:
    """Scripts name their interpreter: in an engine both stages have it at the same place."""
    for path in (folder / "bin").iterdir():
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if str(origin).encode() in content:
                path.write_bytes(content.replace(str(origin).encode(), str(folder).encode()))


def _run(command: str, root: Path, work: Path, environment: dict[str, str]) -> None:
    for step in command.split("&&"):
        words = shlex.split(step)
        if words[0] in _SYSTEM:
            continue
        # Also the path of a setting, `--set name=/path`: a step never writes outside its folder.
        inside = [re.sub(r"^([\w.]+=)?/", rf"\g<1>{root}/", word) for word in words]
        if inside[0] == "python":
            inside[0] = sys.executable
        subprocess.run(inside, cwd=work, env=environment, check=True, capture_output=True)


def _ignored(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _is_ignored(path: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(path, pattern.removeprefix("**/")) for pattern in patterns)
