"""Results of imports, as the command line prints them. ``codes`` counts faults by code, other numbers count lines."""

from __future__ import annotations

from vault.views import View


class ImportSummary(View):
    """The result of an import of profiles or records. ``refused`` includes the duplicates: repeated external ids.

    ``notes`` counts values by code and field: ``left-out``; and ``looks-empty``, taken although they are what other
    systems write for no value.
    """

    dry_run: bool
    lines: int
    created: int
    updated: int
    unchanged: int
    refused: int
    duplicates: int
    codes: dict[str, int]
    notes: dict[str, dict[str, int]]
    resumed: bool
    processes: int
    seconds: float


class ConsentImportSummary(View):
    """The result of an import of consents. ``there`` counts statements that an earlier import has written."""

    dry_run: bool
    lines: int
    written: int
    there: int
    refused: int
    codes: dict[str, int]
    seconds: float
