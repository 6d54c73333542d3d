"""Single figures and small pages in the report's style, each in one file that loads nothing."""

from markupsafe import Markup

from sparc.report.svg import Figure, tag
from sparc.report.templating import asset, policy


def page(title: str, *body: str) -> str:
    """A page of HTML with `title` and the parts of `body`, styled as the report is."""
    style = asset("report.css")
    head = Markup(
        '<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{}">'
        '<meta name="viewport" content="width=device-width">'
    ).format(policy(style, ""))
    return Markup('<!doctype html><html lang="en"><head>{}{}{}</head>{}</html>').format(
        head, tag("title", {}, title), tag("style", {}, Markup(style)), tag("body", {}, *body)
    )


def numbers_table(columns: list[str], rows: list[list[str]]) -> Markup:
    """A table whose first column names the rows."""
    head = [tag("th", {"scope": "col"}, column) for column in columns]
    lines = [
        tag("tr", {}, tag("th", {"scope": "row"}, row[0]), *(tag("td", {}, v) for v in row[1:]))
        for row in rows
    ]
    table = tag("table", {}, tag("thead", {}, tag("tr", {}, *head)), tag("tbody", {}, *lines))
    return tag("div", {"class": "scroll", "tabindex": "0"}, table)


def figure_card(figure: Figure) -> Markup:
    """A chart with its caption and, folded away, its numbers."""
    table = numbers_table(list(figure.columns), [list(row) for row in figure.rows])
    return tag(
        "figure",
        {"class": "card"},
        tag("h3", {}, figure.title),
        figure.svg,
        tag("figcaption", {}, figure.caption),
        tag("details", {}, tag("summary", {}, "Numbers"), table),
    )


def figure_page(figure: Figure) -> str:
    """One chart as a page of its own."""
    return page(figure.title, figure_card(figure))
