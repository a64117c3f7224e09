"""Does retention.toml contradict itself, or say what can never apply?

A law's least and a limit may still meet at run time, where one counts from something that happens to a person: a limit
that ends earlier then stops use, and the law's own purpose goes on until its least is over.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import CLEAR, HOME, LegalBasis, UnknownName, covers
from vault.catalogue.retention import ENDINGS, Since, is_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vault.catalogue.lines import Path
    from vault.catalogue.model import Catalogue, Field, FieldView, Purpose
    from vault.catalogue.retention import Limit, Period, Retention, Rule
    from vault.catalogue.toml_document import Document

STARTS: Final = tuple(date(year, month, day) for year in range(2000, 2008) for month in range(1, 13) for day in (1, 28))
"""Days from which periods are compared: all months of eight years, four of a leap year's neighbours among them."""


def check_retention(
    document: Document, catalogue: Catalogue, purposes: Mapping[str, Purpose], retention: Retention
) -> None:
    """Note what does not fit together, each where it stands.

    Args:
        document: retention.toml.
        catalogue: the fields.
        purposes: by name.
        retention: what the document says.
    """
    for name, purpose in purposes.items():
        rule = retention.rules.get(name)
        if rule is not None:
            _check_rule(document, catalogue, purpose, rule)
        elif purpose.collects:
            message = f"the purpose `{name}` collects values, and nothing says how long they are kept"
            remedy = f"add `[purpose.{name}]` with `keep`, `since` and `reason`, or say `collects = false` of it"
            document.note(document.first, "missing-rule", message, remedy)
    for limit in retention.limits.values():
        _check_limit(document, catalogue, limit, retention)
        _check_against_laws(document, catalogue, purposes, limit, retention)
    _check_views(document, catalogue, purposes, retention)
    _check_sources(document, retention)


def ends_sooner(one: Period, other: Period) -> bool:
    """Tell whether a period may end before another that begins on the same day."""
    return any(one.after(start) < other.after(start) for start in STARTS)


def _check_rule(document: Document, catalogue: Catalogue, purpose: Purpose, rule: Rule) -> None:
    at: Path = ("purpose", purpose.name)
    if not purpose.collects:
        for key in ("fields", "categories", "at_end", "by_relationship", "least", "brought_by", "then"):
            if key in _said(document, at):
                message = f"`{key}` of [purpose.{purpose.name}] says nothing: the purpose collects nothing"
                document.fault((*at, key), "no-effect", message, "take it out, or let the purpose collect")
        return
    _check_law(document, purpose, rule, at)
    needed = [catalogue.view(name) for name in sorted(purpose.views)]
    for key, names in (("fields", rule.fields), ("at_end", rule.at_end)):
        for written in _said(document, (*at, key)):
            canonical = _canonical(catalogue, written) or written
            if canonical in names and not any(covers(str(each.name), canonical) for each in needed):
                _not_needed(document, (*at, key, written), purpose, written)
    for category in rule.categories:
        if not any(is_within(each.field.category, category) for each in needed):
            _not_needed(document, (*at, "categories", category), purpose, category)
    _check_least(document, rule, needed, at)


def _check_law(document: Document, purpose: Purpose, rule: Rule, at: Path) -> None:
    """Note what only a legal obligation can say."""
    if purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION:
        return
    for key, is_said in (("least", rule.least is not None), ("brought_by", bool(rule.brought_by))):
        if is_said:
            message = f"`{key}` of [purpose.{purpose.name}] is for a legal obligation, and this purpose is none"
            remedy = 'take it out, or say `legal_basis = "legal-obligation"` in purposes.toml and name the law'
            document.fault((*at, key), "no-law", message, remedy)


def _check_least(document: Document, rule: Rule, needed: Iterable[FieldView], at: Path) -> None:
    """Note a period, of the purpose or of a field that it needs, that ends before the least that the law demands."""
    if rule.least is None:
        return
    shorter = {period for view in needed for period in rule.periods(view) if ends_sooner(period, rule.least)}
    for period in sorted(shorter, key=str):
        message = f"`least` of [purpose.{rule.purpose}] is longer than {period}, for which the purpose keeps values"
        document.fault((*at, "least"), "contradiction", message, "keep them at least that long, or demand less")


def _check_limit(document: Document, catalogue: Catalogue, limit: Limit, retention: Retention) -> None:
    at: Path = ("limit", limit.name)
    for number, name in enumerate(_said(document, (*at, "fields"))):
        if (canonical := _canonical(catalogue, name)) is not None and _is_view(canonical, catalogue):
            message = f"`{name[:80]}` in [limit.{limit.name}] is a view, and a limit is about the value"
            document.fault((*at, "fields", number), "no-effect", message, "name the field")
    for number, name in enumerate(limit.sources):
        if limit.since == Since.DRAW_HELD and name not in retention.draws:
            message = f"[limit.{limit.name}] counts from the draw of `{name[:80]}`, of which nothing is said"
            document.fault((*at, "sources", number), "unknown-source", message, f"add `[source.{name[:80]}]`")
    if limit.since == Since.DRAW_HELD and not limit.sources:
        message = f"[limit.{limit.name}] counts from a draw, and names no source that has one"
        document.fault((*at, "since"), "unknown-source", message, "name `sources`, or count from something else")


def _check_against_laws(
    document: Document, catalogue: Catalogue, purposes: Mapping[str, Purpose], limit: Limit, retention: Retention
) -> None:
    """Note a limit on the same fields as a law, from the same day, that ends before the law's least.

    A limit on the values of some sources only is none: for them the law wins at run time.
    """
    if limit.sources:
        return
    for name, rule in retention.rules.items():
        purpose = purposes.get(name)
        if purpose is None or purpose.legal_basis != LegalBasis.LEGAL_OBLIGATION or not purpose.collects:
            continue
        for field in _limited_fields(catalogue, purpose, limit):
            if _is_comparable(rule, limit, field) and any(
                ends_sooner(limit.most, each) for each in _leasts(rule, field)
            ):
                message = f"[limit.{limit.name}] ends `{field.field.whole}` before [purpose.{name}] may let it go"
                remedy = "take the field out of the limit, or lengthen it: what a law demands is kept"
                document.fault(("limit", limit.name, "most"), "contradiction", message, remedy)


def _limited_fields(catalogue: Catalogue, purpose: Purpose, limit: Limit) -> Iterator[FieldView]:
    views = {name.rpartition(".")[0]: catalogue.view(name) for name in sorted(purpose.views)}
    return (view for view in views.values() if limit.fits(view.field.whole, view.field.category))


def _is_comparable(rule: Rule, limit: Limit, view: FieldView) -> bool:
    """Tell whether a limit never counts from a later day than a law: of a record nothing counts from before its day."""
    of_a_record = view.field.collection != HOME
    return rule.since == limit.since or (of_a_record and limit.since == Since.COLLECTED)


def _leasts(rule: Rule, view: FieldView) -> tuple[Period, ...]:
    return rule.periods(view) if rule.least is None else (rule.least,)


def _check_views(
    document: Document, catalogue: Catalogue, purposes: Mapping[str, Purpose], retention: Retention
) -> None:
    """Note a view that is to take a value's place and that nobody needs for longer than the value is kept."""
    for name, rule in retention.rules.items():
        for written in _said(document, ("purpose", name, "at_end")):
            canonical = _canonical(catalogue, written)
            view = rule.at_end.get(canonical or "", "")
            at: Path = ("purpose", name, "at_end", written)
            if canonical is not None and _is_view(canonical, catalogue):
                message = f"`{written[:80]}` in `at_end` of [purpose.{name}] is a view, and what ends is the value"
                document.fault(at, "no-effect", message, "name the field")
            elif view and view not in ENDINGS and not _is_enough(catalogue, purposes, retention, view):
                message = f"`{view}` takes a value's place at the end of [purpose.{name}], and nobody does with it"
                remedy = "erase it, or give the view a period of its own for a purpose that needs no more: `fields`"
                document.fault(at, "no-effect", message, remedy)


def _is_enough(catalogue: Catalogue, purposes: Mapping[str, Purpose], retention: Retention, view: str) -> bool:
    """Tell whether a purpose needs a view for a time in which it needs no other of the field."""
    field = catalogue.view(view).field
    for name, purpose in purposes.items():
        rule = retention.rules.get(name)
        if rule is None or not purpose.collects or view not in purpose.views:
            continue
        periods = rule.periods(catalogue.view(view))
        alike = [each for each in _views_of(catalogue, field) if purpose.covers(each) and rule.periods(each) == periods]
        if len(alike) == 1:
            return True
    return False


def _views_of(catalogue: Catalogue, field: Field) -> list[FieldView]:
    return [catalogue.view(f"{field.whole}.{view}") for view in (CLEAR, *sorted(field.views))]


def _check_sources(document: Document, retention: Retention) -> None:
    """Note a draw of which no period counts, and a period that counts from a draw where there is none."""
    rules = [name for name, rule in retention.rules.items() if rule.since == Since.DRAW_HELD]
    used = {source for limit in retention.limits.values() for source in limit.sources}
    for name in retention.draws:
        if name not in used and not rules:
            message = f"[source.{name}] is not used: no limit names it, and no period counts from a draw"
            document.fault(("source", name), "no-effect", message, "name it in `sources` of a limit, or take it out")
    for name in rules if not retention.draws else ():
        message = f"[purpose.{name}] counts from a draw, and there is none"
        document.fault(("purpose", name, "since"), "unknown-source", message, "add `[source.NAME]`")


def _not_needed(document: Document, at: Path, purpose: Purpose, name: str) -> None:
    message = f"[purpose.{purpose.name}] names `{name[:80]}`, which the purpose does not need"
    document.fault(at, "not-needed", message, "take it out, or add it to `needs` in purposes.toml")


def _said(document: Document, at: Path) -> dict[str, object] | list[str]:
    """Return what stands under a path, as it is written; nothing where it is not of that form."""
    found: object = document.data
    for key in at:
        found = found.get(str(key)) if isinstance(found, dict) else None
    if isinstance(found, dict):
        return found
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else {}


def _canonical(catalogue: Catalogue, name: str) -> str | None:
    try:
        return catalogue.canonical(name)
    except UnknownName:
        return None


def _is_view(canonical: str, catalogue: Catalogue) -> bool:
    return canonical in catalogue and canonical not in {field.whole for field in catalogue.fields()}
