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


def instances(**states: str) -> str:
    """What qstat prints of a.q on these hosts, of 8 slots each, 3 used on the first."""
    rows = "".join(
        f"<Queue-List><name>a.q@{host}</name><qtype>BIP</qtype>"
        f"<slots_used>{0 if place else 3}</slots_used><slots_resv>0</slots_resv>"
        "<slots_total>8</slots_total><load_avg>0.11000</load_avg>"
        + (f"<state>{state}</state>" if state else "")
        + "<job_list><JB_job_number>7</JB_job_number><state>r</state></job_list>"
        "</Queue-List>"
        for place, (host, state) in enumerate(states.items())
    )
    return f"<?xml version='1.0'?><job_info><queue_info>{rows}</queue_info></job_info>"


def printing(text: str) -> Commands:
    """Commands that all print the same."""
    commands = Commands()
    commands.answers[""] = text
    return commands
