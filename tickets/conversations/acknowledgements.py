"""Messages that only say that a request has arrived, in eight languages: an automatic reply that no field marks.

Such a message is made of a few words that all of them share. An agent's reply has other words: what is to be done.
"""

import re

_ARRIVED = re.compile(
    r"receiv|register|logged|created|opened|submitted|updated|eingegangen|erhalten|erfasst|angelegt|erstellt|registriert"
    r"|eröffnet|aufgenommen|reçu|enregistr|créé|ouvert|recibid|registrad|cread|abiert|ricevut|registrat|creat|apert"
    r"|ontvangen|geregistreerd|aangemaakt|recebe|recebid|criad|otrzym|zarejestrow|utworzon|przyję|actualizad|aggiornat"
    r"|bijgewerkt|atualizad|aktualisiert|mis à jour|zaktualizow",
    re.I,
)
_REQUEST = re.compile(
    r"request|ticket|inquiry|enquiry|e-?mail|message|case|incident|submission|anfrage|nachricht|anliegen|vorgang"
    r"|meldung|demande|courriel|solicitud|consulta|mensaje|correo|caso|richiesta|segnalazione|messaggio|aanvraag|melding"
    r"|bericht|verzoek|solicitação|chamado|mensagem|pedido|zgłoszeni|wiadomoś|zapytani",
    re.I,
)
_STEMS = (
    # English
    "thank|you|your|for|contact|get|in|touch|with|reach|out|to|us|we|have|has|been|is|was|are|be|the|a|an|this|that|it|our"
    "|and|of|on|as|at|by|from|will|would|can|if|or|any|please|not|no|do|new|now|soon|possible|shortly|quick|within|hour"
    "|day|business|work|next|respond|response|reply|repli|answer|back|review|look|into|process|handl|assign|number"
    "|reference|id|follow|team|staff|support|service|desk|customer|agent|member|one|specialist|assistan|help|further"
    "|add|additional|comment|information|detail|quote|include|keep|subject|line|track|status|check|view|online|here|link"
    "|below|above|type|all|future|correspondence|regard|about|concern|through|via|portal|successful|automat|confirm"
    "|acknowledg|receipt|best|kind|sincere|hello|hi|dear|ticket|request|e|mail|email|under|during|time|average|every"
    # German
    "|danke|dank|vielen|herzlich|für|ihr|ihre|ihrer|ihren|ihrem|sie|wir|uns|unser|haben|hat|ist|wird|werden|wurde|worden"
    "|sind|bei|der|die|das|den|dem|des|ein|eine|einen|einer|und|mit|von|zu|zum|zur|unter|im|auf|am|an|so|schnell|wie"
    "|möglich|schnellstmöglich|umgehend|baldmöglichst|bald|in|kürze|stunden|werktag|tag|bearbeit|melden|setzen"
    "|verbindung|antwort|beantwort|nummer|vorgangsnummer|ticketnummer|bitte|geben|angeben|rückfrage|folgend|dies|hiermit"
    "|bestätig|eingang|automatisch|kund|hallo|sehr|geehrte|damen|herren|guten|freundlich|grüße|grüßen|mitarbeiter"
    "|system|betreff|erfolgreich|innerhalb|nachfrage|weitere|ihnen|uhr"
    # French
    "|merci|bonjour|nous|avons|bien|votre|vos|vous|a|à|été|est|sera|le|la|les|l|d|un|une|et|de|du|des|sous|dans|plus|bref"
    "|délai|répondr|réponse|numéro|référence|équipe|traite|traité|heures|jours|ouvr|notre|nos|contacté|cordialement|pour"
    "|afin|par|au|que|sur|rapidement|possible|meilleur|avec|n|rapides|cette|il"
    # Spanish and Portuguese
    "|gracias|obrigad|por|contactar|contato|con|nosotros|hemos|su|sua|seu|suas|ha|sido|es|foi|está|el|los|las|o|os|e|y|en"
    "|em|lo|antes|posible|possível|breve|plazo|respond|equipo|equipe|nuestr|nossa|nosso|número|referencia|referência|horas"
    "|días|dias|úteis|hábil|laboral|hola|olá|estimad|prezad|saludo|atenciosamente|cliente|recib|receb|mais|más|que|para"
    "|com|se|le|não|respondere|responderemos|correctamente|sucesso|éxito|entrar"
    # Italian
    "|grazie|averci|contattat|abbiamo|tua|tuo|vostra|vostro|sua|suo|stata|stato|è|il|lo|gli|di|da|del|della|al|alla|con"
    "|presto|possibile|prima|sarà|presa|presi|in|carico|risponder|risposta|nostro|team|numero|ore|giorni|lavorativi|verrà|più|cordiali|saluti|gentile"
    # Dutch
    "|bedankt|dank|u|uw|je|jouw|hebben|heb|is|zijn|wordt|worden|het|de|een|en|van|voor|met|op|zo|snel|mogelijk|spoedig"
    "|antwoord|reactie|reageren|nummer|uur|werkdag|onze|ons|team|medewerker|hallo|beste|geachte|groet|vriendelijke|behandel"
    "|onder|over|contact|opnemen|nemen|binnen|wij|we|dit"
    # Polish
    "|dziękujemy|dziękuję|twoje|twoją|twój|państwa|pana|pani|zostało|została|jest|będzie|pod|numer|numerem|nasz|odpowie"
    "|odpowiedź|odpowiemy|jak|najszybciej|wkrótce|w|na|i|do|z|ciągu|godzin|dni|roboczych|zespół|za|kontakt|dzień|dobry"
    "|pozdrawia|skontaktuj|się|najszybszym|czasie|możliwie|możliwe|to|dla|zostanie"
)
_STEM = re.compile(rf"(?:{_STEMS})(?:s|es|d|ed|ing|ly|en|er|e|n|em|t|te|et|ons|ez|emos|ado|ada|os|as|i|o|a|al)?", re.I)
_WORD = re.compile(r"[^\W\d_]+")
_NAME_WORDS = 4  # words of a greeting or a name in a line of its own
_FEWEST, _MOST = 3, 90  # words
_NAMES, _OTHER = 0.1, 0.02  # shares of other words, with and without a capital


def acknowledges(text: str) -> bool:
    """Return whether a message says that a request has arrived, and nothing else."""
    if len(text) > 40 * _MOST or not _ARRIVED.search(text) or not _REQUEST.search(text):
        return False
    lines = [_WORD.findall(line) for line in text.split("\n")]
    words = [word for line in lines if len(line) > _NAME_WORDS or len(lines) == 1 for word in line]
    if not _FEWEST <= len(words) <= _MOST:
        return False
    other = [word for word in words if not _is_usual(word)]
    return len(other) <= _NAMES * len(words) and sum(map(str.islower, other)) <= _OTHER * len(words)


def _is_usual(word: str) -> bool:
    return any(pattern.match(word) for pattern in (_ARRIVED, _REQUEST)) or _STEM.fullmatch(word) is not None
