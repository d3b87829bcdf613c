"""What programs and people write where there is no label, in many languages."""

import pytest

from tickets.columns.empty_labels import label_or_empty


@pytest.mark.parametrize(
    "text",
    [
        *("--None--", "- None -", "N / A", "n/d", "n.v.t.", "s/o", "nie dotyczy", "não informado", "brak danych"),
        *("Non renseigné", "нет", "не указано", "无", "未分配", "なし", "未設定", "-- Select --", "Bitte wählen"),
        *("nicht verfügbar", "#REF!", "-Select-", "Please select...", "Bitte auswählen …", "--- bitte wählen ---"),
        *("Veuillez sélectionner", "Seleccione", "Selecione...", "* none *", "==none==", "Not Provided", "【无】"),
        *("(empty)", "[blank]", "<none>", "sin asignar", "non assegnato", "niet van toepassing"),
    ],
)
def test_no_label(text: str) -> None:
    assert label_or_empty(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("None of these", "Select Service", "No access", "Keine Verbindung", "-1", "0", "N", "NA East", "A/C", "C++"),
        *("Choose plan", "Geen toegang", "нет доступа", "无线网络", "empty", "P-1", "24/7", "n-1"),
    ],
)
def test_labels_that_look_like_none(text: str) -> None:
    assert label_or_empty(text) == text
