"""Run the quickstart notebook in a temporary folder and store its outputs.

python docs/tools/run_notebook.py
"""

import re
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parents[1]
NOTEBOOK = DOCS / "notebooks" / "quickstart.ipynb"
COLOR = re.compile(r"\x1b\[[0-9;]*m")


def executed(folder: Path) -> nbformat.NotebookNode:
    """Run the notebook below `folder`, where its files stay; return it with its outputs."""
    work = folder / "docs" / "notebooks"
    work.mkdir(parents=True)
    shutil.copy(DOCS / "example_data.py", work.parent)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(work)}}).execute()
    return notebook


def tidy(cell: nbformat.NotebookNode) -> None:
    """Keep of a cell's outputs what a reader wants: no times, terminal colors or paths of this machine."""
    cell.metadata.pop("execution", None)
    kept: list[nbformat.NotebookNode] = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        data.pop("text/html", None)  # rich's HTML has fixed colors
        if "image/jpeg" in data:
            data.pop("image/png", None)  # many times larger
        if "text/plain" in data:
            table = COLOR.sub("", data["text/plain"])
            data["text/plain"] = re.sub(r"(\n└[^\n]*)\n.*", r"\1", table, flags=re.DOTALL)  # the caption is a path
        if output.get("name") == "stderr":
            continue
        if output.get("name") == "stdout" and kept and kept[-1].get("name") == "stdout":
            kept[-1].text += output.text
        else:
            kept.append(output)
    if cell.cell_type == "code":
        cell.outputs = kept


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(Path(folder))
    for cell in notebook.cells:
        tidy(cell)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
