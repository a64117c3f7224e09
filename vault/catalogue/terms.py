"""The words that a policy folder may choose from, as the law and its commentators list them."""

from __future__ import annotations

from enum import StrEnum


class Sensitivity(StrEnum):
    """How much harm a leak of the field would do, as the company classifies its information."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"


class Risk(StrEnum):
    """The harms that make processing high-risk: GDPR recital 75, and the criteria of WP 248 rev. 01."""

    IDENTITY_THEFT = "identity-theft"
    FINANCIAL_LOSS = "financial-loss"
    DISCRIMINATION = "discrimination"
    REPUTATION = "reputation"
    VULNERABLE_PERSON = "vulnerable-person"
    PROFILING = "profiling"


class Origin(StrEnum):
    """How a value came to be, which decides what is handed over for use elsewhere (Art. 20(1) GDPR, WP 242 rev. 01).

    ``provided`` by the person, ``observed`` from what they did, ``inferred`` from other values, written or given out by
    the controller (``ours``), or taken from ``elsewhere``.
    """

    PROVIDED = "provided"
    OBSERVED = "observed"
    INFERRED = "inferred"
    OURS = "ours"
    ELSEWHERE = "elsewhere"


class LegalBasis(StrEnum):
    """The grounds of Art. 6(1) GDPR, (a) to (f) in order."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal-obligation"
    VITAL_INTERESTS = "vital-interests"
    PUBLIC_TASK = "public-task"
    LEGITIMATE_INTEREST = "legitimate-interest"


class Article9(StrEnum):
    """The conditions of Art. 9(2) GDPR under which special categories may be processed, (a) to (j) in order."""

    EXPLICIT_CONSENT = "explicit-consent"
    EMPLOYMENT_LAW = "employment-law"
    VITAL_INTERESTS = "vital-interests"
    NOT_FOR_PROFIT = "not-for-profit"
    MADE_PUBLIC = "made-public"
    LEGAL_CLAIMS = "legal-claims"
    PUBLIC_INTEREST = "public-interest"
    HEALTH_CARE = "health-care"
    PUBLIC_HEALTH = "public-health"
    RESEARCH = "research"


class Article18(StrEnum):
    """The exceptions of Art. 18(2) GDPR: what may be done with data besides storing it while it is restricted."""

    CONSENT = "consent"
    LEGAL_CLAIMS = "legal-claims"
    RIGHTS_OF_OTHERS = "rights-of-others"
    PUBLIC_INTEREST = "public-interest"
