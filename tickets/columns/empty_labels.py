"""What is a label, and what helpdesks write into a column without one, in many languages."""

import re

# Lower-cased; the second list only in brackets.
_EMPTY = frozenset(
    (
        *("none", "null", "nil", "nan", "nat", "na", "n/a", "n.a.", "n.a", "n. a.", "n/a.", "#n/a", "#na", "#null!"),
        *("n/d", "n.d.", "s/d", "s/o", "n.v.t.", "nvt", "n.n.b.", "#ref!", "#value!", "#name?", "#div/0!", "#num!"),
        *("\\n", "undefined", "unset", "not set", "no value", "no data", "no label", "tbd", "tba", "not selected"),
        *("unknown", "unassigned", "not assigned", "not specified", "unspecified", "not applicable", "not available"),
        *("uncategorized", "uncategorised", "not provided", "no priority", "no category", "no group", "no team"),
        *("select", "please select", "select one", "choose", "please choose", "select an option", "choose one"),
        *("k.a.", "k. a.", "keine angabe", "keine", "keiner", "unbekannt", "nicht zugewiesen", "ohne", "n. n.", "n.n."),
        *("nicht zugeordnet", "nicht gesetzt", "nicht angegeben", "entfällt", "nicht verfügbar", "nicht definiert"),
        *("nicht ausgewählt", "bitte wählen", "bitte auswählen", "auswählen", "keine auswahl", "nicht zutreffend"),
        *("aucun", "aucune", "inconnu", "inconnue", "non assigné", "non attribué", "non défini", "non renseigné"),
        *("non spécifié", "sans objet", "non disponible", "non applicable", "choisir", "sélectionner"),
        *(
            "veuillez sélectionner",
            "veuillez choisir",
            "ninguno",
            "ninguna",
            "desconocido",
            "sin asignar",
            "sin definir",
        ),
        *(
            "sin especificar",
            "no especificado",
            "no asignado",
            "no aplica",
            "no disponible",
            "sin datos",
            "seleccionar",
        ),
        *("seleccione", "nessuno", "nessuna", "sconosciuto", "non assegnato", "non specificato", "non definito"),
        *("non disponibile", "non applicabile", "seleziona", "selezionare", "geen", "onbekend", "niet toegewezen"),
        *("niet van toepassing", "niet ingevuld", "niet opgegeven", "maak een keuze", "kies", "selecteer"),
        *("nenhum", "nenhuma", "desconhecido", "não atribuído", "não informado", "não definido", "não especificado"),
        *("não se aplica", "não disponível", "sem dados", "selecione", "brak", "nieznany", "nieprzypisane"),
        *("nieprzypisany", "nie dotyczy", "brak danych", "nie określono", "nieokreślony", "nie przypisano", "wybierz"),
        *("нет", "не указано", "не указан", "не указана", "не назначено", "не назначен", "неизвестно", "нет данных"),
        *(
            "не задано",
            "не применимо",
            "выберите",
            "无",
            "未分配",
            "未指定",
            "未知",
            "不适用",
            "请选择",
            "無",
            "未選択",
        ),
        *("なし", "未設定", "未割り当て", "該当なし", "不明", "選択してください", "없음", "미지정"),
    )
)
_EMPTY_IN_BRACKETS = frozenset(
    ("empty", "blank", "missing", "leer", "vide", "vacío", "vuoto", "leeg", "vazio", "puste", "пусто", "空", "空白")
)
_BRACKETS = "()[]<>{}'\"「」（）【】"
_SIGNS = "-–—_.…?/\\~ "
_FRAME = "-–—=*:. …"  # around a word: `-- none --`, `Select...`


def label_or_empty(text: str) -> str:
    """Return the label, or nothing for what stands for no label: `-`, `n/a`, `None`, `-- Select --` and the like."""
    bare = text.strip()
    inner = bare.strip(_BRACKETS)
    plain = " ".join(inner.lower().replace("_", " ").split())
    forms = {plain, re.sub(r"\s*([/.])\s*", r"\1", plain), plain.strip(_FRAME), plain.replace("’", "'")}
    is_empty = not plain.strip(_SIGNS) or not forms.isdisjoint(_EMPTY)
    return "" if is_empty or (inner != bare and plain in _EMPTY_IN_BRACKETS) else text
