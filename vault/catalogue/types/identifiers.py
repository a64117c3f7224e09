"""E-mail addresses, phone numbers, bank accounts and national identity numbers.

Libraries validate them, with a fast path for plain e-mail addresses and phone numbers.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from functools import cache, partial
from typing import TYPE_CHECKING

import email_validator
import idna
import phonenumbers
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

from vault.catalogue.types.base import EVERY_TYPE, FieldType, Match, Option, ValueProblem, View, digits_as_text
from vault.catalogue.types.text import LAST, MASK, folded, last, line_of, masked_tail, masked_text
from vault.unicode import TooManyMarks, is_stream_safe, normalize

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from vault.catalogue.types.base import Options

EMAIL_LENGTH = 254
"""Octets of an address: RFC 3696, errata 1690."""
LOCAL_LENGTH = 64
"""Octets of the part before the ``@``: RFC 5321, section 4.5.3.1.1. Servers may refuse a longer one."""
PHONE_INPUT = 64
"""Characters of a written phone number, punctuation included."""

_ATOM = r"[A-Za-z0-9_!#$%&'*+/=?^`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN_EMAIL = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@((?:{_LABEL}\.)+[A-Za-z]{{2,63}})")
_MAILBOXES = frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)
_RESERVED = tuple(email_validator.SPECIAL_USE_DOMAIN_NAMES)
_RESERVED_ENDS = tuple(f".{name}" for name in _RESERVED)

_PLAIN_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_WRITTEN_PHONE = re.compile(r"\+?[ ().\-/\u2010-\u2015\u2212]*[0-9][0-9 ().\-/\u2010-\u2015\u2212]*")

EXTENSION = ";ext="
_WITH_EXTENSION = re.compile(
    r"(.*[0-9)])[ ,]*(?:;ext=|[;,]? ?ext(?:ension|n)?[.:]{0,2}|x|#)[ ]?([0-9]{1,9})", re.IGNORECASE
)
_RETIRED = {52: "1"}
"""Digits before mobile numbers that a numbering plan has given up, by calling code: Mexico's 1 in 2019."""


def email(value: object, _options: Options) -> str:
    """Return an address with its domain in lower case (Unicode, IDNA 2008) and its local part as given.

    Raises:
        ValueProblem: it is no address that mail could be sent to (RFC 5321, 6531).
    """
    text = value.strip() if isinstance(value, str) and len(value) <= EMAIL_LENGTH else line_of(value, EMAIL_LENGTH)
    # The fast path spares an import the slow library. It accepts only addresses that email-validator accepts and writes
    # the same way, which the tests compare.
    address = plain_email(text) or _any_email(line_of(text, EMAIL_LENGTH))
    if len(address.rpartition("@")[0].encode()) > LOCAL_LENGTH:
        raise ValueProblem("too-long", f"must have at most {LOCAL_LENGTH} octets before the @")
    return address


def plain_email(text: str) -> str | None:
    """Normalise an address that is plain ASCII, or return None if the library must decide."""
    match = _PLAIN_EMAIL.fullmatch(text) if len(text) <= EMAIL_LENGTH else None
    if match is None:
        return None
    local, domain = match[1], match[2].lower()
    if "--" in domain or domain.endswith(_RESERVED_ENDS) or domain in _RESERVED or local.lower() in _MAILBOXES:
        return None
    return f"{local}@{domain}"


def _any_email(text: str) -> str:
    try:
        # The DNS is not queried.
        address = email_validator.validate_email(text, check_deliverability=False).normalized
    except (email_validator.EmailNotValidError, UnicodeError):
        address = ""
    if not address:  # raised out here, so that the library's message, which repeats the address, is not in its context
        raise ValueProblem("bad-format", "must be an e-mail address such as name@example.org")
    return address


def phone(value: object, options: Options) -> str:
    """Return a phone number in E.164 (``+33612345678``); ``region`` is the country of national numbers.

    An extension follows as RFC 3966 writes it (``+4930123456;ext=12``). It is no part of what a search finds.

    Raises:
        ValueProblem: it is no phone number, has letters, or is national and no region is known.
    """
    if isinstance(value, str) and plain_phone(value):
        return value
    text = _western(line_of(value, PHONE_INPUT))
    text = text[4:] if text[:4].lower() == "tel:" else text
    extended = _WITH_EXTENSION.fullmatch(text.strip())
    text, extension = extended.groups() if extended else (text.strip(), "")
    if not _WRITTEN_PHONE.fullmatch(text):
        raise ValueProblem("bad-format", "must be a phone number in digits, such as +33 6 12 34 56 78 or with ext. 12")
    number = _any_phone(text, options.get("region"))
    return f"{number}{EXTENSION}{extension}" if extension else number


def _western(text: str) -> str:
    """Write the digits of all scripts as 0-9, and remove invisible characters."""
    if text.isascii():
        return text
    seen = (letter for letter in normalize("NFKC", text) if unicodedata.category(letter) != "Cf")
    return "".join(str(unicodedata.decimal(letter, letter)) for letter in seen)


def plain_phone(text: str) -> bool:
    """Return whether a text is the E.164 form of a possible number already, so that the library is not needed.

    True only if nothing can be stripped from the number: it starts neither with a zero nor with a trunk or carrier
    prefix of its country.
    """
    if not _PLAIN_PHONE.fullmatch(text):
        return False
    for end in (2, 3, 4):
        plan = _plan(text[1:end])
        if plan is not None:
            lengths, prefix = plan
            return len(text) - end in lengths and text[end] != "0" and (prefix is None or not prefix.match(text, end))
    return False


@cache
def _plan(code: str) -> tuple[frozenset[int], re.Pattern[str] | None] | None:
    """Return the possible lengths and the trunk prefix of a calling code, of which there are at most 999."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    if regions is None:
        return None
    metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0])
    if metadata is None or metadata.general_desc is None:
        return None
    lengths = frozenset(metadata.general_desc.possible_length)
    prefix = metadata.national_prefix_for_parsing
    return lengths - set(metadata.general_desc.possible_length_local_only), re.compile(prefix) if prefix else None


def _any_phone(text: str, region: str | None) -> str:
    if region is None and text.startswith("00"):  # the prefix that ITU-T E.123 recommends for international calls
        text = f"+{text[2:]}"
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        number, national = None, error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
    if number is None and national and not text.startswith("+"):
        raise ValueProblem("ambiguous", "must start with + and the country's calling code")
    if number is not None:
        number = _without_retired(number)
    # Possible, not assigned: numbering plans change faster than the library on a server.
    possible = phonenumbers.ValidationResult.IS_POSSIBLE
    if number is not None and phonenumbers.is_possible_number_with_reason(number) == possible:
        formatted = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        if plain_phone(formatted) or _is_settled(formatted):
            return formatted
    raise ValueProblem("bad-format", "must be a possible phone number, with all its digits")


def _without_retired(number: phonenumbers.PhoneNumber) -> phonenumbers.PhoneNumber:
    """Return a number without the digit that its plan no longer has, if it is a valid number then."""
    digits = str(number.national_number)
    retired = _RETIRED.get(number.country_code or 0)
    if retired is None or not digits.startswith(retired):
        return number
    current = phonenumbers.PhoneNumber(
        country_code=number.country_code, national_number=int(digits[len(retired) :] or 0)
    )
    return current if phonenumbers.is_valid_number(current) else number


def _is_settled(formatted: str) -> bool:
    """Return whether the library reads its own E.164 form as the same number."""
    # It strips one more zero each time from a run of zeros after the calling code, as if that were a trunk prefix. Such
    # a number has no single form, so a blind index could not find it.
    try:
        again = phonenumbers.parse(formatted)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.format_number(again, phonenumbers.PhoneNumberFormat.E164) == formatted)


def _region(setting: object) -> str | None:
    known = isinstance(setting, str) and setting in phonenumbers.SUPPORTED_REGIONS
    return None if known else "must be the ISO 3166-1 code of a country with phone numbers, such as FR"


def folded_email(text: str) -> str:
    """Return an address, or the beginning of one, folded for an index.

    The domain is mapped by UTS #46, non-transitional, as IDNA 2008 has it: ``faß.de`` and ``fass.de`` are two domains.
    The local part is lowered only. To fold more would find and erase by the address of another person.
    """
    local, at, domain = text.strip().rpartition("@") if "@" in text else (text.strip(), "", "")
    return f"{_lowered(local)}{at}{_mapped(domain)}"


def _mapped(domain: str) -> str:
    if domain.isascii():
        return domain.lower()
    if not is_stream_safe(domain):  # idna normalises: its work grows with the square of a run of marks
        raise TooManyMarks
    try:
        return str(idna.uts46_remap(domain, std3_rules=False, transitional=False))
    except idna.IDNAError:  # the beginning of a search, or no domain at all
        return _lowered(domain)


def _lowered(text: str) -> str:
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFC", text).lower())


def masked_email(value: str, today: date, _n: int = 0) -> str:
    """Show the first letter of the local part, a mask and the domain."""
    local, at, domain = value.rpartition("@")
    return f"{masked_text(local, today)}@{domain}" if at and domain else MASK


def last_digits(value: str, today: date, n: int) -> str:
    """Show the last n digits if at least as many of the national number stay hidden, else nothing."""
    # The calling code does not count as hidden: anyone can guess it.
    value = value.partition(EXTENSION)[0]
    return last(value.removeprefix(calling_code(value, today) or value[:4]), today, n)


def calling_code(value: str, _today: date, _n: int = 0) -> str:
    """Show the country's calling code with its plus sign."""
    for end in (2, 3, 4):
        digits = value[1:end]
        if digits.isascii() and digits.isdigit() and int(digits) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return value[:end]
    return ""


def phone_country(value: str, _today: date, _n: int = 0) -> str | None:
    """Show the country whose numbering plan has the number; null if there is none or it is not known."""
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(value))
    except phonenumbers.NumberParseException:
        return None
    return region if isinstance(region, str) and region.isalpha() else None


def _digits(text: str) -> str:
    text = text.partition(EXTENSION)[0]
    return "".join(letter for letter in folded(text) if letter in "0123456789")


EMAIL = FieldType(
    name="email",
    title="an e-mail address, its domain in lower case (RFC 5321, 6531)",
    normalise=email,
    views={
        **EVERY_TYPE,
        "masked": View(masked_email, "the first letter of the local part (if it has more), five dots and the domain"),
        "domain": View(
            lambda value, _today, _n: value.rpartition("@")[2] if "@" in value else "", "what follows the @"
        ),
    },
    indexes=frozenset({"exact", "prefix"}),
    fold=folded_email,
    match=Match(85),
)
PHONE = FieldType(
    name="phone",
    title="a phone number in E.164, such as +33612345678; an extension follows as `;ext=12` (RFC 3966)",
    normalise=phone,
    views={
        **EVERY_TYPE,
        "masked": View(
            lambda value, today, _n: MASK + last_digits(value, today, 2), "five dots and the last two digits"
        ),
        "country": View(phone_country, "ISO 3166-1 code of the country of the number; null if that is not known"),
        "calling_code": View(calling_code, "the country's calling code, such as +33"),
        "last_n": View(
            last_digits, "the last n digits, or an empty text unless at least n more of the national number stay hidden"
        ),
    },
    options={"region": Option("country whose national numbers may be written without +", _region)},
    indexes=frozenset({"exact", "last_n"}),
    fold=_digits,
    from_file=digits_as_text(phone),
    match=Match(75),
)

NATIONAL_IDS = {
    "AR": "dni", "AT": "vnr", "AU": "tfn", "BE": "nn", "BG": "egn", "BR": "cpf", "CA": "sin", "CH": "ssn", "CL": "rut",
    "CN": "ric", "CZ": "rc", "DE": "idnr", "DK": "cpr", "EE": "ik", "ES": "nif", "FI": "hetu", "FR": "nir", "GB": "nhs",
    "GR": "amka", "HR": "oib", "IE": "pps", "IL": "idnr", "IN": "aadhaar", "IS": "kennitala", "IT": "codicefiscale",
    "KR": "rrn", "LT": "asmens", "LV": "pvn", "MX": "curp", "MY": "nric", "NL": "bsn", "NO": "fodselsnummer",
    "PE": "cui", "PL": "pesel", "PT": "nif", "RO": "cnp", "SE": "personnummer", "SI": "emso", "SK": "rc", "TH": "pin",
    "TR": "tckimlik", "US": "ssn", "ZA": "idnr",
}  # fmt: skip
"""Each country's number of a natural person, by the name of its module in python-stdnum."""

_WRITTEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .\-/+]*")
_KEYWORDS = {"in", "is"}


def iban(value: object, _options: Options) -> str:
    """Return an IBAN in capitals without blanks (ISO 13616), with the right check digits and form for its country.

    Whether its bank exists is not asked: lists of banks are out of date, and vary by the version of a library.

    Raises:
        ValueProblem: it is not an IBAN.
    """
    validate = partial(_validator("iban"), check_country=False)
    return _checked(value, validate, "must be an IBAN with the right length and check digits")


def national_id(value: object, options: Options) -> str:
    """Return a person's national number as its ``country`` writes it compactly.

    A field without the option ``country`` takes the numbers of all countries, in capitals and without blanks. Their
    check digits are not verified then.

    Raises:
        ValueProblem: it is not a number of that country, or has a form that no country uses.
    """
    country = options.get("country")
    if country is None:
        return _checked(value, _any_number, "must be a national identity number: 4 to 32 letters A-Z, digits, . - / +")
    place = f"{country.lower()}_" if country.lower() in _KEYWORDS else country.lower()
    validator = _validator(f"{place}.{NATIONAL_IDS[country]}")
    return _checked(value, validator, f"must be a national identity number of {country} with the right check digits")


def _any_number(text: str) -> str:
    number = text.replace(" ", "").upper()
    return number if 4 <= len(number) <= 32 and any(letter.isdigit() for letter in number) else ""


def _checked(value: object, validate: Callable[[str], str], detail: str) -> str:
    text = line_of(value, 64)
    number = ""
    if _WRITTEN.fullmatch(text):
        try:
            number = validate(text)
        except (ValueError, LookupError):  # stdnum's own errors, and what its modules let through on odd input
            number = ""
    if not number:  # raised out here, so that no error that repeats the number is in its context
        raise ValueProblem("bad-format", detail)
    return number


@cache
def _validator(module: str) -> Callable[..., str]:
    # Names come from the table above, never from outside.
    validate: Callable[..., str] = importlib.import_module(f"stdnum.{module}").validate
    return validate


def _has_numbers(setting: object) -> str | None:
    known = isinstance(setting, str) and setting in NATIONAL_IDS
    return None if known else f"must be one of the countries whose numbers are known: {', '.join(NATIONAL_IDS)}"


def _capitals(text: str) -> str:
    return "".join(letter for letter in folded(text) if letter.isalnum()).upper()


IBAN = FieldType(
    name="iban",
    title="an international bank account number, in capitals without blanks (ISO 13616)",
    normalise=iban,
    views={
        **EVERY_TYPE,
        "masked": View(
            lambda value, today, _n: value[:2] + MASK + last(value[4:], today, 4),
            "the country, five dots and the last four characters",
        ),
        "country": View(lambda value, _today, _n: value[:2], "ISO 3166-1 code of the account's country"),
        "last_n": View(
            lambda value, today, n: last(value[4:], today, n),
            "the last n characters, or an empty text unless at least n more stay hidden after country and check digits",
        ),
    },
    indexes=frozenset({"exact", "last_n"}),
    fold=_capitals,
    match=Match(85),
)
NATIONAL_ID = FieldType(
    name="national_id",
    title="a person's national identity number, compact; with its check digits verified if `country` is set",
    normalise=national_id,
    views={
        **EVERY_TYPE,
        "masked": View(masked_tail, "five dots and the last two characters"),
        "last_n": LAST,
    },
    options={
        "country": Option("country that gives the numbers, so that their check digits are verified", _has_numbers)
    },
    indexes=frozenset({"exact", "last_n"}),
    fold=_capitals,
    from_file=digits_as_text(national_id),
    match=Match(95),
)
