"""The ways in which files spell a language, a country or a time zone: ISO 639, ISO 3166, English names, IANA."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from prometheus.errors import UsageError

LANGUAGE, COUNTRY = "language", "country"

_LANGUAGES = """
    ar/ara/arabic, bg/bul/bulgarian, bn/ben/bengali, ca/cat/catalan, cs/ces/cze/czech, da/dan/danish,
    de/deu/ger/german, el/ell/gre/greek, en/eng/english, es/spa/spanish, et/est/estonian, fa/fas/per/persian,
    fi/fin/finnish, fr/fra/fre/french, ga/gle/irish, he/heb/iw/hebrew, hi/hin/hindi, hr/hrv/croatian,
    hu/hun/hungarian, id/ind/in/indonesian, is/isl/ice/icelandic, it/ita/italian, ja/jpn/japanese, ko/kor/korean,
    lt/lit/lithuanian, lv/lav/latvian, ms/msa/may/malay, mt/mlt/maltese, nb/nob/bokmål, nl/nld/dut/dutch,
    no/nor/norwegian, pl/pol/polish, pt/por/portuguese, ro/ron/rum/romanian, ru/rus/russian, sk/slk/slo/slovak,
    sl/slv/slovenian, sr/srp/serbian, sv/swe/swedish, ta/tam/tamil, th/tha/thai, tr/tur/turkish, uk/ukr/ukrainian,
    ur/urd/urdu, vi/vie/vietnamese, zh/zho/chi/chinese
"""
_COUNTRIES = """
    ae/are/aed/united arab emirates/uae, ar/arg/argentina, at/aut/austria, au/aus/aud/australia, be/bel/belgium,
    bg/bgr/bulgaria, br/bra/brl/brazil, ca/can/cad/canada, ch/che/chf/switzerland, cl/chl/clp/chile,
    cn/chn/cny/china/mainland china, co/col/cop/colombia, cy/cyp/cyprus, cz/cze/czk/czechia/czech republic,
    de/deu/germany, dk/dnk/dkk/denmark, ea/emu/euro area/eurozone/euro zone, ee/est/estonia, eg/egy/egypt,
    es/esp/spain, eu/eur/european union, fi/fin/finland, fr/fra/france, gb/gbr/gbp/united kingdom/uk/great britain,
    gr/grc/greece, hk/hkg/hkd/hong kong, hr/hrv/croatia, hu/hun/huf/hungary, id/idn/idr/indonesia, ie/irl/ireland,
    il/isr/ils/israel, in/ind/inr/india, is/isl/iceland, it/ita/italy, jp/jpn/jpy/japan,
    kr/kor/krw/south korea/korea/republic of korea, lt/ltu/lithuania, lu/lux/luxembourg, lv/lva/latvia, mt/mlt/malta,
    mx/mex/mxn/mexico, my/mys/myr/malaysia, ng/nga/nigeria, nl/nld/netherlands/the netherlands, no/nor/nok/norway,
    nz/nzl/nzd/new zealand, pe/per/peru, ph/phl/philippines, pk/pak/pakistan, pl/pol/pln/poland, pt/prt/portugal,
    ro/rou/ron/romania, ru/rus/russia/russian federation, sa/sau/saudi arabia, se/swe/sek/sweden,
    sg/sgp/sgd/singapore, si/svn/slovenia, sk/svk/slovakia, th/tha/thb/thailand, tr/tur/try/turkey/türkiye,
    tw/twn/twd/taiwan, ua/ukr/ukraine, us/usa/usd/united states/united states of america, vn/vnm/vietnam/viet nam,
    za/zaf/zar/south africa
"""


def _table(listed: str) -> Mapping[str, tuple[str, ...]]:
    """Return every spelling with all those of the same thing, which stand between slashes, the shortest code first."""
    groups = (tuple(entry.strip().split("/")) for entry in " ".join(listed.split()).split(","))
    return {spelling: group for group in groups for spelling in group}


_SPELLINGS = {LANGUAGE: _table(_LANGUAGES), COUNTRY: _table(_COUNTRIES)}


def fold(column: str, text: str) -> str:
    """Return a spelling without what does not matter: case, points of a country, ``_`` for ``-`` in a language tag."""
    if column not in _SPELLINGS:
        return text
    return text.lower().replace("_", "-") if column == LANGUAGE else text.lower().replace(".", "")


def is_tag(column: str, wanted: str) -> bool:
    """Return whether a language says more than the language, such as en-US; it is matched as a whole then."""
    return column == LANGUAGE and "-" in fold(column, wanted)


def spellings_of(column: str, wanted: str) -> list[str]:
    """Return the folded spellings of what is wanted of a column, sorted.

    Examples
    --------
    >>> spellings_of("language", "EN"), spellings_of("country", "U.S.")
    (['en', 'eng', 'english'], ['united states', 'united states of america', 'us', 'usa', 'usd'])
    """
    folded = fold(column, wanted)
    return sorted(_SPELLINGS.get(column, {}).get(folded, [folded]))


def canonical(column: str, wanted: str) -> str:
    """Return the spelling in which what is new is stored: the short code, US or en; one that is not known as it is.

    Examples
    --------
    >>> canonical("country", "u.s.a."), canonical("language", "ENG"), canonical("language", "en_us")
    ('US', 'en', 'en-US')
    >>> canonical("country", "Atlantis"), canonical("event_type", "cpi")
    ('Atlantis', 'cpi')
    """
    if is_tag(column, wanted):
        language, *parts = fold(column, wanted).split("-")
        return "-".join((language, *(part.upper() if len(part) == len("US") else part for part in parts)))
    known = _SPELLINGS.get(column, {}).get(fold(column, wanted))
    if known is None:
        return wanted
    return known[0].upper() if column == COUNTRY else known[0]


def is_alike(column: str, said: str | None, wanted: str) -> bool:
    """Return whether a column that says one thing means what is wanted.

    Examples
    --------
    >>> is_alike("language", "en_GB", "eng"), is_alike("language", "en", "en-US"), is_alike("country", "Usa", "US")
    (True, False, True)
    """
    if said is None:
        return False
    folded = fold(column, said)
    if column == LANGUAGE and not is_tag(column, wanted):
        folded = folded.partition("-")[0]
    return folded in spellings_of(column, wanted)


def language_of(said: str | None) -> str | None:
    """Return the language of a tag, without what a tag says beside; None for a text that says none.

    Examples
    --------
    >>> language_of("de-AT"), language_of("French"), language_of("zh_Hans"), language_of(" ")
    ('de', 'fr', 'zh', None)
    """
    if said is None or not said.strip():
        return None
    return canonical(LANGUAGE, fold(LANGUAGE, said.strip()).partition("-")[0])


def load_zone(option: str, name: str) -> ZoneInfo:
    """Return an IANA time zone; `UsageError` names the option where there is no such zone."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:  # OSError: "America" is a directory
        raise UsageError(
            f"{option} {name[:60]!r}: no such time zone; give an IANA name such as UTC or America/New_York"
        ) from error
