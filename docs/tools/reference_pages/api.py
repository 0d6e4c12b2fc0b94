"""Exit codes, the Python API, and a notebook."""

import dataclasses
import importlib
import inspect
import json
import re
from pathlib import Path

from reference_pages.markdown import sentence, table

import segnet
from segnet import errors


def exit_codes_page() -> str:
    source = Path(errors.__file__).read_text(encoding="utf-8")
    meanings = dict(re.findall(r"^    ([A-Z]+) = \d+  # (.*)$", source, flags=re.MULTILINE))
    meanings.setdefault("OK", "success")
    rows = [(f"`{code.value}`", f"`{code.name}`", sentence(meanings[code.name])) for code in errors.ExitCode]
    rows.append(("`128 + n`", "", "Ended by signal n: 130 for Ctrl-C, 143 for SIGTERM."))
    return (
        "# Exit codes\n\n"
        "Scripts and schedulers can rely on these. Codes 2 to 6 come with one line on stderr: what is wrong, "
        "where, and what to do. Code 1 is a bug in segnet and comes with a stack trace: please report it.\n\n"
        f"{table(rows, ('code', 'name', 'meaning'))}\n"
        "In Python the same errors are exceptions, all subclasses of `segnet.errors.SegnetError`:\n\n"
        + table(
            [
                (f"`{error.__name__}`", f"`{int(error.exit_code)}`", (inspect.getdoc(error) or "").splitlines()[0])
                for error in errors.SegnetError.__subclasses__()
                if isinstance(error.exit_code, int) and error.exit_code != errors.SegnetError.exit_code
            ]
            + [("`ConfigError`", f"`{int(errors.ConfigError.exit_code)}`", inspect.getdoc(errors.ConfigError) or "")],
            ("exception", "exit code", "meaning"),
        )
    )


def python_page() -> str:
    parts = [
        "# Python API\n",
        "Everything here can be imported from `segnet` and is stable. Other modules may change in any release.\n",
    ]
    for name in segnet.__all__:
        if not name.startswith("_"):
            parts.append(f"::: segnet.{name}\n")
    api = importlib.import_module("segnet.api")
    results = [name for name in api.__all__ if dataclasses.is_dataclass(vars(api)[name])]
    parts.append("## Results\n\nThese objects are what the functions return.\n")
    parts += [f"::: segnet.api.{name}\n    options: {{heading_level: 3}}\n" for name in results]
    return "\n".join(parts)


def notebook_page(path: Path) -> str:
    """A notebook with its stored outputs as a page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if image := "".join(data.get("image/jpeg", [])).replace("\n", ""):
                parts.append(f'<img alt="output of the cell" src="data:image/jpeg;base64,{image}">')
            elif text := "".join(output.get("text") or data.get("text/plain", [])):
                parts.append(f"```text\n{text.rstrip()}\n```")
    parts.insert(1, f"[Download the notebook]({path.name})")
    return "\n\n".join(parts) + "\n"
