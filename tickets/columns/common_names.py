"""Names of columns that many sources share, by part or label, best first, in nine languages."""

from collections.abc import Mapping

from tickets.dates import CREATED

COMMON: Mapping[str, tuple[str, ...]] = {
    "id": (
        *("id", "ticket id", "ticket number", "number", "ticketnummer", "nummer", "key", "issue key", "issue id"),
        *("case number", "case id", "incident number", "incident id", "request id", "ticket no", "ticket nr"),
        *(
            "conversation number",
            "conversation id",
            "ticket#",
            "#",
            "idreadable",
            "vorgangsschlüssel",
            "vorgangsnummer",
        ),
        *("vorgangs-id", "fallnummer", "anfragenummer", "störungsnummer", "numéro", "numéro de ticket", "n°"),
        *("numéro ticket", "identifiant", "número", "número de ticket", "número de caso", "id de ticket", "numero"),
        *("numero ticket", "meldingsnummer", "numer", "numer zgłoszenia", "nr zgłoszenia", "id zgłoszenia"),
        *(
            "clé de ticket",
            "clé",
            "clave de incidencia",
            "clave",
            "chiave ticket",
            "chiave",
            "klucz zgłoszenia",
            "klucz",
        ),
        *("número do chamado", "número do ticket", "номер", "номер заявки", "№"),
    ),
    "subject": (
        *("subject", "title", "summary", "betreff", "titel", "short description", "kurzbeschreibung", "headline"),
        *("ticket name", "zusammenfassung", "überschrift", "thema", "objet", "sujet", "titre", "asunto", "título"),
        *("oggetto", "titolo", "onderwerp", "temat", "tytuł", "assunto", "тема", "заголовок", "properties.subject"),
        *("résumé", "resumen", "riepilogo", "samenvatting", "resumo", "podsumowanie"),
        *("source.subject", "requestfieldvalues.summary", "additional_attributes.mail_subject"),
    ),
    "body": (
        *("body", "description", "text", "message", "content", "nachricht", "beschreibung", "inhalt", "question"),
        *("ticket description", "description text", "issue description", "details", "instruction", "complaint"),
        *("consumer complaint narrative", "customer message", "document", "comments.0.body", "articles.0.body"),
        *("anfrage", "request", "utterance", "source.body", "properties.content", "conversation body"),
        *("article", "requestfieldvalues.description", "first_thread.content", "first_message.body_text"),
        *("fehlerbeschreibung", "problembeschreibung", "störungsbeschreibung", "ticketbeschreibung", "langtext"),
        *("anliegen", "kundenanfrage", "anfragetext", "meldung", "problem description", "descripción", "mensaje"),
        *("contenido", "texto", "solicitud", "contenu", "texte", "demande", "descrizione", "messaggio", "contenuto"),
        *("testo", "richiesta", "omschrijving", "beschrijving", "bericht", "inhoud", "opis", "treść", "wiadomość"),
        *("artikelbaum", "article tree"),
        *("descrição", "mensagem", "conteúdo", "описание", "сообщение", "текст", "содержание"),
    ),
    "reply": (
        *("answer", "reply", "response", "antwort", "resolution", "solution", "loesung", "lösung", "close notes"),
        *("resolution notes", "agent reply", "agent response", "lösungsbeschreibung", "lösungstext", "antworttext"),
        *("resolution description", "réponse", "résolution", "respuesta", "solución", "resolución", "risposta"),
        *("soluzione", "risoluzione", "antwoord", "oplossing", "odpowiedź", "rozwiązanie", "resposta", "solução"),
        *("ответ", "решение", "resolution.content", "lösungsnotizen", "output"),
    ),
    "language": ("language", "lang", "sprache", "locale", "langue", "idioma", "lingua", "taal", "język", "язык"),
    "created": (
        *CREATED,
        *(
            "create date",
            "createddate.iso8601",
            "created at (utc)",
            "created datetime",
            "properties.createdate",
            "создано",
            "дата создания",
        ),
        *("дата", "criado em", "creado", "creato il", "data utworzenia"),
    ),
    "tags": (
        *("tags", "labels", "keywords", "schlagworte", "schlagwörter", "stichworte", "stichwörter", "étiquettes"),
        *("mots-clés", "etiquetas", "palabras clave", "etichette", "trefwoorden", "tagi", "etykiety", "теги", "метки"),
        *("tag", "ticket tags", "tag list", "tags.tags", "properties.hs_tag_ids"),
    ),
    "type": (
        *("type", "ticket type", "issue type", "typ", "art", "vorgangstyp", "anfragetyp", "tickettyp"),
        *("type de ticket", "tipo de incidencia", "tipo ticket", "type de demande", "tipo", "soort", "тип"),
    ),
    "queue": (
        *("queue", "group", "department", "team", "warteschlange", "abteilung", "gruppe", "assignment group"),
        *("support group", "assigned group", "assigned team", "zuweisungsgruppe", "bearbeitergruppe"),
        *("zugewiesene gruppe", "zuständige gruppe", "supportgruppe", "fachbereich", "groupe", "équipe", "grupo"),
        *("departamento", "equipo", "equipe", "gruppo", "reparto", "groep", "afdeling", "grupa", "dział", "kolejka"),
        *("zespół", "группа", "отдел", "очередь", "dept"),
    ),
    "priority": (
        *("priority", "prio", "urgency", "priorität", "prioritaet", "dringlichkeit", "priorité", "prioridad"),
        *("priorità", "prioriteit", "priorytet", "prioridade", "приоритет", "properties.hs_ticket_priority"),
    ),
    "category": (
        *("category", "ticket category", "issue category", "kategorie", "catégorie", "categoría", "categoria"),
        *("categorie", "kategoria", "категория"),
    ),
}
