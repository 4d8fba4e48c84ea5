"""Is a text English? A cheap rule that only flags; nothing is left out because of it.

The model was trained on English. A text counts as not English when

* at least `MIN_FOREIGN_LETTERS` of its letters are of another script than the Latin one, or
* it holds at least `MIN_FOREIGN_WORDS` of the most frequent words of one other language and more of them than of
  English ones. The lists hold function words that are no English word; German, French, Spanish, Portuguese, Italian,
  Dutch, Swedish, Danish, Norwegian, Polish, Czech, Turkish, Hungarian, Finnish and Indonesian have one.

What it cannot see: a language in Latin letters without a list, and a text of a few words. A table of figures has no
function words at all, and passes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

SAMPLE_CHARACTERS = 20_000
MIN_FOREIGN_LETTERS = 0.3
MIN_FOREIGN_WORDS = 3
NON_ENGLISH = "non-english"

ENGLISH = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they "
    "which one you were all her she there would their we him been has when who will no more if out so up said its "
    "about than into them can only other time new some could these two may first then do any over such our now"
)
FOREIGN = {
    "German": "der die und das den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er "
    "hat dass sie nach wird bei einer um sind noch wie einem über einen so zum haben nur oder aber vor zur bis",
    "French": "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont avec son "
    "aux cette ses mais comme ou été leur sans nous vous elle ont deux même ces être fait",
    "Spanish": "de la que el en y los se del las un por con una su para es al lo como más pero sus le ya este sí "
    "porque esta entre cuando muy sin sobre también hasta hay donde desde todo nos",
    "Portuguese": "de que do da em um para com não uma os no se na por mais as dos como mas ao ele das à seu sua ou "
    "quando muito nos já também só pelo pela até isso ela entre depois",
    "Italian": "di che la il un per è una in sono non con del si da come le dei al nel alla più della ma gli lo ha "
    "anche delle i questo su ci era dalla essere dal tra cui degli",
    "Dutch": "de van het een en in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit nog worden "
    "door naar heeft hij ze wordt deze werd meer over zich tot hebben",
    "Swedish": "och att det som en på är av för med den till inte har de ett om var han men vi från så kan när ska "
    "eller sig hade också efter än mot där",
    "Danish": "og at det som en på er af for med den til ikke har de et om var han men vi fra så kan når skal eller "
    "sig havde også efter mod hvor blev",
    "Norwegian": "og at det som en på er av for med den til ikke har de et om var han men vi fra så kan når skal eller "
    "seg hadde også etter mot hvor ble",
    "Polish": "w i na z się nie do że jest o to po jak przez od za dla są ale przy został oraz jego które który także "
    "być ich będzie był może tylko czy już",
    "Czech": "a v se na je že s z do i o to k ve pro za by ale si po jako podle jsou od jsem tak jeho nebo byl aby "
    "která který již také při",
    "Turkish": "ve bir bu da de için ile olarak çok daha olan gibi en kadar sonra ne var ama ki her olduğu göre ise "
    "oldu değil",
    "Hungarian": "a az és hogy nem is egy ez csak meg de volt ki el már mint kell ha azt még vagy lesz szerint után "
    "pedig",
    "Finnish": "ja on ei että se hän oli joka ovat myös mutta kun niin kuin sen ole mukaan vain jos tai sekä mitä "
    "vuoden",
    "Indonesian": "yang dan di dari untuk dengan pada ini itu dalam tidak adalah akan ke oleh juga atau lebih sebagai "
    "telah karena bisa",
}  # fmt: skip
ALSO_ENGLISH = "do die am i o a y e s k v w z er man men me var"
"""Words of the lists that English texts hold too: as words, as initials, or in tables."""

_ENGLISH = frozenset(ENGLISH.split())
_FOREIGN = [frozenset(words.split()) - _ENGLISH - frozenset(ALSO_ENGLISH.split()) for words in FOREIGN.values()]
_WORDS = re.compile(r"[^\W\d_]+")


def is_english(text: str) -> bool:
    """Return False for a text that is visibly in another language; its first 20,000 characters are looked at.

    Examples
    --------
    >>> is_english("The Committee decided to raise the policy rate.")
    True
    >>> is_english("Der Rat hat beschlossen, die Leitzinsen nicht zu ändern.")
    False
    """
    sample = text[:SAMPLE_CHARACTERS]
    return not (_is_of_another_script(sample) or _is_of_another_language(sample))


def _is_of_another_script(sample: str) -> bool:
    letters = Counter(character for character in sample if character.isalpha())
    n_foreign = sum(count for letter, count in letters.items() if not _is_latin(letter))
    return n_foreign >= max(1.0, MIN_FOREIGN_LETTERS * letters.total())


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith(("LATIN", "FEMININE", "MASCULINE", "MICRO"))


def _is_of_another_language(sample: str) -> bool:
    words = Counter(_WORDS.findall(sample.lower()))
    n_english = sum(words[word] for word in _ENGLISH)
    n_foreign = max(sum(words[word] for word in listed) for listed in _FOREIGN)
    return n_foreign >= MIN_FOREIGN_WORDS and n_foreign > n_english
