"""Words around names: titles, particles, legal forms, and names that are ordinary words too."""

import re

_WORDS = re.compile(r"\S+")


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORDS.findall(text))


TITLES = _words(
    "dr dr.med med prof dipl dipl-ing dipl.-ing ing mag mmag dkfm mr mrs ms miss mx sir dame herr herrn frau hr fr "
    "univ.prof monsieur madame señor señora sig"
)
PARTICLES = _words("von van vom zu zum zur de der den del della di da dos du la le ter ten el al")
# single names that count only where somebody is addressed, signs or is introduced
ORDINARY = _words(
    "will mark may april june august grace hope rose art bill drew frank gene grant guy jack miles nick pat rob rich "
    "sue summer dawn faith joy long young king price best day page field fields bell black white brown green gray "
    "little rice case cross short small stone street power powers bank banks park parks hill wood woods west north "
    "south church wall walls gate gates key keys read law laws love self server test user admin support service "
    "chance chase christian don max melody ray sky star winter wise worth house major hunter lane floor hand head "
    "heart hall holiday monday friday stein klein groß gross lang kurz schwarz weiß weiss berg bach kaiser könig "
    "sommer herbst freitag sonntag montag ernst krieg engel zimmer kraft baum wald feld graf stark jung alt neu süß "
    "reich fleisch nagel hammer list ring blum ast sturm sand lieb frei"
)
LEGAL_FORM = re.compile(
    r"(?:[\s,]+(?:(?:g?GmbH|mbH|AG|KG|KGaA|OHG|GbR|GesbR|OG|UG|SE|e\.\s?K\.|e\.\s?V\.|eG|Ltd|Limited|LLC|LLP|Inc|PLC|Corp|"
    r"Corporation|Co|Cie|Company|S\.?A\.?(?:R\.?L\.?)?|B\.?V\.?|N\.?V\.?|S\.?p\.?A\.?|Pty|AB|AS|Oy|Sp\. z o\.o\.|"
    r"Group|Gruppe|Holding|Stiftung|Partner|Sons)\.?|&|and|und|\(haftungsbeschränkt\)))+$",
    re.I,
)
DEGREE = re.compile(
    r"(?:[BM]\.?(?:Sc|A|Eng|Ed|Comp)|MBA|LL\.?[BM]|Ph\.?D|MD|DDS|DVM|Jr|Sr|II|III|IV|Dipl|BA|MA)\.?", re.I
)
