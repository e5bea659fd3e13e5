"""Margin and funding of perpetual positions."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE positions
    ADD COLUMN margin  finite_number NOT NULL DEFAULT 0 CHECK (margin >= 0),
    ADD COLUMN funding finite_number NOT NULL DEFAULT 0;
COMMENT ON COLUMN positions.size IS 'Base units, without sign.';
COMMENT ON COLUMN positions.margin IS 'Isolated margin of a perpetual, quote currency; 0 on spot.';
COMMENT ON COLUMN positions.funding IS 'Received (negative: paid) so far, quote currency.';
ALTER TABLE portfolio_snapshots
    ADD COLUMN total_margin  finite_number NOT NULL DEFAULT 0 CHECK (total_margin >= 0),
    ADD COLUMN total_funding finite_number NOT NULL DEFAULT 0;
COMMENT ON COLUMN portfolio_snapshots.cash IS 'Quote currency, without the margin that perpetuals have locked.';
COMMENT ON COLUMN portfolio_snapshots.available_balance IS
    'Cash less what working entries may still spend or lock as margin.';
"""


def upgrade() -> None:
    op.execute(COLUMNS)


def downgrade() -> None:
    op.execute("ALTER TABLE portfolio_snapshots DROP COLUMN total_margin, DROP COLUMN total_funding")
    op.execute("ALTER TABLE positions DROP COLUMN margin, DROP COLUMN funding")
