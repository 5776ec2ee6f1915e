"""The words of a report, and stand-ins for names; a report has no other words."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain, groupby
from typing import TYPE_CHECKING

from tap_sac.sac.failures import Failure
from tap_sac.sac.http.refusals import error_format

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tap_sac.sac.http.answer import Answer

# The allowed words: names that SAC has on any tenant, and words in error texts.
_LISTS = """
NAMES: FactData FactDataAggregation FactDataDifference MasterData AuditData CurrencyTable
ConversionRates PublicDimensionData PublicDimensionDataWithHierarchy Version Date SignedData ID
Description DATE YEAR CALMONTH MONTHDESC FISCAL_CALPERIOD VERSION CATEGORY RATE_VERSION accType
CURRENCY_CONVERSION_CATEGORY rate fromCurr toCurr Audit_Time Audit_User sac sac_public_dimensions
sac_currency_tables sac_unit_conversion
TYPES: Edm.String Edm.Decimal Edm.Boolean Edm.Byte Edm.Int16 Edm.Int32 Edm.Int64 Edm.Double
Edm.Date Edm.DateTimeOffset Edm.TimeOfDay
FACETS: Nullable MaxLength Precision Scale
TERMS: Capabilities.ChangeTracking Capabilities.FilterRestrictions Capabilities.InsertRestrictions
Capabilities.UpdateRestrictions Capabilities.DeleteRestrictions Integration.Extractable
Integration.OriginalDataType Common.Label Core.Description Integration.CDataID
Integration.PropertyType
VALUES: true false variable floating NVARCHAR DECIMAL BOOLEAN INTEGER DATE TIMESTAMP ID DESCRIPTION
ACCOUNT_TYPE VERSION CATEGORY CURRENCY_CONVERSION_CATEGORY RATE_VERSION
com.sap.cloudDataIntegration CloudDataIntegration sac ProviderID other
HEADERS: retry-after x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset ratelimit-limit
ratelimit-remaining ratelimit-reset x-correlationid odata-version preference-applied etag
FORMS: text: object: XML HTML JSON plain empty
MESSAGE: a access allowed an api are at audit be by cannot client column columns data denied
disabled does endpoint entity error exist exists for has header in invalid is key keys lacks
malformed method missing model needs no not of offered on operation option or parameter path
prepared property provider query select service set sql statement table the there this to token
type unauthorized valid value with without
"""
_GAP, _MOST_WORDS = "...", 25  # replaces other words in error texts
_WORDS = [text.split() for text in re.split(r"[A-Z]+: ", _LISTS)[1:]]
NAMES, TYPES, FACETS, TERMS, VALUES, HEADERS, _FORMS, MESSAGE = _WORDS
_ALL_WORDS = {_GAP, *chain(*_WORDS), *(failure.name for failure in Failure)}
_STAND_IN = "(?:Model|Namespace|Dimension|Measure|Attribute|Hierarchy|Set|Column)[1-9][0-9]{0,5}"
_ATOM = f"(?:{_STAND_IN}|{'|'.join(sorted(NAMES, key=len, reverse=True))})"
_NAME = re.compile(
    rf"(?:Audit_(?:Old|New|Delta|Flag)_)?{_ATOM}(?:(?:___|\.){_ATOM})*"
    "(?:MasterWithHierarchy|Master|___Distinct|_PARENTID|_PREVID|_ORDERID)?"
    r"|[0-9]{1,6}|\[[0-9]{4}\]"
)
_OF_SETS = ((re.compile(r"(.+?)(MasterWithHierarchy|Master|___Distinct)"), ("Dimension", "")),)
_OF_COLUMNS = (
    (re.compile(r"(.+?)(_PARENTID|_PREVID|_ORDERID)"), ("Hierarchy", "")),
    (re.compile(r"(Audit_(?:Old|New|Delta|Flag)_)(.+)"), ("", "Measure")),
    (re.compile(r"(.+?)(___|\.)(.+)"), ("Dimension", "", "Attribute")),
)


def is_of_grammar(text: str, words: Collection[str] = ()) -> bool:
    """Return whether a text has only these words, listed words and stand-ins."""
    parts = re.split("[ =]", text)
    known = (item in words or item in _ALL_WORDS or _NAME.fullmatch(item) for item in parts)
    return text in words or all(known)


class StandIns:
    """Numbered stand-ins for names; the same name always has the same one."""

    def __init__(self) -> None:
        """Start without stand-ins."""
        self._names: dict[str, str] = {}
        self._numbers: Counter[str] = Counter()

    def of(self, name: str, kind: str) -> str:
        """Return SAC's own names unchanged, and stand-ins for other names or their parts."""
        patterns = {"Set": _OF_SETS, "Attribute": _OF_COLUMNS, "Column": _OF_COLUMNS}
        for pattern, kinds in () if name in self._names else patterns.get(kind, ()):
            if match := pattern.fullmatch(name):
                parts = zip(match.groups(), kinds, strict=True)
                return "".join(self._one(part, kind) if kind else part for part, kind in parts)
        return self._one(name, kind)

    def _one(self, name: str, kind: str) -> str:
        if name not in NAMES and name not in self._names:
            self._numbers[kind] += 1
            self._names[name] = f"{kind}{self._numbers[kind]}"
        return self._names.get(name, name)


def one_of(text: object, words: Iterable[str]) -> str:
    """Return the text if it is one of these words; else `other`."""
    return next((word for word in words if word == text), "other")


def magnitude(number: float) -> int:
    """Return the power of ten that a number reaches, which is all that a report shows of it."""
    return len(str(int(number))) - 1


def refusal(answer: Answer) -> str:
    """Describe a refusal: status, SAC's number, the format of the body, and known words in it."""
    form, message = error_format(answer)
    number = re.findall(r"\[[0-9]{4}\](?=[\s.]*$)", message)  # Elsewhere, it may be a value.
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", message)]
    known = (word if word in MESSAGE else _GAP for word in words[:_MOST_WORDS])
    return " ".join([str(answer.status), *number, form, *(word for word, _ in groupby(known))])
