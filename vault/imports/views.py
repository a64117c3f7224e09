"""Results of imports, as the command line prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault.views import View

if TYPE_CHECKING:
    from vault.imports.consent_files import ConsentReport
    from vault.imports.run import ImportReport


class ImportSummary(View):
    """The result of an import of profiles or records. ``codes`` counts faults by code, everything else counts lines."""

    dry_run: bool
    lines: int
    created: int
    updated: int
    unchanged: int
    refused: int
    duplicates: int
    codes: dict[str, int]
    resumed: bool
    processes: int
    seconds: float

    @classmethod
    def of(cls, report: ImportReport) -> ImportSummary:
        """Return the summary of a report."""
        total = report.total
        return cls(
            dry_run=report.dry_run,
            lines=report.lines,
            created=total.created,
            updated=total.updated,
            unchanged=total.unchanged,
            refused=total.refused,
            duplicates=report.duplicates,
            codes=dict(report.codes),
            resumed=report.resumed,
            processes=report.processes,
            seconds=round(report.seconds, 3),
        )


class ConsentImportSummary(View):
    """The result of an import of consents. ``codes`` counts faults by code, everything else counts lines."""

    dry_run: bool
    lines: int
    written: int
    there: int
    refused: int
    codes: dict[str, int]
    seconds: float

    @classmethod
    def of(cls, report: ConsentReport) -> ConsentImportSummary:
        """Return the summary of a report."""
        return cls(
            dry_run=report.dry_run,
            lines=report.lines,
            written=report.written,
            there=report.there,
            refused=report.refused,
            codes=dict(report.codes),
            seconds=round(report.seconds, 3),
        )
