"""Tables as Markdown and as LaTeX (booktabs)."""

import re
from collections.abc import Sequence
from typing import Final

from trainer.evaluation.tables import Table

_LATEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", ">": "$>$", "<": "$<$",
}  # fmt: skip


def markdown(tables: Sequence[Table]) -> str:
    """A heading, a table and its note for each."""
    return "\n".join(f"## {table.title}\n\n{_markdown(table)}\n" for table in tables)


def latex(tables: Sequence[Table]) -> str:
    """A floating table for each; needs \\usepackage{booktabs}."""
    return "\n".join(_latex(table) for table in tables)


def _markdown(table: Table) -> str:
    lines = [table.header, ["---", *("---:" for _ in table.header[1:])], *table.rows]
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"{text}\n\n{table.note}" if table.note else text


def _latex(table: Table) -> str:
    lines = [" & ".join(map(_escaped, line)) + r" \\" for line in (table.header, *table.rows)]
    caption = f"{table.title}. {table.note}".strip()
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escaped(text: str) -> str:
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], text)
