"""Completion of command lines: the script a shell reads once, and what it asks at each press of the key."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.main import get_command

from prometheus.cli import COMMANDS
from prometheus.cli.parameters import LATEST, TODAY
from prometheus.cli.runner import application_of, command, print_line
from prometheus.errors import PrometheusError

if TYPE_CHECKING:
    from prometheus.app.stored import Names

Shell = Literal["bash", "zsh", "fish"]

MODULE, SCRIPTS, PROGRAM = "prometheus", "prometheus.scripts.", "prometheus-regime"
TIMEOUT_S = 1
BREAKS_OF_BASH = "=:@"
"""Where bash begins another word, so that what stands before is not written again."""
DATES = ("DATE", "START END")
STORED: Mapping[str, Names] = {
    "region": "regions", "instrument_id": "instruments", "instrument": "instruments", "market_id": "markets",
    "model_id": "models", "series": "series",
}  # fmt: skip
"""The kind of stored names that a parameter takes, by how its own name ends."""
SCRIPT = {
    "bash": """\
_prometheus_complete() {
    local run=("$1") word
    COMPREPLY=()
    if [[ $1 != *prometheus-regime ]]; then
        if [[ ${COMP_WORDS[1]} != -m || ${COMP_WORDS[2]} != prometheus* ]]; then
            declare -F _python > /dev/null && _python "$@"
            return
        fi
        run+=(-m prometheus)
    fi
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <("${run[@]}" completion bash -- "${COMP_LINE:0:COMP_POINT}" 2> /dev/null)
}
complete -o default -F _prometheus_complete python python3 prometheus-regime""",
    "zsh": """\
#compdef python python3 prometheus-regime
_prometheus_complete() {
    local run=($words[1]) found=()
    if [[ $words[1] != *prometheus-regime ]]; then
        if [[ $words[2] != -m || $words[3] != prometheus* ]]; then
            _python
            return
        fi
        run+=(-m prometheus)
    fi
    found=("${(@f)$($run completion zsh -- "${(j: :)words[1,CURRENT]}" 2> /dev/null)}")
    if [[ -n $found ]]; then _describe prometheus found; else _files; fi
}
compdef _prometheus_complete python python3 prometheus-regime""",
    "fish": """\
function __prometheus_asked
    set -l words (commandline -opc)
    string match -q '*prometheus-regime' -- $words[1]; and return
    test (count $words) -gt 2; and test "$words[2]" = -m; and string match -q 'prometheus*' -- $words[3]
end
function __prometheus_complete
    set -l words (commandline -opc)
    set -l run $words[1]
    string match -q '*prometheus-regime' -- $run; or set -a run -m prometheus
    set -l found ($run completion fish -- (commandline -cp | string collect) 2>/dev/null)
    if set -q found[1]
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
for program in python python3 prometheus-regime
    complete -c $program -f -n __prometheus_asked -a '(__prometheus_complete)'
end""",
}


@command("bash", "zsh", "fish")
def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that reads the script.")],
    line: Annotated[str | None, typer.Argument(hidden=True)] = None,
) -> int:
    """Print a script that completes commands, options, choices and stored names.

    In bash and zsh, put its output through eval in .bashrc or .zshrc; in fish, into a file in conf.d. Names come from
    databases that run already; no server is started.
    """
    if line is None:
        print_line(SCRIPT[shell])
        return 0
    words, begun = split_line(line)
    for word, text in candidates(words, begun):
        print_line(_spelt(shell, word, text, begun))
    return 0


def split_line(line: str) -> tuple[list[str], str]:
    """Return the complete words after the program's name, and the one that is being written.

    Examples
    --------
    >>> split_line("python -m prometheus report --region 'US ")
    (['report', '--region'], 'US ')
    """
    words, closing = [], ""
    for closing in ("", "'", '"'):  # a quotation may still be open
        with suppress(ValueError):
            words = shlex.split(line + closing)
            break
    begun = words.pop() if words and (closing or not line[-1].isspace()) else ""
    for place, word in enumerate(words):
        if word.endswith(PROGRAM) or (word == MODULE and words[place - 1] == "-m"):
            return words[place + 1 :], begun
        if word.startswith(SCRIPTS):
            return [word.removeprefix(SCRIPTS), *words[place + 1 :]], begun
    return words, begun


def candidates(words: Sequence[str], begun: str) -> list[tuple[str, str]]:
    """Return what the word that is being written may become, each with its meaning."""
    if not words:
        known: Mapping[str, str] = {name: text for name, (_, text) in COMMANDS.items()}
    else:
        name = words[0].replace("-", "_")
        known = _after(get_command(application_of(name)), words[1:], begun) if name in COMMANDS else {}
    return [(word, text) for word, text in known.items() if word.startswith(begun)]


def _after(found: Any, words: Sequence[str], begun: str) -> Mapping[str, str]:
    if not hasattr(found, "commands"):
        return _after_command(found, words, begun)
    if words:
        return _after_command(found.commands[words[0]], words[1:], begun) if words[0] in found.commands else {}
    return {name: each.get_short_help_str() for name, each in found.commands.items()}


def _after_command(found: Any, words: Sequence[str], begun: str) -> Mapping[str, str]:
    parameters = found.get_params(typer.Context(found))
    options = {name: each for each in parameters if each.param_type_name == "option" for name in each.opts}
    name, equals, _ = begun.partition("=")
    if equals and name in options:
        return {f"{name}={value}": "" for value in _values_of(options[name])}
    waiting, n_arguments = _read(words, options)
    if waiting is not None:
        return dict.fromkeys(_values_of(waiting), "")
    arguments = [each for each in parameters if each.param_type_name == "argument" and not each.hidden]
    if begun.startswith("-") or not arguments:
        return {
            name: each.help or ""
            for name, each in options.items()
            if each.multiple or not {*each.opts}.intersection(words)
        }
    asked = [each for place, each in enumerate(arguments) if place == n_arguments or each.nargs == -1]
    return dict.fromkeys(_values_of(asked[0]), "") if asked else {}


def _read(words: Sequence[str], options: Mapping[str, Any]) -> tuple[Any, int]:
    """Return the option that still lacks a value, None without one, and the number of arguments."""
    waiting, n_lacking, n_arguments = None, 0, 0
    for word in words:
        if n_lacking:
            n_lacking -= 1
        elif word in options:
            waiting, n_lacking = options[word], 0 if options[word].is_flag else options[word].nargs
        elif not word.startswith("-"):
            n_arguments += 1
    return (waiting if n_lacking else None), n_arguments


def _values_of(parameter: Any) -> Sequence[str]:
    if parameter.metavar in DATES:
        return [TODAY, LATEST]
    kind = next((kind for ending, kind in STORED.items() if parameter.name.endswith(ending)), None)
    if kind is not None:
        return _stored_names(kind)
    return list(map(str, parameter.type_descriptor.choices or ()))


def _stored_names(kind: Names) -> list[str]:
    from prometheus.app import App
    from prometheus.app.databases import find_running_databases
    from prometheus.core.config import load_config

    try:
        databases = find_running_databases(load_config(), TIMEOUT_S)
        if databases is None:
            return []
        names = App(databases).stored.names(kind)
        databases.close_all()  # only here: it would wait for a server that does not answer
    except PrometheusError:  # there is no place for its text while someone types
        return []
    return names


def _spelt(shell: Shell, word: str, text: str, begun: str) -> str:
    meaning = " ".join(text.split())
    if shell == "fish":
        return f"{word}\t{meaning}"
    if shell == "zsh":
        return word.replace(":", "\\:") + f":{meaning}"
    is_written = max(map(begun.rfind, BREAKS_OF_BASH)) + 1
    rest = word[is_written:]
    return rest if begun.startswith("-") else shlex.quote(rest)
