"""The ways in which files spell a language or a country: ISO 639, ISO 3166 and English names."""

from __future__ import annotations

from collections.abc import Mapping

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
    ae/are/united arab emirates/uae, ar/arg/argentina, at/aut/austria, au/aus/australia, be/bel/belgium,
    bg/bgr/bulgaria, br/bra/brazil, ca/can/canada, ch/che/switzerland, cl/chl/chile, cn/chn/china/mainland china,
    co/col/colombia, cy/cyp/cyprus, cz/cze/czechia/czech republic, de/deu/germany, dk/dnk/denmark,
    ea/emu/euro area/eurozone/euro zone, ee/est/estonia, eg/egy/egypt, es/esp/spain, eu/eur/european union,
    fi/fin/finland, fr/fra/france, gb/gbr/united kingdom/uk/great britain, gr/grc/greece, hk/hkg/hong kong,
    hr/hrv/croatia, hu/hun/hungary, id/idn/indonesia, ie/irl/ireland, il/isr/israel, in/ind/india, is/isl/iceland,
    it/ita/italy, jp/jpn/japan, kr/kor/south korea/korea/republic of korea, lt/ltu/lithuania, lu/lux/luxembourg,
    lv/lva/latvia, mt/mlt/malta, mx/mex/mexico, my/mys/malaysia, ng/nga/nigeria, nl/nld/netherlands/the netherlands,
    no/nor/norway, nz/nzl/new zealand, pe/per/peru, ph/phl/philippines, pk/pak/pakistan, pl/pol/poland,
    pt/prt/portugal, ro/rou/romania, ru/rus/russia/russian federation, sa/sau/saudi arabia, se/swe/sweden,
    sg/sgp/singapore, si/svn/slovenia, sk/svk/slovakia, th/tha/thailand, tr/tur/turkey/türkiye, tw/twn/taiwan,
    ua/ukr/ukraine, us/usa/united states/united states of america, vn/vnm/vietnam/viet nam, za/zaf/south africa
"""


def _table(listed: str) -> Mapping[str, frozenset[str]]:
    """Return every spelling with all those of the same thing, which stand between slashes."""
    groups = (frozenset(entry.strip().split("/")) for entry in " ".join(listed.split()).split(","))
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
    (['en', 'eng', 'english'], ['united states', 'united states of america', 'us', 'usa'])
    """
    folded = fold(column, wanted)
    return sorted(_SPELLINGS.get(column, {}).get(folded, [folded]))


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
