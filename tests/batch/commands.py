"""A fake of the batch system's commands."""

from __future__ import annotations

from collections.abc import Sequence


class Commands:
    """Records each command; prints the answer, or raises it if it is an error.

    Answers are chosen by how the command begins; "" is any command.
    """

    def __init__(self, **answers: str | Exception) -> None:
        self.answers = {key.replace("_", " -"): each for key, each in answers.items()}
        self.run: list[str] = []

    def __call__(self, command: Sequence[str]) -> str:
        line = " ".join(command)
        self.run.append(line)
        for start, answer in self.answers.items():
            if line.startswith(start):
                if isinstance(answer, Exception):
                    raise answer
                return answer
        raise FileNotFoundError(command[0])


def printing(text: str) -> Commands:
    """Commands that all print the same."""
    commands = Commands()
    commands.answers[""] = text
    return commands
