"""whether a reply stops before its own end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables; of the answers so far it is not known."""
    op.add_column("predictions", sa.Column("reply_cut", sa.Boolean(), nullable=False, server_default=sa.false()))
