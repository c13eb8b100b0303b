"""Options as getopt_long reads them, with its complaints."""

from __future__ import annotations

from collections.abc import Mapping

NO, YES, MAYBE = 0, 1, 2  # whether an option takes a value


def options(*, no: str = "", yes: str = "", maybe: str = "") -> dict[str, int]:
    """Return whether each of these options, names with blanks between them, takes a value."""
    classes = ((no, NO), (yes, YES), (maybe, MAYBE))
    return {name: kind for names, kind in classes for name in names.split()}


class BadOption(Exception):
    """An invalid option, with getopt's message."""


def parse(
    command: str, arguments: list[str], short: Mapping[str, str], long: Mapping[str, int],
    *, anywhere: bool = False,
) -> tuple[list[tuple[str, str | None]], list[str]]:  # fmt: skip
    """Return the options given, by their long names, and the other arguments.

    `short` gives the long name of each letter, `long` whether a long one takes a value.
    Without `anywhere` the first argument that is no option ends them.
    """
    options: list[tuple[str, str | None]] = []
    operands: list[str] = []
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        if word == "--":
            operands += pending
            break
        if word.startswith("--"):
            option, equals, value = word[2:].partition("=")
            name = _full(command, option, long)
            if equals and long[name] == NO:
                raise BadOption(f"{command}: option '--{name}' doesn't allow an argument")
            if long[name] == YES and not equals:
                if not pending:
                    raise BadOption(f"{command}: option '--{name}' requires an argument")
                value, equals = pending.pop(0), "="
            options.append((name, value if equals else None))
        elif word.startswith("-") and word != "-":
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter not in short:
                    raise BadOption(f"{command}: invalid option -- '{letter}'")
                name = short[letter]
                if long[name] == NO:
                    options.append((name, None))
                    continue
                if not letters and long[name] == YES:
                    if not pending:
                        raise BadOption(f"{command}: option requires an argument -- '{letter}'")
                    letters = pending.pop(0)
                options.append((name, letters or None))
                break
        else:
            operands.append(word)
            if not anywhere:
                operands += pending
                break
    return options, operands


def _full(command: str, option: str, long: Mapping[str, int]) -> str:
    if option in long:
        return option
    fitting = sorted(name for name in long if name.startswith(option))
    if not fitting:
        raise BadOption(f"{command}: unrecognized option '--{option}'")
    if len(fitting) > 1:
        possible = " ".join(f"'--{name}'" for name in fitting)
        raise BadOption(f"{command}: option '--{option}' is ambiguous; possibilities: {possible}")
    return fitting[0]
