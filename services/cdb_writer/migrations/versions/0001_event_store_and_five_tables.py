"""The event store and the five tables."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

EVENT_STORE = """
CREATE DOMAIN event_store.sha256 AS bytea CHECK (octet_length(VALUE) = 32);

CREATE TABLE event_store.events (
    day            date        NOT NULL,
    seq            bigint      NOT NULL CHECK (seq > 0),
    epoch          integer     NOT NULL CHECK (epoch > 0),
    channel        text        NOT NULL CHECK (channel IN ('market_data', 'signals', 'orders', 'order_results', 'alerts',
                                                           'risk_decisions', 'control')),
    type           text        NOT NULL,
    event_id       text        NOT NULL,
    producer       text        NOT NULL,
    cause          text        NOT NULL,
    timestamp      timestamptz NOT NULL,
    correlation_id text,
    causation_id   text,
    data           bytea       NOT NULL,
    hash           event_store.sha256 NOT NULL,
    -- seq first: inside a day's partition this is also the index for reading in order
    PRIMARY KEY (seq, day)
) PARTITION BY RANGE (day);
-- hash: ids are only asked for by equality, and a random id in a tree would cost a third of the write rate
CREATE INDEX events_event_id ON event_store.events USING hash (event_id);
CREATE INDEX events_correlation_id ON event_store.events USING hash (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX events_decisions ON event_store.events (channel, timestamp) WHERE channel <> 'market_data';
COMMENT ON TABLE event_store.events IS 'Every event of every channel, in the one order of the journal; never changed.';
COMMENT ON COLUMN event_store.events.seq IS 'Journal number n, contiguous over the whole life of the journal.';
COMMENT ON COLUMN event_store.events.data IS 'The exact canonical bytes (JSON, UTF-8), as published.';
COMMENT ON COLUMN event_store.events.hash IS
    'h_n = sha256(h_{n-1} | epoch | seq | channel | producer | data), each part preceded by its length (4 bytes).';

CREATE TABLE event_store.cursor (
    id         boolean     PRIMARY KEY DEFAULT true CHECK (id),
    seq        bigint      NOT NULL CHECK (seq >= 0),
    epoch      integer     NOT NULL CHECK (epoch >= 0),
    chain_head event_store.sha256 NOT NULL,
    state      bytea,
    clock      bytea,
    updated    timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE event_store.cursor IS
    'One row: the last event written, its hash, and the states of projection and clock after it.';
INSERT INTO event_store.cursor (seq, epoch, chain_head)
VALUES (0, 0, sha256('claire_de_binare event chain 1'::bytea));

CREATE TABLE event_store.epochs (
    epoch     integer PRIMARY KEY CHECK (epoch > 0),
    first_seq bigint  NOT NULL CHECK (first_seq > 0)
);
COMMENT ON TABLE event_store.epochs IS 'First journal number of each epoch; an epoch begins when Redis lost a tail.';

CREATE TABLE event_store.runs (
    run_id     text        NOT NULL,
    first_seq  bigint      PRIMARY KEY CHECK (first_seq > 0),
    started_at timestamptz NOT NULL
);
COMMENT ON TABLE event_store.runs IS 'Which run begins where; the last one is the one going on.';

CREATE TABLE event_store.chain_anchor (
    seq    bigint      PRIMARY KEY CHECK (seq > 0),
    run_id text        NOT NULL,
    day    date        NOT NULL,
    epoch  integer     NOT NULL CHECK (epoch > 0),
    hash   event_store.sha256 NOT NULL
);
CREATE INDEX chain_anchor_day ON event_store.chain_anchor (day);
COMMENT ON TABLE event_store.chain_anchor IS 'Head of the chain at each closed UTC day of a run: copy these elsewhere.';

CREATE TABLE event_store.exports (
    day         date        NOT NULL,
    first_seq   bigint      NOT NULL,
    last_seq    bigint      NOT NULL CHECK (last_seq >= first_seq),
    events      bigint      NOT NULL CHECK (events > 0),
    file        text        NOT NULL,
    sha256      event_store.sha256 NOT NULL,
    exported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dropped_at  timestamptz,
    PRIMARY KEY (day, first_seq)
);
COMMENT ON TABLE event_store.exports IS 'Market data past retention: in which file they are, and whether they are gone here.';

-- JSONB has no NUL character; an event that carries one is shown as text.
CREATE FUNCTION event_store.readable(data bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN position('\\u0000' IN convert_from(data, 'UTF8')) = 0 THEN convert_from(data, 'UTF8')::jsonb
                ELSE jsonb_build_object('text', convert_from(data, 'UTF8')) END
$$;

CREATE VIEW event_store.events_json AS
SELECT day, seq, epoch, channel, type, event_id, producer, cause, timestamp, correlation_id, causation_id,
       event_store.readable(data) AS event
FROM event_store.events;
COMMENT ON VIEW event_store.events_json IS 'The events for people; numbers in JSONB keep their digits.';
"""

TABLES = """
CREATE DOMAIN finite_number AS numeric CHECK (VALUE > '-Infinity' AND VALUE < 'Infinity');
COMMENT ON DOMAIN finite_number IS 'An exact number: no NaN, no Infinity.';
CREATE DOMAIN trading_symbol AS text CHECK (VALUE ~ '^[A-Z0-9]{5,20}$');

CREATE TABLE signals (
    signal_id      text           PRIMARY KEY,
    run_id         text           NOT NULL,
    venue          text           NOT NULL,
    symbol         trading_symbol NOT NULL,
    signal_type    text           NOT NULL CHECK (signal_type IN ('buy', 'sell')),
    intent         text           NOT NULL CHECK (intent IN ('entry', 'exit')),
    price          finite_number  NOT NULL CHECK (price > 0),
    confidence     finite_number  NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    timestamp      timestamptz    NOT NULL,
    source         text           NOT NULL,
    strategy       text           NOT NULL,
    reason         text           NOT NULL,
    pct_change     finite_number,
    correlation_id text,
    metadata       jsonb          NOT NULL
);
CREATE INDEX signals_symbol ON signals (symbol, timestamp DESC);
CREATE INDEX signals_timestamp ON signals (timestamp DESC);
CREATE INDEX signals_run ON signals (run_id, timestamp);
COMMENT ON TABLE signals IS 'What the strategy wanted; what risk said to it is in the view risk_decisions.';
COMMENT ON COLUMN signals.metadata IS 'The numbers that produced the signal.';

CREATE TABLE orders (
    order_id          text           PRIMARY KEY,
    client_order_id   text           NOT NULL,
    run_id            text           NOT NULL,
    signal_id         text           REFERENCES signals,
    decision_id       text           NOT NULL,
    venue             text           NOT NULL,
    symbol            trading_symbol NOT NULL,
    side              text           NOT NULL CHECK (side IN ('buy', 'sell')),
    order_type        text           NOT NULL CHECK (order_type IN ('limit', 'market')),
    time_in_force     text           NOT NULL CHECK (time_in_force IN ('IOC', 'GTC', 'FOK')),
    purpose           text           NOT NULL CHECK (purpose IN ('entry', 'exit', 'stop_loss', 'take_profit',
                                                                'trailing_stop', 'liquidation_guard', 'flatten')),
    price             finite_number  CHECK (price > 0),
    reference_price   finite_number  CHECK (reference_price > 0),
    size              finite_number  NOT NULL CHECK (size > 0),
    reduce_only       boolean        NOT NULL,
    leverage          integer        NOT NULL CHECK (leverage BETWEEN 1 AND 125),
    approved          boolean        NOT NULL,
    rejection_reason  text,
    status            text           NOT NULL CHECK (status IN ('pending', 'submitting', 'submitted', 'partial', 'filled',
                                                               'cancelled', 'rejected', 'expired', 'unknown')),
    status_reason     text,
    filled_size       finite_number  NOT NULL CHECK (filled_size BETWEEN 0 AND size),
    avg_fill_price    finite_number  CHECK (avg_fill_price > 0),
    fees              finite_number  NOT NULL,
    slippage_bps      finite_number,
    exchange_order_id text,
    mode              text           CHECK (mode IN ('paper', 'shadow', 'live')),
    created_at        timestamptz    NOT NULL,
    submitted_at      timestamptz,
    filled_at         timestamptz,
    updated_at        timestamptz    NOT NULL CHECK (updated_at >= created_at),
    correlation_id    text,
    UNIQUE (run_id, client_order_id),
    CHECK (price IS NOT NULL OR order_type = 'market'),
    CHECK (status <> 'filled' OR filled_size = size),
    CHECK (avg_fill_price IS NULL OR filled_size > 0)
);
CREATE INDEX orders_symbol ON orders (symbol, created_at DESC);
CREATE INDEX orders_created_at ON orders (created_at DESC);
CREATE INDEX orders_status ON orders (status);
CREATE INDEX orders_signal ON orders (signal_id);
CREATE INDEX orders_run ON orders (run_id, created_at);
COMMENT ON TABLE orders IS 'Approved orders and how far each has come; protective orders have no signal.';
COMMENT ON COLUMN orders.price IS 'Protective limit price, quote currency; null for market orders.';
COMMENT ON COLUMN orders.reference_price IS 'Mid at the decision, the base of slippage.';
COMMENT ON COLUMN orders.size IS 'Base units.';

CREATE TABLE trades (
    trade_id          text           PRIMARY KEY,
    run_id            text           NOT NULL,
    order_id          text           NOT NULL REFERENCES orders,
    venue             text           NOT NULL,
    symbol            trading_symbol NOT NULL,
    side              text           NOT NULL CHECK (side IN ('buy', 'sell')),
    purpose           text,
    price             finite_number  NOT NULL CHECK (price > 0),
    size              finite_number  NOT NULL CHECK (size > 0),
    execution_price   finite_number  NOT NULL CHECK (execution_price > 0),
    slippage_bps      finite_number,
    fees              finite_number  NOT NULL,
    fee_currency      text,
    liquidity         text           CHECK (liquidity IN ('maker', 'taker')),
    realized_pnl      finite_number  NOT NULL,
    status            text           NOT NULL CHECK (status IN ('filled', 'partial')),
    timestamp         timestamptz    NOT NULL,
    exchange          text           NOT NULL,
    exchange_trade_id text           NOT NULL,
    mode              text           NOT NULL CHECK (mode IN ('paper', 'shadow', 'live')),
    metadata          jsonb          NOT NULL,
    UNIQUE (order_id, exchange_trade_id)
);
CREATE INDEX trades_symbol ON trades (symbol, timestamp DESC);
CREATE INDEX trades_timestamp ON trades (timestamp DESC);
CREATE INDEX trades_run ON trades (run_id, timestamp);
COMMENT ON TABLE trades IS 'One row a fill.';
COMMENT ON COLUMN trades.price IS 'What the decision saw (mid), quote currency.';
COMMENT ON COLUMN trades.execution_price IS 'What was paid or received, quote currency.';
COMMENT ON COLUMN trades.fees IS 'Quote currency; fees taken in base coin at the price of the fill.';
COMMENT ON COLUMN trades.metadata IS 'Rule and numbers of a paper fill.';

CREATE TABLE positions (
    run_id            text           NOT NULL,
    venue             text           NOT NULL,
    symbol            trading_symbol NOT NULL,
    side              text           NOT NULL CHECK (side IN ('long', 'short', 'none')),
    size              finite_number  NOT NULL CHECK (size >= 0),
    entry_price       finite_number  CHECK (entry_price > 0),
    current_price     finite_number  CHECK (current_price > 0),
    unrealized_pnl    finite_number,
    realized_pnl      finite_number  NOT NULL,
    fees              finite_number  NOT NULL,
    stop_loss_price   finite_number,
    take_profit_price finite_number,
    liquidation_price finite_number,
    opened_at         timestamptz,
    updated_at        timestamptz    NOT NULL,
    closed_at         timestamptz,
    PRIMARY KEY (run_id, venue, symbol),
    CHECK ((side = 'none') = (size = 0)),
    CHECK ((side = 'none') = (opened_at IS NULL)),
    CHECK ((side = 'none') = (closed_at IS NOT NULL))
);
CREATE INDEX positions_symbol ON positions (symbol);
CREATE INDEX positions_updated_at ON positions (updated_at DESC);
COMMENT ON TABLE positions IS 'What is held of each instrument in each run; flat ones stay with side none.';

CREATE TABLE portfolio_snapshots (
    run_id               text          NOT NULL,
    timestamp            timestamptz   NOT NULL,
    total_equity         finite_number NOT NULL,
    cash                 finite_number NOT NULL,
    available_balance    finite_number NOT NULL,
    daily_pnl            finite_number NOT NULL,
    total_unrealized_pnl finite_number NOT NULL,
    total_realized_pnl   finite_number NOT NULL,
    total_fees           finite_number NOT NULL,
    total_exposure       finite_number NOT NULL CHECK (total_exposure >= 0),
    total_exposure_pct   finite_number CHECK (total_exposure_pct >= 0),
    drawdown_pct         finite_number NOT NULL CHECK (drawdown_pct >= 0),
    max_drawdown_pct     finite_number NOT NULL CHECK (max_drawdown_pct >= drawdown_pct),
    open_positions       integer       NOT NULL CHECK (open_positions >= 0),
    PRIMARY KEY (run_id, timestamp)
);
CREATE INDEX portfolio_snapshots_timestamp ON portfolio_snapshots (timestamp DESC);
COMMENT ON TABLE portfolio_snapshots IS 'The portfolio once a minute of event time and after each fill.';
COMMENT ON COLUMN portfolio_snapshots.available_balance IS 'Cash less what working buy orders may still spend.';
COMMENT ON COLUMN portfolio_snapshots.daily_pnl IS 'Equity less the start-of-day equity that cdb_risk journalled.';
COMMENT ON COLUMN portfolio_snapshots.total_exposure_pct IS 'Fraction of equity; null when equity is not positive.';

CREATE VIEW risk_decisions AS
SELECT event ->> 'event_id' AS decision_id, timestamp, event ->> 'signal_id' AS signal_id, event ->> 'venue' AS venue,
       event ->> 'symbol' AS symbol, event ->> 'side' AS side, event ->> 'purpose' AS purpose,
       (event ->> 'approved')::boolean AS approved, event ->> 'reason' AS reason,
       (SELECT string_agg(layer ->> 'layer', ',' ORDER BY place)
        FROM jsonb_array_elements(event -> 'layers') WITH ORDINALITY AS l (layer, place)
        WHERE layer ->> 'status' = 'fail') AS failed_layers,
       event -> 'layers' AS layers, event -> 'sizing' AS sizing, event -> 'portfolio' AS portfolio,
       correlation_id, seq
FROM event_store.events_json
WHERE channel = 'risk_decisions';
COMMENT ON VIEW risk_decisions IS 'The verdict of all seven layers on each signal and protective exit, approved or not.';

CREATE VIEW alerts AS
SELECT event_id AS alert_id, timestamp, producer, event ->> 'level' AS level, event ->> 'code' AS code,
       event ->> 'message' AS message, event -> 'context' AS context, correlation_id, seq
FROM event_store.events_json
WHERE channel = 'alerts';
COMMENT ON VIEW alerts IS 'What a person should know.';
"""


def upgrade() -> None:
    op.execute(EVENT_STORE)
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP VIEW alerts, risk_decisions")
    op.execute("DROP TABLE portfolio_snapshots, positions, trades, orders, signals")
    op.execute("DROP DOMAIN trading_symbol, finite_number")
    op.execute("DROP VIEW event_store.events_json")
    op.execute("DROP FUNCTION event_store.readable")
    op.execute(
        "DROP TABLE event_store.exports, event_store.chain_anchor, event_store.runs, event_store.epochs, "
        "event_store.cursor, event_store.events"
    )
    op.execute("DROP DOMAIN event_store.sha256")
