"""Names that helpdesks and public data sets give their columns.

Candidates by part or label, best first; matched without regard to case, spaces, `_` and `-`, and to a leading `ticket`.
Names of any source are in `common_names.py`.
"""

from collections.abc import Mapping, Sequence

FIELDS = ("subject", "body", "reply", "language", "id", "created", "tags")

PRESETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "public": {
        "subject": ("subject",),
        "body": ("body",),
        "reply": ("answer",),
        "language": ("language",),
        "tags": tuple(f"tag_{n}" for n in range(1, 10)),
        "type": ("type",),
        "queue": ("queue",),
        "priority": ("priority",),
    },
    "zendesk": {
        "id": ("id", "ticket id"),
        "subject": ("subject", "raw_subject", "ticket subject"),
        "body": ("description", "ticket description", "comments.0.plain_body", "comments.0.body"),
        "language": ("language", "locale", "requester.locale", "detected_language"),
        "tags": ("tags", "ticket tags"),
        "type": ("type", "ticket type"),
        "queue": ("group.name", "group", "ticket group", "assignee group", "group_id"),
        "priority": ("priority", "ticket priority"),
    },
    "zammad": {
        "id": ("id", "ticket id", "number"),
        "subject": ("title", "subject"),
        "body": ("article.body", "articles.0.body", "article", "body"),
        "language": ("language", "article.detected_language", "articles.0.detected_language"),
        "tags": ("tags", "tag_list"),
        "type": ("type",),
        "queue": ("group", "group.name", "group_id"),
        "priority": ("priority", "priority.name", "priority_id"),
    },
    "freshdesk": {
        "id": ("id", "ticket id"),
        "subject": ("subject",),
        "body": ("description_text", "description", "conversations.0.body_text", "conversations.0.body"),
        "tags": ("tags",),
        "type": ("type",),
        "queue": ("group.name", "group", "group_name", "group_id", "department"),
        "priority": ("priority", "priority_name"),
    },
    "jira": {
        "id": ("issue key", "vorgangsschlüssel", "key", "issue id", "vorgangs-id", "id"),
        "subject": ("summary", "fields.summary", "zusammenfassung"),
        "body": ("description", "fields.description", "beschreibung"),
        "tags": ("labels", "fields.labels", "stichwörter"),
        "type": ("issue type", "fields.issuetype.name", "vorgangstyp", "request type", "customer request type"),
        "queue": ("component/s", "components", "component", "fields.components.0.name"),
        "priority": ("priority", "fields.priority.name", "priorität"),
    },
    "servicenow": {
        "id": ("number", "sys_id"),
        "subject": ("short_description",),
        "body": ("description", "comments"),
        "reply": ("close_notes", "resolution notes"),
        "type": ("sys_class_name", "task type", "contact_type"),
        "queue": ("assignment_group", "assignment_group.name", "assignment_group.display_value"),
        "priority": ("priority", "priority.display_value"),
    },
    "otrs": {
        "id": ("TicketNumber", "ticket#", "TicketID"),
        "subject": ("Title", "Subject"),
        "body": ("Article.0.Body", "Articles.0.Body", "Body"),
        "tags": ("Keywords",),
        "type": ("Type",),
        "queue": ("Queue",),
        "priority": ("Priority",),
    },
    "github": {
        "id": ("number", "id"),
        "subject": ("title",),
        "body": ("body", "bodyText"),
        "tags": ("labels",),
        "type": ("type.name", "issueType.name"),
        "queue": ("milestone.title",),
        "priority": ("priority",),
    },
    "gitlab": {
        "id": ("iid", "issue id", "id"),
        "subject": ("title",),
        "body": ("description",),
        "tags": ("labels",),
        "type": ("issue_type", "type"),
        "queue": ("milestone.title", "milestone"),
        "priority": ("severity", "priority", "weight"),
    },
    "glpi": {
        "id": ("id",),
        "subject": ("name",),
        "body": ("content",),
        "created": ("date", "date_creation"),
        "queue": ("itilcategories_id", "itilcategories_id.completename"),
        "priority": ("priority", "urgency"),
        "type": ("type",),
    },
    "autotask": {
        "id": ("ticketNumber", "id"),
        "subject": ("title",),
        "body": ("description",),
        "reply": ("resolution",),
        "created": ("createDate",),
        "type": ("ticketType",),
        "queue": ("queueID",),
        "priority": ("priority",),
    },
}
# A preset is taken by itself where a source has all columns of one of its groups; the first that fits counts.
HALLMARKS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("public", ("tag_1", "answer")),
    ("jira", ("issue key",)),
    ("jira", ("vorgangsschlüssel",)),
    ("jira", ("fields.summary",)),
    ("servicenow", ("short_description", "number")),
    ("servicenow", ("assignment_group",)),
    ("freshdesk", ("description_text",)),
    ("otrs", ("TicketNumber", "Queue")),
    ("github", ("user.login", "title")),
    ("github", ("author.login", "title")),
    ("gitlab", ("iid", "title")),
    ("autotask", ("queueID", "title")),
    ("glpi", ("name", "content", "itilcategories_id")),
    ("zammad", ("title", "number")),
    ("zendesk", ("description",)),
)
