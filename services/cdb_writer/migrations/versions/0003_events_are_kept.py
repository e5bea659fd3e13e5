"""Nobody changes or deletes a stored event: only market data that an export holds may go."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

GUARD = """
CREATE FUNCTION event_store.keep_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.channel = 'market_data' AND EXISTS (
        SELECT FROM event_store.exports e WHERE e.day = OLD.day AND OLD.seq BETWEEN e.first_seq AND e.last_seq
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'event % is kept: % is refused', OLD.seq, TG_OP USING ERRCODE = 'insufficient_privilege',
        HINT = 'Only market data that event_store.exports names may be deleted; retention does that.';
END $$;
CREATE TRIGGER events_are_kept BEFORE UPDATE OR DELETE ON event_store.events
    FOR EACH ROW EXECUTE FUNCTION event_store.keep_event();

CREATE FUNCTION event_store.keep_all_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the events are kept: TRUNCATE is refused' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER events_are_not_truncated BEFORE TRUNCATE ON event_store.events
    FOR EACH STATEMENT EXECUTE FUNCTION event_store.keep_all_events();
COMMENT ON TRIGGER events_are_kept ON event_store.events IS
    'Against accidents, also of the owner, who could switch it off; the hash chain shows what was done nevertheless.';
"""


def upgrade() -> None:
    op.execute(GUARD)


def downgrade() -> None:
    op.execute("DROP TRIGGER events_are_not_truncated ON event_store.events")
    op.execute("DROP TRIGGER events_are_kept ON event_store.events")
    op.execute("DROP FUNCTION event_store.keep_all_events(), event_store.keep_event()")
