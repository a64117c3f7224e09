"""What an erasure did, in the words of a letter: what is gone, and what is kept, until when and why. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.catalogue.model import HOME
from vault.letters.send import in_words, phrases

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from vault.catalogue.translations import Words
    from vault.lifecycle.erasures import Erasure, Line
    from vault.policy.policy_set import PolicySet


def gist(policy_set: PolicySet, language: str, erasure: Erasure) -> dict[str, str]:
    """Return the codes ``erased`` and ``kept`` of the letter: names of fields, days and laws, and no value."""
    words, texts = policy_set.words_in(language), phrases(language, "erasure")
    gone = [line.field for line in erasure.facts.lines if line.ground is None]
    kept = [line for line in erasure.facts.lines if line.ground is not None]
    if erasure.is_whole:
        erased = texts["all-but" if kept else "all"]
    elif gone:
        erased = texts["some"]
    else:
        erased = texts["nothing"]
    on = in_words(language, "on", erasure.facts.erased_at or erasure.started_at)
    erased = erased.format(on=on, fields=titles(policy_set, words, gone))
    if not kept:
        return {"erased": erased, "kept": ""}
    heading = texts["kept-only" if erasure.is_whole else "kept"]
    lines = "\n".join(_kept_lines(policy_set, language, kept))
    return {"erased": erased, "kept": f"\n\n{heading}\n{lines}\n\n{texts['complaint']}"}


def _kept_lines(policy_set: PolicySet, language: str, kept: Iterable[Line]) -> list[str]:
    """Return a line for all fields that are kept until the same day for the same reason, the longest last."""
    texts, grounds = phrases(language, "erasure"), phrases(language, "grounds")
    words = policy_set.words_in(language)
    groups: dict[tuple[date | None, str], list[str]] = {}
    for line in kept:
        purpose = None if line.purpose is None else policy_set.purposes.get(line.purpose)
        law = None if purpose is None or purpose.law is None else words.purpose(purpose.name, "law", purpose.law)
        ground = grounds.get(line.ground or "", grounds["legal-claims"])
        why = ground if law is None else texts["law"].format(why=ground, law=law)
        groups.setdefault((line.until, why), []).append(line.field)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0] is None, item[0][0], item[0][1]))
    return [
        (texts["open"] if until is None else texts["line"]).format(
            fields=titles(policy_set, words, fields),
            until="" if until is None else in_words(language, "until", until),
            why=why,
        )
        for (until, why), fields in ordered
    ]


def titles(policy_set: PolicySet, words: Words, fields: Iterable[str]) -> str:
    """Write the titles of fields, those of the profile first: ``Full name, Purchases (Order, Amount)``."""
    catalogue = policy_set.catalogue
    declared = {field.whole: field for field in catalogue.fields()}
    groups: dict[str, list[str]] = {}
    for whole in sorted(set(fields), key=lambda name: (name.partition(".")[0] != HOME, name)):
        collection, _dot, name = whole.partition(".")
        field = declared.get(whole)
        groups.setdefault(collection, []).append(name if field is None else words.field(field))
    return ", ".join(
        ", ".join(members) if name == HOME else f"{_collection(policy_set, words, name)} ({', '.join(members)})"
        for name, members in groups.items()
    )


def _collection(policy_set: PolicySet, words: Words, name: str) -> str:
    declared = policy_set.catalogue.collections.get(name)
    return words.collection(name, name if declared is None else declared.title)
