"""The policy file retention.toml: how long values are kept for each purpose, and limits for all purposes.

:func:`load_retention` reads the file, and :func:`check_retention` finds contradictions and rules that can never apply.
Both report each mistake with its position. A law's minimum and a limit may still conflict at run time, if one of them
counts from an event of a subject. Then the limit ends the use, and the law's own purpose sees the value until the
minimum is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from vault.catalogue.model import HOME, LegalBasis, UnknownName, covers, is_within
from vault.catalogue.periods import DURATION, Period, read_period
from vault.catalogue.purposes import check_declared, read_name
from vault.catalogue.retention_actions import ERASE, REVIEW, InvalidAction, is_view, read_action, select_hint
from vault.catalogue.toml_document import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vault.catalogue.model import Catalogue, FieldView, Purpose
    from vault.catalogue.toml_document import Document, Path, Table


CONTACTS: Final = frozenset({"interaction", "purchase"})
"""Collections whose newest record is the last contact: the last order or message."""


class Since(StrEnum):
    """What a period counts from."""

    COLLECTED = "collected"
    LAST_CONTACT = "last-contact"
    RELATIONSHIP_ENDED = "relationship-ended"
    CONTRACT_ENDED = "contract-ended"
    CLAIM_CLOSED = "claim-closed"
    DRAW_HELD = "draw-held"


class Relationship(StrEnum):
    """The relationship of a subject to the company."""

    PROSPECT = "prospect"
    CUSTOMER = "customer"
    FORMER = "former"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """How long values are kept for one purpose; ``fields`` (canonical names) and ``categories`` have their own periods.

    ``least`` is how long a law demands that they are kept: until then nothing erases them. ``brought_by`` names the
    collections whose records bring an obligation about: for a subject without such a record in its period, the purpose
    keeps nothing from an erasure. Empty means any collection of records that the purpose needs. ``by_relationship`` has
    other periods for prospects or for former customers. ``then`` is what happens at the end, ``at_end`` the same for
    some fields: an action of :mod:`vault.catalogue.retention_actions`.
    """

    purpose: str
    keep: Period
    since: Since
    reason: str
    fields: Mapping[str, Period] = field(default_factory=dict)
    brought_by: tuple[str, ...] = ()
    categories: Mapping[str, Period] = field(default_factory=dict)
    least: Period | None = None
    article: str | None = None
    by_relationship: Mapping[Relationship, Period] = field(default_factory=dict)
    then: str = ERASE
    at_end: Mapping[str, str] = field(default_factory=dict)

    def bringing(self, purpose: Purpose) -> frozenset[str]:
        """Return the collections whose records bring this purpose's obligation about."""
        needed = frozenset(name.partition(".")[0] for name in purpose.views)
        return frozenset(self.brought_by) or needed - {HOME}

    def period(self, shown: FieldView, relationship: Relationship | None = None) -> Period:
        """Return the period of a field: the narrowest name that covers it decides, then the narrowest category."""
        return (
            self._own_period(shown) or (self.by_relationship.get(relationship) if relationship else None) or self.keep
        )

    def periods(self, shown: FieldView) -> tuple[Period, ...]:
        """Return all periods that the field may have, for any relationship."""
        period = self._own_period(shown)
        return (self.keep, *self.by_relationship.values()) if period is None else (period,)

    def ending(self, whole: str) -> str:
        """Return what happens to a field (by its whole name) at the end of this rule."""
        names = [name for name in self.at_end if covers(whole, name)]
        return self.at_end[max(names, key=len)] if names else self.then

    def _own_period(self, shown: FieldView) -> Period | None:
        names = [name for name in self.fields if covers(shown.name, name)]
        if names:
            return self.fields[max(names, key=len)]
        above = [name for name in self.categories if is_within(shown.field.category, name)]
        return self.categories[max(above, key=len)] if above else None


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """A limit for all purposes on values of some fields, categories or sources.

    All given selectors have to match. ``then`` is what happens at the end, as with a rule.
    """

    name: str
    most: Period
    since: Since
    reason: str
    fields: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    article: str | None = None
    then: str = ERASE

    def fits(self, whole: str, category: str) -> bool:
        """Return whether the limit may apply to values of a field; with ``sources``, their sources decide."""
        named = not self.fields or any(covers(whole, name) for name in self.fields)
        return named and (not self.categories or any(is_within(category, name) for name in self.categories))


UNCLAIMED: Final = Period(0, 30)
"""How long a value is kept that no purpose claims, unless the policies say otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Retention:
    """The content of retention.toml.

    Attributes:
        rules: by purpose.
        limits: by name.
        draws: when the draw of a source was held; None if it is still to come.
        customer_by: collections of which a record makes a customer.
        inactive: after this time without contact a customer is a former one; None if only an event ends it.
        unclaimed: how long a value is kept that no purpose claims.
        per_minute: how many subjects a sweep evaluates in a minute at most.
        most_percent: from how many subjects in a hundred a sweep may delete values without a confirmation.
    """

    rules: Mapping[str, Rule] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    draws: Mapping[str, date | None] = field(default_factory=dict)
    customer_by: frozenset[str] = frozenset({"purchase"})
    inactive: Period | None = None
    unclaimed: Period = UNCLAIMED
    per_minute: int = 60_000
    most_percent: int = 10


NO_TIME: Final = Period(0, 0)
"""Read in place of a period that is missing or wrong."""
MOST_A_MINUTE: Final = 10_000_000
DEFAULTS: Final = Retention()


def load_retention(document: Document, catalogue: Catalogue | None, purposes: Mapping[str, Purpose]) -> Retention:
    """Read the rules; every mistake becomes a finding of the document."""
    root = document.root()
    rules = {name: _rule(name, table, catalogue, purposes) for name, table in root.table("purpose").tables()}
    limits = {name: _limit(name, table, catalogue) for name, table in root.table("limit").tables()}
    draws = {}
    for name, table in root.table("source").tables():
        draws[name] = table.day("draw_held")
        table.finish()
    relationship, unclaimed, sweep = (root.table(name) for name in ("relationship", "unclaimed", "sweep"))
    retention = Retention(
        rules,
        limits,
        draws,
        frozenset(_collections(relationship, "customer_by", catalogue)) or DEFAULTS.customer_by,
        _period(relationship, "inactive"),
        _period(unclaimed, "keep") or DEFAULTS.unclaimed,
        sweep.number("per_minute", least=1, most=MOST_A_MINUTE) or DEFAULTS.per_minute,
        sweep.number("most_percent", least=1, most=100) or DEFAULTS.most_percent,
    )
    for table in (relationship, unclaimed, sweep, root):
        table.finish()
    return retention


def _rule(name: str, table: Table, catalogue: Catalogue | None, purposes: Mapping[str, Purpose]) -> Rule:
    check_declared(name, table, purposes or None)
    rule = Rule(
        name,
        _required_period(table, "keep"),
        table.choice("since", Since) or Since.COLLECTED,
        table.text("reason"),
        _fields(table.table("fields"), catalogue),
        _collections(table, "brought_by", catalogue),
        _categories(table.table("categories"), catalogue),
        _period(table, "least"),
        table.optional("article"),
        _by_relationship(table.table("by_relationship")),
        _then(table, "then", catalogue),
        _at_end(table.table("at_end"), catalogue),
    )
    table.finish()
    return rule


def _limit(name: str, table: Table, catalogue: Catalogue | None) -> Limit:
    fields, categories = table.texts("fields"), tuple(table.texts("categories"))
    names = (read_name(table, ("fields", number), written, catalogue) for written, number in fields.items())
    limit = Limit(
        name,
        _required_period(table, "most"),
        table.choice("since", Since) or Since.COLLECTED,
        table.text("reason"),
        tuple(canonical for canonical in names if canonical is not None),
        categories,
        tuple(table.texts("sources")),
        table.optional("article"),
        _then(table, "then", catalogue),
    )
    for category in categories:
        _check_category(table, "categories", category, catalogue)
    if not (fields or categories or limit.sources):
        table.fault((), "missing-key", f"{table.where} limits nothing", "name `fields`, `categories` or `sources`")
    table.finish()
    return limit


def _required_period(table: Table, key: str) -> Period:
    return read_period(table.text(key, most=20, form=DURATION)) or NO_TIME


def _period(table: Table, key: str) -> Period | None:
    return read_period(table.optional(key, most=20, form=DURATION) or "")


def _periods(table: Table) -> dict[str, Period]:
    return {name: _period(table, name) or NO_TIME for name in table.data}


def _fields(table: Table, catalogue: Catalogue | None) -> dict[str, Period]:
    names = {name: read_name(table, name, name, catalogue) for name in table.data}
    return {canonical: period for name, period in _periods(table).items() if (canonical := names[name]) is not None}


def _categories(table: Table, catalogue: Catalogue | None) -> dict[str, Period]:
    for name in table.data:
        _check_category(table, name, name, catalogue)
    return _periods(table)


def _check_category(table: Table, key: str, name: str, catalogue: Catalogue | None) -> None:
    if catalogue is not None and not any(is_within(field.category, name) for field in catalogue.fields()):
        message = f"{table.where} names the category `{name[:80]}`, which no field has"
        table.fault(key, "unknown-category", message, "name a category of catalogue.toml, or one above it")


def _by_relationship(table: Table) -> dict[Relationship, Period]:
    periods, known = _periods(table), list(Relationship)
    for name in periods:
        if name not in known:
            remedy = did_you_mean(name, known, "take it out")
            table.fault(name, "wrong-value", f"`{name[:80]}` is not a relationship", remedy)
    return {Relationship(name): period for name, period in periods.items() if name in known}


def _at_end(table: Table, catalogue: Catalogue | None) -> dict[str, str]:
    endings = {}
    for name in table.data:
        canonical = read_name(table, name, name, catalogue)
        ending = _then(table, name, catalogue, of=canonical)
        if canonical is not None:
            endings[canonical] = ending
    return endings


def _then(table: Table, key: str, catalogue: Catalogue | None, *, of: str | None = None) -> str:
    """Read the action at an end; a view has to be one of the field whose value it replaces."""
    text = table.optional(key) or ERASE
    if catalogue is None:
        return text
    try:
        return read_action(text, catalogue, of)
    except InvalidAction as error:
        table.wrong(key, str(error), select_hint())
        return REVIEW


def _collections(table: Table, key: str, catalogue: Catalogue | None) -> tuple[str, ...]:
    names = table.texts(key)
    for name, number in names.items():
        if catalogue is not None and (name == HOME or name not in catalogue.collections):
            message = f"{table.where} names `{name[:80]}`, which is not a collection of records"
            remedy = did_you_mean(name, catalogue.collections.keys() - {HOME}, "take it out")
            table.fault((key, number), "unknown-collection", message, remedy)
    return tuple(names)


STARTS: Final = tuple(date(year, month, day) for year in range(2000, 2008) for month in range(1, 13) for day in (1, 28))
"""Days from which periods are compared: two days in each month of eight years, which include leap years."""


def check_retention(
    document: Document, catalogue: Catalogue, purposes: Mapping[str, Purpose], retention: Retention
) -> None:
    """Find contradictions and rules without effect; each becomes a finding of the document.

    Args:
        document: retention.toml.
        catalogue: the fields.
        purposes: by name.
        retention: the content of the document.
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
    """Return whether a period may end before another one with the same start."""
    return any(one.after(start) < other.after(start) for start in STARTS)


def _check_rule(document: Document, catalogue: Catalogue, purpose: Purpose, rule: Rule) -> None:
    at: Path = ("purpose", purpose.name)
    if not purpose.collects:
        for key in ("fields", "categories", "at_end", "by_relationship", "least", "brought_by", "then"):
            if key in _written(document, at):
                message = f"`{key}` of [purpose.{purpose.name}] has no effect: the purpose collects nothing"
                document.fault((*at, key), "no-effect", message, "take it out, or let the purpose collect")
        return
    _check_law(document, purpose, rule, at)
    needed = [catalogue.view(name) for name in sorted(purpose.views)]
    for key, names in (("fields", rule.fields), ("at_end", rule.at_end)):
        for written in _written(document, (*at, key)):
            canonical = _canonical_or_none(catalogue, written) or written
            if canonical in names and not any(covers(view.name, canonical) for view in needed):
                _not_needed(document, (*at, key, written), purpose, written)
    for category in rule.categories:
        if not any(is_within(view.field.category, category) for view in needed):
            _not_needed(document, (*at, "categories", category), purpose, category)
    _check_least(document, rule, needed, at)


def _check_law(document: Document, purpose: Purpose, rule: Rule, at: Path) -> None:
    """Report keys that only a legal obligation may have."""
    if purpose.legal_basis == LegalBasis.LEGAL_OBLIGATION:
        return
    for key, is_said in (("least", rule.least is not None), ("brought_by", bool(rule.brought_by))):
        if is_said:
            message = f"`{key}` of [purpose.{purpose.name}] is only for a legal obligation, and this purpose is not one"
            remedy = 'take it out, or say `legal_basis = "legal-obligation"` in purposes.toml and name the law'
            document.fault((*at, key), "no-law", message, remedy)


def _check_least(document: Document, rule: Rule, needed: Iterable[FieldView], at: Path) -> None:
    """Report a period, of the purpose or of a field that it needs, that ends before the minimum of the law."""
    if rule.least is None:
        return
    periods = {period for view in needed for period in rule.periods(view)}
    for period in sorted((period for period in periods if ends_sooner(period, rule.least)), key=str):
        message = f"`least` of [purpose.{rule.purpose}] is longer than {period}, for which the purpose keeps values"
        document.fault((*at, "least"), "contradiction", message, "keep them at least that long, or demand less")


def _check_limit(document: Document, catalogue: Catalogue, limit: Limit, retention: Retention) -> None:
    at: Path = ("limit", limit.name)
    for number, name in enumerate(_written(document, (*at, "fields"))):
        if _is_view(catalogue, name):
            message = f"`{name[:80]}` in [limit.{limit.name}] is a view, and a limit is about the value"
            document.fault((*at, "fields", number), "no-effect", message, "name the field")
    if limit.since != Since.DRAW_HELD:
        return
    for number, name in enumerate(limit.sources):
        if name not in retention.draws:
            message = f"[limit.{limit.name}] counts from the draw of `{name[:80]}`, of which nothing is said"
            document.fault((*at, "sources", number), "unknown-source", message, f"add `[source.{name[:80]}]`")
    if not limit.sources:
        message = f"[limit.{limit.name}] counts from a draw, and names no source that has one"
        document.fault((*at, "since"), "unknown-source", message, "name `sources`, or count from something else")


def _check_against_laws(
    document: Document, catalogue: Catalogue, purposes: Mapping[str, Purpose], limit: Limit, retention: Retention
) -> None:
    """Report a limit on the same fields as a law, from the same day, that ends before the law's minimum.

    A limit on values of single sources is not reported: for them the law wins at run time.
    """
    if limit.sources:
        return
    for name, rule in retention.rules.items():
        purpose = purposes.get(name)
        if purpose is None or purpose.legal_basis != LegalBasis.LEGAL_OBLIGATION or not purpose.collects:
            continue
        views = {view.rpartition(".")[0]: catalogue.view(view) for view in sorted(purpose.views)}
        for view in views.values():
            if not limit.fits(view.field.whole, view.field.category):
                continue
            # Nothing counts from before the day of a record, so there the limit never counts from a later day.
            is_comparable = rule.since == limit.since or (
                view.field.collection != HOME and limit.since == Since.COLLECTED
            )
            least = rule.periods(view) if rule.least is None else (rule.least,)
            if is_comparable and any(ends_sooner(limit.most, period) for period in least):
                message = f"[limit.{limit.name}] ends `{view.field.whole}` before [purpose.{name}] may let it go"
                remedy = "take the field out of the limit, or lengthen it: what a law demands is kept"
                document.fault(("limit", limit.name, "most"), "contradiction", message, remedy)


def _check_views(
    document: Document, catalogue: Catalogue, purposes: Mapping[str, Purpose], retention: Retention
) -> None:
    """Report a view that takes a value's place and that no purpose needs for longer than the value is kept."""
    for name, rule in retention.rules.items():
        for written in _written(document, ("purpose", name, "at_end")):
            view = rule.at_end.get(_canonical_or_none(catalogue, written) or "", "")
            at: Path = ("purpose", name, "at_end", written)
            if _is_view(catalogue, written):
                message = f"`{written[:80]}` in `at_end` of [purpose.{name}] is a view, and what ends is the value"
                document.fault(at, "no-effect", message, "name the field")
            elif view and is_view(view) and not _is_enough(catalogue, purposes, retention, view):
                message = f"`{view}` takes a value's place at the end of [purpose.{name}], but no purpose needs it then"
                remedy = "erase it, or give the view a period of its own for a purpose that needs no more: `fields`"
                document.fault(at, "no-effect", message, remedy)


def _is_enough(catalogue: Catalogue, purposes: Mapping[str, Purpose], retention: Retention, view: str) -> bool:
    """Return whether a purpose needs a view for a time in which it needs no other view of the field."""
    field = catalogue.view(view).field
    for name, purpose in purposes.items():
        rule = retention.rules.get(name)
        if rule is None or not purpose.collects or view not in purpose.views:
            continue
        periods = rule.periods(catalogue.view(view))
        others = [catalogue.view(other) for other in catalogue.covered([field.whole]) & purpose.views]
        if [other.name for other in others if rule.periods(other) == periods] == [view]:
            return True
    return False


def _check_sources(document: Document, retention: Retention) -> None:
    """Report a draw from which no period counts, and a period that counts from a draw that does not exist."""
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


def _written(document: Document, at: Path) -> dict[str, object] | list[str]:
    """Return the keys or texts at a path as they are written; nothing if there is no table or list of texts."""
    value: object = document.data
    for key in at:
        value = value.get(str(key)) if isinstance(value, dict) else None
    if isinstance(value, dict):
        return value
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else {}


def _canonical_or_none(catalogue: Catalogue, name: str) -> str | None:
    try:
        return catalogue.canonical(name)
    except UnknownName:
        return None


def _is_view(catalogue: Catalogue, written: str) -> bool:
    """Return whether a name is that of a view: its canonical form has the collection, the field and the view."""
    return (_canonical_or_none(catalogue, written) or "").count(".") == 2
