"""the fields that a helpdesk's ticket had when it came."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables."""
    op.add_column("tickets", sa.Column("fields", sa.JSON(), nullable=True))
