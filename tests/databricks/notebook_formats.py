"""A notebook's source as SOURCE, JUPYTER, HTML and DBC, and back."""

import base64
import io
import json
import re
import urllib.parse
import zipfile
from collections.abc import Mapping
from typing import Any

from tests.databricks import errors

LANGUAGES = {"PYTHON": ("py", "#"), "SQL": ("sql", "--"), "SCALA": ("scala", "//"), "R": ("r", "#")}
EXTENSIONS = {extension: language for language, (extension, _) in LANGUAGES.items()}
FORMATS = {"SOURCE": "", "HTML": "html", "JUPYTER": "ipynb", "DBC": "dbc"}
MODEL = re.compile(r"__DATABRICKS_NOTEBOOK_MODEL = '([^']*)'")


def header(language: str) -> str:
    """The first line of a notebook's source."""
    return f"{LANGUAGES[language][1]} Databricks notebook source"


def language_of(source: bytes, extension: str) -> str:
    """The language when `source` is that of a notebook by its first line, else ""."""
    language = EXTENSIONS.get(extension.lower(), "")
    return language if language and source.lstrip().startswith(header(language).encode()) else ""


def to_format(source: bytes, language: str, wanted: str, name: str) -> bytes:
    """A notebook in a format; raises ApiError 400 for a format there isn't."""
    if wanted == "SOURCE":
        text = source.decode()
        return (text if text.startswith(header(language)) else f"{header(language)}\n{text}").encode()
    cells = _cells(source.decode(), language)
    if wanted == "JUPYTER":
        return json.dumps(_jupyter(cells, language, name), indent=1).encode()
    model = {
        "version": "NotebookV1",
        "name": name,
        "language": language.lower(),
        "commands": [{"command": cell} for cell in cells],
    }
    if wanted == "HTML":
        packed = base64.b64encode(urllib.parse.quote(json.dumps(model)).encode()).decode()
        page = f"<!DOCTYPE html>\n<html><head><title>{name} - Databricks</title></head><body>"
        return f"{page}<script>__DATABRICKS_NOTEBOOK_MODEL = '{packed}'</script></body></html>\n".encode()
    if wanted == "DBC":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"{name}.{language.lower()}", json.dumps(model))
        return buffer.getvalue()
    raise errors.invalid(f"Invalid export format: {wanted}")


def from_format(content: bytes, given: str) -> tuple[str, bytes]:
    """(language, source) of a notebook in JUPYTER, HTML or DBC; raises ApiError 400 when it isn't one."""
    try:
        if given == "JUPYTER":
            document = json.loads(content)
            language = str(document.get("metadata", {}).get("language_info", {}).get("name", "python")).upper()
            cells = [_from_jupyter(cell) for cell in document["cells"]]
        elif given == "HTML":
            found = MODEL.search(content.decode())
            model = json.loads(urllib.parse.unquote(base64.b64decode(found.group(1) if found else "").decode()))
            language, cells = _from_model(model)
        else:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                language, cells = _from_model(json.loads(archive.read(archive.namelist()[0])))
    except (ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise errors.invalid(f"The content is not a notebook in format {given}: {error}") from error
    if language not in LANGUAGES:
        raise errors.invalid(f"Unsupported language: {language}")
    return language, _source(cells, language)


def _from_model(model: Mapping[str, Any]) -> tuple[str, list[str]]:
    return str(model["language"]).upper(), [str(one["command"]) for one in model["commands"]]


def _separator(language: str) -> str:
    return f"{LANGUAGES[language][1]} COMMAND ----------"


def _cells(text: str, language: str) -> list[str]:
    """The cells of a source; lines of other languages carry `MAGIC`."""
    mark = LANGUAGES[language][1]
    text = text.removeprefix(header(language)).strip("\n")
    cells = [cell.strip("\n") for cell in text.split(_separator(language))]
    return [re.sub(rf"^{re.escape(mark)} MAGIC ?", "", cell, flags=re.MULTILINE) for cell in cells]


def _source(cells: list[str], language: str) -> bytes:
    mark = LANGUAGES[language][1]
    shown = [
        re.sub(r"^", f"{mark} MAGIC ", cell, flags=re.MULTILINE) if cell.startswith("%") else cell for cell in cells
    ]
    joined = f"\n\n{_separator(language)}\n\n".join(shown)
    return f"{header(language)}\n{joined}\n".encode()


def _jupyter(cells: list[str], language: str, name: str) -> dict[str, Any]:
    shown: list[dict[str, Any]] = []
    for cell in cells:
        if cell.startswith("%md"):
            shown.append({"cell_type": "markdown", "metadata": {}, "source": [cell.removeprefix("%md").lstrip()]})
        else:
            lines = cell.splitlines(keepends=True)
            shown.append({"cell_type": "code", "execution_count": 0, "metadata": {}, "outputs": [], "source": lines})
    metadata: dict[str, Any] = {
        "application/vnd.databricks.v1+notebook": {"notebookName": name, "language": language.lower()}
    }
    document: dict[str, Any] = {"cells": shown, "nbformat": 4, "nbformat_minor": 0}
    return {**document, "metadata": {**metadata, "language_info": {"name": language.lower()}}}


def _from_jupyter(cell: Mapping[str, Any]) -> str:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    return f"%md\n{text}" if cell["cell_type"] == "markdown" else text
